//! Large files are copied several at a time, beside the small ones: each counts for itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails here says so")]

mod real_disk;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::content::LARGE_BYTES;
use distbackup_engine::disk::Disk;
use distbackup_engine::hash::hash_one;
use distbackup_engine::ops::backup::{self, BackupOptions, VisitOutcome};
use distbackup_engine::ops::shelf::Connected;
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::progress::{Event, Observer, Silent};
use real_disk::{World, world};

const LARGE: usize = 18;
const SMALL: usize = 40;

fn content(number: usize) -> Vec<u8> {
    let length = if number < LARGE { LARGE_BYTES as usize + 1000 * number } else { 100 * number };
    vec![number as u8 | 1; length + number]
}

/// All of them, scanned and hashed.
fn scanned() -> World {
    let mut world = world((0..LARGE + SMALL).map(|number| (number.to_string(), content(number))));
    update::update(&mut world.catalog, &SystemClock, None, &UpdateOptions::default(), &Silent).unwrap();
    world
}

fn visit(world: &mut World, observer: &dyn Observer) -> VisitOutcome {
    let options = BackupOptions { streams: 2, ..BackupOptions::default() };
    world.reconnect();
    let World { catalog, connected: Connected { disk, row, .. }, .. } = world;
    backup::visit(catalog, disk, row.clone(), SystemClock.now_ns(), None, &options, observer).unwrap()
}

/// Which contents are claimed; each of these is on the disk, whole (N1).
fn kept(world: &World) -> Vec<usize> {
    let is_kept = |&number: &usize| {
        let (content, mut found) = (content(number), Vec::new());
        let id = hash_one(&content);
        let claimed = world.claims(id);
        if claimed {
            world.connected.disk.open(id).unwrap().append_to(&mut found, u64::MAX).unwrap();
            assert!(found == content, "{number} is claimed and not there");
        }
        claimed
    };
    (0..LARGE + SMALL).filter(is_kept).collect()
}

#[test]
fn all_are_copied_whatever_their_size() {
    let mut world = scanned();
    let outcome = visit(&mut world, &Silent);
    assert!(outcome.problems.is_empty() && !outcome.interrupted, "{:?}", outcome.problems);
    assert_eq!(kept(&world).len(), LARGE + SMALL);
}

#[test]
fn s8_one_that_is_not_what_it_was_is_left_out_alone() {
    let mut world = scanned();
    fs::write(world.source("3"), vec![0; LARGE_BYTES as usize]).unwrap();
    fs::remove_file(world.source("17")).unwrap();
    fs::write(world.source("23"), "other").unwrap();
    let outcome = visit(&mut world, &Silent);
    assert_eq!(outcome.problems.count, 3);
    let kept = kept(&world);
    let left_out: Vec<usize> = (0..LARGE + SMALL).filter(|number| !kept.contains(number)).collect();
    assert_eq!(left_out, [3, 17, 23], "two large ones and a small one");
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
    for megabytes in [1, 30, 60] {
        let mut world = scanned();
        let outcome = visit(&mut world, &StopAfter { bytes: megabytes << 20, done: AtomicU64::new(0) });
        assert!(outcome.interrupted, "{megabytes}");
        assert!(kept(&world).len() < LARGE + SMALL, "{megabytes}");
        assert!(!visit(&mut world, &Silent).interrupted);
        assert_eq!(kept(&world).len(), LARGE + SMALL, "{megabytes}");
    }
}
