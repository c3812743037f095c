//! What keeps the last good copy from being given up: evidence, retention, the brake, stamps and the comparison that
//! begins every visit. Each without the command line, so that tests/mutations can try them in seconds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use distbackup_core::model::{BLOCK, Bytes, ObjectId};
use distbackup_engine::catalog::{Catalog, CatalogError};
use distbackup_engine::disk::Disk as _;
use distbackup_engine::ops::OpError;
use distbackup_engine::ops::backup::{BackupOptions, VisitOutcome};
use distbackup_engine::ops::update::UpdateOptions;
use distbackup_engine::progress::{Event, Observer, Phase};
use shelf::{Shelf, meddle};

fn ordinary() -> BackupOptions {
    BackupOptions::default()
}

/// A disk, or two, that hold `count` files.
fn filled(disks: usize, rooms: u64, count: usize) -> Shelf {
    let mut shelf = Shelf::new(&vec![rooms; disks]);
    (0..count).for_each(|number| shelf.write(&format!("photo {number}")));
    shelf.update(false);
    for disk in 0..disks {
        assert_eq!(shelf.visit(disk, &ordinary()).copied.total().objects, count as u64);
    }
    shelf
}

/// Whoever watches raises a doubt about all other disks, once the visit is planned and copying begins.
struct Doubter(PathBuf);

impl Observer for Doubter {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Begin { phase: Phase::Copy, .. }) {
            meddle(&self.0, "UPDATE disk SET doubt = 'it was dropped' WHERE name <> 'disk0'");
        }
    }
}

#[test]
fn n3_what_was_planned_to_go_stays_if_the_other_copy_has_come_into_doubt_since() {
    let mut shelf = filled(2, 4, 4);
    ["5", "6"].iter().for_each(|name| shelf.write(name));
    shelf.update(false);
    let planned = shelf.visit(0, &BackupOptions { dry_run: true, ..ordinary() }).planned;
    assert_eq!(planned.evict_live.objects, 2, "otherwise this test shows nothing");
    let doubter = Doubter(shelf.catalog.path().to_owned());
    let outcome = shelf.try_visit(0, &ordinary(), &doubter).unwrap();
    assert_eq!((outcome.evicted.objects, outcome.copied.total().objects), (0, 0), "{outcome:?}");
    assert_eq!(shelf.held(0), (4, 4));
}

/// A source, once there are enough of them, changes the tree, so that there is another snapshot.
fn next_snapshot(shelf: &mut Shelf, name: &str) {
    shelf.write(name);
    shelf.update(false);
}

#[test]
fn n7_what_was_deleted_is_kept_for_its_time_and_only_then_given_up() {
    let mut shelf = filled(1, 100, 3);
    fs::remove_file(shelf.file("photo 0")).unwrap();
    (0..3).for_each(|number| next_snapshot(&mut shelf, &format!("more {number}")));
    // Three weeks apart, so that no step is a leap of the clock.
    for (day, gone) in [(22, 0), (42, 0), (62, 0), (82, 0), (91, 0), (112, 1)] {
        shelf.day = day;
        next_snapshot(&mut shelf, &format!("on day {day}"));
        let outcome = shelf.visit(0, &ordinary());
        assert_eq!(outcome.cleaned.objects, gone, "on day {day}: {outcome:?}");
    }
}

#[test]
fn s3_what_a_mass_change_replaced_stays_until_the_user_accepts_it() {
    let mut shelf = filled(1, 150, 120);
    shelf
        .catalog
        .write::<_, CatalogError>("test", |writer| writer.record_setting("keep-deleted", "0"))
        .unwrap();
    let before = shelf.disks[0].1.objects();
    for number in 0..120 {
        fs::write(shelf.file(&format!("photo {number}")), vec![number as u8; 2 * BLOCK as usize]).unwrap();
    }
    let outcome = shelf.update_with(&UpdateOptions::default());
    assert!(outcome.complete(), "{outcome:?}");
    let kept = |shelf: &Shelf| {
        let now = shelf.disks[0].1.objects();
        before.iter().filter(|id| now.contains(id)).count()
    };
    let outcome = shelf.visit(0, &BackupOptions { accept: true, ..ordinary() });
    assert!(outcome.held.is_some(), "{outcome:?}");
    assert_eq!(kept(&shelf), 120);
    // A few days later it is still nobody's word.
    shelf.day += 9;
    shelf.visit(0, &ordinary());
    assert_eq!(kept(&shelf), 120);
    shelf.update(false);
    shelf.visit(0, &BackupOptions { accept: true, ..ordinary() });
    assert_eq!(kept(&shelf), 0, "accepted");
}

/// Whether a visit found exactly one claim to be wrong, and made the copy again.
fn healed(outcome: &VisitOutcome, missing: u64, cut_off: u64) {
    let found = (outcome.reconciled.missing.count, outcome.reconciled.wrong_size.count);
    assert_eq!(found, (missing, cut_off), "{outcome:?}");
}

