//! The shelf as one visit sees it: what fits where, and what each nexus means for the connected disk.

use crate::model::{BLOCK, Bytes, billed};
use crate::planner::input::{Input, Object, Options};

/// A nexus, seen from the connected disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Copies by claim.
    pub claims: u16,
    /// Standing copies on other disks: what is left for certain if ours goes.
    pub others_standing: u16,
    /// Whether the connected disk claims a copy.
    pub here: bool,
    /// All copies lie here, if there are any and they lie in one place.
    pub place: Option<Option<u16>>,
}

/// Figures about disks and nexuses that all steps of planning need.
pub(super) struct Shelf<'a> {
    pub input: &'a Input,
    unit: u64,
    pub held: Vec<Held>,
    /// Largest object in blocks that fits on each disk.
    pub blocks_max: Vec<u32>,
    /// For each place: the largest object that a disk elsewhere can hold.
    elsewhere: Vec<(Option<u16>, u32)>,
}

impl<'a> Shelf<'a> {
    /// `None` if the connected disk does not exist.
    pub fn new(input: &'a Input, options: &Options) -> Option<Self> {
        let connected = input.disks.get(usize::from(options.disk))?;
        let blocks_max: Vec<u32> = input
            .disks
            .iter()
            .map(|disk| {
                let unit = disk.unit.max(BLOCK);
                let by_room = disk.capacity.0.saturating_sub(BLOCK) / unit * unit / BLOCK;
                // Sizes are known in whole blocks: never plan what the filesystem may refuse (I4).
                u32::try_from(by_room.min(disk.file_max.0 / BLOCK)).unwrap_or(u32::MAX)
            })
            .collect();
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
        let here = options.disk;
        let known = |disk: &&u16| usize::from(**disk) < input.disks.len();
        let one_place = |disks: &mut dyn Iterator<Item = &u16>| {
            let mut places =
                disks.map(|&disk| input.disks.get(usize::from(disk)).and_then(|disk| disk.location));
            let first = places.next()?;
            places.all(|place| place == first).then_some(first)
        };
        let held = input
            .nexuses
            .iter()
            .map(|nexus| Held {
                claims: nexus.claimed.iter().filter(known).count() as u16,
                others_standing: nexus.standing.iter().filter(known).filter(|disk| **disk != here).count()
                    as u16,
                here: nexus.claimed.contains(&here),
                place: one_place(&mut nexus.claimed.iter()),
            })
            .collect();
        Some(Self { input, unit: connected.unit, held, blocks_max, elsewhere })
    }

    /// Billed bytes of an object on the connected disk.
    pub fn bill(&self, object: &Object) -> u64 {
        billed(Bytes(u64::from(object.blocks) * BLOCK), self.unit).0
    }

    /// The nexus of an object; `None` if its numbers point nowhere.
    pub fn held(&self, object: &Object) -> Option<&Held> {
        if usize::from(object.class) >= self.input.classes.len() {
            return None;
        }
        self.held.get(object.nexus as usize)
    }

    /// Copies that an object may have: by its class, and by the disks that can hold it.
    pub fn cap(&self, object: &Object) -> u16 {
        let fitting = self.blocks_max.iter().filter(|&&blocks| object.blocks <= blocks).count() as u16;
        self.class_cap(object).min(fitting)
    }

    /// Copies that its class allows.
    pub fn class_cap(&self, object: &Object) -> u16 {
        self.input
            .classes
            .get(usize::from(object.class))
            .and_then(|class| class.copies_max)
            .unwrap_or(u16::MAX)
    }

    /// Level of an object with `count` copies which, if in one place, lie in `place` (PLACEMENT 2,
    /// locations): two copies under one roof are as good as one, if a disk elsewhere could help.
    pub fn level(&self, count: u16, place: Option<Option<u16>>, blocks: u32) -> u16 {
        match place {
            Some(place) if count > 1 => {
                let known = self.elsewhere.iter().find(|&&(known, _)| known == place);
                if known.is_some_and(|&(_, largest)| blocks <= largest) { 1 } else { count }
            }
            _ => count,
        }
    }
}
