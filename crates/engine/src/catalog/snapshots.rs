//! Snapshots: the tree as each update that changed something left it.

use distbackup_core::model::{RunNo, SnapshotNo};
use rusqlite::OptionalExtension;

use super::{CatalogError, Reader, Writer};

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its number; later snapshots have larger ones.
    pub snapshot: SnapshotNo,
    /// Catalog time when it was made.
    pub created_ns: i64,
    /// Kept until it is forgotten by name.
    pub pinned: bool,
    /// What it is, if it is not an ordinary update.
    pub note: Option<String>,
}

/// The moment of the tree a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The tree of the last update.
    Now,
    /// The tree as this snapshot left it.
    Snapshot(SnapshotNo),
}

impl At {
    /// The two bounds of `born <= ?1 AND (died IS NULL OR died > ?2)` that hold for rows of this moment.
    ///
    /// Rows of now have no end, whatever snapshot is the newest.
    pub(super) fn bounds(self) -> (i64, i64) {
        match self {
            At::Now => (i64::MAX, i64::MAX),
            At::Snapshot(number) => (number.0, number.0),
        }
    }
}

fn snapshot_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<SnapshotRow> {
    Ok(SnapshotRow {
        snapshot: SnapshotNo(row.get(0)?),
        created_ns: row.get(1)?,
        pinned: row.get(2)?,
        note: row.get(3)?,
    })
}

impl Reader<'_> {
    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRow>, CatalogError> {
        let read = || {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, created_ns, pinned, note FROM snapshot ORDER BY id")?;
            statement.query_map([], snapshot_row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the snapshots", source))
    }

    /// The newest snapshot.
    pub fn newest_snapshot(&self) -> Result<Option<SnapshotRow>, CatalogError> {
        self.connection
            .prepare_cached("SELECT id, created_ns, pinned, note FROM snapshot ORDER BY id DESC LIMIT 1")
            .and_then(|mut statement| statement.query_row([], snapshot_row).optional())
            .map_err(|source| CatalogError::sql("find the newest snapshot", source))
    }

    /// The newest snapshot that an update made: the current tree.
    pub fn newest_ordinary_snapshot(&self) -> Result<Option<SnapshotNo>, CatalogError> {
        self.connection
            .query_row("SELECT max(id) FROM snapshot WHERE pinned = 0", [], |row| {
                row.get::<_, Option<i64>>(0)
            })
            .map(|number| number.map(SnapshotNo))
            .map_err(|source| CatalogError::sql("find the newest snapshot", source))
    }

    /// The snapshot with this number.
    pub fn snapshot(&self, number: SnapshotNo) -> Result<Option<SnapshotRow>, CatalogError> {
        self.connection
            .prepare_cached("SELECT id, created_ns, pinned, note FROM snapshot WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([number.0], snapshot_row).optional())
            .map_err(|source| CatalogError::sql("find a snapshot", source))
    }

    /// The tree as it was at a time: the newest ordinary snapshot made at or before it.
    pub fn snapshot_at(&self, time_ns: i64) -> Result<Option<SnapshotRow>, CatalogError> {
        const SQL: &str = "
            SELECT id, created_ns, pinned, note FROM snapshot
             WHERE created_ns <= ?1 AND pinned = 0 ORDER BY id DESC LIMIT 1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.query_row([time_ns], snapshot_row).optional())
            .map_err(|source| CatalogError::sql("find the snapshot of a time", source))
    }
}

impl Writer<'_> {
    /// Records a new snapshot, later than all others.
    pub fn record_snapshot(
        &self,
        run: Option<RunNo>,
        time_ns: i64,
        pinned: bool,
        note: Option<&str>,
    ) -> Result<SnapshotNo, CatalogError> {
        // Never a number again that a forgotten snapshot had: rows may still speak of it.
        const SQL: &str = "
            INSERT INTO snapshot (id, run, created_ns, pinned, note)
            SELECT 1 + max(coalesce((SELECT max(id) FROM snapshot), 0),
                           coalesce((SELECT max(died) FROM entry WHERE died IS NOT NULL), 0)), ?1, ?2, ?3, ?4";
        self.connection
            .execute(SQL, (run.map(|run| run.0), time_ns, pinned, note))
            .map_err(|source| CatalogError::sql("record a snapshot", source))?;
        Ok(SnapshotNo(self.connection.last_insert_rowid()))
    }
}
