//! Large files are copied several at a time, beside the small ones: each counts for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails here says so")]

use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use distbackup_core::model::{SizeRule, VirtualPath};
use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::content::LARGE_BYTES;
use distbackup_engine::disk::Disk;
use distbackup_engine::hash::hash_one;
use distbackup_engine::ops::backup::{self, BackupOptions, VisitOutcome};
use distbackup_engine::ops::disks::{self, AddDisk};
use distbackup_engine::ops::shelf::{self, Connected};
use distbackup_engine::ops::sources;
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::progress::{Event, Observer, Silent};

const LARGE: usize = 18;
const SMALL: usize = 40;

struct World {
    room: tempfile::TempDir,
    catalog: Catalog,
    connected: Connected,
}

fn content(number: usize) -> Vec<u8> {
    let length = if number < LARGE { LARGE_BYTES as usize + 1000 * number } else { 100 * number };
    vec![number as u8 | 1; length + number]
}

fn world() -> World {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("source");
    fs::create_dir(&source).unwrap();
    for number in 0..LARGE + SMALL {
        fs::write(source.join(number.to_string()), content(number)).unwrap();
    }
    let mut catalog = Catalog::create(&room.path().join("distbackup.sqlite"), SystemClock.now_ns()).unwrap();
    sources::map(&mut catalog, &VirtualPath::parse(b"/data").unwrap(), &source).unwrap();
    update::update(&mut catalog, &SystemClock, None, &UpdateOptions::default(), &Silent).unwrap();
    let folder = room.path().join("red");
    let request = AddDisk { name: "red", folder: &folder, size: SizeRule::Automatic, location: None };
    disks::add(&mut catalog, &SystemClock, &request).unwrap();
    let row = shelf::named(&catalog.read(), "red").unwrap();
    let connected = shelf::open_at(&catalog, row, &folder).unwrap();
    World { room, catalog, connected }
}

impl World {
    fn visit(&mut self, observer: &dyn Observer) -> VisitOutcome {
        let options = BackupOptions { streams: 2, ..BackupOptions::default() };
        let row = shelf::named(&self.catalog.read(), "red").unwrap();
        self.connected = shelf::open_at(&self.catalog, row, &self.room.path().join("red")).unwrap();
        let (disk, row) = (&self.connected.disk, self.connected.row.clone());
        backup::visit(&mut self.catalog, disk, row, SystemClock.now_ns(), None, &options, observer).unwrap()
    }

    /// Which contents are on the disk and claimed; none may be only one of the two.
    fn kept(&self) -> Vec<usize> {
        let reader = self.catalog.read();
        let is_kept = |&number: &usize| {
            let id = hash_one(&content(number));
            let claimed = reader.object_by_id(&id).unwrap();
            let claimed =
                claimed.is_some_and(|row| reader.holds(self.connected.row.disk, row.object).unwrap());
            let mut all = Vec::new();
            let there = self.connected.disk.open(id).is_ok_and(|mut found| {
                found.append_to(&mut all, u64::MAX).unwrap() && all == content(number)
            });
            assert!(there || !claimed, "{number} is claimed and not there");
            claimed
        };
        (0..LARGE + SMALL).filter(is_kept).collect()
    }
}

#[test]
fn all_are_copied_whatever_their_size() {
    let mut world = world();
    let outcome = world.visit(&Silent);
    assert!(outcome.problems.is_empty() && !outcome.interrupted, "{:?}", outcome.problems);
    assert_eq!(world.kept().len(), LARGE + SMALL);
}

#[test]
fn s8_one_that_is_not_what_it_was_is_left_out_alone() {
    let mut world = world();
    let source = |number: usize| world.room.path().join("source").join(number.to_string());
    fs::write(source(3), vec![0; LARGE_BYTES as usize]).unwrap();
    fs::remove_file(source(17)).unwrap();
    fs::write(source(LARGE + 5), "other").unwrap();
    let outcome = world.visit(&Silent);
    assert_eq!(outcome.problems.count, 3);
    let left_out: Vec<usize> = (0..LARGE + SMALL).filter(|number| !world.kept().contains(number)).collect();
    assert_eq!(left_out, [3, 17, LARGE + 5]);
}

/// Asks to stop once so many bytes were copied.
struct StopAfter {
    bytes: u64,
    done: AtomicU64,
}

impl Observer for StopAfter {
    fn event(&self, event: Event<'_>) {
        if let Event::Done { bytes, .. } = event {
            self.done.fetch_add(bytes.0, Ordering::Relaxed);
        }
    }

    fn stop_requested(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.bytes
    }
}

#[test]
fn n1_whenever_it_is_stopped_what_is_claimed_is_there_and_the_next_visit_copies_the_rest() {
    let kept_before = Cell::new(0);
    for megabytes in [1, 30, 60] {
        let mut world = world();
        let outcome = world.visit(&StopAfter { bytes: megabytes << 20, done: AtomicU64::new(0) });
        assert!(outcome.interrupted, "{megabytes}");
        let kept = world.kept().len();
        assert!(kept < LARGE + SMALL && kept >= kept_before.get(), "{megabytes}: {kept}");
        kept_before.set(kept);
        assert!(!world.visit(&Silent).interrupted);
        assert_eq!(world.kept().len(), LARGE + SMALL, "{megabytes}");
    }
    assert!(kept_before.get() > 0);
}
