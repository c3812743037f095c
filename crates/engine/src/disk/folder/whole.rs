//! The first copies on a disk without any: made under their final names in a tree of folders that nobody sees yet.
//!
//! An object belongs into one of 4096 folders. While a disk has none of these, they can be filled below the folder of what
//! comes in, and take their place together when everything in them is durable: one rename names all the copies, where
//! otherwise each is named on its own. That takes a content whose name is known before its file is made.
//!
//! Only a batch that has all that lies in the tree may move it: what belongs to a later batch is not durable yet. The
//! first commit ends all this: from then on nothing more comes into the tree, and what is left there is named one by one.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use distbackup_core::model::{Bytes, ObjectId};

use super::FolderDisk;
use super::incoming::Place;
use super::naming::Waiting;
use super::staging::FILE_MODE;
use crate::disk::layout;
use crate::disk::port::{DiskError, StageError};
use crate::disk::system::{Folder, meaning};
use crate::platform;

/// The name of the tree, below the folder of what comes in.
pub(super) const TREE: &str = "objects";

/// Whether copies may come into the tree.
#[derive(Debug, Default)]
enum Intake {
    /// Nobody has looked whether the disk has objects.
    #[default]
    Unknown,
    /// It has none. Locked by whoever makes a copy, until the copy is noted. The tree is made for the first one, and held
    /// open; `None` if something is in its way.
    Open(OnceLock<Option<Folder>>),
    /// It has some, or is about to have some.
    Closed,
}

/// One of the 4096 folders of the tree.
#[derive(Debug, Default)]
struct OnItsWay {
    /// We made it.
    made: AtomicBool,
    /// Copies in it that are staged.
    copies: AtomicU32,
}

/// The tree on its way.
#[derive(Debug)]
pub(super) struct WholeTree {
    intake: RwLock<Intake>,
    /// We made it, and it was neither moved nor removed.
    made: AtomicBool,
    folders: Box<[OnItsWay]>,
}

impl Default for WholeTree {
    fn default() -> Self {
        let folders = (0..layout::FOLDERS).map(|_| OnItsWay::default()).collect();
        WholeTree { intake: RwLock::default(), made: AtomicBool::new(false), folders }
    }
}

impl WholeTree {
    fn read(&self) -> RwLockReadGuard<'_, Intake> {
        self.intake.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Intake> {
        self.intake.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, prefix: u16) -> &OnItsWay {
        &self.folders[usize::from(prefix % layout::FOLDERS)]
    }

    /// How many copies lie in it.
    fn copies(&self) -> usize {
        self.folders.iter().map(|folder| folder.copies.load(Ordering::Relaxed) as usize).sum()
    }

    /// A copy in a folder is not staged any more.
    fn leave(&self, prefix: u16) {
        self.of(prefix).copies.fetch_sub(1, Ordering::Relaxed);
    }

    /// From now on nothing comes in; waits for what is just coming.
    pub fn close(&self) {
        *self.write() = Intake::Closed;
    }

    /// Forgets everything: it is going to be cleared away.
    pub fn forget(&self) {
        let mut intake = self.write();
        *intake = Intake::Unknown;
        self.empty();
    }

    fn empty(&self) {
        self.made.store(false, Ordering::Relaxed);
        for folder in &self.folders {
            folder.made.store(false, Ordering::Relaxed);
            folder.copies.store(0, Ordering::Relaxed);
        }
    }
}

impl FolderDisk {
    /// Whether copies come into a tree that is moved as a whole.
    pub(super) fn fills_whole_tree(&self) -> bool {
        match *self.whole.read() {
            Intake::Open(_) => return true,
            Intake::Closed => return false,
            Intake::Unknown => {}
        }
        let mut intake = self.whole.write();
        if matches!(*intake, Intake::Unknown) {
            *intake = if self.has_no_objects() { Intake::Open(OnceLock::new()) } else { Intake::Closed };
        }
        matches!(*intake, Intake::Open(_))
    }

    /// Certain only where files without a name can be made: such a filesystem is a local one that is synced as a whole.
    fn has_no_objects(&self) -> bool {
        let empty = match self.root.folder(layout::OBJECTS) {
            Ok(None) => true,
            Ok(Some(objects)) => objects.names().is_ok_and(|names| names.is_empty()),
            // Whatever stands there is told of by whoever needs the folder.
            Err(_) => false,
        };
        empty && self.unnamed_folder().is_some()
    }

