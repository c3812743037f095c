//! The shelf as one visit sees it: what fits where, and what each nexus means for the connected disk.

use std::collections::BTreeMap;

use crate::model::{BLOCK, Bytes, billed};
use crate::planner::input::{Disk, Input, Nexus, Object, Options};

/// Where copies lie if they lie in one place; `None`: in several, or there are none.
type Place = Option<Option<u16>>;

/// A nexus, seen from the connected disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Copies by claim.
    pub claims: u16,
    /// Copies on other disks, by claim.
    pub others: u16,
    /// Standing copies on other disks: what is left for certain if ours goes.
    pub others_standing: u16,
    /// Whether the connected disk claims a copy.
    pub here: bool,
    /// Another copy lies where the connected disk is kept.
    pub same_place: bool,
    /// Index into [`Shelf::sets`] of the disks that claim a copy.
    pub set: u32,
    /// The same without the connected disk.
    pub set_without: u32,
    place: Place,
    place_with: Place,
    place_others: Place,
    place_standing: Place,
}

/// Figures about disks and nexuses that all steps of planning need.
pub(super) struct Shelf<'a> {
    pub input: &'a Input,
    pub options: &'a Options,
    /// Index of the connected disk.
    pub here: usize,
    pub held: Vec<Held>,
    /// Distinct sets of disks, in ascending order.
    pub sets: Vec<Vec<u16>>,
    /// Largest object in blocks that fits on each disk.
    pub blocks_max: Vec<u32>,
    /// Distinct allocation units, and for each disk which one it has.
    pub units: Vec<u64>,
    pub unit_of: Vec<usize>,
    blocks_max_sorted: Vec<u32>,
    /// For each place: the largest object that a disk elsewhere can hold.
    elsewhere: Vec<(Option<u16>, u32)>,
}

impl<'a> Shelf<'a> {
    /// `None` if the connected disk does not exist.
    pub fn new(input: &'a Input, options: &'a Options) -> Option<Self> {
        let here = usize::from(options.disk);
        input.disks.get(here)?;
        let blocks_max: Vec<u32> = input.disks.iter().map(largest).collect();
        let mut blocks_max_sorted = blocks_max.clone();
        blocks_max_sorted.sort_unstable();
        let mut units: Vec<u64> = input.disks.iter().map(|disk| disk.unit.max(BLOCK)).collect();
        let unit_of_disk = units.clone();
        units.sort_unstable();
        units.dedup();
        let unit_of = unit_of_disk.iter().map(|unit| units.partition_point(|known| known < unit)).collect();

        let mut places: Vec<Option<u16>> = input.disks.iter().map(|disk| disk.location).collect();
        places.sort_unstable();
        places.dedup();
        let elsewhere = places
            .into_iter()
            .map(|place| {
                let others = input.disks.iter().zip(&blocks_max).filter(|(disk, _)| disk.location != place);
                (place, others.map(|(_, &blocks)| blocks).max().unwrap_or(0))
            })
            .collect();

        let claimed: Vec<(Vec<u16>, Vec<u16>)> =
            input.nexuses.iter().map(|nexus| split(&nexus.claimed, input, options.disk)).collect();
        let mut numbers: BTreeMap<Vec<u16>, u32> = BTreeMap::new();
        for (all, others) in &claimed {
            numbers.insert(all.clone(), 0);
            numbers.insert(others.clone(), 0);
        }
        for (number, value) in (0..).zip(numbers.values_mut()) {
            *value = number;
        }
        let held = input
            .nexuses
            .iter()
            .zip(&claimed)
            .map(|(nexus, (all, others))| {
                look(input, here, nexus, all, others, (numbers[all], numbers[others]))
            })
            .collect();
        let sets = numbers.into_keys().collect();
        Some(Self {
            input,
            options,
            here,
            held,
            sets,
            blocks_max,
            units,
            unit_of,
            blocks_max_sorted,
            elsewhere,
        })
    }

    /// Billed bytes of so many blocks on the connected disk.
    pub fn bill(&self, blocks: u32) -> u64 {
        self.bill_in(blocks, self.unit_of[self.here])
    }

    /// Billed bytes of so many blocks in one of [`Shelf::units`].
    pub fn bill_in(&self, blocks: u32, unit: usize) -> u64 {
        let unit = self.units[unit];
        if unit == BLOCK {
            return (u64::from(blocks) + 1) * BLOCK;
        }
        billed(Bytes(u64::from(blocks) * BLOCK), unit).0
    }

    /// Billed bytes of a row on the connected disk.
    pub fn bill_row(&self, row: u32) -> u64 {
        self.bill(self.input.objects[row as usize].blocks)
    }

