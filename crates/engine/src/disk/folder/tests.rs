use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use distbackup_core::model::DiskUuid;
use sha2::{Digest, Sha256};

use super::*;
use crate::content::{InMemory, Segment};

struct Shelf {
    room: tempfile::TempDir,
    disk: FolderDisk,
}

fn identity(uuid: &str) -> Identity {
    Identity::new(DiskUuid(uuid.into()), "red", None)
}

fn shelf() -> Shelf {
    let room = tempfile::tempdir().unwrap();
    let disk = FolderDisk::create(&room.path().join("red"), &identity("r")).unwrap();
    Shelf { room, disk }
}

/// A disk whose filesystem, or table of open files, has no room for files without a name.
fn naming_all() -> Shelf {
    let mut shelf = shelf();
    shelf.disk = FolderDisk::open(&shelf.path("")).unwrap().holding_unnamed(0);
    shelf
}

/// A disk that holds so many files without a name, if its filesystem has them at all.
fn holding_unnamed(max: usize) -> Option<Shelf> {
    platform::raise_open_files_limit();
    let mut shelf = shelf();
    shelf.disk = FolderDisk::open(&shelf.path("")).unwrap().holding_unnamed(max);
    if shelf.disk.unnamed.get_or_init(|| shelf.disk.folder_for_unnamed()).is_none() {
        eprintln!("SKIPPED: the filesystem of the temporary folder has no files without a name");
        return None;
    }
    assert_eq!(shelf.incoming(), 0, "asking leaves nothing behind");
    Some(shelf)
}

/// A disk that copies reach under temporary names, and one that they reach without.
fn both_ways() -> impl Iterator<Item = Shelf> {
    [Some(naming_all()), holding_unnamed(usize::MAX)].into_iter().flatten()
}

impl Shelf {
    fn path(&self, name: &str) -> PathBuf {
        self.room.path().join("red").join(name)
    }

    fn store(&self, content: &[u8]) -> ObjectId {
        let staged = self.disk.stage(&mut InMemory::new(content)).unwrap();
        let id = staged.id;
        self.disk.commit(vec![staged]).unwrap();
        id
    }

    fn object(&self, id: ObjectId) -> PathBuf {
        self.path(&layout::object_path(id))
    }

    fn incoming(&self) -> usize {
        std::fs::read_dir(self.path("distbackup-incoming")).map_or(0, Iterator::count)
    }
}

fn hash(content: &[u8]) -> ObjectId {
    ObjectId(Sha256::digest(content).into())
}

fn read(content: &mut dyn Content) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(segment) = content.next_segment().unwrap() {
        match segment {
            Segment::Data(bytes) => all.extend_from_slice(bytes),
            Segment::Zeros(run) => all.resize(all.len() + run as usize, 0),
        }
    }
    all
}

/// Two pieces around a hole, and a hole at the end.
struct Sparse(u32);

impl Content for Sparse {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        self.0 += 1;
        Ok(match self.0 {
            1 => Some(Segment::Data(b"head")),
            2 => Some(Segment::Zeros(5 << 20)),
            3 => Some(Segment::Data(b"tail")),
            4 => Some(Segment::Zeros(3 << 20)),
            _ => None,
        })
    }
}

struct Broken(bool);

impl Content for Broken {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::Error::other("bad sector"));
        }
        Ok(Some(Segment::Data(b"half")))
    }
}

#[test]
fn what_is_committed_is_a_plain_private_file_under_its_hash() {
    for each_file in [false, true] {
        let mut shelf = shelf();
        if each_file {
            shelf.disk = FolderDisk::open(&shelf.path("")).unwrap().syncing_each_file();
        }
        let id = shelf.store(b"iceland");
        assert_eq!(id, hash(b"iceland"));
        let file = shelf.object(id);
        assert_eq!(std::fs::read(&file).unwrap(), b"iceland");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(read(&mut *shelf.disk.open(id).unwrap()), b"iceland");
        assert_eq!(
            shelf.disk.list_folder(layout::prefix(id)).unwrap(),
            [Listed::Object { id, size: Bytes(7) }]
        );
        assert_eq!(shelf.incoming(), 0);
        shelf.disk.remove(id).unwrap();
        shelf.disk.remove(id).unwrap();
        shelf.disk.sync().unwrap();
        assert!(matches!(shelf.disk.open(id), Err(DiskError::Missing(gone)) if gone == id));
        assert!(
            shelf.disk.sync_failure.lock().unwrap().is_none()
                && shelf.disk.touched.lock().unwrap().len() <= 1
        );
    }
}

