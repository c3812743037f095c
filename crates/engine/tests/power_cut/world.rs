//! A set with a simulated disk, a real catalog and real source files, as it is before a visit that will be stopped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use distbackup_core::model::{BLOCK, Bytes, DAY_NS, DiskNo, DiskUuid, ObjectId, VirtualPath, billed};
use distbackup_engine::catalog::{Catalog, CatalogError, DiskRow, NewDisk};
use distbackup_engine::clock::Clock;
use distbackup_engine::disk::Identity;
use distbackup_engine::disk::simulated::SimulatedDisk;
use distbackup_engine::ops::backup::{self, BackupOptions, VisitOutcome};
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::ops::{OpError, sources};
use distbackup_engine::progress::Silent;
use tempfile::TempDir;

/// A day of the test.
struct Day(i64);

impl Clock for Day {
    fn now_ns(&self) -> i64 {
        self.0 * DAY_NS
    }
}

/// A set with its sources, before the visit that is going to be disturbed.
pub struct World {
    /// Catalog and sources.
    pub folder: TempDir,
    /// The disk that is going to be visited.
    pub disk: SimulatedDisk,
    /// Disks that are away.
    pub away: Vec<(DiskNo, SimulatedDisk)>,
    /// The disk's number.
    pub row: DiskNo,
    /// How it is going to be visited.
    pub options: BackupOptions,
    /// When.
    pub day: i64,
    /// Objects that earlier visits have stored.
    pub stored: BTreeSet<ObjectId>,
}

/// A folder in memory where there is one: the power that is cut here is the disk's, not the PC's, and thousands of
/// catalog transactions need not wait for a real device.
pub fn quick_folder() -> TempDir {
    let mut named = tempfile::Builder::new();
    named.prefix("power-cut-");
    named.tempdir_in("/dev/shm").or_else(|_| named.tempdir()).unwrap()
}

/// Where the catalog stands in its folder.
pub fn catalog_path(folder: &Path) -> PathBuf {
    folder.join("distbackup.sqlite")
}

/// Visits a disk.
pub fn visit(
    catalog: &mut Catalog,
    disk: &SimulatedDisk,
    number: DiskNo,
    day: i64,
    options: &BackupOptions,
) -> Result<VisitOutcome, OpError> {
    let row = row_of(catalog, number);
    backup::visit(catalog, disk, row, day * DAY_NS, None, options, &Silent)
}

fn new_disk(catalog: &mut Catalog, name: &str, capacity: Bytes) -> (DiskNo, SimulatedDisk) {
    let uuid = DiskUuid(format!("00000000-0000-4000-8000-{:012}", name.len()));
    let new =
        NewDisk { uuid: &uuid, name, size_rule: "auto", location: None, added_ns: DAY_NS, unproven: false };
    let disk = catalog.write::<_, CatalogError>("test", |writer| writer.record_disk(&new)).unwrap();
    let row = DiskRow { capacity, total: capacity, free: capacity, ..row_of(catalog, disk) };
    catalog.write::<_, CatalogError>("test", |writer| writer.record_disk_seen(&row, DAY_NS)).unwrap();
    let identity = Identity::new(uuid, name, Some(catalog.read().set_uuid().unwrap()));
    (disk, SimulatedDisk::new(&identity))
}

fn row_of(catalog: &Catalog, disk: DiskNo) -> DiskRow {
    catalog.read().disk(disk).unwrap().unwrap()
}

fn update(catalog: &mut Catalog, day: i64, scan_only: bool) {
    let options = UpdateOptions { accept: true, scan_only, ..UpdateOptions::default() };
    let outcome = update::update(catalog, &Day(day), None, &options, &Silent).unwrap();
    assert!(outcome.complete(), "{outcome:?}");
}

/// A file of a few blocks whose content is its name, over and over.
fn write(folder: &Path, name: &str, blocks: usize) {
    let size = blocks * BLOCK as usize;
    fs::write(folder.join(name), name.bytes().cycle().take(size).collect::<Vec<_>>()).unwrap();
}

impl World {
    /// An empty disk and a dozen files; with `pending`, their content was never read before.
    pub fn first_fill(pending: bool) -> World {
        let folder = quick_folder();
        let files = folder.path().join("files");
        fs::create_dir_all(files.join("more")).unwrap();
        for number in 0..9 {
            write(&files, &format!("photo {number}"), 1 + number % 3);
        }
        write(&files.join("more"), "letter", 1);
        fs::copy(files.join("photo 1"), files.join("more/photo 1, again")).unwrap();
        fs::write(files.join("empty"), b"").unwrap();
        let mut catalog = Catalog::create(&catalog_path(folder.path()), DAY_NS).unwrap();
        sources::map(&mut catalog, &VirtualPath::parse(b"/files").unwrap(), &files).unwrap();
        update(&mut catalog, 2, pending);
        let (row, disk) = new_disk(&mut catalog, "red", Bytes(1 << 30));
        catalog.close().unwrap();
        let options = BackupOptions { take_pending: pending, streams: 1, ..BackupOptions::default() };
        World { folder, disk, away: Vec::new(), row, options, day: 3, stored: BTreeSet::new() }
    }

    /// Two disks that hold everything twice; then some files are deleted for good and others are new, and blue,
    /// which is full, has to part with dead objects and with second copies.
    pub fn short_of_room() -> World {
        let folder = quick_folder();
        let files = folder.path().join("files");
        fs::create_dir_all(&files).unwrap();
        for number in 0..10 {
            write(&files, &format!("photo {number}"), 2);
        }
        let room: Bytes = (0..10).map(|_| billed(Bytes(2 * BLOCK), BLOCK)).sum();
        let mut catalog = Catalog::create(&catalog_path(folder.path()), DAY_NS).unwrap();
        catalog
            .write::<_, CatalogError>("test", |writer| writer.record_setting("keep-deleted", "0"))
            .unwrap();
        sources::map(&mut catalog, &VirtualPath::parse(b"/files").unwrap(), &files).unwrap();
        update(&mut catalog, 2, false);
        let (red, red_disk) = new_disk(&mut catalog, "red", room);
        let (blue, blue_disk) = new_disk(&mut catalog, "blue", room);
        let options = BackupOptions { streams: 1, ..BackupOptions::default() };
        for (number, disk) in [(red, &red_disk), (blue, &blue_disk)] {
            let outcome = visit(&mut catalog, disk, number, 3, &options).unwrap();
            assert_eq!(outcome.copied.total().objects, 10);
        }
        for number in 0..3 {
            fs::remove_file(files.join(format!("photo {number}"))).unwrap();
        }
        for number in 0..6 {
            write(&files, &format!("scan {number}"), 2);
        }
        update(&mut catalog, 4, false);
        catalog.close().unwrap();
        let stored = blue_disk.objects().into_iter().collect();
        World { folder, disk: blue_disk, away: vec![(red, red_disk)], row: blue, options, day: 5, stored }
    }
}
