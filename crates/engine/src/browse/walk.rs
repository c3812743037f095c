//! The tree in depth-first order, with a bounded memory: one path, and a cursor into each of its folders.

use distbackup_core::model::{DirNo, Kind, VirtualPath};

use super::{BrowseError, Selection};
use crate::catalog::{At, EntryRow, Reader};

/// One step of the walk. Folders are entered before and left after everything in them.
pub enum Step<'a> {
    /// An entry that is wanted; for a directory, before what is in it.
    Entry {
        /// Its path.
        path: &'a VirtualPath,
        /// Its row.
        entry: &'a EntryRow,
    },
    /// A directory that is not wanted itself, but may contain something that is.
    Passing {
        /// Its row.
        entry: &'a EntryRow,
    },
    /// A directory is done; `wanted` as it was at its begin.
    Leave {
        /// Its path.
        path: &'a VirtualPath,
        /// Its row.
        entry: &'a EntryRow,
        /// It was an [`Step::Entry`], not only passed.
        wanted: bool,
    },
}

/// Deeper trees than this are damage: folders that contain each other.
const DEPTH_MAX: usize = 100_000;

/// Entries of a folder that are read at once.
const FETCH: u32 = 512;

/// One folder on the way down.
struct Level {
    path: VirtualPath,
    row: EntryRow,
    wanted: bool,
    node: DirNo,
    entries: std::vec::IntoIter<EntryRow>,
    last: Option<Vec<u8>>,
    more: bool,
}

/// Walks the tree of a moment and calls `each` for what is selected.
///
/// Ends with the first error, of the catalog or of `each`.
pub fn walk<E: From<BrowseError>>(
    reader: Reader<'_>,
    at: At,
    selection: &Selection,
    each: &mut dyn FnMut(Step<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let root = root_row(reader, at)?;
    let path = VirtualPath::root();
    let wanted = selection.names(&path);
    if wanted {
        each(Step::Entry { path: &path, entry: &root })?;
    }
    let mut levels = vec![Level::new(path, root, wanted, DirNo::ROOT)];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.next(reader, at)? else {
            each(Step::Leave { path: &level.path, entry: &level.row, wanted: level.wanted })?;
            levels.pop();
            continue;
        };
        if !is_component(&entry.name) {
            let name = distbackup_core::model::escape_bytes(&entry.name);
            return Err(BrowseError::HostileName { name }.into());
        }
        let path = level.path.join(&entry.name);
        let wanted = level.wanted || selection.names(&path);
        if wanted {
            each(Step::Entry { path: &path, entry: &entry })?;
        } else if entry.kind == Kind::Directory {
            each(Step::Passing { entry: &entry })?;
        }
        if let Some(node) = entry.node {
            if levels.len() > DEPTH_MAX || levels.iter().any(|level| level.node == node) {
                return Err(BrowseError::Circle { path: path.display() }.into());
            }
            levels.push(Level::new(path, entry, wanted, node));
        }
    }
    Ok(())
}

/// The root's own row; invented where no source is mapped at the root.
fn root_row(reader: Reader<'_>, at: At) -> Result<EntryRow, BrowseError> {
    if let Some(row) = reader.entry(DirNo(0), b"", at)? {
        return Ok(row);
    }
    Ok(EntryRow {
        directory: DirNo(0),
        name: Vec::new(),
        born: distbackup_core::model::SnapshotNo(0),
        died: None,
        kind: Kind::Directory,
        node: Some(DirNo::ROOT),
        object: None,
        pending: false,
        stamp: distbackup_core::model::Stamp {
            filesystem: distbackup_core::model::FilesystemNo(0),
            inode: 0,
            size: 0,
            mtime_ns: 0,
            ctime_ns: 0,
        },
        metadata: 0,
        link: None,
        target: None,
        holes: Default::default(),
    })
}

impl Level {
    fn new(path: VirtualPath, row: EntryRow, wanted: bool, node: DirNo) -> Self {
        Level { path, row, wanted, node, entries: Vec::new().into_iter(), last: None, more: true }
    }

    fn next(&mut self, reader: Reader<'_>, at: At) -> Result<Option<EntryRow>, BrowseError> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Ok(Some(entry));
            }
            if !self.more {
                return Ok(None);
            }
            let rows = reader.entries_after(self.node, self.last.as_deref(), at, FETCH)?;
            self.more = rows.len() == FETCH as usize;
            self.last = rows.last().map(|row| row.name.clone()).or(self.last.take());
            self.entries = rows.into_iter();
        }
    }
}

/// A name from a catalog is used only if it is one component (rule 7, C7).
fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}
