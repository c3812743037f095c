//! What a plan says, in figures a user thinks in.

use distbackup_core::model::Bytes;
use distbackup_core::plan::{Tally, VisitPlan};
use distbackup_core::planner::{Outlook, State};

use crate::catalog::{ByState, Loaded};

/// Copies by the number that there were before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByCopies(pub Vec<Tally>);

impl ByCopies {
    /// Counts one copy of an object that had so many.
    pub fn add(&mut self, copies_before: u16, bytes: Bytes) {
        let at = usize::from(copies_before);
        if self.0.len() <= at {
            self.0.resize(at + 1, Tally::default());
        }
        self.0[at].add(bytes);
    }

    /// All of them.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.0.iter().for_each(|tally| total.merge(*tally));
        total
    }
}

/// One visit as it is planned. Bytes are those of contents, except in `outlook`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlannedVisit {
    /// Copies to make, by the number before.
    pub copies: ByCopies,
    /// Dead objects to remove.
    pub clean: Tally,
    /// Redundant copies of history to remove, to make room.
    pub evict_history: Tally,
    /// Redundant copies of live objects to remove, to make room or because there are too many.
    pub evict_live: Tally,
    /// What finds no room here, by the number of copies that it has; in whole blocks.
    pub unplaced: ByCopies,
    /// What no disk of the set can hold (D18); in whole blocks.
    pub fits_nowhere: Tally,
    /// The set before the visit.
    pub before: ByState,
    /// `after[n]`: live objects with exactly `n` copies after the visit; pending files that are left count as 0.
    pub after: Vec<Tally>,
    /// Claims on other disks, by their index, that are too old to be relied on and keep files from room here (N3).
    pub stale: Vec<(u16, Tally)>,
    /// Levels after the visit and what the disks of the set can hold, in billed bytes.
    pub outlook: Outlook,
    /// Room left for objects on the disk, in billed bytes.
    pub room_after: Bytes,
}

impl PlannedVisit {
    /// Adds a plan up.
    pub fn new(loaded: &Loaded, plan: &VisitPlan) -> Self {
        PlannedVisit::of(loaded, plan, loaded.by_state(), loaded.live_billed())
    }

    /// Adds a plan up, where the set before it and all its live data, in billed bytes, are known.
    pub fn of(loaded: &Loaded, plan: &VisitPlan, before: ByState, live: Bytes) -> Self {
        let mut after = before.live.clone();
        if after.is_empty() {
            after.push(Tally::default());
        }
        after[0].merge(before.pending);
        let mut planned = PlannedVisit {
            unplaced: ByCopies(plan.unplaced_by_copies.clone()),
            fits_nowhere: plan.fits_nowhere,
            stale: plan.stale.iter().map(|stale| (stale.disk, stale.tally)).collect(),
            outlook: Outlook { live, levels: plan.levels_after.clone(), bound: plan.bound.clone() },
            room_after: plan.room_after,
            ..PlannedVisit::default()
        };
        for copy in plan.copies() {
            let bytes = loaded.content(copy.object);
            planned.copies.add(copy.copies_before, bytes);
            shift(&mut after, copy.copies_before, copy.copies_before + 1, bytes);
        }
        plan.clean.iter().for_each(|&row| planned.clean.add(loaded.content(row)));
        for &row in plan.excess.iter().chain(plan.victims()) {
            let bytes = loaded.content(row);
            if loaded.row(row).is_some_and(|object| object.state == State::History) {
                planned.evict_history.add(bytes);
            } else {
                planned.evict_live.add(bytes);
                let copies = loaded.claims(row);
                shift(&mut after, copies, copies.saturating_sub(1), bytes);
            }
        }
        planned.before = before;
        planned.after = after;
        planned
    }

    /// Whether the visit would change nothing.
    pub fn is_idle(&self) -> bool {
        self.copies.total().objects == 0 && self.clean.objects == 0 && self.evicted().objects == 0
    }

    /// All redundant copies that go.
    pub fn evicted(&self) -> Tally {
        let mut all = self.evict_live;
        all.merge(self.evict_history);
        all
    }
}

/// Moves one object from one number of copies to another.
fn shift(levels: &mut Vec<Tally>, from: u16, to: u16, bytes: Bytes) {
    if let Some(level) = levels.get_mut(usize::from(from)) {
        level.objects = level.objects.saturating_sub(1);
        level.bytes = level.bytes - bytes;
    }
    let to = usize::from(to);
    if levels.len() <= to {
        levels.resize(to + 1, Tally::default());
    }
    levels[to].add(bytes);
}
