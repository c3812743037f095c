//! Excess copies, and relocation: making useless room useful where `maxcopies` blocks it.
//!
//! Room on one disk may be of no use while another disk, full of objects that may have no more
//! copies, lacks what could use it (PLACEMENT 8, example 9). Then the first disk takes copies of
//! such objects; they are in excess, and the disk under pressure drops its own at its next visit.
//! Disks without pressure never export, so two of them cannot play ping-pong.

use crate::model::BLOCK;
use crate::plan::Row;
use crate::planner::groups::{Group, Groups};
use crate::planner::input::State;
use crate::planner::reach::occupies;
use crate::planner::shelf::Shelf;
use crate::planner::visit::Visit;

/// What each disk lacks beyond its room, in its own billed bytes; and what is dropped here as excess.
pub(super) struct Pressure {
    on: Vec<u64>,
    /// The same while the excess copies are still there.
    now: Vec<u64>,
    /// Excess copies on each disk, which will make room there.
    excess: Vec<u64>,
    /// Groups that leave the connected disk because they have too many copies.
    pub dropped: Vec<bool>,
    any_cap: bool,
}

impl Pressure {
    /// Sums up what every disk lacks.
    pub fn new(shelf: &Shelf<'_>, groups: &Groups) -> Self {
        let disks = shelf.input.disks.len();
        let any_cap = shelf.input.classes.iter().any(|class| class.copies_max.is_some());
        let mut pressure = Pressure {
            on: vec![0; disks],
            now: vec![0; disks],
            excess: vec![0; disks],
            dropped: vec![false; groups.all.len()],
            any_cap,
        };
        if !any_cap {
            return pressure;
        }
        let mut held_on = vec![0u64; disks];
        for (number, group) in groups.all.iter().enumerate() {
            let held = group.held(shelf);
            let set = &shelf.sets[held.set as usize];
            if group.state == State::Dead {
                continue;
            }
            for (disk, held_on) in held_on.iter_mut().enumerate() {
                let bytes = groups.bill(number, shelf.unit_of[disk]);
                let here = set.binary_search(&(disk as u16)).is_ok();
                if !group.is_live() {
                    *held_on += if here && occupies(shelf, group, disk) { bytes } else { 0 };
                } else if here && held.claims > shelf.class_cap(group.class) {
                    pressure.excess[disk] += bytes;
                } else if here {
                    *held_on += bytes;
                } else if held.claims < shelf.class_cap(group.class) && group.sample <= shelf.blocks_max[disk]
                {
                    pressure.on[disk] += bytes;
                }
            }
        }
        for (disk, held_on) in held_on.into_iter().enumerate() {
            let room = shelf.capacity(disk).saturating_sub(held_on);
            let lacking = pressure.on[disk];
            pressure.on[disk] = lacking.saturating_sub(room);
            pressure.now[disk] = lacking.saturating_sub(room.saturating_sub(pressure.excess[disk]));
        }
        pressure.dropped = groups.all.iter().map(|group| pressure.drops(shelf, group)).collect();
        pressure
    }

    /// Whether a group loses its copies here as excess: unless another holder needs the room more.
    fn drops(&self, shelf: &Shelf<'_>, group: &Group) -> bool {
        let held = group.held(shelf);
        let cap = shelf.class_cap(group.class);
        // Claims say that there are too many; only standing ones give permission (I1, N3).
        if !group.is_live() || !held.here || held.claims <= cap || held.others_standing < cap.max(1) {
            return false;
        }
        // The only copy at another place is not the one in excess (I3).
        let level = shelf.level(held, group.sample).min(cap);
        if shelf.level_certain(held, group.sample) < level {
            return false;
        }
        let needed_elsewhere = shelf.sets[held.set_without as usize]
            .iter()
            .any(|&disk| self.now[usize::from(disk)] > 0 && !shelf.is_away(usize::from(disk)));
        // What the excess itself takes counts, or dropping one copy would at once be regretted (I5).
        self.now[shelf.here] > 0 || !needed_elsewhere
    }

    /// Whether objects of a group may be copied here so that another disk can drop them.
    pub fn relocates(&self, shelf: &Shelf<'_>, group: &Group) -> bool {
        let held = group.held(shelf);
        self.any_cap
            && self.on[shelf.here] == 0
            && group.state == State::Live
            && !held.here
            && held.claims == shelf.class_cap(group.class)
            && group.sample <= shelf.blocks_max[shelf.here]
            && shelf.options.copies_max.is_none()
            && shelf.sets[held.set as usize].iter().any(|&disk| self.exports(shelf, usize::from(disk)))
    }

    fn exports(&self, shelf: &Shelf<'_>, disk: usize) -> bool {
        disk != shelf.here && self.on[disk] > 0 && !shelf.is_away(disk)
    }
}

impl Visit<'_> {
    /// Copies what other disks should drop into room that nothing here can use (PLACEMENT 5.5).
    pub(super) fn relocate(&mut self) {
        let pressure = self.pressure;
        if !pressure.any_cap || pressure.on[self.shelf.here] > 0 {
            return;
        }
        let mut exporters: Vec<usize> =
            (0..pressure.on.len()).filter(|&disk| pressure.exports(self.shelf, disk)).collect();
        exporters.sort_by_key(|&disk| (std::cmp::Reverse(pressure.on[disk]), disk));
        let mut moved: Vec<Row> = Vec::new();
        for disk in exporters {
            let room = self.room.min(self.free_now).max(0) as u64;
            if room < 2 * BLOCK {
                return;
            }
            let mut left = room.min(pressure.on[disk]).saturating_sub(pressure.excess[disk]);
            let mut rows: Vec<(u32, Row)> = Vec::new();
            for (number, group) in self.groups.all.iter().enumerate() {
                let set = &self.shelf.sets[group.held(self.shelf).set as usize];
                if pressure.relocates(self.shelf, group) && set.binary_search(&(disk as u16)).is_ok() {
                    let priority = self.shelf.input.classes[usize::from(group.class)].priority;
                    rows.extend(self.groups.rows(number).iter().map(|&row| (priority, row)));
                }
            }
            rows.sort_unstable();
            let mut run = 0;
            let before = moved.len();
            for (_, row) in rows {
                let bill = self.shelf.bill_row(row);
                if bill <= left && moved[..before].binary_search(&row).is_err() {
                    left -= bill;
                    run = self.take(row, run);
                    moved.push(row);
                }
            }
            moved.sort_unstable();
        }
    }
}
