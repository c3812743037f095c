//! The brake: what changes too much at once waits for the user's word (DESIGN 7.3, S3, N7).

use crate::plan::Tally;

/// Fewer files never trip the brake by their number.
const FILES_MIN: u64 = 100;
/// Of fewer files than this, only so many bytes trip it by their size: whoever edits a file or two of a small set has
/// had no accident.
const FEW: u64 = 10;
const BYTES_MIN: u64 = 1_000_000_000;

/// What has gone of a whole: of a tree since it was last accepted, or of a disk's live copies by a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// What has gone.
    pub gone: Tally,
    /// What there was.
    pub of: Tally,
}

impl Gone {
    /// Whether more than a quarter of a tree's files, a hundred at least, or of its bytes was retired or changed.
    pub fn is_massive(&self) -> bool {
        let noticeable = self.gone.objects >= FEW || self.gone.bytes.0 >= BYTES_MIN;
        self.is_massive_in_number() || noticeable && quarter(self.gone.bytes.0, self.of.bytes.0)
    }

    /// Whether more than a quarter in number, a hundred at least, goes: for copies on a disk, where a single large one
    /// may well be a quarter of the bytes.
    pub fn is_massive_in_number(&self) -> bool {
        self.gone.objects >= FILES_MIN && quarter(self.gone.objects, self.of.objects)
    }
}

fn quarter(part: u64, whole: u64) -> bool {
    u128::from(part) * 4 > u128::from(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Bytes;

    fn gone(files: u64, bytes: u64) -> Gone {
        let tally = |objects, bytes| Tally { objects, bytes: Bytes(bytes) };
        Gone { gone: tally(files, bytes), of: tally(1000, 1_000_000) }
    }

    #[test]
    fn s3_more_than_a_quarter_of_the_files_or_of_the_bytes_is_too_much_at_once() {
        assert!(!gone(250, 250_000).is_massive());
        assert!(gone(251, 0).is_massive());
        assert!(gone(10, 250_001).is_massive());
        assert!(!gone(10, 250_001).is_massive_in_number());
        assert!(!Gone::default().is_massive());
    }

    #[test]
    fn editing_a_file_of_a_small_set_is_no_accident_but_losing_one_of_a_gigabyte_may_be() {
        assert!(!gone(9, 1_000_000).is_massive());
        let tally = |objects, bytes| Tally { objects, bytes: Bytes(bytes) };
        assert!(Gone { gone: tally(1, 1_000_000_000), of: tally(2, 2_000_000_000) }.is_massive());
    }

    #[test]
    fn a_few_files_of_a_small_tree_are_no_mass_change_by_number() {
        let tally = |objects| Tally { objects, bytes: Bytes(0) };
        assert!(!Gone { gone: tally(99), of: tally(100) }.is_massive());
        assert!(Gone { gone: tally(100), of: tally(100) }.is_massive());
    }
}
