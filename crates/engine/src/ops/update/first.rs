//! Reading at the scan: the small files of a first update are read where they are found.
//!
//! A file that is open already costs little to read; to record it as pending, find it again in the catalog, open it by its
//! path and record it once more costs more than its content. Only while the tree is empty: later a new name may be a file
//! that has moved, which is found by its inode without being read (DESIGN 7.6). A scan is one transaction, so what it has
//! read is read again if it is killed; therefore it reads for a while only, and leaves the rest pending.
//!
//! Where a backup follows that hashes while it copies, the copy reads these files once more: from memory, so no more are
//! read here than memory keeps until then. What turns out to be a duplicate is not written at all. A disk that can take them
//! now is handed the contents themselves ([`Taker`]): then nothing is read twice, and memory need not keep them.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use distbackup_core::model::{Holes, Metadata, ObjectId};

use crate::catalog::{NewEntry, partner_of};
use crate::hash::{Gather, SourceFile, hash_content};
use crate::metadata;
use crate::platform::{self, Accounts, Stat};
use crate::scan::Folder;

/// Larger files gain nothing by it.
const BYTES_MAX: u64 = 1 << 20;
/// What a killed scan may have read in vain.
const LASTS: Duration = Duration::from_secs(20);
/// What stays in memory where the system does not tell how much there is.
const REMEMBERED: u64 = 256 << 20;

/// Takes contents that a scan has read, for whoever would read them again.
pub trait Taker: Sync {
    /// Whether it would take any; if not, the rest is left for its own reading.
    fn wants_more(&self) -> bool;

    /// Takes one, or leaves it.
    fn take(&self, id: ObjectId, content: &[u8]);

    /// Nothing more will be read.
    fn no_more(&self);
}

/// The time in which a scan reads, and how much.
pub struct FirstReading<'t> {
    until: Instant,
    left: AtomicU64,
    /// The longest file that is read, in bytes.
    longest: u64,
    taker: Option<&'t dyn Taker>,
}

/// Files that one thread has read and not hashed yet.
pub type Gathered = Gather<Box<NewEntry>>;

/// A file that was read.
#[derive(Debug)]
pub struct Read {
    /// Its content; `None`: it is to be kept among the gathered ones, and hashed with them.
    pub id: Option<ObjectId>,
    /// Its holes.
    pub holes: Holes,
    /// Its attributes.
    pub metadata: Metadata,
}

impl<'t> FirstReading<'t> {
    /// Begins now; nobody reads the files again.
    pub fn begin() -> Self {
        let (until, left) = (Instant::now() + LASTS, AtomicU64::new(u64::MAX));
        FirstReading { until, left, longest: BYTES_MAX, taker: None }
    }

    /// Begins now, for a backup that is to find the files in memory.
    pub fn for_backup() -> Self {
        let bytes = platform::memory_available().map_or(REMEMBERED, |bytes| bytes / 4);
        FirstReading { left: AtomicU64::new(bytes), ..Self::begin() }
    }

    /// Begins now, for a backup that takes what is gathered; other files it reads itself.
    pub fn for_taker(taker: &'t dyn Taker) -> Self {
        FirstReading { longest: Gathered::CONTENT_MAX, taker: Some(taker), ..Self::begin() }
    }

    /// Hashes what was gathered, hands the contents to the taker if there is one, and the rows to `each`.
    pub fn hash(&self, gathered: &mut Gathered, mut each: impl FnMut(Box<NewEntry>, ObjectId)) {
        gathered.hash(|id, content, entry| {
            // In memory holes are filled, and a copy shall have them.
            if let Some(taker) = self.taker.filter(|_| entry.holes.0.is_empty()) {
                taker.take(id, content);
            }
            each(entry, id);
        });
    }

    /// Reads a file that was just looked at. `None`: not now, not this one, or not as it was; then it is pending, and
    /// whatever is the matter with it is found out and reported when its turn comes.
    pub fn read<T>(
        &self,
        folder: &Folder,
        name: &[u8],
        seen: &Stat,
        accounts: &Accounts,
        gathered: &mut Gather<T>,
    ) -> Option<Read> {
        let small = (1..=self.longest).contains(&seen.size);
        // Hard links are read once for all their names, sidecars are read for what they say.
        if !small || seen.nlink != 1 || partner_of(name).is_some() || Instant::now() >= self.until {
            return None;
        }
        if self.taker.is_some_and(|taker| !taker.wants_more()) {
            return None;
        }
        let room = |left: u64| left.checked_sub(seen.size);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        let mut source = SourceFile::open_at(folder.as_fd(), name).ok()?;
        let metadata = metadata::capture_open(source.as_fd(), &source.stat(), accounts).ok()?;
        let id = if seen.size <= Gather::<T>::CONTENT_MAX {
            // Longer than it was: not as it was.
            gathered.read(&mut source).ok().filter(|whole| *whole)?;
            None
        } else {
            Some(hash_content(&mut source, &mut |_| {}, &|| false).ok()?.0)
        };
        let reading = source.finish().ok()?;
        // The same ctime before and after: the attributes that were read between are those of this content.
        let as_seen = reading.stable() && reading.before.same_content_as(seen);
        as_seen.then_some(Read { id, holes: reading.holes, metadata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(reading: &FirstReading, folder: &std::path::Path, name: &str) -> Option<Read> {
        let folder = Folder::open(folder).unwrap();
        let seen = folder.stat(name.as_bytes()).unwrap();
        reading.read(&folder, name.as_bytes(), &seen, &Accounts::new(), &mut Gather::<()>::default())
    }

    #[test]
    fn a_small_file_that_stands_still_is_read_with_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "abc").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let accounts = Accounts::new();
        let stat = folder.stat(b"a").unwrap();
        let mut gathered = Gather::default();
        let read = FirstReading::begin().read(&folder, b"a", &stat, &accounts, &mut gathered).unwrap();
        assert_eq!(read.metadata, metadata::capture(folder.as_fd(), b"a", &stat, &accounts).unwrap());
        assert_eq!(read.id, None);
        gathered.keep(());
        let mut ids = Vec::new();
        gathered.hash(|id, _, _| ids.push(id.hex()));
        assert_eq!(ids, ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]);
    }

