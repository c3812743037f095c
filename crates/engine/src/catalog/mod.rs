//! The catalog: everything the set knows, in one SQLite file.
//!
//! All SQL of the program is below this folder; no other module sees a connection. One file per
//! family of tables. A write function runs in a transaction of [`Catalog::write`] and is named after
//! the fact that it records; a read function is named after the question it answers. Readers
//! stream: nothing here holds the whole tree in memory (DESIGN 4).
//!
//! The database is a WAL database with `synchronous=FULL`: a committed transaction survives a power
//! cut, on which N1 and N2 rest.

mod brake;
mod classes;
mod columns;
mod copies;
mod copy_counts;
mod differences;
mod disk_sets;
mod disks;
mod error;
mod forget;
mod history;
mod kept;
mod levels;
mod lost;
mod merge;
mod migrations;
mod objects;
mod orphans;
mod planning;
mod publish;
mod reread;
mod runs;
mod scope;
mod search;
mod settings;
mod sidecars;
mod slots;
mod snapshots;
mod sources;
mod takeover;
mod tree;
mod tree_read;
mod verify;
mod version1;
mod wants;

use std::cell::Cell;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, DropBehavior, OpenFlags, TransactionBehavior};

#[cfg(any(test, feature = "testing"))]
pub use columns::{decode_xattrs, encode_xattrs};
pub use copies::{CopyRow, HeldObject, ProofKind, WithoutDisk};
pub use copy_counts::{CopyCounts, CopyFilter};
pub use differences::OneSided;
pub use disk_sets::DiskSets;
pub use disks::{DiskRow, NewDisk};
pub use error::CatalogError;
pub use forget::Forgotten;
pub use history::CatalogTime;
pub use kept::Answer;
pub use levels::{Counted, Levels};
pub use lost::LostCopy;
pub use merge::Merged;
pub use objects::{ObjectRow, Reference};
pub use orphans::Orphan;
pub use planning::{ByState, Loaded, PlanRow, Unreadable};
pub use publish::{CheckedCopy, inspect, peek};
pub use reread::{RottenSource, SourceFileRow};
pub use runs::RunRow;
pub use scope::{Scope, ScopeDisk};
pub use search::NameRow;
pub use settings::Retention;
pub use sidecars::{RankedBySidecar, SIDECAR_SUFFIX, Sidecar, partner_of};
pub use snapshots::{At, SnapshotRow};
pub use sources::{SHARED, SourceRow};
pub use takeover::TakenOver;
pub use tree::{Captured, LinkName, NewEntry, ScanTotals};
pub use tree_read::{Entries, EntryRow, FileOf, Pending, PendingKey, PendingRow};
pub use verify::{Age, AgedCopy, VerifyProgress};
pub use version1::{Version1, Version1Disk, Version1File, Version1Object};
pub use wants::Wants;

/// Marks the file as a catalog of distbackup 2: "dsb2".
pub const APPLICATION_ID: i32 = 0x6473_6232;

/// Newest schema that this program writes. Numbers below 100 belong to distbackup 1.x.
pub const SCHEMA_VERSION: i32 = migrations::NEWEST;

/// Page cache of the writing connection. More does not make a scan faster: rows come in order.
const CACHE_KIB: i32 = 32 * 1024;

/// Page cache of each reading connection.
const VIEW_CACHE_KIB: i32 = 8 * 1024;

/// Keeps SQLite from planning a prepared statement anew for each value that is bound to it: look-ups by key, a few for
/// each file, would spend most of their time in the parser.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Longest value, and row, that is read or written. Extended attributes, the longest there are, fit by far.
const VALUE_BYTES_MAX: i32 = 64 << 20;

/// Bounds what one value may take in memory: SQLite's own bound is a gigabyte, and a recovered catalog was written by
/// whoever had the disk (C7).
fn bound_values(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX).map(drop)
}

/// The PC's catalog, open for reading and writing by this process alone.
#[derive(Debug)]
pub struct Catalog {
    connection: Connection,
    path: PathBuf,
}

/// A frozen view of the catalog for another thread: sees what was committed when it was made.
#[derive(Debug)]
pub struct View {
    connection: Connection,
}

/// Answers questions; see the files of this folder for which.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'c> {
    connection: &'c Connection,
}

/// A transaction in which all is written, and which is not committed yet: it is undone when this is dropped.
#[derive(Debug)]
pub struct Written<'c> {
    connection: &'c mut Connection,
}

