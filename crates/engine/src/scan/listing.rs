//! The names of a folder with the facts about each, in batches that bound the memory.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::folder::Folder;
use crate::platform::{Names, Stat};

/// One name and what the system says of it.
#[derive(Debug)]
pub struct Found<'a> {
    /// The name, as raw bytes.
    pub name: &'a [u8],
    /// The facts, or why there are none.
    pub stat: io::Result<Stat>,
}

impl Found<'_> {
    /// Whether the name vanished between listing and `stat`: that is a deletion, not an error (S9).
    pub fn vanished(&self) -> bool {
        matches!(&self.stat, Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// A folder with its names, complete; the facts are asked for as they are needed.
#[derive(Debug)]
pub struct FolderListing {
    folder: Folder,
    names: Names,
}

/// Lists a folder. Any error is an error of the whole listing (N6); a symbolic link in its place is one (S14).
pub fn read_folder(path: &Path) -> io::Result<FolderListing> {
    FolderListing::of(Folder::open(path)?)
}

impl FolderListing {
    /// At most so many names are described at once by [`batches`](Self::batches).
    pub const BATCH: usize = 4096;

    /// Lists an open folder.
    pub fn of(folder: Folder) -> io::Result<Self> {
        let names = folder.names()?;
        Ok(FolderListing { folder, names })
    }

    /// The folder, to open its children and files from.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// All names, sorted bytewise.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The facts about a range of names, in the order of names. Positions beyond the end are left out.
    ///
    /// Asks in the order of inode numbers: a rotating disk then reads its inodes in one sweep instead
    /// of jumping for each name.
    pub fn entries(&self, range: Range<usize>) -> Vec<Found<'_>> {
        let range = range.start..range.end.min(self.names.len());
        let mut order: Vec<usize> = range.clone().collect();
        order.sort_by_key(|&index| self.names.inode_hint(index));
        let mut stats: Vec<Option<io::Result<Stat>>> = range.clone().map(|_| None).collect();
        for index in order {
            stats[index - range.start] = self.names.get(index).map(|name| self.folder.stat(name));
        }
        range
            .zip(stats)
            .filter_map(|(index, stat)| Some(Found { name: self.names.get(index)?, stat: stat? }))
            .collect()
    }

    /// All entries in the order of names, in batches of [`BATCH`](Self::BATCH).
    pub fn batches(&self) -> Batches<'_> {
        Batches { listing: self, next: 0 }
    }
}

/// Entries of a folder, a batch at a time; each `stat` is made when its batch is asked for.
#[derive(Debug)]
pub struct Batches<'a> {
    listing: &'a FolderListing,
    next: usize,
}

impl<'a> Iterator for Batches<'a> {
    type Item = Vec<Found<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.listing.names.len() {
            return None;
        }
        let end = self.next + FolderListing::BATCH;
        let batch = self.listing.entries(self.next..end);
        self.next = end;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn entries_come_in_the_order_of_names_with_their_own_facts() {
        let dir = tempfile::tempdir().unwrap();
        // Created in another order than that of names, so that inode order differs too.
        for n in (0..5000usize).map(|n| n * 7919 % 5000) {
            fs::File::create(dir.path().join(format!("{n:05}"))).unwrap().set_len(n as u64).unwrap();
        }
        let listing = read_folder(dir.path()).unwrap();
        let mut sizes = Vec::new();
        for batch in listing.batches() {
            assert!(batch.len() <= FolderListing::BATCH);
            for found in batch {
                let size = found.stat.unwrap().size;
                assert_eq!(found.name, format!("{size:05}").as_bytes());
                sizes.push(size);
            }
        }
        assert_eq!(sizes, (0..5000).collect::<Vec<u64>>());
        assert_eq!(listing.entries(4998..9999).len(), 2);
        assert_eq!(listing.entries(5000..9999).len(), 0);
        assert_eq!(listing.entries(9998..9999).len(), 0);
    }

    #[test]
    fn s9_a_name_that_vanishes_is_told_from_one_that_cannot_be_examined() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        fs::write(dir.path().join("b"), "").unwrap();
        let listing = read_folder(dir.path()).unwrap();
        fs::remove_file(dir.path().join("a")).unwrap();
        let found = listing.entries(0..2);
        assert!(found[0].vanished() && !found[1].vanished());
        let denied = Found { name: b"a", stat: Err(io::ErrorKind::PermissionDenied.into()) };
        assert!(!denied.vanished());
    }

    #[test]
    fn s12_a_folder_that_is_missing_or_none_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(read_folder(&dir.path().join("missing")).is_err());
        assert!(read_folder(&dir.path().join("file")).is_err());
        assert!(read_folder(dir.path()).unwrap().names().contains(b"file"));
    }
}
