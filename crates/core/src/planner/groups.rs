//! Objects grouped by nexus and class: what planning decides, it decides for groups.
//!
//! Objects that lie on the same disks and are configured alike differ for the planner only in size
//! and directory. There are millions of objects and some hundreds of groups, so sums, buckets and
//! flows work on groups. Rows are brought together by a counting sort, which keeps the directory
//! order and costs four bytes per object.

use std::collections::HashMap;

use crate::model::{BLOCK, Bytes};
use crate::plan::{Row, Tally};
use crate::planner::directories::Directories;
use crate::planner::input::{Object, State};
use crate::planner::shelf::{Held, Shelf};

/// Objects with the same nexus, class and state that fit on the same disks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub nexus: u32,
    pub class: u16,
    pub state: State,
    /// Number of disks that can hold its objects.
    pub rank: u16,
    /// Blocks of one of its objects: all of them give the same answers about fitting.
    pub sample: u32,
    pub count: u64,
    pub blocks: u64,
    start: u32,
    len: u32,
}

impl Group {
    /// The group of a single object, without rows.
    pub fn of(object: &Object, rank: u16) -> Self {
        Group {
            nexus: object.nexus,
            class: object.class,
            state: object.state,
            rank,
            sample: object.blocks,
            count: 0,
            blocks: 0,
            start: 0,
            len: 0,
        }
    }

    /// Whether the current tree refers to its objects.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live | State::LiveUnreadable | State::Provisional)
    }

    /// Its objects and their content.
    pub fn tally(&self) -> Tally {
        Tally { objects: self.count, bytes: Bytes(self.blocks * BLOCK) }
    }

    /// The nexus of its objects.
    pub fn held<'s>(&self, shelf: &'s Shelf<'_>) -> &'s Held {
        &shelf.held[self.nexus as usize]
    }

    /// Copies that its objects may have: by class, and by the disks that can hold them.
    pub fn cap(&self, shelf: &Shelf<'_>) -> u16 {
        shelf.class_cap(self.class).min(self.rank)
    }
}

/// All groups, and the rows of those that were asked for.
pub(super) struct Groups {
    pub all: Vec<Group>,
    /// Billed bytes of group `g` in unit `u` at `g * units + u`.
    bills: Vec<u64>,
    units: usize,
    rows: Vec<Row>,
    numbers: Numbers,
}

impl Groups {
    /// Groups all objects of the shelf, and sums up their directories on the way.
    pub fn new(shelf: &Shelf<'_>) -> (Self, Directories) {
        let units = shelf.units.len();
        let mut groups = Groups {
            all: Vec::new(),
            bills: Vec::new(),
            units,
            rows: Vec::new(),
            numbers: Numbers::new(shelf),
        };
        let mut directories = Directories::default();
        for (row, object) in (0..).zip(&shelf.input.objects) {
            let Some(held) = shelf.held(object) else { continue };
            let rank = shelf.rank(object.blocks);
            let number = groups.numbers.of(object, rank, groups.all.len());
            if number == groups.all.len() {
                groups.all.push(Group::of(object, rank));
                groups.bills.resize(groups.bills.len() + units, 0);
            }
            let group = &mut groups.all[number];
            group.count += 1;
            group.blocks += u64::from(object.blocks);
            if units > 1 {
                for unit in 0..units {
                    groups.bills[number * units + unit] += shelf.bill_in(object.blocks, unit);
                }
            }
            if matches!(object.state, State::Live | State::LiveUnreadable | State::Provisional) {
                directories.count(row, object.directory, object.blocks, held.here);
            }
        }
        if units == 1 {
            for (bill, group) in groups.bills.iter_mut().zip(&groups.all) {
                *bill = match shelf.units[0] {
                    BLOCK => (group.blocks + group.count) * BLOCK,
                    _ => 0,
                };
            }
            if shelf.units[0] != BLOCK {
                for object in &shelf.input.objects {
                    if let Some(number) = groups.numbers.known(object, shelf) {
                        groups.bills[number] += shelf.bill(object.blocks);
                    }
                }
            }
        }
        (groups, directories)
    }

    /// Billed bytes of a group in the unit of `disk`.
    pub fn bill(&self, group: usize, unit: usize) -> u64 {
        self.bills[group * self.units + unit]
    }

    /// Brings the rows of all groups together for which `wanted` holds. Counting sort: rows stay
    /// in directory order.
    pub fn collect(&mut self, shelf: &Shelf<'_>, wanted: &[bool]) {
        let mut start = 0;
        for (group, _) in self.all.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted) {
            (group.start, group.len) = (start, 0);
            start += group.count as u32;
        }
        self.rows = vec![0; start as usize];
        for (row, object) in (0..).zip(&shelf.input.objects) {
            let Some(number) = self.numbers.known(object, shelf) else { continue };
            if wanted[number] {
                let group = &mut self.all[number];
                self.rows[(group.start + group.len) as usize] = row;
                group.len += 1;
            }
        }
    }

    /// Rows of all groups for which `wanted` holds, ascending.
    pub fn rows_of(&self, wanted: impl Fn(usize) -> bool) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for number in (0..self.all.len()).filter(|&number| wanted(number)) {
            rows.extend(self.rows(number));
        }
        rows.sort();
        rows
    }

    /// The rows of a group that was collected, in directory order.
    pub fn rows(&self, group: usize) -> &[Row] {
        let Group { start, len, .. } = self.all[group];
        &self.rows[start as usize..(start + len) as usize]
    }
}

/// Numbers of groups by what makes them: a table where it is small, a map for the rest.
struct Numbers {
    classes: usize,
    full_rank: u16,
    table: Vec<u32>,
    rest: HashMap<(u32, u16, u8, u16), u32>,
}

/// Entries of the table at most: 16 MB. Larger sets of nexuses take the slower map.
const TABLE_MAX: usize = 1 << 22;
const STATES: usize = 5;
const UNKNOWN: u32 = u32::MAX;

impl Numbers {
    fn new(shelf: &Shelf<'_>) -> Self {
        let classes = shelf.input.classes.len();
        let entries = shelf.input.nexuses.len().saturating_mul(classes).saturating_mul(STATES);
        let table = if entries <= TABLE_MAX { vec![UNKNOWN; entries] } else { Vec::new() };
        Numbers { classes, full_rank: shelf.input.disks.len() as u16, table, rest: HashMap::new() }
    }

    /// The number of an object's group; `next` if it is the first one of a new group.
    fn of(&mut self, object: &Object, rank: u16, next: usize) -> usize {
        let number = match self.slot(object, rank) {
            Some(slot) => &mut self.table[slot],
            None => self.rest.entry(key(object, rank)).or_insert(UNKNOWN),
        };
        if *number == UNKNOWN {
            *number = next as u32;
        }
        *number as usize
    }

    /// The number of an object's group, once all are numbered; `None` for objects that are left alone.
    fn known(&self, object: &Object, shelf: &Shelf<'_>) -> Option<usize> {
        shelf.held(object)?;
        let rank = shelf.rank(object.blocks);
        match self.slot(object, rank) {
            Some(slot) => Some(self.table[slot] as usize),
            None => self.rest.get(&key(object, rank)).map(|&number| number as usize),
        }
    }

    fn slot(&self, object: &Object, rank: u16) -> Option<usize> {
        let slot = (object.nexus as usize * self.classes + usize::from(object.class)) * STATES
            + object.state as usize;
        (rank == self.full_rank && slot < self.table.len()).then_some(slot)
    }
}

fn key(object: &Object, rank: u16) -> (u32, u16, u8, u16) {
    (object.nexus, object.class, object.state as u8, rank)
}
