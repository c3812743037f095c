//! What changed from one moment of the tree to another.

use distbackup_core::model::{Bytes, DirNo, Kind, VirtualPath};

use crate::browse::{BrowseError, Selection};
use crate::catalog::{At, CatalogError, EntryRow, OneSided, Reader};

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second moment has the name.
    Added,
    /// Only the first moment has the name.
    Removed,
    /// Another content, another target of a link, or something of another kind.
    Changed,
    /// The same folder, or the same content, under another name.
    Renamed,
    /// Only times, mode, owner or attributes differ, or where it lies on its filesystem.
    Metadata,
}

/// One entry that differs.
#[derive(Debug)]
pub struct Difference<'a> {
    /// How.
    pub change: Change,
    /// Its path; in the first moment if it was removed, otherwise in the second.
    pub path: &'a VirtualPath,
    /// The path it had before; only if it was renamed.
    pub from: Option<&'a VirtualPath>,
    /// What it is; what it was, if it was removed.
    pub kind: Kind,
    /// A file's size in the first moment.
    pub before: Option<Bytes>,
    /// A file's size in the second moment.
    pub after: Option<Bytes>,
}

/// How many entries differ in one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Entries.
    pub entries: u64,
    /// Bytes of the files among them: as they are, or as they were if they were removed.
    pub bytes: Bytes,
}

/// Totals of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Differences {
    /// Names that came.
    pub added: Tallied,
    /// Names that went.
    pub removed: Tallied,
    /// Names with another content.
    pub changed: Tallied,
    /// Folders and contents with another name.
    pub renamed: Tallied,
    /// Entries of which only metadata differ.
    pub metadata: Tallied,
}

impl Differences {
    /// Whether the two moments are alike.
    pub fn is_empty(&self) -> bool {
        *self == Differences::default()
    }

    fn count(&mut self, difference: &Difference<'_>) {
        let tallied = match difference.change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Changed => &mut self.changed,
            Change::Renamed => &mut self.renamed,
            Change::Metadata => &mut self.metadata,
        };
        tallied.entries += 1;
        tallied.bytes += difference.after.or(difference.before).unwrap_or_default();
    }
}

/// Compares two moments of the tree and hands out what differs, one folder after the other in the order in which
/// they came into the tree.
///
/// The catalog keeps what changed, so the cost is one pass over its rows and a question for each difference; one row
/// and the path of one folder are held. A pattern selects what matches it, and everything below.
pub fn differences<E: From<BrowseError>>(
    reader: Reader<'_>,
    from: At,
    to: At,
    patterns: &[Vec<u8>],
    each: &mut dyn FnMut(&Difference<'_>) -> Result<(), E>,
) -> Result<Differences, E> {
    let selection = Selection::parse(patterns)?;
    let mut compared =
        Comparison { reader, from, to, selection, totals: Differences::default(), folder: None, each };
    let mut held: Option<OneSided> = None;
    reader
        .one_sided::<Failed<E>>(from, to, &mut |row| {
            let same = |held: &OneSided| {
                held.arrived != row.arrived
                    && held.entry.directory == row.entry.directory
                    && held.entry.name == row.entry.name
            };
            match held.take_if(|held| same(held)) {
                Some(other) => {
                    let (was, is) = if row.arrived { (other, row) } else { (row, other) };
                    compared.both(&was.entry, &is.entry).map_err(Failed)
                }
                None => match held.replace(row) {
                    Some(alone) => compared.alone(&alone).map_err(Failed),
                    None => Ok(()),
                },
            }
        })
        .map_err(|Failed(error)| error)?;
    if let Some(alone) = held {
        compared.alone(&alone)?;
    }
    Ok(compared.totals)
}

/// An error of whoever asked, through which those of the catalog pass, too.
struct Failed<E>(E);

impl<E: From<BrowseError>> From<CatalogError> for Failed<E> {
    fn from(error: CatalogError) -> Self {
        Failed(BrowseError::from(error).into())
    }
}

/// The path of the folder that was met last: its entries come one after the other.
struct Folder {
    directory: DirNo,
    at: At,
    path: VirtualPath,
}

struct Comparison<'c, 'e, E> {
    reader: Reader<'c>,
    from: At,
    to: At,
    selection: Selection,
    totals: Differences,
    folder: Option<Folder>,
    each: &'e mut dyn FnMut(&Difference<'_>) -> Result<(), E>,
}

