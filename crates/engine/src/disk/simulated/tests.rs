use distbackup_core::model::DiskUuid;

use super::*;
use crate::content::InMemory;
use crate::disk::laws::{Bench, check_laws};
use crate::disk::{Disk, DiskStamp};

fn red() -> Identity {
    Identity::new(DiskUuid("r".into()), "red", None)
}

fn store(disk: &SimulatedDisk, content: &[u8]) -> Result<ObjectId, DiskError> {
    let staged = disk.stage(&mut InMemory::new(content)).map_err(|error| match error {
        crate::disk::StageError::Disk(error) => error,
        crate::disk::StageError::Source(error) => panic!("{error}"),
    })?;
    let id = staged.id;
    disk.commit(vec![staged]).map(|()| id)
}

#[test]
fn an_honest_disk_keeps_all_laws() {
    let make = || Box::new(SimulatedDisk::new(&red())) as Box<dyn Bench>;
    assert_eq!(check_laws(&make).unwrap(), [""; 0]);
}

#[test]
fn every_lie_is_found_out() {
    for (lie, law) in [
        (Lie::NoSyncAtAll, 1),
        (Lie::NoSyncOfNames, 1),
        (Lie::SidecarsNotSynced, 1),
        (Lie::HiddenFailure, 2),
        (Lie::SecondTry, 2),
        (Lie::FailureForgotten, 2),
        (Lie::StagedIsVisible, 3),
        (Lie::NothingCleared, 3),
        (Lie::ClearedIsCommitted, 3),
        (Lie::RemovesAnything, 4),
        (Lie::RemoveNeedsObject, 4),
        (Lie::RemovalNotSynced, 4),
        (Lie::ReadsThroughSymlinks, 5),
        (Lie::WritesThroughSymlinks, 5),
        (Lie::ListsSymlinks, 5),
        (Lie::MediumRots, 1),
        (Lie::ReadsBackFromMemory, 6),
        (Lie::TakenNotSynced, 7),
        (Lie::TakesWhatChanged, 7),
        (Lie::TakesWhatIsLinked, 7),
    ] {
        let make = || Box::new(SimulatedDisk::lying(&red(), lie)) as Box<dyn Bench>;
        let broken = check_laws(&make).expect_err(&format!("{lie:?} was not noticed"));
        assert_eq!(broken.law, law, "{lie:?}: {broken}");
    }
}

/// Crash at every operation of a visit, with every kind of power cut after it: what was confirmed is there, identity
/// and catalog are whole, old or new.
#[test]
fn d3_a_crash_at_any_operation_keeps_every_promise() {
    let room = tempfile::tempdir().unwrap();
    let (old, new) = (room.path().join("old"), room.path().join("new"));
    std::fs::write(&old, b"old catalog").unwrap();
    std::fs::write(&new, b"new catalog").unwrap();

    let prepare = || {
        let disk = SimulatedDisk::new(&red());
        let doomed = store(&disk, b"doomed").unwrap();
        let kept = store(&disk, b"kept").unwrap();
        let catalog = disk.publish_catalog(&old, Box::new(|| Ok(()))).unwrap();
        (disk, doomed, kept, catalog)
    };
    let visit =
        |disk: &SimulatedDisk, doomed: ObjectId, confirmed: &mut Vec<ObjectId>| -> Result<(), DiskError> {
            let stamped = Identity { stamp: Some(DiskStamp { counter: 1, random: 2 }), ..red() };
            disk.write_identity(&stamped)?;
            disk.remove(doomed)?;
            disk.sync()?;
            confirmed.push(store(disk, b"one")?);
            confirmed.push(store(disk, b"two")?);
            disk.publish_catalog(&new, Box::new(|| Ok(())))?;
            Ok(())
        };

    let (whole, doomed, ..) = prepare();
    let before = whole.operations();
    visit(&whole, doomed, &mut Vec::new()).unwrap();
    let operations = before + 1..=whole.operations();
    assert!(operations.clone().count() > 15, "{:?}", whole.log());
    for number in operations {
        for seed in 0..20 {
            let (disk, doomed, kept, old_catalog) = prepare();
            let mut confirmed = vec![kept];
            disk.crash_at(number);
            assert!(visit(&disk, doomed, &mut confirmed).is_err());
            let cut = if seed == 0 { PowerCut::LoseAll } else { PowerCut::Keep { seed } };
            disk.power_cut(cut);
            for id in &confirmed {
                assert!(disk.holds_durably(*id), "operation {number}, {cut:?}");
            }
            assert_eq!(disk.identity().unwrap().uuid, red().uuid);
            let catalog = disk.catalog_hash().unwrap();
            assert!(catalog == old_catalog || catalog == Blob::of(b"new catalog").hash());
            // And the next visit goes on where this one was.
            disk.clear_incoming().unwrap();
            visit(&disk, doomed, &mut confirmed).unwrap();
        }
    }
}

