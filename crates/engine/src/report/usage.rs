//! Folders with what is in them, by number of copies: for `tree` and `ncdu`.

use std::cmp::Reverse;
use std::collections::HashMap;

use distbackup_core::model::{Bytes, DirNo, DiskNo, Kind, ObjectNo, VirtualPath};
use distbackup_core::plan::Tally;

use crate::browse::{BrowseError, Selection, Step, walk};
use crate::catalog::{At, CopyCounts, CopyFilter, EntryRow, Reader};

/// Files by number of copies; the bytes of a content with several names are shared evenly among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// `levels[n]`: files with `n` copies.
    pub levels: Vec<Tally>,
}

impl Usage {
    fn add(&mut self, copies: u16, bytes: Bytes) {
        let at = usize::from(copies);
        if self.levels.len() <= at {
            self.levels.resize(at + 1, Tally::default());
        }
        self.levels[at].add(bytes);
    }

    fn merge(&mut self, other: &Usage) {
        if self.levels.len() < other.levels.len() {
            self.levels.resize(other.levels.len(), Tally::default());
        }
        for (own, other) in self.levels.iter_mut().zip(&other.levels) {
            own.merge(*other);
        }
    }

    /// All levels together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.levels.iter().for_each(|level| total.merge(*level));
        total
    }
}

/// One line of a tree: a file, or a folder with all that is in it.
#[derive(Debug, Clone)]
pub struct TreeLine {
    /// Its path.
    pub path: VirtualPath,
    /// What it is.
    pub kind: Kind,
    /// 0: the root.
    pub depth: usize,
    /// What it holds.
    pub usage: Usage,
}

/// A file with a content, as far as a filter lets it pass.
#[derive(Debug, Clone)]
pub struct UsedFile {
    /// Its size.
    pub size: Bytes,
    /// Copies that count.
    pub copies: u16,
    /// Live names of its content.
    pub names: u32,
    /// Its content; `None`: pending, or empty.
    pub object: Option<ObjectNo>,
}

/// Judges entries by a filter.
struct Sieve<'f> {
    filter: &'f CopyFilter,
    counts: CopyCounts,
}

impl Sieve<'_> {
    /// What a file counts as; `None`: it is no file, or the filter does not let it pass.
    fn file(&self, entry: &EntryRow) -> Option<UsedFile> {
        if entry.kind != Kind::File {
            return None;
        }
        let size = Bytes(entry.stamp.size);
        match entry.object {
            Some(object) => {
                let (copies, names) = self.counts.of(self.filter, object)?;
                Some(UsedFile { size, copies, names, object: Some(object) })
            }
            // An empty file is in every copy of the catalog, so no filter is about it.
            None if size == Bytes(0) && !self.filter.is_empty() => None,
            None => self.counts.none_pass().then_some(UsedFile { size, copies: 0, names: 1, object: None }),
        }
    }
}

fn share(file: &UsedFile) -> Bytes {
    Bytes(file.size.0 / u64::from(file.names.max(1)))
}

/// The tree as it is now, each folder's entries by falling size, down to a depth; folders in which the filter leaves
/// nothing are left out. Holds one entry for each folder of the tree in memory.
pub fn usage_tree<E: From<BrowseError>>(
    reader: Reader<'_>,
    filter: &CopyFilter,
    depth_max: usize,
    each: &mut dyn FnMut(&TreeLine) -> Result<(), E>,
) -> Result<(), E> {
    let counts = reader.copy_counts(filter).map_err(BrowseError::from)?;
    let sieve = Sieve { filter, counts };
    let folders = folders(reader, &sieve)?;
    let whole = folders.get(&DirNo::ROOT.0).cloned().unwrap_or_default();
    let mut stack = vec![(
        TreeLine { path: VirtualPath::root(), kind: Kind::Directory, depth: 0, usage: whole },
        Some(DirNo::ROOT),
    )];
    while let Some((line, node)) = stack.pop() {
        each(&line)?;
        let Some(node) = node.filter(|_| line.depth < depth_max) else { continue };
        let mut below = children(reader, &sieve, &folders, &line, node)?;
        below.sort_by_cached_key(|(line, _)| (line.usage.total().bytes.0, Reverse(line.path.clone())));
        stack.extend(below);
    }
    Ok(())
}