    /// The nexus of an object; `None` if its numbers point nowhere.
    pub fn held(&self, object: &Object) -> Option<&Held> {
        if usize::from(object.class) >= self.input.classes.len() {
            return None;
        }
        self.held.get(object.nexus as usize)
    }

    /// Room of a disk for objects, whatever is there now.
    pub fn capacity(&self, disk: usize) -> u64 {
        let disk = &self.input.disks[disk];
        (disk.capacity - disk.occupied_otherwise).0
    }

    /// Whether the disk was away too long to be counted on.
    pub fn is_away(&self, disk: usize) -> bool {
        disk != self.here && self.input.disks[disk].days_away > self.options.away_days
    }

    /// Number of disks that can hold an object: 0 to all. Sets of fitting disks are nested, so this
    /// number says which ones.
    pub fn rank(&self, blocks: u32) -> u16 {
        (self.blocks_max_sorted.len() - self.blocks_max_sorted.partition_point(|&max| max < blocks)) as u16
    }

    /// Copies that a class allows.
    pub fn class_cap(&self, class: u16) -> u16 {
        self.input.classes[usize::from(class)].copies_max.unwrap_or(u16::MAX)
    }

    /// Level of an object now (PLACEMENT 2).
    pub fn level(&self, held: &Held, blocks: u32) -> u16 {
        self.level_at(held.claims, held.place, blocks)
    }

    /// Level of an object once the connected disk has a copy too.
    pub fn level_with(&self, held: &Held, blocks: u32) -> u16 {
        self.level_at(held.others + 1, held.place_with, blocks)
    }

    /// Level of an object without the copy on the connected disk, by claim.
    pub fn level_without(&self, held: &Held, blocks: u32) -> u16 {
        self.level_at(held.others, held.place_others, blocks)
    }

    /// Level of an object without the copy on the connected disk, as far as it is certain (N3).
    pub fn level_certain(&self, held: &Held, blocks: u32) -> u16 {
        let standing = self.level_at(held.others_standing, held.place_standing, blocks);
        standing.min(self.level_without(held, blocks))
    }

    /// Two copies under one roof are as good as one, if a disk elsewhere could help.
    fn level_at(&self, count: u16, place: Place, blocks: u32) -> u16 {
        match place {
            Some(place) if count > 1 => {
                let known = self.elsewhere.iter().find(|&&(known, _)| known == place);
                if known.is_some_and(|&(_, largest)| blocks.max(1) <= largest) { 1 } else { count }
            }
            _ => count,
        }
    }
}

/// Largest object in blocks that a disk takes.
fn largest(disk: &Disk) -> u32 {
    let unit = disk.unit.max(BLOCK);
    let by_room = disk.capacity.0.saturating_sub(BLOCK) / unit * unit / BLOCK;
    // Sizes are known in whole blocks: never plan what the filesystem may refuse (I4).
    u32::try_from(by_room.min(disk.file_max.0 / BLOCK)).unwrap_or(u32::MAX)
}

/// The disks of a list that exist, ascending, each once; and the same without `here`.
fn split(disks: &[u16], input: &Input, here: u16) -> (Vec<u16>, Vec<u16>) {
    let mut all: Vec<u16> =
        disks.iter().copied().filter(|&disk| usize::from(disk) < input.disks.len()).collect();
    all.sort_unstable();
    all.dedup();
    let others = all.iter().copied().filter(|&disk| disk != here).collect();
    (all, others)
}

/// What a nexus means for the connected disk.
fn look(
    input: &Input,
    here: usize,
    nexus: &Nexus,
    all: &[u16],
    others: &[u16],
    (set, set_without): (u32, u32),
) -> Held {
    let place_of = |disk: u16| input.disks[usize::from(disk)].location;
    let (_, standing) = split(&nexus.standing, input, here as u16);
    let place_here = input.disks[here].location;
    Held {
        claims: all.len() as u16,
        others: others.len() as u16,
        others_standing: standing.len() as u16,
        here: all.len() > others.len(),
        same_place: place_here.is_some() && others.iter().any(|&disk| place_of(disk) == place_here),
        set,
        set_without,
        place: one_place(input, all.iter().copied()),
        place_with: one_place(input, others.iter().copied().chain([here as u16])),
        place_others: one_place(input, others.iter().copied()),
        place_standing: one_place(input, standing.iter().copied()),
    }
}

/// The place where all of these disks are kept, if there is one.
fn one_place(input: &Input, mut disks: impl Iterator<Item = u16>) -> Place {
    let place_of = |disk: u16| input.disks[usize::from(disk)].location;
    let first = place_of(disks.next()?);
    disks.all(|disk| place_of(disk) == first).then_some(first)
}
