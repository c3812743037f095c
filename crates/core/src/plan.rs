//! A plan: the deletions and copies chosen for one visit, as plain data in execution order.

use crate::model::Bytes;

/// A row number of the planner's input: the n-th [`crate::planner::Object`].
pub type Row = u32;

/// The steps of one visit. Rows refer to the planner's input; names and hashes are looked up when
/// a step is carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisitPlan {
    /// Dead objects on the disk: nothing that is kept refers to them.
    pub clean: Vec<Row>,
    /// Copies above `maxcopies`, and redundant copies of history.
    pub excess: Vec<Row>,
    /// Copies to make, in order, each with the victims that make its room.
    pub copies: Vec<PlannedCopy>,
    /// Candidates that did not find room here.
    pub unplaced: Tally,
}

/// One copy to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedCopy {
    /// What to copy.
    pub object: Row,
    /// Copies of it before the visit.
    pub copies_before: u16,
    /// Redundant copies that go first, when the source of `object` was found unchanged (I6).
    pub victims: Vec<Row>,
}

/// A number of objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub objects: u64,
    /// Their content.
    pub bytes: Bytes,
}

impl Tally {
    /// Counts one more object.
    pub fn add(&mut self, bytes: Bytes) {
        self.objects += 1;
        self.bytes += bytes;
    }
}
