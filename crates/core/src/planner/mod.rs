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
//! - `steps` writes the result down in execution order; `advice` compares the disks.

mod advice;
mod bound;
mod choice;
mod directories;
mod exchange;
mod flow;
mod groups;
mod input;
mod reach;
mod relocation;
mod shelf;
mod steps;
mod victims;
mod visit;

pub use advice::{Advice, advise};
pub use bound::reachable_levels;
pub use input::{Class, Disk, Input, Nexus, Object, Options, State};

use crate::plan::{Row, VisitPlan};
use groups::Groups;
use reach::Reach;
use relocation::Pressure;
use shelf::Shelf;
use victims::Victims;
use visit::Visit;

/// Plans one visit of the disk `options.disk`.
pub fn plan_visit(input: &Input, options: &Options) -> VisitPlan {
    let Some(shelf) = Shelf::new(input, options) else { return VisitPlan::default() };
    let (mut groups, directories) = Groups::new(&shelf);
    let pressure = Pressure::new(&shelf, &groups);
    let reach = Reach::new(&shelf, &groups, &pressure.dropped);
    let is_redundant_history = |group: &groups::Group| {
        let held = group.held(&shelf);
        group.state == State::History && held.here && held.others_standing > 0
    };
    let wanted: Vec<bool> = groups
        .all
        .iter()
        .map(|group| {
            let here = group.held(&shelf).here;
            (here && (group.is_live() || group.state == State::Dead))
                || is_redundant_history(group)
                || Visit::is_candidate(&shelf, group)
                || pressure.relocates(&shelf, group)
        })
        .collect();
    groups.collect(&shelf, &wanted);

    let victims = Victims::new(&shelf, &groups, &pressure.dropped, |priority| reach.floor(priority));
    let mut visit = Visit::new(&shelf, &groups, &reach, &pressure, directories, victims);
    let mut history: Vec<Row> = Vec::new();
    for (number, group) in groups.all.iter().enumerate() {
        if is_redundant_history(group) {
            history.extend(groups.rows(number));
        }
        if Visit::is_candidate(&shelf, group) {
            visit.enter(number);
        }
    }
    history.sort();
    visit.count_history(history);
    visit.serve();
    visit.relocate();
    steps::write(visit)
}
