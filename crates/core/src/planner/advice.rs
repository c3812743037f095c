//! Advice: which disk to connect next.

use std::cmp::Reverse;

use crate::plan::{Tally, VisitPlan};
use crate::planner::input::{Input, Options};
use crate::planner::plan_visit;

/// What a visit of one disk would bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Index of the disk.
    pub disk: u16,
    /// [`VisitPlan::gain`].
    pub gain: Vec<i64>,
    /// Copies that would be made, in billed levels' order: by copies before the visit.
    pub copies: Vec<Tally>,
    /// Live objects that no disk can hold; the same in every advice.
    pub fits_nowhere: Tally,
}

/// Plans every disk of the set, and says which gains most: best first (PLACEMENT 5.7).
///
/// Compared level by level, so a disk that gives the last file its first copy comes before one
/// that gives everything a third. A disk with nothing to gain is listed with zeros. Costs one plan
/// per disk; `options.disk` is not used.
pub fn advise(input: &Input, options: &Options) -> Vec<Advice> {
    let mut all: Vec<Advice> = (0..input.disks.len() as u16)
        .map(|disk| {
            let plan = plan_visit(input, &Options { disk, ..options.clone() });
            Advice {
                disk,
                gain: plan.gain.clone(),
                copies: copies(input, &plan),
                fits_nowhere: plan.fits_nowhere,
            }
        })
        .collect();
    all.sort_by_key(|advice| (Reverse(advice.gain.clone()), advice.disk));
    all
}

fn copies(input: &Input, plan: &VisitPlan) -> Vec<Tally> {
    let mut tallies = vec![Tally::default(); input.disks.len()];
    for copy in plan.copies() {
        let bytes =
            crate::model::Bytes(u64::from(input.objects[copy.object as usize].blocks) * crate::model::BLOCK);
        tallies[usize::from(copy.copies_before)].add(bytes);
    }
    tallies
}