#[test]
fn d19_any_single_failure_ends_in_an_error_and_keeps_every_promise() {
    for failure in [Failure::Eio, Failure::Enospc, Failure::Erofs] {
        for number in 1..=5 {
            let disk = SimulatedDisk::new(&red());
            disk.fail_at(number, failure);
            let stored = store(&disk, b"x");
            assert_eq!(stored.is_ok(), number > 4, "{failure:?} {number} {:?}", disk.log());
            match (&stored, failure) {
                (Err(DiskError::NotDurable { .. }), _) => assert!(number == 2 || number == 4),
                (Err(DiskError::Full { .. }), Failure::Enospc)
                | (Err(DiskError::ReadOnly), Failure::Erofs) => {}
                (Err(DiskError::Io { .. }), Failure::Eio) | (Ok(_), _) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn n1_after_a_failed_sync_a_second_one_is_not_believed() {
    let disk = SimulatedDisk::new(&red());
    disk.fail_sync_after(0);
    assert!(matches!(store(&disk, b"x"), Err(DiskError::NotDurable { .. })));
    assert!(matches!(store(&disk, b"x"), Err(DiskError::NotDurable { .. })));
    disk.reconnect();
    let id = store(&disk, b"x").unwrap();
    assert!(disk.holds_durably(id) && disk.is_clean());
}

#[test]
fn d4_a_full_disk_says_so_and_d9_a_read_only_one_can_still_be_read() {
    let disk = SimulatedDisk::new(&red());
    let id = store(&disk, &[1; 5000]).unwrap();
    disk.set_capacity(Some(Bytes(30_000)));
    assert!(matches!(store(&disk, &[2; 20_000]), Err(DiskError::Full { .. })));
    assert!(disk.space().unwrap().free < Bytes(20_000));
    disk.set_read_only(true);
    assert!(matches!(store(&disk, b"y"), Err(DiskError::ReadOnly)));
    assert!(matches!(disk.remove(id), Err(DiskError::ReadOnly)));
    assert!(disk.open(id).is_ok());
    disk.vanish(true);
    assert!(matches!(disk.open(id), Err(DiskError::Io { .. })));
    assert!(disk.identity().is_err() && disk.catalog_hash().is_none());
}

#[test]
fn accidents_by_hand_are_visible_and_durable() {
    let disk = SimulatedDisk::new(&red());
    let rotten = store(&disk, b"rotten").unwrap();
    let short = store(&disk, b"short one").unwrap();
    let gone = store(&disk, b"gone").unwrap();
    let clone = disk.cloned();
    disk.rot(rotten);
    disk.cut_off(short, Bytes(3));
    disk.delete_by_hand(gone);
    disk.power_cut(PowerCut::LoseAll);
    assert!(![rotten, short, gone].into_iter().any(|id| disk.holds_durably(id)));
    assert!([rotten, short, gone].into_iter().all(|id| clone.holds_durably(id)));
    assert_eq!(disk.objects().len(), 2);
    assert_eq!(clone.identity().unwrap(), disk.identity().unwrap());
}
