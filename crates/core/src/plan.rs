//! A plan: the deletions and copies chosen for one visit, as plain data in execution order.
//!
//! A first fill of a large disk plans millions of copies, so they are kept in twelve bytes each and
//! the few victims in one list beside them; [`VisitPlan::copies`] puts the two together.

use crate::model::Bytes;

/// A row number of the planner's input: the n-th [`crate::planner::Object`].
pub type Row = u32;

/// The steps of one visit. Rows refer to the planner's input; names and hashes are looked up when
/// a step is carried out.
///
/// In order: delete [`clean`](Self::clean), delete [`excess`](Self::excess), then each of
/// [`copies`](Self::copies): its victims first, then the copy. Carried out in this order the disk
/// is never fuller than its capacity (I4), and the plan may be cut after any copy: what is left
/// undone has then not been evicted for either.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisitPlan {
    /// Dead objects on the disk: nothing that is kept refers to them.
    pub clean: Vec<Row>,
    /// Copies above `maxcopies`. (Redundant copies of history stay until their room is needed:
    /// then they are victims of a copy.)
    pub excess: Vec<Row>,
    /// Candidates that did not find room here.
    pub unplaced: Tally,
    /// The same by copies they had before the visit: `[0]` are those still without any copy.
    pub unplaced_by_copies: Vec<Tally>,
    /// Live objects that no disk of the set can hold: too large for each of them (D18).
    pub fits_nowhere: Tally,
    /// Claims whose proof is too old, and which alone keep objects without any copy from room on
    /// this disk; per disk, ascending. `verify` of that disk frees so much room (N3).
    pub stale: Vec<StaleClaims>,
    /// `N_k`: billed bytes of live objects with at least `k + 1` copies before the visit.
    pub levels_before: Vec<Bytes>,
    /// The same after the visit.
    pub levels_after: Vec<Bytes>,
    /// Billed bytes by which each level changes; `[0]` is data that gets its first copy. Copies that all lie in one
    /// location while another could have one count as a single copy (PLACEMENT 2). The larger list is the better visit.
    pub gain: Vec<i64>,
    /// `N*_k`: the most that the whole set can reach (PLACEMENT 3); room of disks that have been
    /// away too long is counted, unlike in the plan.
    pub bound: Vec<Bytes>,
    /// Copies the whole set can give to all objects of each priority and above, highest priority first.
    pub floor: Vec<Floor>,
    /// Room left on the disk when all is done, in billed bytes.
    pub room_after: Bytes,
    steps: Vec<Step>,
    victims: Vec<Row>,
}

/// One copy in compact form: its victims end at `victims_end` and begin where the last one's ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    object: Row,
    victims_end: u32,
    copies_before: u16,
}

/// One copy to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedCopy<'a> {
    /// What to copy.
    pub object: Row,
    /// Copies of it before the visit, by claim.
    pub copies_before: u16,
    /// Redundant copies that go first, when the source of `object` was found unchanged (I6).
    pub victims: &'a [Row],
}

/// Claims on a disk that have to be verified before their redundant copies elsewhere may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleClaims {
    /// Index of the disk to verify.
    pub disk: u16,
    /// What it claims, and what could then make room on the planned disk.
    pub tally: Tally,
}

/// The number of copies that the whole set can give to everything of a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Objects of this priority and above.
    pub priority: u32,
    /// Copies of each of them for which there is room.
    pub copies: u16,
}

/// A number of objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub objects: u64,
    /// Their content; a planner counts it in whole blocks.
    pub bytes: Bytes,
}

impl Tally {
    /// Counts one more object.
    pub fn add(&mut self, bytes: Bytes) {
        self.objects += 1;
        self.bytes += bytes;
    }

    /// Counts all of another tally.
    pub fn merge(&mut self, other: Tally) {
        self.objects += other.objects;
        self.bytes += other.bytes;
    }
}

impl VisitPlan {
    /// The copies to make, in execution order, each with the victims that make its room.
    pub fn copies(&self) -> impl ExactSizeIterator<Item = PlannedCopy<'_>> {
        let mut from = 0;
        self.steps.iter().map(move |step| {
            let victims = &self.victims[from..step.victims_end as usize];
            from = step.victims_end as usize;
            PlannedCopy { object: step.object, copies_before: step.copies_before, victims }
        })
    }

    /// All redundant copies that go to make room, in execution order.
    pub fn victims(&self) -> &[Row] {
        &self.victims
    }

    /// Whether the visit has nothing to do on the disk.
    pub fn is_idle(&self) -> bool {
        self.clean.is_empty() && self.excess.is_empty() && self.steps.is_empty()
    }

    /// Leaves out all copies that something would go for.
    pub fn keep_what_is_there(&mut self) {
        let mut from = 0;
        self.steps.retain_mut(|step| {
            let needs_none = step.victims_end == from;
            from = step.victims_end;
            step.victims_end = 0;
            needs_none
        });
        self.victims.clear();
    }

    /// Appends a copy and the victims that go right before it.
    pub fn push_copy(&mut self, object: Row, copies_before: u16, victims: impl IntoIterator<Item = Row>) {
        self.victims.extend(victims);
        self.steps.push(Step { object, copies_before, victims_end: self.victims.len() as u32 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_copy_comes_with_its_own_victims() {
        let mut plan = VisitPlan::default();
        assert!(plan.is_idle());
        plan.push_copy(7, 0, [1, 2]);
        plan.push_copy(8, 1, []);
        plan.push_copy(9, 1, [3]);
        let seen: Vec<_> = plan.copies().map(|copy| (copy.object, copy.victims.to_vec())).collect();
        assert_eq!(seen, [(7, vec![1, 2]), (8, vec![]), (9, vec![3])]);
        assert_eq!(plan.victims(), [1, 2, 3]);
        assert!(!plan.is_idle());
        plan.keep_what_is_there();
        let kept: Vec<_> = plan.copies().map(|copy| (copy.object, copy.victims.to_vec())).collect();
        assert_eq!(kept, [(8, vec![])]);
    }
}
