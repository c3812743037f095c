//! Room during a visit: exact to the byte, also when copies that were planned cannot be made (I4, I6, N8).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use std::fs;

use distbackup_core::model::{BLOCK, Bytes};
use distbackup_engine::ops::backup::BackupOptions;
use shelf::Shelf;

#[test]
fn n8_s9_nothing_goes_for_a_file_that_was_edited_after_the_update() {
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