#[test]
fn holes_take_no_room_and_are_part_of_the_hash() {
    let shelf = shelf();
    let staged = shelf.disk.stage(&mut Sparse(0)).unwrap();
    let mut whole = b"head".to_vec();
    whole.resize(4 + (5 << 20), 0);
    whole.extend_from_slice(b"tail");
    whole.resize(whole.len() + (3 << 20), 0);
    assert_eq!((staged.id, staged.size), (hash(&whole), Bytes(whole.len() as u64)));
    let id = staged.id;
    shelf.disk.commit(vec![staged]).unwrap();
    assert!(read(&mut *shelf.disk.open(id).unwrap()) == whole);
    assert!(shelf.object(id).metadata().unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_hole_larger_than_any_filesystem_takes_is_refused_at_once() {
    struct Endless;
    impl Content for Endless {
        fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
            Ok(Some(Segment::Zeros(u64::MAX / 3)))
        }
    }
    let shelf = shelf();
    let error = shelf.disk.stage(&mut Endless).unwrap_err();
    assert!(matches!(error, StageError::Disk(DiskError::TooLarge { .. })), "{error}");
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn a_source_that_fails_half_way_leaves_nothing_behind() {
    let shelf = shelf();
    assert!(matches!(shelf.disk.stage(&mut Broken(false)), Err(StageError::Source(_))));
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn what_is_discarded_is_gone_and_cannot_be_committed() {
    let shelf = shelf();
    let staged = shelf.disk.stage(&mut InMemory::new(b"x")).unwrap();
    let again = Staged { id: staged.id, size: staged.size, handle: staged.handle };
    shelf.disk.discard(staged).unwrap();
    assert_eq!(shelf.incoming(), 0);
    assert!(shelf.disk.commit(vec![again]).is_err());
}

#[test]
fn n1_after_a_failed_sync_nothing_is_committed_any_more() {
    for shelf in both_ways() {
        let staged = shelf.disk.stage(&mut InMemory::new(b"x")).unwrap();
        let full = (std::io::ErrorKind::StorageFull, "input/output error".into());
        *shelf.disk.sync_failure.lock().unwrap() = Some(full);
        let error = shelf.disk.commit(vec![staged]).unwrap_err();
        assert!(matches!(error, DiskError::NotDurable { objects: 1, .. }), "{error}");
        // Of its kind, which is what the user is told to do something about.
        assert!(matches!(&error, DiskError::NotDurable { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull));
        assert!(error.to_string().contains("input/output error"));
        assert_eq!(shelf.incoming(), 0);
        assert!(shelf.disk.list_folder(layout::prefix(hash(b"x"))).unwrap().is_empty());
        assert!(matches!(shelf.disk.sync(), Err(DiskError::NotDurable { .. })));
    }
}

#[test]
fn d10_a_folder_without_an_identity_is_no_disk_and_stays_untouched() {
    let room = tempfile::tempdir().unwrap();
    assert!(matches!(FolderDisk::open(room.path()), Err(DiskError::NotADisk { .. })));
    assert!(matches!(FolderDisk::open(&room.path().join("no")), Err(DiskError::NotADisk { .. })));
    assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 0);
}

#[test]
fn d13_a_disk_is_never_made_a_second_time() {
    let shelf = shelf();
    let before = std::fs::read(shelf.path("distbackup-disk.json")).unwrap();
    let again = FolderDisk::create(&shelf.path(""), &identity("other"));
    assert!(matches!(again, Err(DiskError::AlreadyADisk { .. })));
    assert_eq!(std::fs::read(shelf.path("distbackup-disk.json")).unwrap(), before);
    // Not even where the identity is a symlink to nowhere.
    let room = tempfile::tempdir().unwrap();
    symlink("/nonexistent", room.path().join("distbackup-disk.json")).unwrap();
    assert!(matches!(FolderDisk::create(room.path(), &identity("x")), Err(DiskError::AlreadyADisk { .. })));
    assert!(matches!(FolderDisk::open(room.path()), Err(DiskError::DamagedIdentity { .. })));
}

#[test]
fn d15_foreign_things_among_the_objects_are_reported_and_not_followed() {
    let shelf = shelf();
    let id = shelf.store(b"good");
    let prefix = layout::prefix(id);
    let folder = shelf.path("distbackup-objects").join(layout::folder_name(prefix));
    let outside = shelf.room.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), b"mine").unwrap();
    let mut linked = id;
    linked.0[31] ^= 1;
    symlink(outside.join("precious"), folder.join(linked.hex())).unwrap();
    let mut inside = id;
    inside.0[31] ^= 2;
    std::fs::create_dir(folder.join(inside.hex())).unwrap();
    let mut elsewhere = id;
    elsewhere.0[0] ^= 0x80;
    std::fs::write(folder.join(elsewhere.hex()), b"x").unwrap();
    std::fs::write(folder.join(id.hex().to_uppercase()), b"x").unwrap();
    std::fs::write(folder.join("notes.txt"), b"x").unwrap();

    let listed = shelf.disk.list_folder(prefix).unwrap();
    assert_eq!(listed[0], Listed::Object { id, size: Bytes(4) });
    let mut odd: Vec<&str> = Vec::new();
    for other in &listed[1..] {
        let Listed::Foreign { path, what } = other else { panic!("{other:?}") };
        assert!(path.starts_with(layout::folder_name(prefix).as_bytes()));
        odd.push(what);
    }
    odd.sort_unstable();
    assert_eq!(
        odd,
        [
            "a folder",
            "a symlink",
            "an object in the wrong folder",
            "not the name of an object",
            "not the name of an object"
        ]
    );

    assert!(matches!(shelf.disk.open(linked), Err(DiskError::Foreign { what: "a symlink", .. })));
    assert!(matches!(shelf.disk.open(inside), Err(DiskError::Foreign { what: "a folder", .. })));
    assert!(matches!(shelf.disk.remove(linked), Err(DiskError::Foreign { .. })));
    assert!(matches!(shelf.disk.remove(inside), Err(DiskError::Foreign { .. })));
    assert!(matches!(shelf.disk.quarantine(linked), Err(DiskError::Foreign { .. })));
    assert_eq!(std::fs::read(outside.join("precious")).unwrap(), b"mine");
}

#[test]
fn d15_a_pipe_with_the_name_of_an_object_does_not_hold_us() {
    let shelf = shelf();
    let id = shelf.store(b"good");
    std::fs::remove_file(shelf.object(id)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, shelf.object(id), 0o600.into()).unwrap();
    assert!(matches!(shelf.disk.open(id), Err(DiskError::Foreign { what: "a pipe", .. })));
}

#[test]
fn d15_a_folder_of_objects_that_is_a_symlink_is_neither_read_nor_written() {
    let shelf = shelf();
    let outside = shelf.room.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let id = hash(b"escape");
    std::fs::write(outside.join(id.hex()), b"escape").unwrap();
    let objects = shelf.path("distbackup-objects");
    std::fs::create_dir(&objects).unwrap();
    symlink(&outside, objects.join(layout::folder_name(layout::prefix(id)))).unwrap();
    std::fs::write(objects.join("ABC"), b"").unwrap();
    std::fs::write(objects.join(if layout::prefix(id) == 0 { "001" } else { "000" }), b"").unwrap();

    assert!(shelf.disk.list_folder(layout::prefix(id)).unwrap().is_empty());
    assert_eq!(shelf.disk.list_foreign().unwrap().len(), 3);
    assert!(matches!(shelf.disk.open(id), Err(DiskError::Foreign { .. })));
    assert!(shelf.disk.remove(id).is_err());
    let staged = shelf.disk.stage(&mut InMemory::new(b"escape")).unwrap();
    assert!(matches!(shelf.disk.commit(vec![staged]), Err(DiskError::Foreign { .. })));
    assert_eq!(shelf.incoming(), 0);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.join(id.hex())).unwrap(), b"escape");
}

