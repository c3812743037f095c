//! Copies that a first scan makes while it reads: staged before there is a plan, taken by the visit, or gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails here says so")]

mod real_disk;

use std::fs;
use std::path::Path;

use distbackup_core::model::Bytes;
use distbackup_engine::catalog::{Catalog, DiskRow};
use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::disk::Disk;
use distbackup_engine::hash::hash_one;
use distbackup_engine::ops::backup::{self, BackupOptions, Early, VisitOutcome};
use distbackup_engine::ops::shelf::{self, Connected};
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::progress::Silent;
use real_disk::{World, world};

fn options() -> BackupOptions {
    BackupOptions { streams: 2, take_pending: true, ..BackupOptions::default() }
}

/// Files below the folder of what comes in.
fn staged(room: &tempfile::TempDir) -> usize {
    let folders = fs::read_dir(room.path().join("red/distbackup-incoming")).into_iter().flatten();
    folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

/// `false`, and said loudly: nothing is staged early on this filesystem.
fn possible(world: &World) -> bool {
    let possible = world.connected.disk.wants_one_batch();
    if !possible {
        eprintln!("SKIPPED: the filesystem of the temporary folder has no files without a name");
    }
    possible
}

fn scan(catalog: &mut Catalog, early: &Early<'_>) {
    let options = UpdateOptions { scan_only: true, ..UpdateOptions::default() };
    update::update_with(catalog, &SystemClock, None, &options, Some(early), &Silent).unwrap();
}

fn visit(catalog: &mut Catalog, early: &Early<'_>, connected: &Connected, row: DiskRow) -> VisitOutcome {
    let now_ns = SystemClock.now_ns();
    backup::visit_with(Some(early), catalog, &connected.disk, row, now_ns, None, &options(), &Silent).unwrap()
}

const LONG: &[u8] = &[7; 300_000];

#[test]
fn a_small_file_is_read_once_and_what_was_read_is_what_is_stored() {
    let mut world = world([
        ("a", b"iceland".as_slice()),
        ("b", b"rome"),
        ("twin", b"rome"),
        ("empty", b""),
        ("long", LONG),
    ]);
    if !possible(&world) {
        return;
    }
    let World { catalog, connected, room } = &mut world;
    let early = Early::begin(catalog, &connected.disk, &connected.row, &options()).unwrap().unwrap();
    early.writing_out(|| scan(catalog, &early));
    assert!(early.billed() > Bytes(0));
    // Whoever reads it again now reads something else.
    fs::write(room.path().join("source/a"), "changed since").unwrap();
    let row = shelf::look_again(catalog, connected, early.billed()).unwrap();
    let outcome = visit(catalog, &early, connected, row);
    drop(early);
    assert_eq!((outcome.copied.total().objects, outcome.problems.count), (3, 0));
    assert_eq!(outcome.copied.total().bytes, Bytes(11 + LONG.len() as u64));
    for content in [b"iceland".as_slice(), b"rome", LONG] {
        assert!(world.holds(content) && world.claims(hash_one(content)));
    }
    assert_eq!(staged(&world.room), 0);
    // And it is a visit like others: the next one finds nothing to do but the change.
    let World { catalog, connected, .. } = &mut world;
    assert!(Early::begin(catalog, &connected.disk, &connected.row, &options()).unwrap().is_none());
}

#[test]
fn what_the_visit_never_comes_to_is_gone_and_nothing_is_claimed() {
    let mut world = world([("a", b"iceland".as_slice()), ("b", b"rome")]);
    if !possible(&world) {
        return;
    }
    {
        let World { catalog, connected, room } = &mut world;
        let early = Early::begin(catalog, &connected.disk, &connected.row, &options()).unwrap().unwrap();
        scan(catalog, &early);
        assert_eq!(staged(room), 2);
    }
    assert_eq!(staged(&world.room), 0);
    assert!(!world.holds(b"iceland") && !world.claims(hash_one(b"iceland")));
}

const CITIES: [(&str, &[u8]); 4] = [("a", b"iceland"), ("b", b"rome"), ("c", b"paris"), ("d", b"oslo")];

/// A first scan and a visit with room for three of four objects: each takes two blocks of 4096 bytes.
fn with_little_room(world: &mut World, between: impl FnOnce(&Path)) -> VisitOutcome {
    let World { catalog, connected, room } = world;
    let capacity = Bytes(3 * 8192);
    let row = DiskRow { capacity, ..connected.row.clone() };
    let early = Early::begin(catalog, &connected.disk, &row, &options()).unwrap().unwrap();
    scan(catalog, &early);
    assert_eq!(early.billed(), Bytes(8192), "early copies take half of it at most");
    between(&room.path().join("source"));
    let row = DiskRow { capacity, ..shelf::look_again(catalog, connected, early.billed()).unwrap() };
    let outcome = visit(catalog, &early, connected, row);
    assert_eq!(early.billed(), Bytes(0));
    outcome
}

#[test]
fn where_room_is_short_a_plan_is_not_disturbed() {
    let mut world = world(CITIES);
    if !possible(&world) {
        return;
    }
    let outcome = with_little_room(&mut world, |_| {});
    assert_eq!((outcome.copied.total().objects, outcome.planned.unplaced.total().objects), (3, 1));
    assert_eq!(CITIES.iter().filter(|(_, content)| world.holds(content)).count(), 3);
    assert_eq!(CITIES.iter().filter(|(_, content)| world.claims(hash_one(content))).count(), 3);
    assert_eq!(staged(&world.room), 0);
}

#[test]
fn where_room_is_short_early_copies_go_before_the_first_copy() {
    let mut world = world(CITIES);
    if !possible(&world) {
        return;
    }
    // What was staged is gone, so nothing can be had from sources that have changed.
    let change = |source: &Path| {
        CITIES.iter().for_each(|(name, _)| fs::write(source.join(name), "changed since").unwrap());
    };
    let outcome = with_little_room(&mut world, change);
    assert_eq!((outcome.copied.total().objects, outcome.problems.count), (0, 4));
    assert!(!CITIES.iter().any(|(_, content)| world.holds(content)));
    assert_eq!(staged(&world.room), 0);
}

#[test]
fn a_disk_with_objects_or_a_visit_with_conditions_begins_with_nothing() {
    let world = world([("a", b"iceland")]);
    if !possible(&world) {
        return;
    }
    let World { catalog, connected, .. } = &world;
    let begin = |options: &BackupOptions, row: &DiskRow| {
        Early::begin(catalog, &connected.disk, row, options).unwrap().is_some()
    };
    assert!(begin(&options(), &connected.row));
    for other in [
        BackupOptions { dry_run: true, ..options() },
        BackupOptions { read_back: true, ..options() },
        BackupOptions { streams: 1, ..options() },
        BackupOptions { limit: Some(Bytes(1 << 30)), ..options() },
    ] {
        assert!(!begin(&other, &connected.row), "{other:?}");
    }
    assert!(!begin(&options(), &DiskRow { retiring: true, ..connected.row.clone() }));
    fs::create_dir_all(world.room.path().join("red/distbackup-objects/abc")).unwrap();
    let connected = shelf::open_at(catalog, connected.row.clone(), &world.room.path().join("red")).unwrap();
    assert!(Early::begin(catalog, &connected.disk, &connected.row, &options()).unwrap().is_none());
    assert!(world.source("a").exists());
}