/// Records facts inside one transaction; can also answer questions, and sees its own changes.
#[derive(Debug)]
pub struct Writer<'c> {
    reader: Reader<'c>,
    /// The change is not counted at the end: it was counted before, or no kept answer is about it.
    counted: Cell<bool>,
}

impl Writer<'_> {
    /// Says that nothing in this transaction changes a kept answer: it only notes times, or what was seen.
    pub fn leaves_answers(&self) {
        self.counted.set(true);
    }

    /// Counts the change: an answer that is worked out from now on is one from after it.
    fn settle_answers(&self) -> Result<(), CatalogError> {
        if self.counted.replace(true) {
            return Ok(());
        }
        self.connection
            .execute("UPDATE catalog SET changes = changes + 1", [])
            .map(drop)
            .map_err(|source| CatalogError::sql("count a change", source))
    }
}

impl<'c> Deref for Writer<'c> {
    type Target = Reader<'c>;
    fn deref(&self) -> &Reader<'c> {
        &self.reader
    }
}

impl Catalog {
    /// Creates a new, empty catalog for a new set. Refuses to touch an existing file (C3).
    pub fn create(path: &Path, now_ns: i64) -> Result<Self, CatalogError> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        file.map_err(|source| CatalogError::Io { action: "create", path: path.to_owned(), source })?;
        crate::platform::make_private(path).map_err(|source| CatalogError::Io {
            action: "protect",
            path: path.to_owned(),
            source,
        })?;
        let connection = Self::connect(path)?;
        migrations::create(&connection, now_ns)?;
        Ok(Catalog { connection, path: path.to_owned() })
    }

    /// Opens the catalog, checks that it is one, and migrates an older schema after saving a copy beside it.
    ///
    /// Missing, empty, newer, damaged or foreign files are errors, never a new catalog (N11).
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        migrations::check_file(path)?;
        let mut connection = Self::connect(path)?;
        migrations::check_and_migrate(&mut connection, path)?;
        Ok(Catalog { connection, path: path.to_owned() })
    }

    fn connect(path: &Path) -> Result<Connection, CatalogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .map_err(|source| CatalogError::from_sql("open the catalog", path, source))?;
        let set = |pragma: &str| {
            connection
                .execute_batch(pragma)
                .map_err(|source| CatalogError::from_sql("prepare the catalog", path, source))
        };
        set("PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;")?;
        set("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = FILE;")?;
        set(&format!("PRAGMA cache_size = -{CACHE_KIB}; PRAGMA cell_size_check = ON;"))?;
        keep_plans(&connection)
            .and_then(|()| bound_values(&connection))
            .map_err(|source| CatalogError::from_sql("prepare the catalog", path, source))?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(connection)
    }

    /// Where the catalog is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the catalog with everything in its one file, so that it can be moved.
    pub fn close(self) -> Result<(), CatalogError> {
        let sql = |source| CatalogError::sql("close the catalog", source);
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(sql)?;
        self.connection.close().map_err(|(_, source)| sql(source))
    }

    /// Bytes of the catalog's file; its copies on disks are not larger.
    pub fn size(&self) -> distbackup_core::model::Bytes {
        distbackup_core::model::Bytes(std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len()))
    }

    /// Answers questions about what is committed now.
    pub fn read(&self) -> Reader<'_> {
        Reader { connection: &self.connection }
    }

    /// A frozen view for another thread, of what is committed now.
    pub fn view(&self) -> Result<View, CatalogError> {
        View::open(&self.path)
    }

    /// As [`Catalog::write`], for what no kept answer is about: the log of runs, times, and what was seen of a disk.
    pub fn write_aside<T, E: From<CatalogError>>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(what, |writer| {
            writer.leaves_answers();
            work(writer)
        })
    }

    /// Runs `work` in one transaction, durable when this returns `Ok`; nothing is changed otherwise.
    pub fn write<T, E: From<CatalogError>>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_and_look(what, work, |_| Ok(()))
    }

    /// As [`Catalog::write`]; when `work` is done and before it is committed, `look` may look at all that will be there. Its error
    /// undoes everything.
    pub fn write_and_look<T, E: From<CatalogError>>(
        &mut self,
        what: &'static str,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
        look: impl FnOnce(&mut Written<'_>) -> Result<(), E>,
    ) -> Result<T, E> {
        let sql = |source| CatalogError::sql(what, source);
        let mut transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
        let writer = Writer { reader: Reader { connection: &transaction }, counted: Cell::new(false) };
        let outcome = work(&writer)?;
        writer.settle_answers()?;
        // It stays open for who looks; `Written` ends it.
        transaction.set_drop_behavior(DropBehavior::Ignore);
        drop(transaction);
        let mut written = Written { connection: &mut self.connection };
        look(&mut written)?;
        written.commit().map_err(sql)?;
        Ok(outcome)
    }
}

