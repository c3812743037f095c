//! The SHA-256 of a content given in segments.

use distbackup_core::model::ObjectId;
use sha2::{Digest as _, Sha256};

use crate::content::{BUFFER_BYTES, Segment};

static ZEROS: [u8; BUFFER_BYTES] = [0; BUFFER_BYTES];

/// A SHA-256 on its way.
///
/// Holes count as the zero bytes that they read as, so a sparse file and its filled copy are the
/// same object. Uses the processor's instructions for it where there are any.
#[derive(Debug, Clone, Default)]
pub struct Digest(Sha256);

impl Digest {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next segment.
    pub fn update(&mut self, segment: &Segment<'_>) {
        match *segment {
            Segment::Data(bytes) => self.0.update(bytes),
            Segment::Zeros(length) => self.zeros(length),
        }
    }

    /// Adds so many zero bytes.
    pub fn zeros(&mut self, length: u64) {
        let mut left = length;
        while left > 0 {
            let part = left.min(BUFFER_BYTES as u64);
            self.0.update(&ZEROS[..part as usize]);
            left -= part;
        }
    }

    /// The name of what was given.
    pub fn finish(self) -> ObjectId {
        ObjectId(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(segments: &[Segment<'_>]) -> String {
        let mut digest = Digest::new();
        segments.iter().for_each(|segment| digest.update(segment));
        digest.finish().hex()
    }

    #[test]
    fn known_answers_of_fips_180() {
        assert_eq!(of(&[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(&[Segment::Data(b"abc")]), abc);
        assert_eq!(of(&[Segment::Data(b"a"), Segment::Zeros(0), Segment::Data(b"bc")]), abc);
    }

    #[test]
    fn a_hole_counts_as_the_zeros_that_it_reads_as() {
        for length in [1, 63, 64, 65, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES] {
            let filled = vec![0; length];
            let sparse = of(&[Segment::Data(b"x"), Segment::Zeros(length as u64), Segment::Data(b"y")]);
            assert_eq!(
                sparse,
                of(&[Segment::Data(b"x"), Segment::Data(&filled), Segment::Data(b"y")]),
                "{length}"
            );
        }
    }
}
