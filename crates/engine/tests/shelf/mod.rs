//! A shelf of simulated disks with a real catalog and real source files, small enough to be looked at as a whole.

#![allow(dead_code, reason = "no test file needs all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use distbackup_core::model::{BLOCK, Bytes, DAY_NS, DiskNo, DiskUuid, VirtualPath, billed};
use distbackup_engine::catalog::{Catalog, CatalogError, DiskRow, NewDisk};
use distbackup_engine::clock::Clock;
use distbackup_engine::disk::simulated::SimulatedDisk;
use distbackup_engine::disk::{Disk, Identity, Listed};
use distbackup_engine::ops::backup::{self, BackupOptions, VisitOutcome};
use distbackup_engine::ops::update::{self, UpdateOptions, UpdateOutcome};
use distbackup_engine::ops::{OpError, sources};
use distbackup_engine::progress::{Observer, Silent};

/// A day of the test.
pub struct Day(pub i64);

impl Clock for Day {
    fn now_ns(&self) -> i64 {
        self.0 * DAY_NS
    }
}

/// Files of one block each, and disks with room for so many of them.
pub struct Shelf {
    /// Catalog and sources.
    pub folder: tempfile::TempDir,
    pub catalog: Catalog,
    pub disks: Vec<(DiskNo, SimulatedDisk)>,
    /// What the clock says; the tests begin on the second day.
    pub day: i64,
}

impl Shelf {
    pub fn new(rooms: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), DAY_NS).unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        let root = VirtualPath::parse(b"/files").unwrap();
        sources::map(&mut catalog, &root, &folder.path().join("files")).unwrap();
        let mut disks = Vec::new();
        for (number, room) in rooms.iter().enumerate() {
            disks.push(add_disk(&mut catalog, number, Bytes(room * billed(Bytes(BLOCK), BLOCK).0)));
        }
        Shelf { folder, catalog, disks, day: 2 }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// A file of one block with a content of its own.
    pub fn write(&self, name: &str) {
        let content = name.bytes().cycle().take(BLOCK as usize);
        fs::write(self.file(name), content.collect::<Vec<_>>()).unwrap();
    }

    pub fn update(&mut self, scan_only: bool) {
        assert!(
            self.update_with(&UpdateOptions { accept: true, scan_only, ..UpdateOptions::default() })
                .complete()
        );
    }

    pub fn update_with(&mut self, options: &UpdateOptions) -> UpdateOutcome {
        update::update(&mut self.catalog, &Day(self.day), None, options, &Silent).unwrap()
    }

    pub fn visit(&mut self, disk: usize, options: &BackupOptions) -> VisitOutcome {
        self.try_visit(disk, options, &Silent).unwrap()
    }

    pub fn try_visit(
        &mut self,
        disk: usize,
        options: &BackupOptions,
        observer: &dyn Observer,
    ) -> Result<VisitOutcome, OpError> {
        let (number, simulated) = &self.disks[disk];
        let row = self.catalog.read().disk(*number)?.unwrap();
        backup::visit(&mut self.catalog, simulated, row, self.day * DAY_NS, None, options, observer)
    }

    /// Changes the catalog as no part of the program would.
    pub fn meddle(&self, sql: &str) {
        meddle(self.catalog.path(), sql);
    }

    /// Billed bytes of the objects that lie on a disk.
    pub fn used(&self, disk: usize) -> Bytes {
        let listed = (0..4096).flat_map(|prefix| self.disks[disk].1.list_folder(prefix).unwrap());
        let sizes = listed.map(|found| match found {
            Listed::Object { size, .. } => billed(size, BLOCK),
            foreign => panic!("{foreign:?}"),
        });
        sizes.sum()
    }

    /// Objects that lie on a disk and objects that the catalog claims there.
    pub fn held(&self, disk: usize) -> (usize, u64) {
        let (number, simulated) = &self.disks[disk];
        let claimed = self.catalog.read().held_total(*number).unwrap().0;
        (simulated.objects().len(), claimed)
    }
}

/// A disk with so much room.
pub fn add_disk(catalog: &mut Catalog, number: usize, capacity: Bytes) -> (DiskNo, SimulatedDisk) {
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
    let disk = catalog.write::<_, CatalogError>("test", |writer| writer.record_disk(&new)).unwrap();
    let row = catalog.read().disk(disk).unwrap().unwrap();
    let row = DiskRow { capacity, total: capacity, free: capacity, ..row };
    catalog.write::<_, CatalogError>("test", |writer| writer.record_disk_seen(&row, DAY_NS)).unwrap();
    let identity = Identity::new(uuid, &name, Some(catalog.read().set_uuid().unwrap()));
    (disk, SimulatedDisk::new(&identity))
}

/// Changes a catalog as no part of the program would.
pub fn meddle(catalog: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(catalog).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection.execute_batch(sql).unwrap();
}
