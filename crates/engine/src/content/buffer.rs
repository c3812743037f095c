//! One reading buffer per thread, lent to one file after another.
//!
//! Ten million small files would otherwise allocate and clear ten million megabytes.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::BUFFER_BYTES;

/// Where a buffer begins: what is read into it can be written past the memory of the system.
const ALIGNMENT: usize = 4096;

thread_local! {
    static SPARE: RefCell<Option<Box<[u8]>>> = const { RefCell::new(None) };
}

/// A buffer of [`BUFFER_BYTES`]; goes back to its thread when dropped. What it holds is old content.
#[derive(Debug)]
pub struct Buffer {
    /// A little more than is used.
    memory: Box<[u8]>,
    from: usize,
}

impl Buffer {
    /// Takes this thread's spare buffer, or a new one if that is in use.
    pub fn borrow() -> Self {
        let spare = SPARE.try_with(RefCell::take).ok().flatten();
        let memory = spare.unwrap_or_else(|| vec![0; BUFFER_BYTES + ALIGNMENT].into_boxed_slice());
        // Where it cannot be told, it begins anywhere.
        let from = memory.as_ptr().align_offset(ALIGNMENT);
        Buffer { memory, from: if from < ALIGNMENT { from } else { 0 } }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // While the thread ends there is nobody left to lend it to.
        let _ = SPARE.try_with(|spare| spare.replace(Some(memory)));
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[self.from..][..BUFFER_BYTES]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..][..BUFFER_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_begins_where_direct_writing_can_and_goes_back_to_its_thread() {
        let place = |buffer: &Buffer| buffer.as_ptr().addr();
        let (one, two) = (Buffer::borrow(), Buffer::borrow());
        for buffer in [&one, &two] {
            assert_eq!((place(buffer) % ALIGNMENT, buffer.len()), (0, BUFFER_BYTES));
        }
        let (first, second) = (place(&one), place(&two));
        assert_ne!(first, second);
        drop(one);
        assert_eq!(place(&Buffer::borrow()), first);
    }
}
