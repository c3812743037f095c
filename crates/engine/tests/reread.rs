//! Rot of the sources without the command line: what a reading of an unchanged file makes of other content.
//!
//! The catalog is given another hash for a file than its content has: the same as if the content had rotted, which no
//! test can do to a file of an ordinary filesystem without its times telling.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use distbackup_core::model::DAY_NS;
use distbackup_engine::catalog::Wants;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::Part;
use distbackup_engine::ops::backup::{BackupOptions, Delivery, deliver};
use distbackup_engine::ops::reread::{RereadOptions, RereadOutcome, reread};
use distbackup_engine::ops::rot;
use distbackup_engine::ops::update::UpdateOptions;
use distbackup_engine::progress::{Event, Observer, Phase, Silent};
use shelf::Shelf;

const FILES: u64 = 6;

/// A day of the test.
struct Day(i64);

impl Clock for Day {
    fn now_ns(&self) -> i64 {
        self.0 * DAY_NS
    }
}

/// Files that were hashed on the second day; of the third one the catalog knows another content.
fn one_is_rotten(rooms: &[u64]) -> Shelf {
    let mut shelf = Shelf::new(rooms);
    (0..FILES).for_each(|number| shelf.write(&format!("photo {number}")));
    shelf.update(false);
    shelf.meddle(
        "UPDATE object SET sha256 = randomblob(32) WHERE id = (SELECT object FROM entry WHERE name = CAST('photo 2' AS BLOB))",
    );
    shelf
}

fn read_again(shelf: &mut Shelf, day: i64, part: Part, observer: &dyn Observer) -> RereadOutcome {
    let options = RereadOptions { part, ..RereadOptions::default() };
    reread(&mut shelf.catalog, &Day(day), &options, observer).unwrap()
}

/// Paths that are known to be rotten.
fn rotten(shelf: &Shelf) -> Vec<String> {
    let rot = rot::rot(&shelf.catalog.read(), 10).unwrap();
    assert_eq!(rot.total.objects, rot.first.len() as u64);
    rot.first.iter().map(|file| file.path.display()).collect()
}

#[test]
fn s4_a_reread_a_visit_and_a_delivery_each_record_the_rot_that_they_meet() {
    let mut shelf = one_is_rotten(&[]);
    let outcome = read_again(&mut shelf, 3, Part::default(), &Silent);
    assert_eq!((outcome.good.objects, outcome.rotten.count, outcome.changed), (FILES - 1, 1, 0));
    assert_eq!(rotten(&shelf), ["/files/photo 2"]);

    let mut shelf = one_is_rotten(&[100]);
    let outcome = shelf.visit(0, &BackupOptions::default());
    assert_eq!((outcome.rotten, outcome.problems.count), (1, 1));
    assert_eq!(outcome.copied.total().objects, FILES - 1);
    assert_eq!(rotten(&shelf), ["/files/photo 2"]);

    let mut shelf = one_is_rotten(&[100]);
    let disk = shelf.disks[0].0;
    shelf.meddle(&format!(
        "INSERT INTO lost_copy (disk, object, since_ns, why) SELECT {}, id, 1, 'test' FROM object",
        disk.0
    ));
    let row = shelf.catalog.read().disk(disk).unwrap().unwrap();
    let delivery = Delivery { wants: Wants::LostBy(disk), holders: &[], streams: 1, dry_run: false };
    let delivered =
        deliver(&mut shelf.catalog, &shelf.disks[0].1, row, 3 * DAY_NS, None, &delivery, &Silent).unwrap();
    assert_eq!((delivered.visit.rotten, delivered.visit.copied.total().objects), (1, FILES - 1));
    assert_eq!(rotten(&shelf), ["/files/photo 2"]);
}

#[test]
fn s4_rot_is_known_until_the_file_changes_or_is_read_and_good() {
    let mut shelf = one_is_rotten(&[]);
    read_again(&mut shelf, 3, Part::default(), &Silent);
    shelf.update(false);
    assert_eq!(rotten(&shelf).len(), 1, "an update that reads nothing leaves it");
    fs::write(shelf.file("photo 2"), "another picture").unwrap();
    shelf.update(false);
    assert!(rotten(&shelf).is_empty());
}

