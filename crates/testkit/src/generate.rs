//! A set of a million files in seconds: a real source and a real disk without a byte of content, and the
//! catalog rows between them.
//!
//! Files of the source and objects of the disk are single holes: they have a name, a size and an inode, which is
//! all that a scan, a comparison and a plan look at, and take no room. The program scans the source itself; then
//! [`Generated::fill`] writes into its catalog what hashing, visits of other disks and an earlier
//! snapshot would have left. Contents are invented, so nothing that reads them (verify, the restore
//! itself) can be tried on such a set.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use distbackup_core::model::ObjectId;
use rusqlite::{Connection, params};

use crate::rng::Rng;

/// Files in one folder of the source.
const FILES_PER_FOLDER: u64 = 100;
/// Size of the largest file, in bytes.
const BYTES_MAX: u64 = 16 << 10;
/// Folders of a disk's objects folder.
const OBJECT_FOLDERS: u64 = 4096;
/// One file in so many had another content in the first snapshot.
const EARLIER_ONCE_IN: u64 = 20;

/// A set of so many files, each with a content of its own. The same number gives the same set everywhere.
#[derive(Debug, Clone, Copy)]
pub struct Generated {
    /// Files in the source.
    pub files: u64,
}

/// What of the set a disk is said to hold.
#[derive(Debug, Clone, Copy)]
pub struct Holds {
    /// The disk's name in the catalog.
    pub disk: &'static str,
    /// So many of a hundred objects of the current tree.
    pub percent: u64,
    /// Whether it holds all objects of history too.
    pub history: bool,
}

impl Generated {
    /// Makes the source below `root`, which exists: folders of a hundred files.
    pub fn source(&self, root: &Path) -> io::Result<()> {
        let folders = self.files.div_ceil(FILES_PER_FOLDER);
        in_two_threads(folders, |number| {
            let first = number * FILES_PER_FOLDER;
            fs::create_dir(folder(root, first))?;
            for file in first..(first + FILES_PER_FOLDER).min(self.files) {
                hole(&self.file(root, file), object(1 + file).1)?;
            }
            Ok(())
        })
    }

    /// Where a file of the source at `root` lies.
    pub fn file(&self, root: &Path, number: u64) -> PathBuf {
        folder(root, number).join(format!("file-{number:07}.bin"))
    }

    /// Makes the objects on the disk at `root` that `holds` speaks of. Returns how many.
    pub fn objects(&self, root: &Path, holds: Holds) -> io::Result<u64> {
        let root = root.join("distbackup-objects");
        fs::create_dir_all(&root)?;
        for folder in 0..OBJECT_FOLDERS {
            fs::create_dir(root.join(format!("{folder:03x}")))?;
        }
        let held: Vec<u64> = self.held(holds).collect();
        in_two_threads(held.len() as u64, |at| {
            let (id, size) = object(held[at as usize]);
            let name = id.hex();
            hole(&root.join(&name[..3]).join(&name), size)
        })?;
        Ok(held.len() as u64)
    }

