//! The planner: which objects to copy to the connected disk, and what may go to make room.
//!
//! Pure: rows in, plan out. Specified by PLACEMENT. `input` is what it is given; `shelf` prepares
//! figures about disks and nexuses; `bound` says what the whole set can reach; `greedy` chooses.

mod bound;
mod greedy;
mod input;
mod shelf;

pub use bound::reachable_levels;
pub use input::{Class, Disk, Input, Nexus, Object, Options, State};

use crate::plan::VisitPlan;

/// Plans one visit of the disk `options.disk`.
///
/// Deletes only dead objects and copies above `maxcopies`; evicts a live object only for one that
/// has strictly fewer copies afterwards, or as many at a higher priority (I2), and never one
/// without other standing copies (I1). Never plans beyond the capacity (I4). The same input gives
/// the same plan. Numbers that point nowhere (a disk, nexus or class that does not exist) are
/// treated as objects that are left alone.
pub fn plan_visit(input: &Input, options: &Options) -> VisitPlan {
    greedy::plan(input, options)
}