#[test]
fn d15_an_objects_folder_that_is_a_symlink_or_a_file_is_an_error() {
    for link in [true, false] {
        let shelf = shelf();
        let outside = shelf.room.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        if link {
            symlink(&outside, shelf.path("distbackup-objects")).unwrap();
        } else {
            std::fs::write(shelf.path("distbackup-objects"), b"").unwrap();
        }
        assert!(matches!(shelf.disk.list_folder(0), Err(DiskError::Foreign { .. })));
        assert!(matches!(shelf.disk.list_foreign(), Err(DiskError::Foreign { .. })));
        let staged = shelf.disk.stage(&mut InMemory::new(b"escape")).unwrap();
        assert!(matches!(shelf.disk.commit(vec![staged]), Err(DiskError::Foreign { .. })));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[test]
fn d15_a_symlink_in_the_place_of_an_object_is_not_overwritten() {
    for shelf in both_ways() {
        let id = shelf.store(b"good");
        let outside = shelf.room.path().join("precious");
        std::fs::write(&outside, b"mine").unwrap();
        std::fs::remove_file(shelf.object(id)).unwrap();
        symlink(&outside, shelf.object(id)).unwrap();
        let staged = shelf.disk.stage(&mut InMemory::new(b"good")).unwrap();
        assert!(matches!(shelf.disk.commit(vec![staged]), Err(DiskError::Foreign { .. })));
        assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
        assert!(shelf.object(id).is_symlink());
        assert_eq!(shelf.incoming(), 0);
    }
}

/// The path is exchanged in the middle of a visit: everything still goes to the folder that was opened.
#[test]
fn d15_a_path_exchanged_during_the_visit_leads_nowhere_else() {
    let shelf = shelf();
    let moved = shelf.room.path().join("moved");
    std::fs::rename(shelf.path(""), &moved).unwrap();
    let other = shelf.room.path().join("other");
    std::fs::create_dir(&other).unwrap();
    symlink(&other, shelf.room.path().join("red")).unwrap();
    let id = shelf.store(b"here");
    assert!(moved.join(layout::object_path(id)).is_file());
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
fn a_rotten_object_is_replaced_by_what_was_just_proven() {
    for shelf in both_ways() {
        let id = shelf.store(b"good");
        std::fs::write(shelf.object(id), b"rot!").unwrap();
        assert_eq!(shelf.store(b"good"), id);
        assert_eq!(std::fs::read(shelf.object(id)).unwrap(), b"good");
        assert_eq!((shelf.incoming(), shelf.object(id).metadata().unwrap().nlink()), (0, 1));
    }
}

#[test]
fn what_comes_in_by_several_threads_goes_into_several_folders_and_leaves_none() {
    let shelf = naming_all();
    let staged: Vec<_> = (0..600u32)
        .map(|number| shelf.disk.stage(&mut InMemory::new(&number.to_le_bytes())).unwrap())
        .collect();
    assert_eq!(shelf.incoming(), 3, "one more for each 256 files");
    // Somebody clears one away: what lay in it is lost, what comes next finds a place.
    std::fs::remove_dir_all(shelf.path("distbackup-incoming/1")).unwrap();
    let more: Vec<_> =
        (0..3).map(|number| shelf.disk.stage(&mut InMemory::new(&[number; 9])).unwrap()).collect();
    let ids: Vec<_> = more.iter().map(|object| object.id).collect();
    shelf.disk.commit(more).unwrap();
    assert!(ids.iter().all(|id| shelf.object(*id).is_file()));
    assert!(shelf.disk.commit(staged).is_err());
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn d16_what_has_no_name_yet_is_gone_when_the_program_ends_or_thinks_better_of_it() {
    let Some(mut shelf) = holding_unnamed(usize::MAX) else { return };
    let [first, second, third] =
        [b"first", b"other", b"third"].map(|content| shelf.disk.stage(&mut InMemory::new(content)).unwrap());
    assert_eq!(shelf.incoming(), 0, "nothing of it is to be seen");
    let id = first.id;
    shelf.disk.commit(vec![first]).unwrap();
    assert_eq!(read(&mut *shelf.disk.open(id).unwrap()), b"first");
    assert_eq!(shelf.object(id).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = Staged { id: second.id, size: second.size, handle: second.handle };
    shelf.disk.discard(second).unwrap();
    assert!(shelf.disk.commit(vec![again]).is_err());
    assert!(matches!(shelf.disk.stage(&mut Broken(false)), Err(StageError::Source(_))));
    let gone = shelf.object(third.id);
    shelf.disk = FolderDisk::open(&shelf.path("")).unwrap();
    assert!(shelf.disk.commit(vec![third]).is_err() && !gone.exists());
    assert_eq!(shelf.incoming(), 0);
    assert_eq!(shelf.disk.clear_incoming().unwrap(), Bytes(0));
}

#[test]
fn when_no_more_files_can_be_held_the_rest_gets_temporary_names_and_all_of_it_arrives() {
    let Some(shelf) = holding_unnamed(100) else { return };
    let contents: Vec<[u8; 4]> = (0..300u32).map(u32::to_le_bytes).collect();
    let stage = |content: &[u8; 4]| shelf.disk.stage(&mut InMemory::new(content)).unwrap();
    let staged: Vec<_> = contents.iter().map(stage).collect();
    let named: usize = std::fs::read_dir(shelf.path("distbackup-incoming"))
        .unwrap()
        .map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count())
        .sum();
    // Other tests may hold some of the hundred.
    assert!(named >= 200, "{named}");
    let ids: Vec<_> = staged.iter().map(|object| object.id).collect();
    shelf.disk.commit(staged).unwrap();
    for (id, content) in ids.iter().zip(&contents) {
        assert_eq!(read(&mut *shelf.disk.open(*id).unwrap()), content);
    }
    assert_eq!(shelf.incoming(), 0);
}

/// As many as two threads share: each object arrives, twins and one that was there already, too.
#[test]
fn a_large_batch_arrives_whole_and_after_an_error_none_of_it_counts() {
    let Some(shelf) = holding_unnamed(usize::MAX) else { return };
    let there = shelf.store(&7u32.to_le_bytes());
    std::fs::write(shelf.object(there), b"rot").unwrap();
    let stage = |number: u32| shelf.disk.stage(&mut InMemory::new(&number.to_le_bytes())).unwrap();
    let mut staged: Vec<_> = (0..2000u32).map(stage).collect();
    staged.push(stage(8));
    let ids: Vec<_> = staged.iter().map(|object| object.id).collect();
    shelf.disk.commit(staged).unwrap();
    for (id, number) in ids.iter().zip((0..2000u32).chain([8])) {
        assert_eq!(std::fs::read(shelf.object(*id)).unwrap(), number.to_le_bytes());
    }
    assert_eq!(shelf.incoming(), 0);
    let touched: BTreeSet<u16> = ids.iter().map(|id| layout::prefix(*id)).collect();
    assert_eq!(*shelf.disk.touched.lock().unwrap(), touched);

    // In the way of one of them lies something that is not ours.
    let staged: Vec<_> = (3000..5000u32).map(stage).collect();
    let blocked = shelf.object(staged[1500].id);
    std::fs::create_dir_all(&blocked).unwrap();
    assert!(matches!(shelf.disk.commit(staged), Err(DiskError::Foreign { .. })));
    assert!(blocked.is_dir());
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn d16_left_overs_are_removed_links_not_followed_and_own_files_kept() {
    let shelf = shelf();
    let staged = shelf.disk.stage(&mut InMemory::new(&[1; 1000])).unwrap();
    let outside = shelf.room.path().join("precious");
    std::fs::write(&outside, b"mine").unwrap();
    symlink(&outside, shelf.path("distbackup-incoming/link")).unwrap();
    std::fs::create_dir(shelf.path("distbackup-incoming/folder")).unwrap();
    // What a visit left that was killed: files in a folder of ours, and something in it that is not.
    std::fs::create_dir_all(shelf.path("distbackup-incoming/7/not ours")).unwrap();
    std::fs::write(shelf.path("distbackup-incoming/7/0123456789abcdef-1"), [3; 20]).unwrap();
    symlink(&outside, shelf.path("distbackup-incoming/7/link")).unwrap();
    symlink(outside.parent().unwrap(), shelf.path("distbackup-incoming/8")).unwrap();
    std::fs::write(shelf.path("distbackup-tmp.4711.1"), [2; 500]).unwrap();
    std::fs::write(shelf.path("distbackup-tmp.notes"), b"a user's").unwrap();
    std::fs::create_dir(shelf.path("distbackup-tmp.1.1")).unwrap();

    assert_eq!(shelf.disk.clear_incoming().unwrap(), Bytes(1520));
    assert_eq!(shelf.incoming(), 2, "folders that are not ours, or hold something that is not");
    assert_eq!(std::fs::read_dir(shelf.path("distbackup-incoming/7")).unwrap().count(), 1);
    assert!(outside.is_file() && shelf.path("distbackup-tmp.notes").is_file());
    assert!(!shelf.path("distbackup-tmp.4711.1").exists() && shelf.path("distbackup-tmp.1.1").is_dir());
    assert!(shelf.disk.commit(vec![staged]).is_err());
}

#[test]
fn objects_that_go_bad_twice_are_both_kept_for_inspection() {
    let shelf = shelf();
    for _ in 0..3 {
        let id = shelf.store(b"bad");
        shelf.disk.quarantine(id).unwrap();
        assert!(matches!(shelf.disk.quarantine(id), Err(DiskError::Missing(_))));
    }
    let id = hash(b"bad");
    for name in [id.hex(), format!("{id}.1"), format!("{id}.2")] {
        assert!(shelf.path("bad-objects").join(name).is_file());
    }
}

#[test]
fn n11_the_catalog_copy_is_private_and_the_previous_one_is_kept() {
    let shelf = shelf();
    let local = shelf.room.path().join("local");
    let fetched = shelf.room.path().join("fetched");
    assert!(!shelf.disk.fetch_catalog(&fetched).unwrap());
    assert_eq!(shelf.disk.catalog_hash(), None);
    let mut previous: Option<&[u8]> = None;
    for content in [b"one".as_slice(), b"two", b"two", b"three"] {
        std::fs::write(&local, content).unwrap();
        std::fs::write(shelf.path("distbackup.sqlite-wal"), b"of an older copy").unwrap();
        assert_eq!(shelf.disk.publish_catalog(&local, Box::new(|| Ok(()))).unwrap(), hash(content));
        assert_eq!(shelf.disk.catalog_hash(), Some(hash(content)));
        assert!(shelf.disk.fetch_catalog(&fetched).unwrap());
        assert_eq!(std::fs::read(&fetched).unwrap(), content);
        assert_eq!(shelf.disk.fetch_previous_catalog(&fetched).unwrap(), previous.is_some());
        if let Some(previous) = previous {
            assert_eq!(std::fs::read(&fetched).unwrap(), previous);
        }
        assert!(!shelf.path("distbackup.sqlite-wal").exists());
        assert_eq!(shelf.incoming(), 0);
        previous = Some(content);
    }
    assert_eq!(shelf.path("distbackup.sqlite").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Somebody has linked both names to one file: still no left-over.
    std::fs::remove_file(shelf.path("distbackup.sqlite.previous")).unwrap();
    std::fs::hard_link(shelf.path("distbackup.sqlite"), shelf.path("distbackup.sqlite.previous")).unwrap();
    shelf.disk.publish_catalog(&local, Box::new(|| Ok(()))).unwrap();
    assert_eq!(shelf.incoming(), 0);
    // One that is found damaged on its way does not arrive.
    std::fs::write(&local, b"damaged").unwrap();
    let damaged = || Err(std::io::ErrorKind::InvalidData.into());
    assert!(shelf.disk.publish_catalog(&local, Box::new(damaged)).is_err());
    for name in ["distbackup.sqlite", "distbackup.sqlite.previous"] {
        assert_eq!(std::fs::read(shelf.path(name)).unwrap(), b"three");
    }
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn a_catalog_that_is_a_symlink_is_neither_read_nor_replaced() {
    let shelf = shelf();
    let outside = shelf.room.path().join("precious");
    std::fs::write(&outside, b"mine").unwrap();
    symlink(&outside, shelf.path("distbackup.sqlite")).unwrap();
    assert!(shelf.disk.fetch_catalog(&shelf.room.path().join("x")).is_err());
    assert_eq!(shelf.disk.catalog_hash(), None);
    assert!(matches!(
        shelf.disk.publish_catalog(&outside, Box::new(|| Ok(()))),
        Err(DiskError::Foreign { .. })
    ));
    assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn recovery_files_are_written_once_and_only_under_their_names() {
    let shelf = shelf();
    assert!(shelf.disk.write_recovery_file("RESTORE.txt", b"how").unwrap());
    assert!(!shelf.disk.write_recovery_file("RESTORE.txt", b"how").unwrap());
    std::fs::write(shelf.path("RESTORE.txt"), b"how and more").unwrap();
    assert!(shelf.disk.write_recovery_file("RESTORE.txt", b"how").unwrap());
    assert_eq!(std::fs::read(shelf.path("RESTORE.txt")).unwrap(), b"how");
    for name in ["../x", "distbackup-disk.json", ""] {
        assert!(shelf.disk.write_recovery_file(name, b"x").is_err(), "{name}");
    }
}

#[test]
fn an_identity_is_replaced_whole_and_foreign_keys_stay() {
    let shelf = shelf();
    std::fs::write(shelf.path("distbackup-disk.json"), r#"{"uuid":"r","name":"red","sticker":"shelf 3"}"#)
        .unwrap();
    let mut read = shelf.disk.identity().unwrap();
    read.stamp = Some(crate::disk::DiskStamp { counter: 7, random: 9 });
    shelf.disk.write_identity(&read).unwrap();
    assert_eq!(shelf.disk.identity().unwrap(), read);
    assert!(std::fs::read_to_string(shelf.path("distbackup-disk.json")).unwrap().contains("shelf 3"));
    assert_eq!(shelf.incoming(), 0);
}

#[test]
fn room_is_what_the_filesystem_says() {
    let shelf = shelf();
    let space = shelf.disk.space().unwrap();
    assert!(space.free <= space.total && space.unit >= 512);
    assert!(space.file_max >= Bytes(1 << 31), "{:?}", space.file_max);
}

impl Shelf {
    /// An ordinary file beside the objects, as it is now.
    fn loose(&self, name: &str) -> Loose {
        let folder = std::sync::Arc::new(platform::open_folder(&self.path("")).unwrap());
        let stat = platform::stat_at(folder.as_fd(), name.as_bytes()).unwrap();
        Loose { folder, name: name.into(), path: self.path(name), stat }
    }

    fn take_in(&self, file: &Loose, id: ObjectId, own_name: OwnName) -> Taken {
        self.disk.take_in(&[(file.clone(), id)], own_name).unwrap().remove(0)
    }
}

#[test]
fn c8_a_file_that_is_moved_becomes_as_private_as_an_object() {
    let shelf = shelf();
    std::fs::write(shelf.path("photo"), b"iceland").unwrap();
    std::fs::set_permissions(shelf.path("photo"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let id = hash(b"iceland");
    assert_eq!(shelf.take_in(&shelf.loose("photo"), id, OwnName::Goes), Taken::In);
    assert!(!shelf.path("photo").exists());
    assert_eq!(shelf.object(id).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(read(&mut *shelf.disk.open(id).unwrap()), b"iceland");
}

#[test]
fn a_file_that_is_linked_stays_and_becomes_read_only() {
    let shelf = shelf();
    std::fs::write(shelf.path("photo"), b"iceland").unwrap();
    let id = hash(b"iceland");
    // A damaged object of that name goes; the link to it that is there by now stays.
    shelf.store(b"iceland");
    std::fs::write(shelf.object(id), b"rot").unwrap();
    for _ in 0..2 {
        assert_eq!(shelf.take_in(&shelf.loose("photo"), id, OwnName::Stays), Taken::In);
        assert_eq!(shelf.incoming(), 0);
    }
    let (file, object) = (shelf.path("photo").metadata().unwrap(), shelf.object(id).metadata().unwrap());
    assert_eq!((file.ino(), file.nlink()), (object.ino(), 2));
    assert_eq!(file.permissions().mode() & 0o222, 0);
    assert_eq!(read(&mut *shelf.disk.open(id).unwrap()), b"iceland");
}

#[test]
fn s8_a_file_that_somebody_can_still_change_is_left_where_it_is() {
    let shelf = shelf();
    let id = hash(b"iceland");
    std::fs::write(shelf.path("photo"), b"iceland").unwrap();
    let left = |why: &str, file: &Loose, own_name: OwnName| {
        let taken = shelf.take_in(file, id, own_name);
        assert!(matches!(&taken, Taken::Left(said) if said.contains(why)), "{why}: {taken:?}");
        assert_eq!(std::fs::read(shelf.path("photo")).unwrap().len(), 7);
        assert!(!shelf.object(id).exists());
    };
    let writer = std::fs::File::options().write(true).open(shelf.path("photo")).unwrap();
    for own_name in [OwnName::Goes, OwnName::Stays] {
        left("open for writing", &shelf.loose("photo"), own_name);
    }
    drop(writer);

    let before = shelf.loose("photo");
    // Size and mtime are put back: only the ctime tells.
    let file = std::fs::File::options().write(true).open(shelf.path("photo")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"I", 0).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    left("changed", &before, OwnName::Goes);
    left("changed", &before, OwnName::Stays);

    std::fs::write(shelf.path("photo"), b"iceland").unwrap();
    std::fs::hard_link(shelf.path("photo"), shelf.path("other")).unwrap();
    left("another name", &shelf.loose("photo"), OwnName::Goes);
}

#[test]
fn d15_a_file_is_not_moved_through_a_symlink_or_onto_one() {
    let shelf = shelf();
    let outside = shelf.room.path().join("precious");
    std::fs::write(&outside, b"mine").unwrap();
    std::fs::write(shelf.path("photo"), b"iceland").unwrap();
    let (file, id) = (shelf.loose("photo"), hash(b"iceland"));
    std::fs::create_dir_all(shelf.object(id).parent().unwrap()).unwrap();
    symlink(&outside, shelf.object(id)).unwrap();
    assert!(matches!(shelf.take_in(&file, id, OwnName::Goes), Taken::Left(_)));
    std::fs::remove_file(shelf.object(id)).unwrap();

    std::fs::rename(shelf.path("photo"), shelf.path("photo.old")).unwrap();
    symlink(&outside, shelf.path("photo")).unwrap();
    assert!(matches!(shelf.take_in(&file, id, OwnName::Goes), Taken::Left(_)));
    assert!(shelf.path("photo").is_symlink() && !shelf.object(id).exists());
    assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
}
