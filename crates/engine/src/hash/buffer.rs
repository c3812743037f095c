//! One reading buffer per thread, lent to one file after another.
//!
//! Ten million small files would otherwise allocate and clear ten million megabytes.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use crate::content::BUFFER_BYTES;

thread_local! {
    static SPARE: RefCell<Option<Box<[u8]>>> = const { RefCell::new(None) };
}

/// A buffer of [`BUFFER_BYTES`]; goes back to its thread when dropped. What it holds is old content.
#[derive(Debug)]
pub struct Buffer(Box<[u8]>);

impl Buffer {
    /// Takes this thread's spare buffer, or a new one if that is in use.
    pub fn borrow() -> Self {
        let spare = SPARE.try_with(RefCell::take).ok().flatten();
        Buffer(spare.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // While the thread ends there is nobody left to lend it to.
        let _ = SPARE.try_with(|spare| spare.replace(Some(buffer)));
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
