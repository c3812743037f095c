//! Entries that are taken over from another kind of catalog: they fill snapshots of their own, and are confirmed by the
//! next update.

use distbackup_core::model::{DirNo, Kind, Metadata, ObjectNo, SnapshotNo};
use rusqlite::params;

use super::{CatalogError, Writer, columns};

/// An entry that is taken over. Nothing is known of its filesystem, so the next update looks at it anew; a file of the same
/// size and mtime keeps its presumed content until it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver<'t> {
    /// The folder.
    pub directory: DirNo,
    /// The name in it.
    pub name: &'t [u8],
    /// What it is.
    pub kind: Kind,
    /// A directory's own number.
    pub node: Option<DirNo>,
    /// Presumed content.
    pub object: Option<ObjectNo>,
    /// The content is to be read.
    pub pending: bool,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Of a symlink.
    pub target: Option<&'t [u8]>,
}

impl Writer<'_> {
    /// Makes an entry true from `born` on, and up to `died` if that is given; `false` if the name is taken.
    pub fn take_over_entry(
        &self,
        entry: &TakenOver<'_>,
        born: SnapshotNo,
        died: Option<SnapshotNo>,
    ) -> Result<bool, CatalogError> {
        const SQL: &str = "
            INSERT OR IGNORE INTO entry (directory, name, born, died, kind, node, object, pending, size, mtime_ns,
                                         ctime_ns, filesystem, inode, metadata, target)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, 0, 0, ?11, ?12)";
        let mode = match entry.kind {
            Kind::Directory => 0o700,
            Kind::Symlink => 0o777,
            _ => 0o600,
        };
        let metadata = self.intern_metadata(&Metadata { mode, ..Metadata::default() })?;
        let values = params![
            entry.directory.0,
            entry.name,
            born.0,
            died.map(|died| died.0),
            entry.kind.letter().to_string(),
            entry.node.map(|node| node.0),
            entry.object.map(|object| object.0),
            entry.pending,
            columns::to_signed(entry.size),
            entry.mtime_ns,
            metadata,
            entry.target,
        ];
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.execute(values))
            .map(|rows| rows > 0)
            .map_err(|source| CatalogError::sql("take over an entry", source))
    }
}
