//! The tree in depth-first order, with a bounded memory: one path, and a cursor into each of its folders.

use std::collections::HashSet;

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

/// Fewer entries are walked without asking how many there are.
const FEW: u64 = 10_000;

/// Entries of a folder that are read at once.
const FETCH: u32 = 512;

/// One folder on the way down.
struct Level {
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
    let mut path = VirtualPath::root();
    let wanted = selection.names(&path);
    if wanted {
        each(Step::Entry { path: &path, entry: &root })?;
    }
    let mut on_the_way = HashSet::from([DirNo::ROOT]);
    let mut count = Count::default();
    let look = wanted || selection.may_name_below(&path);
    let mut levels = vec![Level::new(root, wanted, look, DirNo::ROOT)];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.next(reader, at)? else {
            each(Step::Leave { path: &path, entry: &level.row, wanted: level.wanted })?;
            on_the_way.remove(&level.node);
            levels.pop();
            path.pop();
            continue;
        };
        if !is_component(&entry.name) {
            let name = distbackup_core::model::escape_bytes(&entry.name);
            return Err(BrowseError::HostileName { name }.into());
        }
        path.push(&entry.name);
        count.one_more(reader, &path)?;
        let wanted = level.wanted || selection.names(&path);
        if wanted {
            each(Step::Entry { path: &path, entry: &entry })?;
        } else if entry.kind == Kind::Directory {
            each(Step::Passing { entry: &entry })?;
        }
        let Some(node) = entry.node else {
            path.pop();
            continue;
        };
        if levels.len() > DEPTH_MAX || !on_the_way.insert(node) {
            return Err(BrowseError::Circle { path: path.display() }.into());
        }
        let look = wanted || selection.may_name_below(&path);
        levels.push(Level::new(entry, wanted, look, node));
    }
    Ok(())
}

/// Entries that were met. A folder that stands at two places is met twice, and what is in it, too: thirty such folders,
/// each twice in the one before, make a tree of a thousand million names (C7).
#[derive(Default)]
struct Count {
    met: u64,
    rows: Option<u64>,
}

impl Count {
    fn one_more(&mut self, reader: Reader<'_>, path: &VirtualPath) -> Result<(), BrowseError> {
        self.met += 1;
        if self.met <= FEW {
            return Ok(());
        }
        let rows = match self.rows {
            Some(rows) => rows,
            None => *self.rows.insert(reader.entry_count()?),
        };
        if self.met > rows {
            return Err(BrowseError::Circle { path: path.display() });
        }
        Ok(())
    }
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
    /// A folder, empty unless somebody is to `look` into it.
    fn new(row: EntryRow, wanted: bool, look: bool, node: DirNo) -> Self {
        Level { row, wanted, node, entries: Vec::new().into_iter(), last: None, more: look }
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
