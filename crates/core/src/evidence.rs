//! Evidence: which copies stand, and the permission to delete one (N3).
//!
//! Claims are enough to decide what still *wants* a copy. To let a copy go, others must stand:
//! proven by a durable write or a full hash within the trust time, on a disk about which no doubt
//! is open. The rule is in one place, and its answer is a value that nobody else can make: the
//! catalog gathers the evidence, asks for the [`Warrant`] and strikes out the claim in one
//! transaction, and only a warrant releases a copy.

use crate::model::{DiskNo, ObjectNo};

/// What is known of one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Where it is said to be.
    pub disk: DiskNo,
    /// Days of catalog time since a durable write or a full hash proved it; `None` if it was only
    /// adopted or imported and never read. Comparing names and sizes does not renew it.
    pub proven_days_ago: Option<u32>,
    /// The copy or its whole disk is in doubt: I/O error, mismatch, failed verification, an older
    /// generation than ours, or reported lost.
    pub in_doubt: bool,
    /// Since the proof, the disk's last visit ended in order or a later connect compared it.
    pub settled: bool,
}

impl Evidence {
    /// Whether the copy counts for permission to delete another one of the same object.
    ///
    /// Proof of exactly `trust_days` still counts.
    pub fn stands(&self, trust_days: u32) -> bool {
        !self.in_doubt && self.settled && self.proven_days_ago.is_some_and(|days| days <= trust_days)
    }
}

/// Why a copy should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grounds<'a> {
    /// It is redundant: at least `needed` other copies must stand, and never none.
    Redundant {
        /// Evidence for all copies of the object; the copy that should go is ignored.
        copies: &'a [Evidence],
        /// How many others must stand. 0 is taken as 1: the last copy is never redundant (I1).
        needed: u16,
        /// Longest age of a proof, in days.
        trust_days: u32,
    },
    /// The object is dead: no entry of the tree or of kept history refers to it.
    Dead {
        /// Entries that refer to it, counted in the same transaction.
        references: u64,
    },
    /// The object is history, and the user allowed to lose it for a first copy (DESIGN 7.1).
    HistoryGivenUp {
        /// Entries of the current tree that refer to it, counted in the same transaction.
        live_references: u64,
        /// Whether the user said so, for this visit.
        allowed: bool,
    },
}

/// Permission to remove one copy. Only [`Warrant::check`] can make one (N3).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a warrant that is not used releases nothing"]
pub struct Warrant {
    object: ObjectNo,
    disk: DiskNo,
}

impl Warrant {
    /// Grants the removal of `object` from `disk`, or does not.
    ///
    /// To be asked in the transaction that strikes out the claim, so that nothing changes between
    /// the answer and the deed.
    pub fn check(object: ObjectNo, disk: DiskNo, grounds: Grounds<'_>) -> Option<Self> {
        let granted = match grounds {
            Grounds::Redundant { copies, needed, trust_days } => {
                let mut disks: Vec<DiskNo> = copies
                    .iter()
                    .filter(|copy| copy.disk != disk && copy.stands(trust_days))
                    .map(|copy| copy.disk)
                    .collect();
                // Two rows about one disk are one copy.
                disks.sort_unstable();
                disks.dedup();
                disks.len() >= usize::from(needed.max(1))
            }
            Grounds::Dead { references } => references == 0,
            Grounds::HistoryGivenUp { live_references, allowed } => allowed && live_references == 0,
        };
        granted.then_some(Self { object, disk })
    }

    /// What may go.
    pub fn object(&self) -> ObjectNo {
        self.object
    }

    /// From where.
    pub fn disk(&self) -> DiskNo {
        self.disk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: ObjectNo = ObjectNo(1);
    const RED: DiskNo = DiskNo(1);
    const BLUE: DiskNo = DiskNo(2);
    const GREEN: DiskNo = DiskNo(3);

    fn sound(disk: DiskNo) -> Evidence {
        Evidence { disk, proven_days_ago: Some(10), in_doubt: false, settled: true }
    }

    fn may_leave_red(copies: &[Evidence], needed: u16) -> bool {
        Warrant::check(OBJECT, RED, Grounds::Redundant { copies, needed, trust_days: 730 }).is_some()
    }

    #[test]
    fn n3_a_copy_goes_only_if_another_one_stands() {
        assert!(may_leave_red(&[sound(RED), sound(BLUE)], 1));
        assert!(!may_leave_red(&[sound(RED)], 1), "its own evidence is no other copy");
        assert!(!may_leave_red(&[], 0), "the last copy is never redundant");
    }

    #[test]
    fn n3_old_unproven_doubtful_and_unsettled_copies_do_not_stand() {
        let blue = sound(BLUE);
        for weak in [
            Evidence { proven_days_ago: Some(731), ..blue },
            Evidence { proven_days_ago: None, ..blue },
            Evidence { in_doubt: true, ..blue },
            Evidence { settled: false, ..blue },
        ] {
            assert!(!may_leave_red(&[sound(RED), weak], 1), "{weak:?}");
        }
        assert!(may_leave_red(&[Evidence { proven_days_ago: Some(730), ..blue }], 1));
    }

    #[test]
    fn n3_as_many_others_as_needed_must_stand_and_a_disk_counts_once() {
        assert!(!may_leave_red(&[sound(RED), sound(BLUE), sound(BLUE)], 2));
        assert!(may_leave_red(&[sound(RED), sound(BLUE), sound(GREEN)], 2));
    }

    #[test]
    fn only_the_dead_go_without_evidence_and_history_only_with_the_users_word() {
        let check = |grounds| Warrant::check(OBJECT, RED, grounds).is_some();
        assert!(check(Grounds::Dead { references: 0 }));
        assert!(!check(Grounds::Dead { references: 1 }));
        assert!(check(Grounds::HistoryGivenUp { live_references: 0, allowed: true }));
        assert!(!check(Grounds::HistoryGivenUp { live_references: 0, allowed: false }));
        assert!(!check(Grounds::HistoryGivenUp { live_references: 1, allowed: true }));
    }

    #[test]
    fn a_warrant_names_what_it_is_for() {
        let warrant = Warrant::check(OBJECT, RED, Grounds::Dead { references: 0 }).unwrap();
        assert_eq!((warrant.object(), warrant.disk()), (OBJECT, RED));
    }
}