    /// `None`: whatever is in the way, another way tells of it. A tree that is there is not ours, since what was left is
    /// cleared before the first copy.
    fn new_tree(&self) -> Option<Folder> {
        let incoming = self.unnamed_folder()?;
        incoming.make_folder(TREE).ok().filter(|made| *made)?;
        self.whole.made.store(true, Ordering::Relaxed);
        incoming.folder(TREE).ok()?
    }

    /// Stages a content under its name in the folder that it belongs into; `None` if it has to come in by another way.
    pub(super) fn stage_in_whole_tree(
        &self,
        id: ObjectId,
        content: &[u8],
    ) -> Result<Option<u64>, StageError> {
        let intake = self.whole.read();
        let Intake::Open(tree) = &*intake else { return Ok(None) };
        let Some(tree) = tree.get_or_init(|| self.new_tree()) else { return Ok(None) };
        let prefix = layout::prefix(id);
        let path = format!("{}/{id}", layout::folder_name(prefix));
        let Some(file) = self.make_in_whole_tree(tree, prefix, &path) else { return Ok(None) };
        if let Err(error) = file.write_all_at(content, 0) {
            // The first error counts; what cannot be removed now is a left-over (D16).
            let _left_over = tree.unlink(path.as_ref());
            let size = Bytes(content.len() as u64);
            return Err(meaning("write", tree.path_of(&path), error, size).into());
        }
        let handle = self.new_handle();
        self.whole.of(prefix).copies.fetch_add(1, Ordering::Relaxed);
        self.note_staged(handle, Place::Whole);
        drop(intake);
        Ok(Some(handle))
    }

    /// `None`: whatever is in the way, another way tells of it.
    fn make_in_whole_tree(&self, tree: &Folder, prefix: u16, path: &str) -> Option<File> {
        let folder = self.whole.of(prefix);
        if !folder.made.load(Ordering::Acquire) {
            match tree.make_folder(&layout::folder_name(prefix)) {
                Ok(true) => folder.made.store(true, Ordering::Release),
                // By another thread of ours, just now; or it is not ours, and then nothing comes into it.
                Ok(false) if folder.made.load(Ordering::Acquire) => {}
                Ok(false) | Err(_) => return None,
            }
        }
        // There already: the same content is staged twice.
        platform::create_beneath(tree.as_fd(), path, FILE_MODE).ok()
    }

    /// Moves the tree to the place of all objects, if the disk still has none and all the copies in the tree are in this
    /// batch: then these have their names.
    pub(super) fn name_whole_tree(&self, batch: &mut [Waiting]) -> Result<(), DiskError> {
        let in_tree = |waiting: &Waiting| matches!(waiting.place, Some(Place::Whole));
        let copies = batch.iter().filter(|waiting| in_tree(waiting)).count();
        if copies == 0 || copies != self.whole.copies() {
            return Ok(());
        }
        let Some(incoming) = self.root.folder(layout::INCOMING)? else { return Ok(()) };
        self.remove_empty_folders(&incoming)?;
        if incoming.rename_over_empty(TREE, &self.root, layout::OBJECTS)? {
            self.whole.empty();
            batch.iter_mut().filter(|waiting| in_tree(waiting)).for_each(|waiting| waiting.place = None);
        }
        Ok(())
    }

    /// Names one copy that lies in a tree which does not move as a whole.
    pub(super) fn name_out_of_tree(&self, id: ObjectId, to: &Folder) -> Result<(), DiskError> {
        let prefix = layout::prefix(id);
        let incoming = self.root.folder_or_new(layout::INCOMING)?;
        let from = incoming.folder_or_new(TREE)?.folder_or_new(&layout::folder_name(prefix))?;
        let name = id.hex();
        if !from.rename_new(&name, to, &name)? {
            // Only a file that should be the same is replaced.
            to.has_file(&name)?;
            from.rename(&name, to, &name)?;
        }
        self.whole.leave(prefix);
        Ok(())
    }