    /// Completes the catalog at `path`, into which the program has scanned the source, and nothing
    /// else: contents for all files, an earlier snapshot in which one file in twenty had another
    /// content, and the copies on `disks`, which the program has added.
    pub fn fill(&self, path: &Path, disks: &[Holds]) -> rusqlite::Result<()> {
        let mut connection = Connection::open(path)?;
        connection.execute_batch("PRAGMA cache_size = -32768; PRAGMA synchronous = OFF;")?;
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM object", [])?;
        let mut insert = transaction.prepare("INSERT INTO object (id, sha256, size) VALUES (?1, ?2, ?3)")?;
        for number in self.live().chain(self.history()) {
            let (id, size) = object(number);
            insert.execute(params![number as i64, id.0, size as i64])?;
        }
        drop(insert);
        transaction.execute(
            "UPDATE entry SET object = 1 + CAST(substr(CAST(name AS TEXT), 6, 7) AS INTEGER), pending = 0, holes = NULL
             WHERE kind = 'f'",
            [],
        )?;
        self.insert_history(&transaction)?;
        transaction.execute(
            "INSERT INTO proof (id, run, at_ns, how) SELECT 1, NULL, newest_ns, 'written' FROM catalog",
            [],
        )?;
        for holds in disks {
            let mut claim = transaction.prepare(
                "INSERT INTO copy (object, disk, proof) SELECT ?1, id, 1 FROM disk WHERE name = ?2",
            )?;
            for number in self.held(*holds) {
                claim.execute(params![number as i64, holds.disk])?;
            }
        }
        transaction.execute("UPDATE catalog SET generation = generation + 1", [])?;
        transaction.commit()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// The scanned snapshot becomes an older one; its successor differs in one file of twenty.
    fn insert_history(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute(
            "INSERT INTO snapshot (run, created_ns, pinned)
             SELECT run, created_ns + 1, 0 FROM snapshot ORDER BY id DESC LIMIT 1",
            [],
        )?;
        connection.execute(
            "INSERT INTO entry (directory, name, born, died, kind, object, pending, size, mtime_ns, ctime_ns,
                                filesystem, inode, metadata)
             SELECT directory, name, born + 1, NULL, kind, object, 0, size, mtime_ns, ctime_ns,
                    filesystem, inode, metadata
             FROM entry WHERE kind = 'f' AND (object - 1) % ?1 = 0",
            [EARLIER_ONCE_IN as i64],
        )?;
        connection.execute(
            "UPDATE entry SET died = born + 1, object = old.id, mtime_ns = mtime_ns - 1, size = old.size
             FROM object AS old
             WHERE kind = 'f' AND (object - 1) % ?1 = 0 AND born = (SELECT min(id) FROM snapshot)
               AND old.id = 1 + ?2 + (object - 1) / ?1",
            [EARLIER_ONCE_IN as i64, self.files as i64],
        )?;
        Ok(())
    }

    /// Numbers of the objects of the current tree: file 0 has the first.
    fn live(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.files
    }

    /// Numbers of the objects that only the earlier snapshot refers to.
    fn history(&self) -> impl Iterator<Item = u64> + use<> {
        self.files + 1..=self.files + self.files.div_ceil(EARLIER_ONCE_IN)
    }

    /// Numbers of the objects on a disk: every name has its own share, so that disks overlap.
    fn held(&self, holds: Holds) -> impl Iterator<Item = u64> + use<> {
        let salt = holds.disk.bytes().fold(0, |salt, byte| salt * 31 + u64::from(byte));
        let history = self.history().filter(move |_| holds.history);
        self.live()
            .filter(move |number| Rng::new(number ^ salt << 40).below(100) < holds.percent)
            .chain(history)
    }
}

/// The folder of a file.
fn folder(root: &Path, file: u64) -> PathBuf {
    root.join(format!("folder-{:05}", file / FILES_PER_FOLDER))
}

/// The invented content behind a number of an object: its hash and its size.
fn object(number: u64) -> (ObjectId, u64) {
    let mut rng = Rng::new(number);
    let mut id = [0; 32];
    rng.fill(&mut id);
    (ObjectId(id), rng.within(1..BYTES_MAX + 1))
}

/// A new file of `bytes` without content.
fn hole(path: &Path, bytes: u64) -> io::Result<()> {
    File::create_new(path)?.set_len(bytes)
}

/// Calls `each` with all numbers below `count`: creating names costs the kernel more than it costs us.
fn in_two_threads(count: u64, each: impl Fn(u64) -> io::Result<()> + Sync) -> io::Result<()> {
    std::thread::scope(|scope| {
        let second = scope.spawn(|| (count / 2..count).try_for_each(&each));
        let first = (0..count / 2).try_for_each(&each);
        first.and(second.join().unwrap())
    })
}
