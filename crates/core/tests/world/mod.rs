//! A shelf in memory: plans are carried out step by step, and every step is checked.

#![allow(dead_code)] // each test binary uses a part of it

use std::collections::HashMap;

use distbackup_core::model::{BLOCK, Bytes, billed};
use distbackup_core::plan::{Row, VisitPlan};
use distbackup_core::planner::{Class, Disk, Input, Nexus, Object, Options, State, plan_visit};

/// Room that an object of one block takes: the unit of the worked examples.
pub const UNIT: u64 = 2 * BLOCK;

/// A seeded generator: the same seed, the same world. (splitmix64)
#[derive(Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.below(at as u64 + 1) as usize);
        }
        order
    }
}

/// Objects, disks and who holds what, as bit sets of disks.
#[derive(Clone, Default)]
pub struct World {
    pub objects: Vec<Object>,
    pub claimed: Vec<u32>,
    pub standing: Vec<u32>,
    pub classes: Vec<Class>,
    pub disks: Vec<Disk>,
    pub history_oldest_first: Vec<Row>,
    pub written: u64,
    pub deleted: u64,
}

impl World {
    pub fn disk(&mut self, capacity: u64) -> usize {
        self.disks.push(Disk {
            capacity: Bytes(capacity),
            occupied_otherwise: Bytes(0),
            unit: BLOCK,
            file_max: Bytes(u64::MAX),
            location: None,
            days_away: 0,
        });
        self.disks.len() - 1
    }

    pub fn class(&mut self, priority: u32, copies_max: Option<u16>) -> u16 {
        let class = Class { priority, copies_max };
        let known = self.classes.iter().position(|known| *known == class);
        known.unwrap_or_else(|| {
            self.classes.push(class);
            self.classes.len() - 1
        }) as u16
    }

    /// Adds a live object that bills `bill` bytes on disks with the usual unit.
    pub fn object(&mut self, bill: u64, directory: u32, class: u16, on: &[usize]) -> Row {
        let blocks = (bill / BLOCK - 1) as u32;
        self.objects.push(Object { blocks, nexus: 0, directory, class, state: State::Live });
        let set = on.iter().fold(0, |set, disk| set | 1 << disk);
        self.claimed.push(set);
        self.standing.push(set);
        self.objects.len() as Row - 1
    }

    pub fn input(&self) -> Input {
        let list = |set: u32| (0..self.disks.len() as u16).filter(|disk| set >> disk & 1 == 1).collect();
        let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
        let mut nexuses = Vec::new();
        let mut objects = self.objects.clone();
        for (row, object) in objects.iter_mut().enumerate() {
            let held = (self.claimed[row], self.standing[row]);
            object.nexus = *numbers.entry(held).or_insert_with(|| {
                nexuses.push(Nexus { claimed: list(held.0), standing: list(held.1) });
                nexuses.len() as u32 - 1
            });
        }
        Input {
            objects,
            nexuses,
            classes: self.classes.clone(),
            disks: self.disks.clone(),
            history_oldest_first: self.history_oldest_first.clone(),
        }
    }

    pub fn plan(&self, disk: usize) -> VisitPlan {
        plan_visit(&self.input(), &options(disk))
    }

    pub fn holds(&self, disk: usize, row: usize) -> bool {
        self.claimed[row] >> disk & 1 == 1
    }

    pub fn copies(&self, row: usize) -> u16 {
        self.claimed[row].count_ones() as u16
    }

    pub fn is_live(&self, row: usize) -> bool {
        matches!(self.objects[row].state, State::Live | State::LiveUnreadable | State::Provisional)
    }

    pub fn cap(&self, row: usize) -> u16 {
        self.classes[usize::from(self.objects[row].class)].copies_max.unwrap_or(u16::MAX)
    }

    pub fn priority(&self, row: usize) -> u32 {
        self.classes[usize::from(self.objects[row].class)].priority
    }

    /// Billed bytes of an object on a disk.
    pub fn bill(&self, disk: usize, row: usize) -> u64 {
        billed(Bytes(u64::from(self.objects[row].blocks) * BLOCK), self.disks[disk].unit).0
    }

    pub fn used(&self, disk: usize) -> u64 {
        (0..self.objects.len()).filter(|&row| self.holds(disk, row)).map(|row| self.bill(disk, row)).sum()
    }

    /// Copies count only while they are claimed; a deleted one no longer stands.
    pub fn delete(&mut self, disk: usize, row: usize) {
        assert!(self.holds(disk, row), "row {row} is not on disk {disk}");
        self.deleted += self.bill(disk, row);
        self.claimed[row] &= !(1 << disk);
        self.standing[row] &= !(1 << disk);
    }

    pub fn write(&mut self, disk: usize, row: usize) {
        assert!(!self.holds(disk, row), "row {row} is on disk {disk} already");
        self.written += self.bill(disk, row);
        self.claimed[row] |= 1 << disk;
        self.standing[row] |= 1 << disk;
    }

    /// Carries a plan out without looking at it.
    pub fn apply(&mut self, disk: usize, plan: &VisitPlan) {
        for &row in plan.clean.iter().chain(&plan.excess) {
            self.delete(disk, row as usize);
        }
        for copy in plan.copies() {
            for &victim in copy.victims {
                self.delete(disk, victim as usize);
            }
            self.write(disk, copy.object as usize);
        }
    }

    /// `N_k`: units of live objects with at least one, two, … copies; excess copies do not count.
    pub fn levels(&self) -> Vec<u64> {
        let mut levels = vec![0; self.disks.len()];
        for row in (0..self.objects.len()).filter(|&row| self.is_live(row)) {
            for level in levels.iter_mut().take(usize::from(self.copies(row).min(self.cap(row)))) {
                *level += (u64::from(self.objects[row].blocks) + 1) * BLOCK;
            }
        }
        levels
    }

    /// Visits disks in order with [`World::apply`].
    pub fn visit_all(&mut self, disks: &[usize]) -> &mut Self {
        for &disk in disks {
            let plan = self.plan(disk);
            self.apply(disk, &plan);
        }
        self
    }
}

pub fn options(disk: usize) -> Options {
    Options {
        disk: disk as u16,
        copies_max: None,
        bytes_max: None,
        reserve: Bytes(0),
        away_days: 120,
        allow_history_loss: false,
    }
}
