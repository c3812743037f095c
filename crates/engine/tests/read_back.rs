//! `backup --read-back`: a disk that takes what it cannot give back is found out while the source still has it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use std::sync::atomic::{AtomicBool, Ordering};

use distbackup_core::model::{BLOCK, ObjectId, billed};
use distbackup_engine::disk::Disk as _;
use distbackup_engine::disk::simulated::{Lie, SimulatedDisk};
use distbackup_engine::hash;
use distbackup_engine::ops::backup::BackupOptions;
use distbackup_engine::progress::{Event, Observer, Phase};
use shelf::Shelf;

const FILES: u64 = 24;

fn reading_back() -> BackupOptions {
    BackupOptions { read_back: true, streams: 2, ..BackupOptions::default() }
}

/// A shelf with some files that nothing holds yet, and an empty disk that lies.
fn before_the_first_visit(lie: Option<Lie>, scan_only: bool) -> Shelf {
    let mut shelf = Shelf::new(&[100]);
    (0..FILES).for_each(|number| shelf.write(&format!("photo {number}")));
    shelf.update(scan_only);
    if let Some(lie) = lie {
        let identity = shelf.disks[0].1.identity().unwrap();
        shelf.disks[0].1 = SimulatedDisk::lying(&identity, lie);
    }
    shelf
}

/// Objects that the medium holds, and whether each is good there.
fn on_the_medium(disk: &SimulatedDisk) -> Vec<(ObjectId, bool)> {
    let read = |id: ObjectId| {
        let mut content = disk.read_back(id).unwrap().content;
        let (found, _) = hash::hash_content(content.as_mut(), &mut |_| {}, &|| false).unwrap();
        (id, found == id)
    };
    disk.objects().into_iter().map(read).collect()
}

/// Whether the catalog claims an object on the only disk, and how that was proven.
fn claim(shelf: &Shelf, id: ObjectId) -> Option<String> {
    let reader = shelf.catalog.read();
    let object = reader.object_by_id(&id).unwrap()?;
    reader.copies(object.object).unwrap().first().map(|copy| copy.how.clone())
}

#[test]
fn n1_d7_nothing_is_claimed_that_the_medium_does_not_give_back() {
    for take_pending in [false, true] {
        let mut shelf = before_the_first_visit(Some(Lie::MediumRots), take_pending);
        let outcome = shelf.visit(0, &BackupOptions { take_pending, ..reading_back() });
        let medium = on_the_medium(&shelf.disks[0].1);
        let rotten = medium.iter().filter(|(_, good)| !good).count() as u64;
        assert_eq!(medium.len() as u64, FILES, "what is damaged is left where it is");
        assert!((1..FILES).contains(&rotten), "the test needs some of each: {rotten}");
        for (id, good) in medium {
            assert_eq!(claim(&shelf, id).as_deref(), good.then_some("read"), "{id}");
        }

        let read = outcome.read_back.as_ref().unwrap();
        assert_eq!((read.good.objects, read.bad.count), (FILES - rotten, rotten));
        assert_eq!(outcome.copied.total(), read.good, "only those are reported as copied");
        let told = &read.bad.first[0];
        assert!(told.path.starts_with(b"/files/photo "), "{}", told.path.escape_ascii());
        assert_eq!(told.reason, "the disk gave back other bytes than were written");
        assert!(!outcome.complete() && outcome.problems.is_empty());
        assert_eq!(outcome.pending.objects, 0, "the files themselves are known");
        let disk = shelf.disks[0].0;
        assert_eq!(shelf.catalog.read().lost_total(disk).unwrap().0, rotten, "and can be healed");
        let orphans = shelf.catalog.read().orphans_billed(disk, BLOCK).unwrap();
        let room =
            |objects: u64| (0..objects).map(|_| billed(distbackup_core::model::Bytes(BLOCK), BLOCK)).sum();
        assert_eq!(orphans, room(rotten), "their room is not given away");

        // The next visit sees them as damaged, neither adopts nor claims them, and tries again.
        let again = shelf.visit(0, &reading_back());
        assert_eq!((again.reconciled.adopted.objects, again.copied.total().objects), (0, 0));
        assert_eq!(again.read_back.unwrap().bad.count, rotten);
    }
}

#[test]
fn without_it_the_same_disk_is_believed_until_it_is_verified() {
    let mut shelf = before_the_first_visit(Some(Lie::MediumRots), false);
    let outcome = shelf.visit(0, &BackupOptions::default());
    assert!(outcome.complete() && outcome.read_back.is_none());
    assert_eq!(shelf.held(0), (FILES as usize, FILES));
}

#[test]
fn a_good_disk_is_read_back_whole_and_the_proof_is_a_reading() {
    let mut shelf = before_the_first_visit(None, false);
    let outcome = shelf.visit(0, &reading_back());
    let read = outcome.read_back.as_ref().unwrap();
    assert_eq!((read.good.objects, read.from_memory.objects, read.bad.count), (FILES, 0, 0));
    assert!(outcome.complete());
    for id in shelf.disks[0].1.objects() {
        assert_eq!(claim(&shelf, id).as_deref(), Some("read"));
    }
}

/// Asks to stop as soon as something is read back.
#[derive(Default)]
struct StopThen(AtomicBool);

impl Observer for StopThen {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Begin { phase: Phase::ReadBack, .. }) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn n1_what_was_not_read_back_any_more_is_not_claimed_and_the_next_visit_takes_it_over() {
    for take_pending in [false, true] {
        let mut shelf = before_the_first_visit(None, take_pending);
        let options = BackupOptions { take_pending, ..reading_back() };
        let stop = StopThen::default();
        let outcome = shelf.try_visit(0, &options, &stop).unwrap();
        assert!(outcome.interrupted);
        assert_eq!((shelf.held(0), outcome.copied.total().objects), ((FILES as usize, 0), 0));
        let next = shelf.visit(0, &options);
        assert_eq!((next.reconciled.adopted.objects, next.copied.total().objects), (FILES, 0));
        assert_eq!(shelf.held(0), (FILES as usize, FILES));
    }
}

#[test]
fn d3_a_disk_that_is_unplugged_while_it_is_read_back_is_no_damaged_disk() {
    let mut shelf = before_the_first_visit(None, false);
    let Shelf { catalog, disks, day, .. } = &mut shelf;
    let (number, simulated) = &disks[0];
    struct Unplug<'d>(&'d SimulatedDisk);
    impl Observer for Unplug<'_> {
        fn event(&self, event: Event<'_>) {
            if matches!(event, Event::Begin { phase: Phase::ReadBack, .. }) {
                self.0.vanish(true);
            }
        }
    }
    let row = catalog.read().disk(*number).unwrap().unwrap();
    let now_ns = *day * distbackup_core::model::DAY_NS;
    let visited = distbackup_engine::ops::backup::visit(
        catalog,
        simulated,
        row,
        now_ns,
        None,
        &reading_back(),
        &Unplug(simulated),
    );
    assert!(visited.is_err(), "{visited:?}");
    assert_eq!(catalog.read().held_total(*number).unwrap().0, 0, "nothing is claimed");
    assert_eq!(catalog.read().lost_total(*number).unwrap().0, 0, "and nothing is called damaged");
    simulated.vanish(false);
    let next = shelf.visit(0, &reading_back());
    assert_eq!(next.reconciled.adopted.objects, FILES);
}