    /// Removes a copy that is not wanted any more.
    pub(super) fn drop_out_of_tree(&self, id: ObjectId) -> Result<(), DiskError> {
        let prefix = layout::prefix(id);
        self.whole.leave(prefix);
        let Some(incoming) = self.root.folder(layout::INCOMING)? else { return Ok(()) };
        let Some(tree) = incoming.folder(TREE)? else { return Ok(()) };
        match tree.folder(&layout::folder_name(prefix))? {
            Some(folder) => folder.unlink(id.hex().as_ref()).map(drop),
            None => Ok(()),
        }
    }

    /// Removes the tree if nothing is in it. What is in the way stays: the next visit clears it.
    pub(super) fn tidy_whole_tree(&self) -> Result<(), DiskError> {
        // Nobody makes a copy meanwhile.
        let mut intake = self.whole.write();
        if !self.whole.made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(incoming) = self.root.folder(layout::INCOMING)? else { return Ok(()) };
        self.remove_empty_folders(&incoming)?;
        if self.whole.copies() == 0 {
            let _not_empty = incoming.remove_folder(TREE.as_ref());
            self.whole.empty();
            if let Intake::Open(_) = *intake {
                *intake = Intake::Unknown;
            }
        }
        Ok(())
    }

    /// Removes folders of the tree with nothing in them.
    fn remove_empty_folders(&self, incoming: &Folder) -> Result<(), DiskError> {
        let empty = |folder: &OnItsWay| {
            folder.made.load(Ordering::Relaxed) && folder.copies.load(Ordering::Relaxed) == 0
        };
        if !self.whole.folders.iter().any(empty) {
            return Ok(());
        }
        let Some(tree) = incoming.folder(TREE)? else { return Ok(()) };
        for (prefix, folder) in (0..layout::FOLDERS).zip(&self.whole.folders) {
            if empty(folder) {
                folder.made.store(false, Ordering::Relaxed);
                let _not_empty = tree.remove_folder(layout::folder_name(prefix).as_ref());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use distbackup_core::model::DiskUuid;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::content::{InMemory, Segment};
    use crate::disk::port::{Disk, Identity, Listed, Staged};

    fn hash_one(content: &[u8]) -> ObjectId {
        ObjectId(Sha256::digest(content).into())
    }

    struct Shelf<R = tempfile::TempDir> {
        room: R,
        disk: FolderDisk,
    }

    /// A disk without objects, on a filesystem where folders are moved as a whole.
    fn fresh() -> Option<Shelf> {
        let room = tempfile::tempdir().unwrap();
        let identity = Identity::new(DiskUuid("r".into()), "red", None);
        let disk = FolderDisk::create(&room.path().join("red"), &identity).unwrap();
        if !disk.wants_one_batch() {
            eprintln!("SKIPPED: the filesystem of the temporary folder has no files without a name");
            return None;
        }
        Some(Shelf { room, disk })
    }

    impl<R: AsRef<Path>> Shelf<R> {
        fn path(&self, name: &str) -> PathBuf {
            self.room.as_ref().join("red").join(name)
        }

        fn stage(&self, content: &[u8]) -> Staged {
            self.disk.stage_hashed(hash_one(content), content).unwrap()
        }

        fn holds(&self, content: &[u8]) -> bool {
            let id = hash_one(content);
            let listed = self.disk.list_folder(layout::prefix(id)).unwrap();
            let listed = listed.contains(&Listed::Object { id, size: Bytes(content.len() as u64) });
            let read = match self.disk.open(id) {
                Ok(mut opened) => match opened.next_segment().unwrap() {
                    Some(Segment::Data(bytes)) => bytes == content,
                    _ => false,
                },
                Err(DiskError::Missing(_)) => false,
                Err(error) => panic!("{error}"),
            };
            assert_eq!(listed, read);
            read
        }

        /// Names in a folder, by its path below the disk's.
        fn names(&self, folder: &str) -> Vec<String> {
            let folder = std::fs::read_dir(self.path(folder)).unwrap();
            let mut names: Vec<_> =
                folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        /// Names below the folder of what comes in.
        fn incoming(&self) -> Vec<String> {
            self.names(layout::INCOMING)
        }
    }

    /// Contents that belong into one folder, found by trying.
    fn neighbours(prefix: u16) -> impl Iterator<Item = [u8; 4]> {
        (0..u32::MAX).map(u32::to_le_bytes).filter(move |content| layout::prefix(hash_one(content)) == prefix)
    }

    fn inode(path: PathBuf) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn the_first_batch_takes_its_place_as_a_whole_and_leaves_nothing_behind() {
        let Some(shelf) = fresh() else { return };
        // Whoever made the folder of objects put nothing into it yet.
        for there in [false, true] {
            let _fresh = std::fs::remove_dir_all(shelf.path("distbackup-objects"));
            if there {
                std::fs::create_dir(shelf.path("distbackup-objects")).unwrap();
            }
            let shelf = Shelf { disk: FolderDisk::open(&shelf.path("")).unwrap(), room: shelf.room.path() };
            let contents: Vec<_> = neighbours(0x0ab).take(3).chain(neighbours(0xfff).take(1)).collect();
            let staged: Vec<_> = contents.iter().map(|content| shelf.stage(content)).collect();
            let given_up = shelf.stage(&neighbours(0x123).next().unwrap());
            shelf.disk.discard(given_up).unwrap();
            assert_eq!(shelf.incoming(), [TREE]);
            assert!(!contents.iter().any(|content| shelf.holds(content)), "nothing of it is to be seen");
            let tree = inode(shelf.path("distbackup-incoming/objects"));
            shelf.disk.commit(staged).unwrap();
            assert!(contents.iter().all(|content| shelf.holds(content)));
            assert_eq!(tree, inode(shelf.path("distbackup-objects")), "it is the same folder");
            assert_eq!(shelf.names("distbackup-objects"), ["0ab", "fff"]);
            use std::os::unix::fs::PermissionsExt as _;
            for folder in ["distbackup-objects", "distbackup-objects/0ab"] {
                let mode = std::fs::metadata(shelf.path(folder)).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o700);
            }
            assert!(shelf.incoming().is_empty());
            // From now on copies are named one by one.
            assert!(!shelf.disk.wants_one_batch());
            let later = neighbours(0x0ab).nth(3).unwrap();
            let staged = shelf.stage(&later);
            assert!(shelf.incoming().is_empty());
            shelf.disk.commit(vec![staged]).unwrap();
            assert!(shelf.holds(&later));
        }
    }

    #[test]
    fn n1_what_belongs_to_a_later_batch_is_not_named_with_an_earlier_one() {
        let Some(shelf) = fresh() else { return };
        let [first, second, third] = neighbours(0x123).take(3).collect::<Vec<_>>().try_into().unwrap();
        let (early, late) = (shelf.stage(&first), shelf.stage(&second));
        shelf.disk.commit(vec![early]).unwrap();
        assert!(shelf.holds(&first) && !shelf.holds(&second));
        // Nothing more comes in beside what waits there.
        let beside = shelf.stage(&third);
        assert_eq!(shelf.names("distbackup-incoming/objects/123").len(), 1);
        shelf.disk.commit(vec![late, beside]).unwrap();
        assert!(shelf.holds(&first) && shelf.holds(&second) && shelf.holds(&third));
        assert!(shelf.incoming().is_empty());
    }

    #[test]
    fn twins_and_streamed_copies_arrive_with_the_others() {
        let Some(shelf) = fresh() else { return };
        let [one, other] = neighbours(0x456).take(2).collect::<Vec<_>>().try_into().unwrap();
        let mut staged = vec![shelf.stage(&one), shelf.stage(&one)];
        staged.push(shelf.disk.stage(&mut InMemory::new(&other)).unwrap());
        shelf.disk.commit(staged).unwrap();
        assert!(shelf.holds(&one) && shelf.holds(&other));
        assert!(shelf.incoming().is_empty());
    }

    #[test]
    fn a_batch_without_anything_in_the_tree_leaves_no_tree() {
        let Some(shelf) = fresh() else { return };
        let staged = shelf.disk.stage(&mut InMemory::new(b"long")).unwrap();
        shelf.disk.commit(vec![staged]).unwrap();
        assert!(shelf.holds(b"long") && shelf.incoming().is_empty());
    }

    #[test]
    fn d15_what_appears_in_the_place_of_objects_or_on_the_way_stays_and_everything_arrives() {
        let Some(shelf) = fresh() else { return };
        // Somebody's folder in the way of what comes in: nothing comes into it.
        let first = shelf.stage(&neighbours(0x776).next().unwrap());
        std::fs::create_dir(shelf.path("distbackup-incoming/objects/777")).unwrap();
        let [one, other] = neighbours(0x777).take(2).collect::<Vec<_>>().try_into().unwrap();
        let staged = shelf.stage(&one);
        assert!(shelf.names("distbackup-incoming/objects/777").is_empty());
        // And one in its place.
        let elsewhere = neighbours(0x778).next().unwrap();
        let batch = vec![first, staged, shelf.stage(&other), shelf.stage(&elsewhere)];
        std::fs::create_dir_all(shelf.path("distbackup-objects/778")).unwrap();
        std::fs::write(shelf.path("distbackup-objects/778/mine"), "mine").unwrap();
        shelf.disk.commit(batch).unwrap();
        assert!(shelf.holds(&one) && shelf.holds(&other) && shelf.holds(&elsewhere));
        assert_eq!(std::fs::read(shelf.path("distbackup-objects/778/mine")).unwrap(), b"mine");
        assert_eq!(shelf.names("distbackup-incoming/objects"), ["777"]);
        // A tree that is there is not ours.
        let Some(shelf) = fresh() else { return };
        std::fs::create_dir(shelf.path("distbackup-incoming/objects")).unwrap();
        let staged = shelf.stage(&one);
        assert!(shelf.names("distbackup-incoming/objects").is_empty());
        shelf.disk.commit(vec![staged]).unwrap();
        assert!(shelf.holds(&one));
        assert_eq!(shelf.incoming(), ["objects"]);
        // What leads elsewhere is never replaced by the tree.
        let Some(shelf) = fresh() else { return };
        let staged = shelf.stage(&one);
        std::os::unix::fs::symlink("elsewhere", shelf.path("distbackup-objects")).unwrap();
        assert!(matches!(shelf.disk.commit(vec![staged]), Err(DiskError::Foreign { .. })));
        assert!(std::fs::symlink_metadata(shelf.path("distbackup-objects")).unwrap().is_symlink());
        assert!(shelf.incoming().is_empty());
    }

    #[test]
    fn d16_what_is_given_up_or_left_over_goes() {
        let Some(mut shelf) = fresh() else { return };
        let contents: Vec<_> = neighbours(0x9ab).take(3).collect();
        let mut staged: Vec<_> = contents.iter().map(|content| shelf.stage(content)).collect();
        shelf.disk.discard(staged.pop().unwrap()).unwrap();
        assert_eq!(shelf.names("distbackup-incoming/objects/9ab").len(), 2);
        for staged in staged {
            shelf.disk.discard(staged).unwrap();
        }
        assert!(shelf.incoming().is_empty());
        // The same again, and the program dies.
        let lost: Vec<_> = contents.iter().map(|content| shelf.stage(content)).collect();
        let path = shelf.path("");
        shelf.disk = FolderDisk::open(&path).unwrap();
        assert!(shelf.disk.wants_one_batch());
        assert!(shelf.disk.commit(lost).is_err());
        assert_eq!(shelf.disk.clear_incoming().unwrap(), Bytes(12));
        assert!(shelf.incoming().is_empty());
        // Cleared beneath its feet.
        shelf.disk = FolderDisk::open(&path).unwrap();
        let lost = shelf.stage(&contents[0]);
        assert_eq!(shelf.disk.clear_incoming().unwrap(), Bytes(4));
        assert!(shelf.disk.commit(vec![lost]).is_err() && !shelf.holds(&contents[0]));
        let staged = shelf.stage(&contents[1]);
        shelf.disk.commit(vec![staged]).unwrap();
        assert!(shelf.holds(&contents[1]));
    }

    #[test]
    fn several_threads_fill_the_same_folders() {
        let Some(shelf) = fresh() else { return };
        let contents: Vec<[u8; 4]> = (0..6000u32).map(u32::to_le_bytes).collect();
        let staged: Vec<Staged> = std::thread::scope(|scope| {
            let stage =
                |part: &[[u8; 4]]| part.iter().map(|content| shelf.stage(content)).collect::<Vec<_>>();
            let threads: Vec<_> =
                contents.chunks(1500).map(|part| scope.spawn(move || stage(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        shelf.disk.commit(staged).unwrap();
        assert!(contents.iter().all(|content| shelf.holds(content)));
        assert!(shelf.incoming().is_empty());
    }
}
