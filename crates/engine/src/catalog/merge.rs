//! Names and history that only a disk's own catalog copy knows (DESIGN 6, reconcile).
//!
//! After a `recover` from an older disk, a newer disk holds objects that our catalog has never heard
//! of, and its own catalog copy knows their names. Those are merged: they appear in a folder
//! of their own in a pinned snapshot, which does not expire unasked. The current tree stays as it is.

use std::collections::HashMap;

use distbackup_core::model::{DirNo, Kind, ObjectId, SnapshotNo, Stamp};
use rusqlite::params;

use super::publish::CheckedCopy;
use super::{CatalogError, Writer, columns};

/// A merge in progress: one disk's catalog copy into a pinned snapshot.
#[derive(Debug)]
pub struct Merged {
    /// The snapshot that shows the merged names.
    pub snapshot: SnapshotNo,
    /// Names taken over.
    pub names: u64,
    top: DirNo,
    /// Our directory for each of theirs.
    directories: HashMap<i64, DirNo>,
    next: DirNo,
}

/// Way up from a folder, at most: a longer one in an untrusted catalog is a circle.
const DEPTH_MAX: usize = 10_000;

/// Digits of a hash that tell versions of a name apart.
const VERSION_DIGITS: usize = 16;

/// Bytes of a name, at most, on any filesystem of ours.
const NAME_BYTES_MAX: usize = 255;

/// Names of one object that are taken over, at most.
const NAMES_MAX: u32 = 10_000;

impl CheckedCopy {
    /// Whether the copy knows a name for this object.
    pub fn names_object(&self, id: &ObjectId) -> Result<bool, CatalogError> {
        let reader = self.read();
        match reader.object_by_id(id)? {
            Some(row) => reader.is_referenced(row.object),
            None => Ok(false),
        }
    }
}

impl Writer<'_> {
    /// Begins to merge the catalog copy of a disk.
    pub fn begin_merge(&self, disk: &str, time_ns: i64) -> Result<Merged, CatalogError> {
        let note = format!("names found in the catalog copy of disk {disk}");
        let snapshot = self.record_snapshot(None, time_ns, true, Some(&note))?;
        let (top, _) = self.next_numbers()?;
        let name = format!("merged-from-{disk}-{}", snapshot.0);
        let metadata = self.intern_metadata(&Default::default())?;
        self.insert_merged(
            DirNo::ROOT,
            name.as_bytes(),
            snapshot,
            Kind::Directory,
            Some(top),
            None,
            metadata,
        )?;
        Ok(Merged { snapshot, names: 0, top, directories: HashMap::new(), next: DirNo(top.0 + 1) })
    }

    /// Takes over all names that the copy knows for an object; returns whether there were any.
    pub fn merge_names(
        &self,
        merged: &mut Merged,
        copy: &CheckedCopy,
        id: &ObjectId,
    ) -> Result<bool, CatalogError> {
        let theirs = copy.read();
        let Some(object) = theirs.object_by_id(id)? else { return Ok(false) };
        let ours = self.intern_object(id, object.size)?;
        // Not theirs, which may be anything (C7): sums over the tree would overflow.
        let size = self.object(ours)?.map_or(object.size, |known| known.size).0;
        let mut any = false;
        for reference in theirs.references(object.object, NAMES_MAX)? {
            if !is_component(&reference.name) {
                continue;
            }
            let directory = self.merged_directory(merged, copy, reference.directory)?;
            let entry = theirs.connection.query_row(
                "SELECT mtime_ns, metadata FROM entry
                  WHERE directory = ?1 AND name = ?2 AND object = ?3 ORDER BY born DESC LIMIT 1",
                (reference.directory.0, &reference.name, object.object.0),
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            );
            let (mtime_ns, metadata) =
                entry.map_err(|source| CatalogError::sql("read a name to merge", source))?;
            let metadata = self.intern_metadata(&theirs.metadata(metadata)?)?;
            let stamp = Stamp {
                filesystem: distbackup_core::model::FilesystemNo(0),
                inode: 0,
                size,
                mtime_ns,
                ctime_ns: 0,
            };
            let content = Some((ours.0, stamp));
            let insert = |name: &[u8]| {
                self.insert_merged(directory, name, merged.snapshot, Kind::File, None, content, metadata)
            };
            // Their history has several contents under one name; the pinned snapshot shows each beside the others.
            let inserted =
                insert(&reference.name)? || insert(&versioned(&reference.name, &id.hex()[..VERSION_DIGITS]))?;
            merged.names += u64::from(inserted);
            any |= inserted;
        }
        Ok(any)
    }

    /// Our directory for one of theirs, made with its parents.
    fn merged_directory(
        &self,
        merged: &mut Merged,
        copy: &CheckedCopy,
        theirs: DirNo,
    ) -> Result<DirNo, CatalogError> {
        let mut way = Vec::new();
        let mut at = theirs;
        let mut directory = loop {
            if at.0 <= DirNo::ROOT.0 {
                break merged.top;
            }
            if let Some(&known) = merged.directories.get(&at.0) {
                break known;
            }
            let Some((parent, name)) = copy.read().place_of(at)? else { break merged.top };
            if way.len() >= DEPTH_MAX || !is_component(&name) {
                break merged.top;
            }
            way.push((at, name));
            at = parent;
        };
        for (their_node, name) in way.into_iter().rev() {
            let node = merged.next;
            merged.next = DirNo(node.0 + 1);
            let metadata = self.intern_metadata(&Default::default())?;
            let insert = |name: &[u8]| {
                self.insert_merged(
                    directory,
                    name,
                    merged.snapshot,
                    Kind::Directory,
                    Some(node),
                    None,
                    metadata,
                )
            };
            // Where there was a file or another folder of that name at another time.
            if !insert(&name)? {
                insert(&versioned(&name, &their_node.0.to_string()))?;
            }
            merged.directories.insert(their_node.0, node);
            directory = node;
        }
        Ok(directory)
    }

    /// One row that only the pinned snapshot shows; `false` if the name is taken there.
    #[allow(clippy::too_many_arguments)]
    fn insert_merged(
        &self,
        directory: DirNo,
        name: &[u8],
        snapshot: SnapshotNo,
        kind: Kind,
        node: Option<DirNo>,
        content: Option<(i64, Stamp)>,
        metadata: i64,
    ) -> Result<bool, CatalogError> {
        const SQL: &str = "
            INSERT OR IGNORE INTO entry (directory, name, born, died, kind, node, object, pending, size, mtime_ns,
                                         ctime_ns, filesystem, inode, metadata)
            VALUES (?1, ?2, ?3, ?3 + 1, ?4, ?5, ?6, 0, ?7, ?8, 0, 0, 0, ?9)";
        let (object, size, mtime_ns) =
            content.map_or((None, 0, 0), |(object, stamp)| (Some(object), stamp.size, stamp.mtime_ns));
        let values = params![
            directory.0,
            name,
            snapshot.0,
            kind.letter().to_string(),
            node.map(|node| node.0),
            object,
            columns::to_signed(size),
            mtime_ns,
            metadata
        ];
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.execute(values))
            .map(|rows| rows > 0)
            .map_err(|source| CatalogError::sql("record a merged name", source))
    }
}

/// A second name for another version of what has this name: `name~1a2b3c4d`, of 255 bytes at most.
fn versioned(name: &[u8], version: &str) -> Vec<u8> {
    let kept = &name[..name.len().min(NAME_BYTES_MAX - 1 - version.len())];
    [kept, b"~", version.as_bytes()].concat()
}

/// A name from an untrusted catalog may stand in ours only if it is one component (rule 7).
fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
