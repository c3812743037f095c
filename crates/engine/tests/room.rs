//! Room during a visit: exact to the byte, also when copies that were planned cannot be made (I4, I6, N8).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

use std::fs;
use std::path::PathBuf;

use distbackup_core::model::{BLOCK, Bytes, DAY_NS, DiskNo, DiskUuid, VirtualPath, billed};
use distbackup_engine::catalog::{Catalog, CatalogError, DiskRow, NewDisk};
use distbackup_engine::clock::Clock;
use distbackup_engine::disk::simulated::SimulatedDisk;
use distbackup_engine::disk::{Disk, Identity, Listed};
use distbackup_engine::ops::backup::{self, BackupOptions, VisitOutcome};
use distbackup_engine::ops::sources;
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::progress::Silent;

/// Noon of the test.
struct Noon;

impl Clock for Noon {
    fn now_ns(&self) -> i64 {
        2 * DAY_NS
    }
}

/// Files of one block each, and disks with room for so many of them.
struct Shelf {
    folder: tempfile::TempDir,
    catalog: Catalog,
    disks: Vec<(DiskNo, SimulatedDisk)>,
}

impl Shelf {
    fn new(rooms: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), DAY_NS).unwrap();
        fs::create_dir(folder.path().join("files")).unwrap();
        let root = VirtualPath::parse(b"/files").unwrap();
        sources::map(&mut catalog, &root, &folder.path().join("files")).unwrap();
        let mut disks = Vec::new();
        for (number, room) in rooms.iter().enumerate() {
            disks.push(add_disk(&mut catalog, number, Bytes(room * billed(Bytes(BLOCK), BLOCK).0)));
        }
        Shelf { folder, catalog, disks }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// A file of one block with a content of its own.
    fn write(&self, name: &str) {
        let content = name.bytes().cycle().take(BLOCK as usize);
        fs::write(self.file(name), content.collect::<Vec<_>>()).unwrap();
    }

    fn update(&mut self, scan_only: bool) {
        let options = UpdateOptions { accept: true, scan_only, ..UpdateOptions::default() };
        assert!(update::update(&mut self.catalog, &Noon, None, &options, &Silent).unwrap().complete());
    }

    fn visit(&mut self, disk: usize, options: &BackupOptions) -> VisitOutcome {
        let (number, simulated) = &self.disks[disk];
        let row = self.catalog.read().disk(*number).unwrap().unwrap();
        backup::visit(&mut self.catalog, simulated, row, 2 * DAY_NS, None, options, &Silent).unwrap()
    }

    /// Billed bytes of the objects that lie on a disk.
    fn used(&self, disk: usize) -> Bytes {
        let listed = (0..4096).flat_map(|prefix| self.disks[disk].1.list_folder(prefix).unwrap());
        let sizes = listed.map(|found| match found {
            Listed::Object { size, .. } => billed(size, BLOCK),
            foreign => panic!("{foreign:?}"),
        });
        sizes.sum()
    }

    /// Objects that lie on a disk and objects that the catalog claims there.
    fn held(&self, disk: usize) -> (usize, u64) {
        let (number, simulated) = &self.disks[disk];
        let claimed = self.catalog.read().held_total(*number).unwrap().0;
        (simulated.objects().len(), claimed)
    }
}

fn add_disk(catalog: &mut Catalog, number: usize, capacity: Bytes) -> (DiskNo, SimulatedDisk) {
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
    let identity = Identity {
        uuid,
        name,
        set: Some(catalog.read().set_uuid().unwrap()),
        format: 1,
        features_required: Vec::new(),
        stamp: None,
        other: serde_json::Map::new(),
    };
    (disk, SimulatedDisk::new(&identity))
}

#[test]
fn s9_nothing_goes_for_a_file_that_was_edited_after_the_update() {
    let mut shelf = Shelf::new(&[4, 4]);
    ["1", "2", "3", "4"].iter().for_each(|name| shelf.write(name));
    shelf.update(false);
    for disk in 0..2 {
        shelf.visit(disk, &BackupOptions::default());
    }
    shelf.write("5");
    shelf.write("6");
    shelf.update(false);
    fs::write(shelf.file("5"), "edited since").unwrap();
    let outcome = shelf.visit(0, &BackupOptions::default());
    assert_eq!((outcome.copied.total().objects, outcome.evicted.objects), (1, 1));
    assert_eq!(outcome.problems.count, 1);
    assert_eq!(outcome.room_left, Bytes(0));
    assert_eq!(shelf.held(0), (4, 4));
}

#[test]
fn the_room_of_a_copy_that_failed_serves_another_file_in_the_same_visit() {
    let mut shelf = Shelf::new(&[3]);
    ["1", "2", "3", "4"].iter().for_each(|name| shelf.write(name));
    shelf.update(false);
    // All but the one that found no room in the plan.
    let planned = shelf.visit(0, &BackupOptions { dry_run: true, ..BackupOptions::default() });
    assert_eq!(planned.planned.copies.total().objects, 3);
    fs::remove_file(shelf.file("1")).unwrap();
    let outcome = shelf.visit(0, &BackupOptions::default());
    assert_eq!(outcome.copied.total().objects, 3, "{:?}", outcome.problems);
    assert_eq!(shelf.held(0), (3, 3));
}

#[test]
fn s9_what_would_have_gone_for_a_failed_copy_is_not_counted_as_room_for_the_next_ones() {
    // "large" is on both disks and fills the first one; it can go for three small new files.
    let mut shelf = Shelf::new(&[2, 2]);
    fs::write(shelf.file("large"), vec![b'z'; 3 * BLOCK as usize]).unwrap();
    shelf.update(false);
    for disk in 0..2 {
        shelf.visit(disk, &BackupOptions::default());
    }
    ["1", "2"].iter().for_each(|name| shelf.write(name));
    shelf.update(false);
    let planned = shelf.visit(0, &BackupOptions { dry_run: true, ..BackupOptions::default() }).planned;
    assert_eq!((planned.copies.total().objects, planned.evict_live.objects), (2, 1));
    fs::write(shelf.file("1"), "edited since").unwrap();
    let outcome = shelf.visit(0, &BackupOptions::default());
    assert_eq!((outcome.copied.total().objects, outcome.evicted.objects), (1, 1), "{outcome:?}");
    assert!(shelf.used(0) <= Bytes(2 * 2 * BLOCK), "{:?}", shelf.used(0));
}