    #[test]
    fn a_file_that_is_not_so_small_is_hashed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; Gathered::CONTENT_MAX as usize + 1];
        fs::write(dir.path().join("a"), &content).unwrap();
        let read = read(&FirstReading::begin(), dir.path(), "a").unwrap();
        assert_eq!(read.id, Some(crate::hash::hash_one(&content)));
    }

    #[test]
    fn what_needs_more_than_a_look_is_left_for_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| fs::write(dir.path().join(name), vec![7; bytes]).unwrap();
        write("empty", 0);
        write("large", BYTES_MAX as usize + 1);
        write("film.mov.meta-inf", 10);
        write("linked", 10);
        fs::hard_link(dir.path().join("linked"), dir.path().join("other")).unwrap();
        for name in ["empty", "large", "film.mov.meta-inf", "linked", "other"] {
            assert!(read(&FirstReading::begin(), dir.path(), name).is_none(), "{name}");
        }
        write("late", 10);
        let over = FirstReading { until: Instant::now(), ..FirstReading::begin() };
        assert!(read(&over, dir.path(), "late").is_none());
        let full = FirstReading { left: AtomicU64::new(15), ..FirstReading::begin() };
        assert!(read(&full, dir.path(), "late").is_some());
        assert!(read(&full, dir.path(), "late").is_none(), "memory would not keep it until it is copied");
    }

    /// Takes one content, and notes it.
    #[derive(Default)]
    struct TakesOne(std::sync::Mutex<Vec<(ObjectId, Vec<u8>)>>);

    impl Taker for TakesOne {
        fn wants_more(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }

        fn take(&self, id: ObjectId, content: &[u8]) {
            self.0.lock().unwrap().push((id, content.to_vec()));
        }

        fn no_more(&self) {}
    }

    fn row(size: u64, holes: Holes) -> Box<NewEntry> {
        use distbackup_core::model::{DirNo, FilesystemNo, Kind, Stamp};
        let stamp = Stamp { filesystem: FilesystemNo(1), inode: 1, size, mtime_ns: 0, ctime_ns: 0 };
        Box::new(NewEntry {
            directory: DirNo::ROOT,
            name: b"a".to_vec(),
            kind: Kind::File,
            node: None,
            object: None,
            pending: false,
            stamp,
            metadata: Metadata::default(),
            target: None,
            holes,
        })
    }

    #[test]
    fn what_a_backup_takes_is_handed_to_it_and_what_it_does_not_want_is_left_for_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "abc").unwrap();
        fs::write(dir.path().join("long"), vec![7; Gathered::CONTENT_MAX as usize + 1]).unwrap();
        let taker = TakesOne::default();
        let reading = FirstReading::for_taker(&taker);
        assert!(read(&reading, dir.path(), "long").is_none(), "the backup reads it once, by itself");
        let mut gathered = Gathered::default();
        // A hole is filled in memory, and a copy shall have it.
        for holes in [Holes(vec![(0, 3)]), Holes::default()] {
            assert!(gathered.read(&mut crate::content::InMemory::new(b"abc")).unwrap());
            gathered.keep(row(3, holes));
        }
        assert!(read(&reading, dir.path(), "a").is_some());
        let mut rows = 0;
        reading.hash(&mut gathered, |_, _| rows += 1);
        let id = crate::hash::hash_one(b"abc");
        assert_eq!((rows, &*taker.0.lock().unwrap()), (2, &vec![(id, b"abc".to_vec())]));
        assert!(read(&reading, dir.path(), "a").is_none(), "it would be read twice");
    }

    #[test]
    fn s8_a_file_that_is_another_than_the_one_looked_at_is_left_for_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let seen = folder.stat(b"a").unwrap();
        fs::write(dir.path().join("b"), "new").unwrap();
        fs::rename(dir.path().join("b"), dir.path().join("a")).unwrap();
        let mut gathered = Gather::<()>::default();
        assert!(FirstReading::begin().read(&folder, b"a", &seen, &Accounts::new(), &mut gathered).is_none());
    }
}