#[test]
fn s4_what_is_known_to_be_rotten_does_not_keep_a_part_from_all_else() {
    let mut shelf = one_is_rotten(&[]);
    let no_time = Part { time: Some(std::time::Duration::ZERO), ..Part::default() };
    let (mut good, mut rotten) = (0, 0);
    for run in 0..20 {
        let outcome = read_again(&mut shelf, 3 + run, no_time, &Silent);
        (good, rotten) = (good + outcome.good.objects, rotten + outcome.rotten.count);
        if good + rotten == FILES {
            break;
        }
    }
    assert_eq!((good, rotten), (FILES - 1, 1), "each is read once before any is read again");
}

#[test]
fn s4_a_file_that_is_moved_takes_with_it_that_it_is_rotten_and_when_it_was_read() {
    let mut shelf = one_is_rotten(&[]);
    read_again(&mut shelf, 3, Part::default(), &Silent);
    let older = Part { older_than_ns: Some(10 * DAY_NS), ..Part::default() };
    shelf.day = 20;
    fs::rename(shelf.file("photo 2"), shelf.file("picture 2")).unwrap();
    fs::rename(shelf.file("photo 3"), shelf.file("picture 3")).unwrap();
    fs::write(shelf.file("photo 4"), "changed, and read when it was taken").unwrap();
    let outcome = shelf.update_with(&UpdateOptions::default());
    assert_eq!((outcome.moved, outcome.hashed.objects), (2, 1), "{outcome:?}");
    assert_eq!(rotten(&shelf), ["/files/picture 2"]);
    let again = read_again(&mut shelf, 20, older, &Silent);
    assert_eq!((again.good.objects, again.rotten.count), (FILES - 2, 1), "all but what was read today");
    shelf.update(false);
    assert_eq!(rotten(&shelf), ["/files/picture 2"]);
}

/// Does something to a file as soon as files are read again.
struct Meddler<F: Fn() + Sync>(F);

impl<F: Fn() + Sync> Observer for Meddler<F> {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Begin { phase: Phase::Reread, .. }) {
            (self.0)();
        }
    }
}

#[test]
fn s8_s9_what_changes_or_goes_after_the_scan_is_not_rotten_but_left_to_the_next_update() {
    let changes: [fn(PathBuf); 4] = [
        |file| fs::write(file, "changed").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| {
            fs::remove_file(&file).unwrap();
            fs::create_dir(file).unwrap();
        },
        |file| {
            let time = fs::metadata(&file).unwrap().modified().unwrap();
            let content = fs::read(&file).unwrap();
            fs::write(&file, content.iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
            fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        },
    ];
    for change in changes {
        let mut shelf = Shelf::new(&[]);
        (0..FILES).for_each(|number| shelf.write(&format!("photo {number}")));
        shelf.update(false);
        let file = shelf.file("photo 4");
        let outcome = read_again(&mut shelf, 3, Part::default(), &Meddler(|| change(file.clone())));
        assert_eq!((outcome.good.objects, outcome.changed, outcome.rotten.count), (FILES - 1, 1, 0));
        assert!(outcome.unreadable.is_empty() && rotten(&shelf).is_empty());
    }
}

/// Asks to stop with the first file in hand.
#[derive(Default)]
struct StopAtOnce(AtomicBool);

impl Observer for StopAtOnce {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Done { files: 1, .. }) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn what_was_read_before_an_interruption_is_recorded_and_not_read_again() {
    let mut shelf = Shelf::new(&[]);
    (0..200).for_each(|number| shelf.write(&format!("photo {number}")));
    shelf.update(false);
    let first = read_again(&mut shelf, 3, Part::default(), &StopAtOnce::default());
    let read = first.good.objects;
    assert!(first.interrupted && (1..200).contains(&read), "{first:?}");
    let older = Part { older_than_ns: Some(DAY_NS), ..Part::default() };
    let second = read_again(&mut shelf, 3, older, &Silent);
    assert_eq!(second.good.objects, 200 - read, "what was read a moment ago is not a day old");
}
