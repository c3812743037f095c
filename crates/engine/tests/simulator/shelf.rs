//! Simulated disks as they stand on a shelf: some are clones of others, some are lost.

use std::collections::{BTreeMap, BTreeSet};

use distbackup_core::model::{Bytes, DAY_NS, DiskNo, DiskUuid, ObjectId};
use distbackup_engine::catalog::{Catalog, CatalogError, NewDisk};
use distbackup_engine::disk::simulated::{PowerCut, SimulatedDisk};
use distbackup_engine::disk::{Disk, Identity};

/// One thing that can be held in hand.
pub struct Physical {
    pub disk: SimulatedDisk,
    /// Objects that lie on it durably and whole.
    pub whole: BTreeSet<ObjectId>,
    /// Objects that lie on it by name.
    pub present: BTreeSet<ObjectId>,
    /// Objects with a bit turned over, which nobody sees without reading them.
    pub rotten: BTreeSet<ObjectId>,
    /// Contents that survive here and that the recovered catalog never knew: their names are on this disk only.
    pub precious: BTreeSet<ObjectId>,
    /// When objects that the catalog never knew were first seen by a visit.
    pub first_seen: BTreeMap<ObjectId, i64>,
}

impl Physical {
    fn of(disk: SimulatedDisk) -> Physical {
        let mut physical = Physical {
            disk,
            whole: BTreeSet::new(),
            present: BTreeSet::new(),
            rotten: BTreeSet::new(),
            precious: BTreeSet::new(),
            first_seen: BTreeMap::new(),
        };
        physical.look();
        physical
    }

    /// Looks anew at what lies on it.
    pub fn look(&mut self) {
        assert!(self.disk.is_clean(), "the simulation itself: a disk is looked at while it is in use");
        let all = self.disk.durable_objects();
        self.present = all.iter().map(|(id, _)| *id).collect();
        self.whole = all.iter().filter(|(_, whole)| *whole).map(|(id, _)| *id).collect();
        self.rotten = self.rotten.difference(&self.whole).copied().collect();
        self.rotten = self.rotten.intersection(&self.present).copied().collect();
    }

    /// Counter of its stamp.
    pub fn counter(&self) -> u64 {
        self.disk.identity().unwrap().stamp.map_or(0, |stamp| stamp.counter)
    }

    /// A clone, as `dd` makes it.
    pub fn cloned(&self) -> Physical {
        let mut clone = Physical::of(self.disk.cloned());
        (clone.rotten, clone.precious) = (self.rotten.clone(), self.precious.clone());
        clone.first_seen = self.first_seen.clone();
        clone
    }

    /// Takes it out in order, or cuts the power after everything was said to be done.
    pub fn unplug(&mut self, cut: Option<PowerCut>) {
        match cut {
            None => self.disk.reconnect(),
            Some(cut) => self.disk.power_cut(cut),
        }
        self.look();
    }
}

/// One disk of the set, with its clones.
pub struct Bay {
    pub row: i64,
    pub name: String,
    pub physical: Vec<Physical>,
    /// The one that was connected last.
    pub current: usize,
    /// It is gone for ever.
    pub lost: bool,
}

impl Bay {
    /// A new disk of this size joins the set.
    pub fn join(catalog: &mut Catalog, number: usize, size: u64) -> Bay {
        let uuid = DiskUuid(format!("00000000-0000-4000-8000-{number:012}"));
        let name = format!("disk{number}");
        let new = NewDisk {
            uuid: &uuid,
            name: &name,
            size_rule: "auto",
            location: None,
            added_ns: DAY_NS,
            unproven: false,
        };
        let row = catalog.write::<_, CatalogError>("join", |writer| writer.record_disk(&new)).unwrap();
        let identity = Identity::new(uuid, &name, Some(catalog.read().set_uuid().unwrap()));
        let disk = SimulatedDisk::new(&identity);
        disk.set_capacity(Some(Bytes(size)));
        Bay { row: row.0, name, physical: vec![Physical::of(disk)], current: 0, lost: false }
    }

    pub fn number(&self) -> DiskNo {
        DiskNo(self.row)
    }

    /// The one that was connected last.
    pub fn now(&self) -> &Physical {
        &self.physical[self.current]
    }

    pub fn now_mut(&mut self) -> &mut Physical {
        &mut self.physical[self.current]
    }
}
