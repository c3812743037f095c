//! SHA-256 of segments, with the processor's instructions where it has them.

use distbackup_core::model::ObjectId;
use sha2::{Digest as _, Sha256};

use crate::content::Segment;

/// Zeros to hash holes with.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A SHA-256 in progress.
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next segment; a hole counts as the zeros it reads as.
    pub fn update(&mut self, segment: &Segment<'_>) {
        match segment {
            Segment::Data(data) => self.0.update(data),
            Segment::Zeros(length) => {
                let mut left = *length;
                while left > 0 {
                    let now = left.min(ZEROS.len() as u64);
                    self.0.update(&ZEROS[..now as usize]);
                    left -= now;
                }
            }
        }
    }

    /// The identity of everything taken in.
    pub fn finish(self) -> ObjectId {
        ObjectId(self.0.finalize().into())
    }
}