impl Written<'_> {
    /// Answers questions about what will be committed.
    pub fn read(&self) -> Reader<'_> {
        Reader { connection: self.connection }
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.connection.execute_batch("COMMIT")
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        if !self.connection.is_autocommit() {
            // What is not committed counts for nothing, even if it cannot be undone now.
            let _undone_when_closed = self.connection.execute_batch("ROLLBACK");
        }
    }
}

impl Reader<'_> {
    /// Does something with this view of the catalog while another thread does something with a second one. One after the
    /// other where a second one would see something else: within a transaction.
    fn both<A, B: Send>(
        &self,
        here: impl FnOnce(&Reader<'_>) -> Result<A, CatalogError>,
        there: impl FnOnce(&Reader<'_>) -> Result<B, CatalogError> + Send,
    ) -> Result<(A, B), CatalogError> {
        let path = self.connection.path().filter(|path| !path.is_empty()).map(PathBuf::from);
        let Some(path) = path.filter(|_| self.connection.is_autocommit()) else {
            return Ok((here(self)?, there(self)?));
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(move || there(&View::open(&path)?.read()));
            let here = here(self);
            let there = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((here?, there?))
        })
    }
}

impl View {
    fn open(path: &Path) -> Result<Self, CatalogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.execute_batch(&format!(
                "PRAGMA trusted_schema = OFF; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -{VIEW_CACHE_KIB}; BEGIN;"
            ))?;
            // A deferred transaction begins with its first read: take it now, before the writer starts.
            connection.query_row("SELECT generation FROM catalog", [], |_| Ok(()))?;
            keep_plans(&connection)?;
            bound_values(&connection)?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        };
        open()
            .map(|connection| View { connection })
            .map_err(|source| CatalogError::sql("open a view", source))
    }

    /// Answers questions about the moment the view was made.
    pub fn read(&self) -> Reader<'_> {
        Reader { connection: &self.connection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_who_looks_before_the_commit_sees_it_all_and_nobody_else_does_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distbackup.sqlite");
        let mut catalog = Catalog::create(&path, 1).unwrap();
        let note = |reader: &Reader<'_>| reader.setting("note").unwrap();
        for refuses in [true, false] {
            let before = catalog.read().changes().unwrap();
            let write = |writer: &Writer<'_>| writer.record_setting("note", "x").map(|_| 7);
            let looked = catalog.write_and_look("test", write, |written| {
                assert_eq!(note(&written.read()).as_deref(), Some("x"));
                assert_eq!(written.read().changes()?, before + 1);
                assert_eq!(note(&View::open(&path)?.read()), None);
                if refuses { Err(CatalogError::sql("look", rusqlite::Error::InvalidQuery)) } else { Ok(()) }
            });
            assert_eq!(looked.ok(), (!refuses).then_some(7));
            assert_eq!(note(&catalog.read()).is_none(), refuses, "what is refused is undone");
        }
        // The catalog can be written as before.
        catalog.write("test", |writer| writer.record_setting("note", "y")).unwrap();
        assert_eq!(note(&catalog.read()).as_deref(), Some("y"));
    }

    #[test]
    fn n1_n2_a_committed_transaction_is_on_the_medium() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distbackup.sqlite");
        drop(Catalog::create(&path, 1).unwrap());
        let catalog = Catalog::open(&path).unwrap();
        let pragma = |name: &str| -> String {
            let value = catalog.connection.pragma_query_value(None, name, |row| row.get(0));
            let value: rusqlite::types::Value = value.unwrap();
            format!("{value:?}")
        };
        // No power cut of ours reaches a journal below SQLite, so the words themselves are looked at: with NORMAL the
        // journal is not synced at a commit, and OFF syncs nothing at all.
        assert_eq!(pragma("synchronous"), "Integer(2)", "FULL");
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    }
}