/// What each folder holds, by its number.
fn folders<E: From<BrowseError>>(reader: Reader<'_>, sieve: &Sieve<'_>) -> Result<HashMap<i64, Usage>, E> {
    let mut folders: HashMap<i64, Usage> = HashMap::new();
    let mut open: Vec<Usage> = Vec::new();
    let all = Selection::parse(&[])?;
    walk(reader, At::Now, &all, &mut |step| -> Result<(), E> {
        match step {
            Step::Entry { entry, .. } if entry.node.is_some() => open.push(Usage::default()),
            Step::Entry { entry, .. } => {
                if let (Some(file), Some(folder)) = (sieve.file(entry), open.last_mut()) {
                    folder.add(file.copies, share(&file));
                }
            }
            Step::Passing { .. } => {}
            Step::Leave { entry, .. } => {
                let done = open.pop().unwrap_or_default();
                if let Some(outer) = open.last_mut() {
                    outer.merge(&done);
                }
                if let Some(node) = entry.node {
                    folders.insert(node.0, done);
                }
            }
        }
        Ok(())
    })?;
    Ok(folders)
}

/// What stands in one folder and holds anything.
fn children(
    reader: Reader<'_>,
    sieve: &Sieve<'_>,
    folders: &HashMap<i64, Usage>,
    above: &TreeLine,
    node: DirNo,
) -> Result<Vec<(TreeLine, Option<DirNo>)>, BrowseError> {
    let mut below = Vec::new();
    let mut entries = reader.entries(At::Now)?;
    let mut cursor = entries.of(node)?;
    while let Some(entry) = cursor.next_entry()? {
        let usage = match (entry.node, sieve.file(&entry)) {
            (Some(node), _) => folders.get(&node.0).cloned().unwrap_or_default(),
            (None, Some(file)) => {
                let mut usage = Usage::default();
                usage.add(file.copies, share(&file));
                usage
            }
            (None, None) => continue,
        };
        if usage.total().objects == 0 {
            continue;
        }
        let (path, kind, depth) = (above.path.join(&entry.name), entry.kind, above.depth + 1);
        below.push((TreeLine { path, kind, depth, usage }, entry.node));
    }
    Ok(below)
}

/// One step through folders and files, for an export.
#[derive(Debug)]
pub enum UsageStep<'a> {
    /// A folder begins; its name, `/` for the root.
    Folder(&'a [u8]),
    /// A file: its name, what it counts as, and the disks that hold it.
    File(&'a [u8], UsedFile, Vec<DiskNo>),
    /// The folder ends.
    End,
}

/// Goes through the tree as it is now in its own order, with the files that the filter lets pass.
pub fn usage_walk<E: From<BrowseError>>(
    reader: Reader<'_>,
    filter: &CopyFilter,
    each: &mut dyn FnMut(UsageStep<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let counts = reader.copy_counts(filter).map_err(BrowseError::from)?;
    let sieve = Sieve { filter, counts };
    let all = Selection::parse(&[])?;
    walk(reader, At::Now, &all, &mut |step| match step {
        Step::Entry { entry, path } if entry.node.is_some() => {
            let name = if path.as_bytes() == b"/" { b"/" } else { entry.name.as_slice() };
            each(UsageStep::Folder(name))
        }
        Step::Entry { entry, .. } => {
            let Some(file) = sieve.file(entry) else { return Ok(()) };
            let held =
                file.object.map(|object| reader.holders(object)).transpose().map_err(BrowseError::from)?;
            let held = held.unwrap_or_default().into_iter().filter(|disk| !filter.dropped.contains(disk));
            each(UsageStep::File(&entry.name, file, held.collect()))
        }
        Step::Passing { .. } => Ok(()),
        Step::Leave { .. } => each(UsageStep::End),
    })
}