impl<E: From<BrowseError>> Comparison<'_, '_, E> {
    /// A name that both moments have.
    fn both(&mut self, was: &EntryRow, is: &EntryRow) -> Result<(), E> {
        let same_content = was.object == is.object && was.stamp.size == is.stamp.size;
        // A content that was not read yet is taken for what size and time say.
        let unread = was.object.is_none() || is.object.is_none();
        let alike = was.kind == is.kind
            && was.target == is.target
            && match is.kind {
                Kind::File if unread => {
                    was.stamp.size == is.stamp.size && was.stamp.mtime_ns == is.stamp.mtime_ns
                        || same_content && is.stamp.size == 0
                }
                Kind::File => same_content,
                _ => true,
            };
        let change = if alike { Change::Metadata } else { Change::Changed };
        let path = self.path(is.directory, &is.name, self.to)?;
        self.tell(change, &path, None, Some(was), Some(is))
    }

    /// A name that one moment has.
    fn alone(&mut self, row: &OneSided) -> Result<(), E> {
        let (here, there) = if row.arrived { (self.to, self.from) } else { (self.from, self.to) };
        let other = self.counterpart(&row.entry, here, there)?;
        match (row.arrived, other) {
            // It is told where it stands now.
            (false, Some(_)) => Ok(()),
            (true, Some((directory, name))) => {
                let path = self.path(row.entry.directory, &row.entry.name, here)?;
                let from = self.path(directory, &name, there)?;
                self.tell(Change::Renamed, &path, Some(&from), Some(&row.entry), Some(&row.entry))
            }
            (arrived, None) => {
                let path = self.path(row.entry.directory, &row.entry.name, here)?;
                match arrived {
                    true => self.tell(Change::Added, &path, None, None, Some(&row.entry)),
                    false => self.tell(Change::Removed, &path, None, Some(&row.entry), None),
                }
            }
        }
    }

    /// Where the same folder or content stands in the other moment, if it has another name there. The n-th of the
    /// names that went is the n-th of those that came, so that each is told once.
    fn counterpart(&self, entry: &EntryRow, here: At, there: At) -> Result<Option<(DirNo, Vec<u8>)>, E> {
        if let Some(node) = entry.node {
            let place = self.reader.place_at(node, there).map_err(BrowseError::from)?;
            // Where something else took the name, it is told as changed, and this one as new.
            let Some((directory, name)) = place else { return Ok(None) };
            let taken = self.reader.entry(directory, &name, here).map_err(BrowseError::from)?;
            return Ok(taken.is_none().then_some((directory, name)));
        }
        let Some(object) = entry.object else { return Ok(None) };
        let ours = self.reader.moved_names(object, here, there).map_err(BrowseError::from)?;
        let mut theirs = self.reader.moved_names(object, there, here).map_err(BrowseError::from)?;
        let place = ours.iter().position(|(directory, name)| {
            (*directory, name.as_slice()) == (entry.directory, entry.name.as_slice())
        });
        Ok(place.filter(|&place| place < theirs.len()).map(|place| theirs.swap_remove(place)))
    }

    fn path(&mut self, directory: DirNo, name: &[u8], at: At) -> Result<VirtualPath, E> {
        let mut path = match &self.folder {
            Some(folder) if folder.directory == directory && folder.at == at => folder.path.clone(),
            _ => {
                let path = self.reader.path_at(directory, at).map_err(BrowseError::from)?;
                self.folder = Some(Folder { directory, at, path: path.clone() });
                path
            }
        };
        if !name.is_empty() {
            path.push(name);
        }
        Ok(path)
    }

    fn tell(
        &mut self,
        change: Change,
        path: &VirtualPath,
        from: Option<&VirtualPath>,
        was: Option<&EntryRow>,
        is: Option<&EntryRow>,
    ) -> Result<(), E> {
        if !self.is_wanted(path) && !from.is_some_and(|from| self.is_wanted(from)) {
            return Ok(());
        }
        let size = |row: Option<&EntryRow>| {
            row.filter(|row| row.kind == Kind::File).map(|row| Bytes(row.stamp.size))
        };
        let Some(kind) = is.or(was).map(|row| row.kind) else { return Ok(()) };
        let difference = Difference { change, path, from, kind, before: size(was), after: size(is) };
        self.totals.count(&difference);
        (self.each)(&difference)
    }

    /// Whether a path or a folder above it is selected.
    fn is_wanted(&self, path: &VirtualPath) -> bool {
        if self.selection.is_everything() {
            return true;
        }
        let mut here = Some(path.clone());
        while let Some(at) = here {
            if self.selection.names(&at) {
                return true;
            }
            here = at.parent().map(|(folder, _)| folder);
        }
        false
    }
}
