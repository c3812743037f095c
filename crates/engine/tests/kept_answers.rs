//! What `status` and `next` are asked was worked out before: while a visit wrote the catalog, and in a large set at the end
//! of an update or verify.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use distbackup_core::model::DAY_NS;
use distbackup_core::planner::AWAY_DAYS;
use distbackup_engine::ops::backup::BackupOptions;
use distbackup_engine::ops::verify::{self, VerifyOptions};
use distbackup_engine::progress::Silent;
use distbackup_engine::report;
use shelf::{Day, Shelf};

/// The questions that have an answer as the catalog is now.
fn kept(shelf: &Shelf) -> Vec<String> {
    let connection = rusqlite::Connection::open(shelf.catalog.path()).unwrap();
    let sql =
        "SELECT question FROM kept_answer, catalog WHERE kept_answer.changes = catalog.changes ORDER BY 1";
    let mut statement = connection.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Two disks of which one was visited.
fn after_a_visit() -> Shelf {
    let mut shelf = Shelf::new(&[10, 10]);
    (0..5).for_each(|number| shelf.write(&format!("photo {number}")));
    shelf.update(false);
    shelf.visit(0, &BackupOptions { streams: 1, ..BackupOptions::default() });
    shelf
}

// That an answer that was kept is the one that would be found now is asserted wherever one is used.

#[test]
fn status_and_next_are_answered_when_a_visit_ends() {
    let shelf = after_a_visit();
    let ready = kept(&shelf);
    assert!(ready.iter().any(|question| question.starts_with("levels")), "{ready:?}");
    assert!(ready.iter().any(|question| question.starts_with("next")), "{ready:?}");
    let reader = shelf.catalog.read();
    let advice = report::advice(&reader, shelf.day * DAY_NS).unwrap();
    report::status(&reader).unwrap();
    assert_eq!(kept(&shelf), ready, "nothing had to be worked out");
    assert_eq!(advice.visits[0].disk, 1, "the other disk gives everything a second copy");
    assert_eq!(advice.visits[0].copies[1].objects, 5);
}

#[test]
fn next_is_worked_out_anew_when_a_disk_has_been_away_for_too_long() {
    let shelf = after_a_visit();
    let (reader, ready) = (shelf.catalog.read(), kept(&shelf).len());
    let ask = |days: i64| report::advice(&reader, (shelf.day + days) * DAY_NS).unwrap();
    let tomorrow = ask(1);
    assert_eq!(kept(&shelf).len(), ready, "a day changes nothing");
    assert_eq!(
        ask(i64::from(AWAY_DAYS) + 2),
        tomorrow,
        "both disks are away then, which changes no visit here"
    );
    assert_eq!(kept(&shelf).len(), ready + 1, "but it might have, so it was worked out");
}

#[test]
fn what_changes_the_catalog_makes_next_be_worked_out_anew() {
    let mut shelf = after_a_visit();
    shelf.write("one more");
    shelf.update(false);
    let advice = report::advice(&shelf.catalog.read(), shelf.day * DAY_NS).unwrap();
    assert_eq!(advice.visits[0].copies[0].objects, 1, "it has no copy yet");
    assert_eq!(kept(&shelf).len(), 1, "only this question was asked since");
}

#[test]
fn status_of_paths_with_targets_of_their_own_is_answered_when_a_visit_ends() {
    let mut shelf = Shelf::new(&[10, 10]);
    shelf.write("photo");
    shelf.update(false);
    // The page asks for the status as well.
    shelf.meddle("INSERT INTO setting (name, value) VALUES ('page', 'off')");
    shelf.meddle("INSERT INTO path_config (vpath, mincopies) VALUES (x'2f66696c6573', 1)");
    shelf.visit(0, &BackupOptions { streams: 1, ..BackupOptions::default() });
    let ready = kept(&shelf);
    assert_eq!(report::status(&shelf.catalog.read()).unwrap().below_target.objects, 0);
    assert_eq!(kept(&shelf), ready, "nothing had to be worked out");
}

/// A shelf after a visit, with so many objects that their numbers have six digits.
fn large_after_a_visit() -> Shelf {
    let shelf = after_a_visit();
    shelf.meddle("INSERT INTO object (id, sha256, size) VALUES (300000, randomblob(32), 1)");
    shelf
}

fn assert_ready(shelf: &Shelf) {
    let now_ns = shelf.day * DAY_NS;
    let reader = shelf.catalog.read();
    assert!(report::status_is_ready(&reader).unwrap(), "status");
    assert!(report::advice_is_ready(&reader, now_ns).unwrap(), "next");
}

#[test]
fn in_a_large_set_an_update_that_found_something_ends_with_the_answers() {
    let mut shelf = large_after_a_visit();
    shelf.write("one more");
    shelf.update(false);
    assert_ready(&shelf);
    let mut small = after_a_visit();
    small.write("one more");
    small.update(false);
    assert!(!report::status_is_ready(&small.catalog.read()).unwrap(), "a small one is not made to wait");
}

#[test]
fn in_a_large_set_a_verify_ends_with_the_answers() {
    let mut shelf = large_after_a_visit();
    let (number, disk) = &shelf.disks[0];
    let row = shelf.catalog.read().disk(*number).unwrap().unwrap();
    let options = VerifyOptions { streams: 1, ..VerifyOptions::default() };
    let outcome =
        verify::verify(&mut shelf.catalog, disk, &row, &Day(shelf.day), None, &options, &Silent).unwrap();
    assert!(outcome.complete);
    assert_ready(&shelf);
}