#[test]
fn d5_d6_an_object_that_is_gone_or_cut_off_no_longer_counts_before_anything_is_planned() {
    for (cut_off, copies) in [(false, 1), (true, 0)] {
        // The sources are gone: what the disk has lost, it has lost.
        let mut shelf = filled(2, 4, 4);
        let victim = shelf.disks[0].1.objects()[0];
        match cut_off {
            true => shelf.disks[0].1.cut_off(victim, Bytes(BLOCK - 1)),
            false => shelf.disks[0].1.delete_by_hand(victim),
        }
        (0..4).for_each(|number| fs::remove_file(shelf.file(&format!("photo {number}"))).unwrap());
        healed(&shelf.visit(0, &ordinary()), u64::from(!cut_off), u64::from(cut_off));
        assert_eq!(shelf.held(0).1, 3, "it is not claimed any more");
        // New files want room on the other disk: its copy of that object is the last one now.
        ["5", "6", "7", "8"].iter().for_each(|name| shelf.write(name));
        shelf.update(false);
        shelf.visit(1, &ordinary());
        assert!(shelf.disks[1].1.objects().contains(&victim), "the last good copy went ({copies})");
    }
}

#[test]
fn n4_an_object_that_nobody_claimed_counts_only_after_it_was_read() {
    for rotten in [false, true] {
        let mut shelf = filled(1, 100, 2);
        let id = shelf.disks[0].1.objects()[0];
        shelf.meddle("DELETE FROM copy");
        if rotten {
            shelf.disks[0].1.rot(id);
        }
        // So that nothing is copied anew in its place.
        (0..2).for_each(|number| fs::remove_file(shelf.file(&format!("photo {number}"))).unwrap());
        let found = shelf.visit(0, &ordinary()).reconciled;
        assert_eq!((found.adopted.objects, found.damaged.count), if rotten { (1, 1) } else { (2, 0) });
        assert_eq!(shelf.held(0).1, if rotten { 1 } else { 2 });
    }
}

/// Gives the shelf another catalog: as it was when it was put aside.
fn put_back(shelf: &mut Shelf, saved: &[u8]) {
    let path = shelf.catalog.path().to_owned();
    let spare = shelf.folder.path().join("spare.sqlite");
    let other = Catalog::create(&spare, 1).unwrap();
    std::mem::replace(&mut shelf.catalog, other).close().unwrap();
    fs::write(&path, saved).unwrap();
    shelf.catalog = Catalog::open(&path).unwrap();
}

/// The catalog as it is now.
fn put_aside(shelf: &mut Shelf) -> Vec<u8> {
    let copy = shelf.folder.path().join(format!("aside-{}.sqlite", shelf.day));
    shelf.catalog.write_copy(&copy).unwrap();
    fs::read(copy).unwrap()
}

#[test]
fn n5_c2_a_catalog_that_is_older_than_the_disk_plans_nothing_on_it() {
    let mut shelf = filled(1, 100, 2);
    let old = put_aside(&mut shelf);
    shelf.write("new");
    shelf.update(false);
    shelf.visit(0, &ordinary());
    put_back(&mut shelf, &old);
    let changes = shelf.disks[0].1.changes();
    let refused = shelf.try_visit(0, &ordinary(), &distbackup_engine::progress::Silent);
    let Err(OpError::StampMismatch { catalog_is_old: true, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(shelf.disks[0].1.changes(), changes, "nothing was written");
}

#[test]
fn n5_d12_nothing_is_deleted_on_a_disk_that_went_back_in_time() {
    let mut shelf = filled(2, 4, 4);
    let image = shelf.disks[0].1.cloned();
    for name in ["5", "6"] {
        shelf.write(name);
        shelf.update(false);
        shelf.visit(0, &ordinary());
    }
    shelf.disks[0].1 = image;
    let before: Vec<ObjectId> = shelf.disks[0].1.objects();
    ["7", "8"].iter().for_each(|name| shelf.write(name));
    shelf.update(false);
    let outcome = shelf.visit(0, &ordinary());
    assert!(outcome.in_doubt, "{outcome:?}");
    let after = shelf.disks[0].1.objects();
    assert!(before.iter().all(|id| after.contains(id)), "something was deleted: {outcome:?}");
}

/// Whoever watches asks to stop when the comparison has looked at some folders.
struct Impatient(AtomicU64);

impl Observer for Impatient {
    fn event(&self, _: Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 100
    }
}

#[test]
fn c1_a_comparison_that_is_interrupted_leaves_the_disks_own_catalog_where_it_is() {
    let mut shelf = filled(1, 9, 3);
    shelf.write("new");
    shelf.update(false);
    // After a recover it may be the only one that knows the names of what was not looked at yet.
    let before = shelf.disks[0].1.catalog_hash();
    let outcome = shelf.try_visit(0, &ordinary(), &Impatient(AtomicU64::new(0))).unwrap();
    assert!(outcome.interrupted && !outcome.published);
    assert_eq!(shelf.disks[0].1.catalog_hash(), before);
    assert!(shelf.visit(0, &ordinary()).published);
    assert_ne!(shelf.disks[0].1.catalog_hash(), before);
}
