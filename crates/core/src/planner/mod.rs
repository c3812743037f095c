//! The planner: which objects to copy to the connected disk, and what may go to make room.
//!
//! Pure: rows in, plan out; no clock, no randomness, integers only. Specified by PLACEMENT.
//! A visit is planned in this order, one file per idea:
//!
//! - `input` is what a plan depends on; `shelf` works out what fits where and what each nexus means
//!   for the connected disk; `groups` sorts millions of rows into some hundreds of groups;
//! - `relocation` finds excess copies; `bound` and `reach` say what the whole set can reach;
//! - `visit` serves buckets of equal need, one after the other; `victims` go for them, `flow` tells
//!   what the other disks will take, `choice` picks what fits, `exchange` fills the last gap, and
//!   `directories` keeps siblings together;
//! - `rounds` plans on from the outcome until nothing follows from it;
//! - `steps` writes the result down in execution order; `advice` compares the disks, and `outlook` tells
//!   what a set has and can reach without any visit.

mod advice;
mod bound;
mod choice;
mod directories;
mod exchange;
mod flow;
mod groups;
mod input;
mod need;
mod outlook;
mod reach;
mod relocation;
mod rounds;
mod shelf;
mod steps;
mod victims;
mod visit;

pub use advice::{Advice, advise};
pub use bound::reachable_levels;
pub use input::{AWAY_DAYS, Class, Disk, Input, Nexus, Object, Options, State};
pub use need::{Need, need};
pub use outlook::{Outlook, outlook};

use crate::plan::VisitPlan;
use rounds::Basis;
use shelf::Shelf;

/// Plans one visit of the disk `options.disk`: what goes, what is copied, in which order.
///
/// The aim, level by level: as much data as possible with one copy, then with two, and so on;
/// inside a level the higher priority first. Then few writes, and nothing at all where nothing is
/// to be gained; then copies spread over many pairs of disks, and directories kept together.
///
/// Only this disk is connected, but all others count: what they hold counts as copies, and their
/// room as future room. An object that another disk can take for nothing is not worth a deletion
/// here, and one that only this disk can take must not be left out for one that any disk can take.
/// So objects are served in buckets of equal need, least protected first. A bucket that fits is
/// taken whole. For one that does not, a maximum flow from its classes of equal holders to the
/// disks with room tells how much the others will take; only for the rest something is evicted;
/// and the same flow tells how much to take of which class. What is evicted joins the bucket of
/// its new, smaller number of copies, and may win its place back there.
///
/// What never happens: the last standing copy of a live or history object is deleted (I1; history
/// only with [`Options::allow_history_loss`], for first copies); a live object is evicted for one
/// that does not have strictly fewer copies afterwards, or as many at a higher priority (I2);
/// levels get worse (I3); the disk is fuller than its capacity at any step (I4); a repeated visit
/// finds something to do (I5): a plan is planned on until nothing follows from it, or 16 times.
/// Claims decide what *wants* a copy; only standing copies permit a deletion (N3).
///
/// The same input gives the same plan. Numbers that point nowhere (a disk, nexus or class that does
/// not exist) are treated as objects that are left alone. Near linear: ten million objects on
/// twelve disks take seconds at worst, and about twenty bytes each beside the input; a visit that
/// evicts copies the rows once more.
pub fn plan_visit(input: &Input, options: &Options) -> VisitPlan {
    let Some(shelf) = Shelf::new(input, options) else { return VisitPlan::default() };
    let basis = Basis::new(&shelf);
    let choice = basis.choose();
    let plan = steps::write(&basis, &choice);
    if basis.may_go_on(&choice, &plan) { settle(&basis, plan) } else { plan }
}

/// Plans at most: a chain of plans that follow from each other was never seen longer than five.
const ROUNDS_MAX: usize = 16;

/// Plans on from what a plan leads to, until nothing follows, and joins everything into one plan. A
/// repeated visit of the disk would do the same in many steps, with more writes (I5).
fn settle(basis: &Basis<'_>, mut plan: VisitPlan) -> VisitPlan {
    let (input, options) = (basis.shelf.input, basis.shelf.options);
    for _ in 1..ROUNDS_MAX {
        let mut choice = basis.done_by(&plan);
        let mut after = input.clone();
        choice.carry_out(&mut after, options.disk);
        let Some(shelf) = Shelf::new(&after, options) else { break };
        let next = Basis::new(&shelf);
        let follows = next.done_by(&steps::write(&next, &next.choose()));
        if follows.is_idle() {
            break;
        }
        choice.join(&follows);
        basis.order(&mut choice);
        let joined = steps::write(basis, &choice);
        if joined == plan {
            break;
        }
        plan = joined;
    }
    plan
}
