//! A finished visit written down as steps: who goes first, what is copied after that.

use std::cmp::Reverse;
use std::collections::VecDeque;

use crate::model::{BLOCK, Bytes};
use crate::plan::{Row, StaleClaims, Tally, VisitPlan};
use crate::planner::groups::Groups;
use crate::planner::input::{Object, State};
use crate::planner::rounds::{Basis, Choice};
use crate::planner::shelf::Shelf;
use crate::planner::visit::Visit;

/// Victims looked at for one copy before it is left out.
const LOOKED_AT_MAX: usize = 1024;

/// Writes the plan. Victims go right before the copy that needs their room, only if it is really
/// needed, and only for a copy that may have them, so the disk is never overfull and a plan may be
/// cut after any copy (I2, I4, PLACEMENT 5.6).
pub(super) fn write(basis: &Basis<'_>, choice: &Choice) -> VisitPlan {
    let (shelf, groups, reach) = (basis.shelf, &basis.groups, &basis.reach);
    let mut plan = VisitPlan::default();
    plan.clean = groups.rows_of(|number| {
        let group = &groups.all[number];
        group.state == State::Dead && group.held(shelf).here
    });
    plan.excess = choice.excess.clone();
    plan.bound = reach.bound_bytes();
    plan.floor = reach.floors();
    let mut levels = reach.levels.clone();
    plan.levels_before = levels.iter().copied().map(Bytes).collect();
    plan.gain = vec![0; levels.len()];

    let mut victims: VecDeque<Row> = choice.victims.iter().copied().collect();
    let mut given_up: VecDeque<Row> = choice.given_up.iter().copied().collect();
    let bill = |rows: &[Row]| rows.iter().map(|&row| shelf.bill_row(row) as i64).sum::<i64>();
    let dropped = groups.rows_of(|number| basis.pressure.dropped[number]);
    let mut free = reach.room_here - bill(&dropped) + bill(&plan.excess);
    let mut budget = shelf.options.bytes_max.map_or(u64::MAX, |bytes| bytes.0);
    let mut cut = false;
    let mut copied: Vec<Tally> = vec![Tally::default(); shelf.input.disks.len() + 1];
    // What finds no room in its turn is tried once more: later victims may leave some over.
    let mut todo: VecDeque<(Row, bool)> = choice.copies.iter().map(|&row| (row, true)).collect();
    while let Some((row, first)) = todo.pop_front() {
        let object = &shelf.input.objects[row as usize];
        let held = &shelf.held[object.nexus as usize];
        let bill = shelf.bill(object.blocks);
        if bill > budget {
            cut = true;
            continue;
        }
        let mut gone: Vec<Row> = Vec::new();
        let mut room = free;
        // What was left out may have been the reason for the next victims.
        let may_evict = !cut && object.state != State::Provisional;
        while may_evict && room < bill as i64 {
            let at = victims.iter().take(LOOKED_AT_MAX).position(|&victim| may_go(shelf, victim, object));
            let next = match at {
                Some(at) => victims.remove(at),
                None if held.claims == 0 => given_up.pop_front(),
                None => None,
            };
            let Some(victim) = next else { break };
            room += shelf.bill_row(victim) as i64;
            gone.push(victim);
        }
        if room < bill as i64 {
            let (last_copies, others): (Vec<Row>, Vec<Row>) =
                gone.into_iter().partition(|row| choice.given_up.contains(row));
            last_copies.into_iter().rev().for_each(|row| given_up.push_front(row));
            others.into_iter().rev().for_each(|row| victims.push_front(row));
            if first {
                todo.push_back((row, false));
            }
            continue;
        }
        for &victim in &gone {
            let victim = &shelf.input.objects[victim as usize];
            let held = &shelf.held[victim.nexus as usize];
            if victim.state != State::History && held.claims <= shelf.class_cap(victim.class) {
                let level = &mut levels[usize::from(held.claims) - 1];
                *level = level.saturating_sub(shelf.bill(victim.blocks));
                let (less, more) =
                    (shelf.level_without(held, victim.blocks), shelf.level(held, victim.blocks));
                rise(&mut plan.gain, less, more, -(shelf.bill(victim.blocks) as i64));
            }
        }
        if held.claims < shelf.class_cap(object.class) {
            levels[usize::from(held.claims)] += bill;
            let (less, more) = (shelf.level(held, object.blocks), shelf.level_with(held, object.blocks));
            rise(&mut plan.gain, less, more, bill as i64);
        }
        copied[usize::from(held.claims)].add(content(object));
        plan.push_copy(row, held.claims, gone);
        free = room - bill as i64;
        budget -= bill;
    }
    plan.room_after = Bytes(free.max(0) as u64);
    plan.levels_after = levels.into_iter().map(Bytes).collect();
    count_unplaced(&mut plan, shelf, groups, &copied);
    plan.stale = stale(&plan, shelf, groups);
    plan
}

/// Adds to all levels above one up to another.
fn rise(gain: &mut [i64], from: u16, to: u16, bytes: i64) {
    gain.iter_mut().take(to.into()).skip(from.into()).for_each(|level| *level += bytes);
}

/// Content of an object in whole blocks.
fn content(object: &Object) -> Bytes {
    Bytes(u64::from(object.blocks) * BLOCK)
}

/// Whether a victim may go for an object (I2); redundant history may go for everything.
fn may_go(shelf: &Shelf<'_>, victim: Row, object: &Object) -> bool {
    let victim = &shelf.input.objects[victim as usize];
    if victim.state == State::History {
        return true;
    }
    let priority = |object: &Object| Reverse(shelf.input.classes[usize::from(object.class)].priority);
    let has = shelf.level_certain(&shelf.held[victim.nexus as usize], victim.blocks) + 1;
    let gets = shelf.level(&shelf.held[object.nexus as usize], object.blocks) + 1;
    (has, priority(victim)) > (gets, priority(object))
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
