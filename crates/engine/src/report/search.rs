//! Files by a part of their names, wherever and whenever they were in the tree.

use std::cell::RefCell;
use std::collections::BTreeSet;

use distbackup_core::model::{Bytes, DirNo, DiskNo, Kind, ObjectNo, SnapshotNo, VirtualPath};
use globset::{GlobBuilder, GlobMatcher};

use crate::browse::BrowseError;
use crate::catalog::{CatalogError, NameRow, Reader};
use crate::platform::path_of_bytes;

/// What names are held against, letter case aside.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// A part of the name.
    Part(String),
    /// The whole name; `*` anything, `?` one character, `[abc]`.
    Name(GlobMatcher),
    /// The whole path, where the pattern has a `/`.
    Path(GlobMatcher),
}

impl Pattern {
    /// Reads a pattern: a glob if it looks like one or has a `/`, else a part of a name.
    pub fn parse(text: &str) -> Result<Self, BrowseError> {
        let globs = text.contains(['*', '?', '[']);
        if !globs && !text.contains('/') {
            return Ok(Pattern::Part(text.to_lowercase()));
        }
        let bad = |error: globset::Error| BrowseError::BadPattern {
            pattern: text.to_owned(),
            why: error.to_string(),
        };
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text).case_insensitive(true).literal_separator(false).build();
            glob.map(|glob| glob.compile_matcher()).map_err(bad)
        };
        Ok(match (text.contains('/'), globs) {
            (false, _) => Pattern::Name(glob(text)?),
            // A path without wildcards: all that has it as a part.
            (true, false) => Pattern::Path(glob(&format!("*{text}*"))?),
            (true, true) if text.starts_with('/') => Pattern::Path(glob(text)?),
            (true, true) => Pattern::Path(glob(&format!("**/{text}"))?),
        })
    }

    fn takes(
        &self,
        name: &[u8],
        path: impl FnOnce() -> Result<VirtualPath, BrowseError>,
    ) -> Result<bool, BrowseError> {
        Ok(match self {
            Pattern::Part(part) => String::from_utf8_lossy(name).to_lowercase().contains(part),
            Pattern::Name(glob) => glob.is_match(path_of_bytes(name)),
            Pattern::Path(glob) => glob.is_match(path_of_bytes(path()?.join(name).as_bytes())),
        })
    }
}

/// A name that was found, as it was last.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path. Where a folder above it was moved, the last place of that.
    pub path: VirtualPath,
    /// What it was last.
    pub kind: Kind,
    /// Its size.
    pub size: Bytes,
    /// When it was changed last.
    pub mtime_ns: i64,
    /// Its content was never read.
    pub pending: bool,
    /// The disks that hold its last content.
    pub disks: Vec<DiskNo>,
    /// It is in the tree no more: the last snapshot that has it, as far as one is kept.
    pub gone: Option<Option<SnapshotNo>>,
    /// Other contents that it had before.
    pub older: usize,
}

/// Finds names; with `now_only`, in the tree as it is now. An empty pattern takes everything.
pub fn find<E: From<BrowseError> + From<CatalogError>>(
    reader: Reader<'_>,
    pattern: &Pattern,
    now_only: bool,
    each: &mut dyn FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    let snapshots: BTreeSet<SnapshotNo> =
        reader.snapshots().map_err(BrowseError::from)?.into_iter().map(|row| row.snapshot).collect();
    let places = Places { reader, last: RefCell::new(None) };
    let mut states: Vec<NameRow> = Vec::new();
    let mut done = |states: &mut Vec<NameRow>| match found(&places, &snapshots, states)? {
        Some(found) => each(found),
        None => Ok(()),
    };
    reader.names_ever(
        now_only,
        // The root's own row has no name.
        &mut |directory, name| -> Result<bool, E> {
            Ok(!name.is_empty() && pattern.takes(name, || places.of(directory))?)
        },
        &mut |row| -> Result<(), E> {
            if states.last().is_some_and(|last| (last.directory, &last.name) != (row.directory, &row.name)) {
                done(&mut states)?;
            }
            states.push(row);
            Ok(())
        },
    )?;
    done(&mut states)
}

/// Paths of folders; names come folder by folder.
struct Places<'c> {
    reader: Reader<'c>,
    last: RefCell<Option<(DirNo, VirtualPath)>>,
}

impl Places<'_> {
    fn of(&self, directory: DirNo) -> Result<VirtualPath, BrowseError> {
        if let Some((known, path)) = &*self.last.borrow()
            && *known == directory
        {
            return Ok(path.clone());
        }
        let path = self.reader.path_of(directory)?;
        *self.last.borrow_mut() = Some((directory, path.clone()));
        Ok(path)
    }
}

/// What all states of one name come to; empties the list.
fn found(
    places: &Places<'_>,
    snapshots: &BTreeSet<SnapshotNo>,
    states: &mut Vec<NameRow>,
) -> Result<Option<Found>, BrowseError> {
    let Some(last) = states.last() else { return Ok(None) };
    let disks = last.object.map(|object| places.reader.holders(object)).transpose()?;
    let files = states.iter().filter(|row| row.kind == Kind::File);
    let contents: BTreeSet<Option<ObjectNo>> = files.map(|row| row.object).collect();
    let found = Found {
        path: places.of(last.directory)?.join(&last.name),
        kind: last.kind,
        size: last.size,
        mtime_ns: last.mtime_ns,
        pending: last.pending && last.object.is_none(),
        disks: disks.unwrap_or_default(),
        gone: last.died.map(|died| snapshots.range(last.born..died).next_back().copied()),
        older: contents.len().saturating_sub(1),
    };
    states.clear();
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(pattern: &str, path: &str) -> bool {
        let path = VirtualPath::parse(path.as_bytes()).unwrap();
        let (folder, name) = path.parent().unwrap();
        Pattern::parse(pattern).unwrap().takes(name, || Ok(folder.clone())).unwrap()
    }

    #[test]
    fn a_word_is_a_part_of_a_name_and_letter_case_is_the_same() {
        assert!(takes("dsc_04", "/photos/DSC_0442.NEF") && takes("GRÜSSE", "/a/grüsse.txt"));
        assert!(!takes("photos", "/photos/DSC_0442.NEF"), "a folder is found by its own name");
    }

    #[test]
    fn a_glob_is_held_against_the_name_or_with_a_slash_against_the_path() {
        assert!(takes("*.nef", "/photos/DSC_0442.NEF") && !takes("*.ne", "/photos/DSC_0442.NEF"));
        assert!(takes("rome/*.nef", "/photos/2011/Rome/a.nef") && takes("/photos/*", "/photos/2011/a"));
        assert!(takes("2011/ro", "/photos/2011/Rome") && !takes("/2011/", "/photos/2011x/Rome"));
        assert!(Pattern::parse("[").is_err());
    }
}
