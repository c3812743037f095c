//! Room on every disk, and what the whole set can reach with it.

use std::collections::BTreeMap;

use crate::model::Bytes;
use crate::plan::Floor;
use crate::planner::bound::reachable_levels;
use crate::planner::groups::{Group, Groups};
use crate::planner::input::State;
use crate::planner::shelf::Shelf;

/// Room and reachable levels. Unless said otherwise in billed bytes of the connected disk: room of
/// disks with other allocation units is converted by what the whole data would take there.
pub(super) struct Reach {
    /// Free on the connected disk now, once dead and excess objects are gone; below zero if overfull.
    pub room_here: i64,
    /// Future room of each disk.
    rooms: Vec<u64>,
    /// Bytes of live objects with at least `k + 1` copies, excess copies not counted.
    pub levels: Vec<u64>,
    /// The most that can be reached if all disks are counted on.
    pub bound: Vec<u64>,
    /// Copies for everything of a priority, from the disks that can be counted on.
    floors: BTreeMap<u32, u16>,
}

impl Reach {
    /// Sums up; groups that are `dropped` leave the connected disk.
    pub fn new(shelf: &Shelf<'_>, groups: &Groups, dropped: &[bool]) -> Self {
        let disks = shelf.input.disks.len();
        let here = shelf.here;
        let mut live_on = vec![0u64; disks];
        let mut history_on = vec![0u64; disks];
        let mut live_in = vec![0u64; shelf.units.len()];
        let mut history_here = 0u64;
        let mut levels = vec![0u64; disks];
        let mut demand = vec![0u64; disks];
        let mut by_priority: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for (number, group) in groups.all.iter().enumerate() {
            let held = group.held(shelf);
            let set = &shelf.sets[held.set as usize];
            let bytes = groups.bill(number, shelf.unit_of[here]);
            if group.state == State::History {
                for &disk in set {
                    let disk = usize::from(disk);
                    if occupies(shelf, group, disk) {
                        history_on[disk] += groups.bill(number, shelf.unit_of[disk]);
                    }
                }
                history_here += if held.here { bytes } else { 0 };
            }
            if !group.is_live() {
                continue;
            }
            for (unit, sum) in live_in.iter_mut().enumerate() {
                *sum += groups.bill(number, unit);
            }
            for &disk in set {
                let disk = usize::from(disk);
                if disk != here || !dropped[number] {
                    live_on[disk] += groups.bill(number, shelf.unit_of[disk]);
                }
            }
            for level in levels.iter_mut().take(usize::from(held.claims.min(shelf.class_cap(group.class)))) {
                *level += bytes;
            }
            let cap = usize::from(group.cap(shelf));
            let priority = shelf.input.classes[usize::from(group.class)].priority;
            let mine = by_priority.entry(priority).or_insert_with(|| vec![0; disks]);
            for (all, mine) in demand.iter_mut().zip(mine).take(cap) {
                *all += bytes;
                *mine += bytes;
            }
        }

        let convert = |disk: usize, bytes: u64| {
            let (ours, theirs) = (live_in[shelf.unit_of[here]], live_in[shelf.unit_of[disk]]);
            if shelf.unit_of[disk] == shelf.unit_of[here] || theirs == 0 {
                return bytes;
            }
            u64::try_from(u128::from(bytes) * u128::from(ours) / u128::from(theirs)).unwrap_or(u64::MAX)
        };
        let for_live = |disk: usize| shelf.capacity(disk).saturating_sub(history_on[disk]);
        let rooms =
            (0..disks).map(|disk| convert(disk, for_live(disk).saturating_sub(live_on[disk]))).collect();
        let all: Vec<u64> = (0..disks).map(|disk| convert(disk, for_live(disk))).collect();
        let counted_on: Vec<u64> = (0..disks)
            .map(|disk| if shelf.is_away(disk) { convert(disk, live_on[disk]) } else { all[disk] })
            .collect();
        let bound = reachable_levels(&demand, &all);
        let expected = if all == counted_on { bound.clone() } else { reachable_levels(&demand, &counted_on) };

        let mut floors = BTreeMap::new();
        let mut so_far = vec![0u64; disks];
        for (&priority, mine) in by_priority.iter().rev() {
            for (sum, mine) in so_far.iter_mut().zip(mine) {
                *sum += mine;
            }
            let floor = so_far.iter().zip(&expected).take_while(|(wanted, level)| wanted <= level).count();
            floors.insert(priority, floor as u16);
        }
        let room_here = shelf.capacity(here) as i64 - live_on[here] as i64 - history_here as i64;
        Reach { room_here, rooms, levels, bound, floors }
    }

    /// Future room of a disk.
    pub fn room(&self, disk: usize) -> u64 {
        self.rooms[disk]
    }

    /// Copies for which there is room for everything of this priority and above.
    pub fn floor(&self, priority: u32) -> u16 {
        self.floors.get(&priority).copied().unwrap_or(0)
    }

    /// All floors, highest priority first.
    pub fn floors(&self) -> Vec<Floor> {
        self.floors.iter().rev().map(|(&priority, &copies)| Floor { priority, copies }).collect()
    }

    /// [`Reach::bound`] as a plan tells it.
    pub fn bound_bytes(&self) -> Vec<Bytes> {
        self.bound.iter().copied().map(Bytes).collect()
    }
}

/// Whether a history object keeps its room on a disk that holds it: its last standing copy does,
/// all others count as room (PLACEMENT 1). Without any standing copy none may go. Of several that
/// stand, the one that keeps its room is not on the connected disk, which may free its own now.
pub(super) fn occupies(shelf: &Shelf<'_>, group: &Group, disk: usize) -> bool {
    let standing = &shelf.input.nexuses[group.nexus as usize].standing;
    let known = |other: &u16| usize::from(*other) < shelf.input.disks.len();
    let elsewhere = standing.iter().copied().filter(known).filter(|&other| usize::from(other) != shelf.here);
    match elsewhere.min() {
        Some(keeper) => usize::from(keeper) == disk,
        None => disk == shelf.here || !standing.contains(&shelf.options.disk),
    }
}
