//! A finished visit written down as steps: who goes first, what is copied after that.

use std::collections::VecDeque;

use crate::model::{BLOCK, Bytes};
use crate::plan::{Row, StaleClaims, Tally, VisitPlan};
use crate::planner::groups::Groups;
use crate::planner::input::{Object, State};
use crate::planner::shelf::Shelf;
use crate::planner::visit::Visit;

/// Writes the plan. Victims go right before the copy that needs their room, and only if it is
/// really needed, so the disk is never overfull and a plan may be cut after any copy (I4, 5.6).
pub(super) fn write(visit: Visit<'_>) -> VisitPlan {
    let (shelf, groups) = (visit.shelf, visit.groups);
    let mut plan = VisitPlan::default();
    plan.clean = rows_of(groups, |number| {
        let group = &groups.all[number];
        group.state == State::Dead && group.held(shelf).here
    });
    plan.excess = rows_of(groups, |number| visit.pressure.dropped[number]);
    plan.bound = visit.reach.bound_bytes();
    plan.floor = visit.reach.floors();
    let mut levels = visit.reach.levels.clone();
    plan.levels_before = levels.iter().copied().map(Bytes).collect();

    let goes = |row: &Row| {
        shelf.input.objects[*row as usize].state == State::History || visit.victims.is_evicted(*row)
    };
    let mut seen = Seen::new(shelf.input.objects.len());
    let mut queue: VecDeque<Row> =
        visit.victims.order.iter().copied().filter(goes).filter(|&row| seen.first_time(row)).collect();
    // History goes before live copies whatever the order in which they were found.
    queue.make_contiguous().sort_by_key(|&row| shelf.input.objects[row as usize].state != State::History);
    let mut given_up: VecDeque<Row> = visit.given_up.iter().copied().collect();

    let mut free = visit.reach.room_here;
    let mut budget = shelf.options.bytes_max.map_or(u64::MAX, |bytes| bytes.0);
    let mut cut = false;
    let mut copied: Vec<Tally> = vec![Tally::default(); shelf.input.disks.len() + 1];
    for &row in &visit.copies {
        let object = &shelf.input.objects[row as usize];
        let held = &shelf.held[object.nexus as usize];
        let bill = shelf.bill(object.blocks);
        if bill > budget {
            cut = true;
            continue;
        }
        let mut gone: Vec<Row> = Vec::new();
        // What was left out may have been the reason for the next victims.
        let may_evict = !cut && object.state != State::Provisional;
        while may_evict && free < bill as i64 {
            let next = match queue.pop_front() {
                None if held.claims == 0 => given_up.pop_front(),
                next => next,
            };
            let Some(victim) = next else { break };
            free += shelf.bill_row(victim) as i64;
            gone.push(victim);
        }
        if free < bill as i64 {
            for &victim in gone.iter().rev() {
                free -= shelf.bill_row(victim) as i64;
                queue.push_front(victim);
            }
            continue;
        }
        for &victim in &gone {
            let victim = &shelf.input.objects[victim as usize];
            let held = &shelf.held[victim.nexus as usize];
            if victim.state != State::History && held.claims <= shelf.class_cap(victim.class) {
                let level = &mut levels[usize::from(held.claims) - 1];
                *level = level.saturating_sub(shelf.bill(victim.blocks));
            }
        }
        if held.claims < shelf.class_cap(object.class) {
            levels[usize::from(held.claims)] += bill;
        }
        copied[usize::from(held.claims)].add(content(object));
        plan.push_copy(row, held.claims, gone);
        free -= bill as i64;
        budget -= bill;
    }
    plan.room_after = Bytes(free.max(0) as u64);
    plan.levels_after = levels.into_iter().map(Bytes).collect();
    count_unplaced(&mut plan, shelf, groups, &copied);
    plan.stale = stale(&plan, shelf, groups);
    plan
}

/// Content of an object in whole blocks.
fn content(object: &Object) -> Bytes {
    Bytes(u64::from(object.blocks) * BLOCK)
}

/// Rows of all groups that were asked for, ascending.
fn rows_of(groups: &Groups, wanted: impl Fn(usize) -> bool) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for number in (0..groups.all.len()).filter(|&number| wanted(number)) {
        rows.extend(groups.rows(number));
    }
    rows.sort();
    rows
}

/// What wanted a copy and gets none, by copies it has.
fn count_unplaced(plan: &mut VisitPlan, shelf: &Shelf<'_>, groups: &Groups, copied: &[Tally]) {
    let mut wanted: Vec<Tally> = vec![Tally::default(); shelf.input.disks.len() + 1];
    for group in &groups.all {
        if group.is_live() && group.rank == 0 {
            plan.fits_nowhere.merge(group.tally());
        }
        if Visit::is_candidate(shelf, group) {
            wanted[usize::from(group.held(shelf).claims)].merge(group.tally());
        }
    }
    // Relocated copies were no candidates, so a level may show more copies than wishes.
    plan.unplaced_by_copies = wanted
        .iter()
        .zip(copied)
        .map(|(wanted, copied)| Tally {
            objects: wanted.objects.saturating_sub(copied.objects),
            bytes: wanted.bytes - copied.bytes,
        })
        .collect();
    for tally in &plan.unplaced_by_copies {
        plan.unplaced.merge(*tally);
    }
}

/// Claims that would free room for first copies if they stood (N3).
fn stale(plan: &VisitPlan, shelf: &Shelf<'_>, groups: &Groups) -> Vec<StaleClaims> {
    if plan.unplaced_by_copies.first().is_none_or(|first| first.objects == 0) {
        return Vec::new();
    }
    let mut found: Vec<Tally> = vec![Tally::default(); shelf.input.disks.len()];
    for group in &groups.all {
        let held = group.held(shelf);
        if group.state != State::Dead && held.here && held.others > 0 && held.others_standing == 0 {
            for &disk in &shelf.sets[held.set_without as usize] {
                found[usize::from(disk)].merge(group.tally());
            }
        }
    }
    (0..)
        .zip(found)
        .filter(|(_, tally)| tally.objects > 0)
        .map(|(disk, tally)| StaleClaims { disk, tally })
        .collect()
}

/// One bit per row.
struct Seen(Vec<u64>);

impl Seen {
    fn new(rows: usize) -> Self {
        Seen(vec![0; rows.div_ceil(64)])
    }

    /// Whether a row is asked about for the first time.
    fn first_time(&mut self, row: Row) -> bool {
        let bits = &mut self.0[row as usize / 64];
        let fresh = *bits >> (row % 64) & 1 == 0;
        *bits |= 1 << (row % 64);
        fresh
    }
}
