//! Where the content of an object can be read: the files of the sources that have it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use distbackup_core::model::{DirNo, ObjectId, ObjectNo, Stamp, VirtualPath};

use crate::catalog::{At, CatalogError, FileOf, PendingKey, Reader};
use crate::hash::SourceFile;
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;

/// Names of one object that are tried, at most, before it counts as unreadable.
const NAMES_TRIED: u32 = 16;

/// A source file that was opened and found as the catalog knows it.
#[derive(Debug)]
pub struct Source {
    pub key: PendingKey,
    pub file: SourceFile,
    pub path: PathBuf,
    pub vpath: Vec<u8>,
    pub stamp: Stamp,
    /// What its content should be; `None`: nobody has read it yet.
    pub expected: Option<ObjectId>,
}

/// Rows of a folder that are read ahead.
const AHEAD: std::ops::RangeInclusive<u32> = 4..=256;

/// Files that will probably be asked for next.
#[derive(Debug, Default)]
struct Ahead {
    files: HashMap<ObjectNo, FileOf>,
    /// How many were read at a time, and how many of these were asked for.
    read: u32,
    used: u32,
}

/// Finds the files of objects. For one thread: it remembers the folder of the last one and reads ahead in it, since
/// neighbours come together.
pub struct Finder<'f> {
    reader: &'f Reader<'f>,
    mapping: &'f Mapping,
    filesystems: &'f Filesystems,
    last: RefCell<Option<(DirNo, VirtualPath)>>,
    ahead: RefCell<Ahead>,
}

impl<'f> Finder<'f> {
    /// Looks with this reader's view of the catalog.
    pub fn new(reader: &'f Reader<'f>, mapping: &'f Mapping, filesystems: &'f Filesystems) -> Self {
        Finder { reader, mapping, filesystems, last: RefCell::default(), ahead: RefCell::default() }
    }

    /// Opens a file that has an object, unchanged since it was hashed (I6). `Err` says in words why there is none.
    pub fn open_known(&self, object: ObjectNo) -> Result<Result<Source, (Vec<u8>, String)>, CatalogError> {
        let ahead = self.ahead.borrow_mut().take(object);
        if let Some(FileOf { key, stamp, id }) = ahead
            && let Ok(source) = self.open(key, stamp, Some(id))?
        {
            return Ok(Ok(source));
        }
        let mut trouble = (Vec::new(), "no name of it is left in the sources".to_owned());
        for FileOf { key, stamp, id } in self.reader.files_of(object, NAMES_TRIED)? {
            let neighbour = self.last.borrow().as_ref().is_some_and(|(last, _)| *last == key.directory);
            match self.open(key, stamp, Some(id))? {
                Ok(source) if neighbour => {
                    self.look_ahead(&source.key)?;
                    return Ok(Ok(source));
                }
                Ok(source) => return Ok(Ok(source)),
                Err(why) => trouble = why,
            }
        }
        Ok(Err(trouble))
    }

    /// Reads what follows a file in its folder: twice as much as the last time if a quarter of that was asked for (two
    /// threads share a folder), else half as much.
    fn look_ahead(&self, from: &PendingKey) -> Result<(), CatalogError> {
        let mut ahead = self.ahead.borrow_mut();
        let next = if ahead.used >= ahead.read / 4 { ahead.read * 2 } else { ahead.read / 2 };
        (ahead.read, ahead.used) = (next.clamp(*AHEAD.start(), *AHEAD.end()), 0);
        ahead.files = self.reader.files_from(from, ahead.read)?.into_iter().collect();
        Ok(())
    }

    /// Opens the file of one entry, if it is as the catalog knows it.
    pub fn open_entry(&self, key: &PendingKey) -> Result<Result<Source, (Vec<u8>, String)>, CatalogError> {
        match self.reader.entry(key.directory, &key.name, At::Now)? {
            Some(entry) => self.open(key.clone(), entry.stamp, None),
            None => {
                let vpath = self.path_of(key.directory)?.join(&key.name);
                Ok(Err((vpath.as_bytes().to_vec(), "it is not in the tree any more".into())))
            }
        }
    }

    fn open(
        &self,
        key: PendingKey,
        stamp: Stamp,
        expected: Option<ObjectId>,
    ) -> Result<Result<Source, (Vec<u8>, String)>, CatalogError> {
        let vpath = self.path_of(key.directory)?.join(&key.name);
        let trouble = |why: String| Ok(Err((vpath.as_bytes().to_vec(), why)));
        let Some(path) = self.mapping.real_path(&vpath) else {
            return trouble("its source is not mapped any more".into());
        };
        let file = match open_unchanged(&path, &stamp, self.filesystems) {
            Ok(file) => file,
            Err(NotAsKnown::Changed) => {
                return trouble("it changed since the last update; the next one will take it".into());
            }
            Err(NotAsKnown::Gone(error)) => return trouble(format!("cannot open it: {error}")),
            Err(NotAsKnown::Unreadable(why)) => return trouble(why),
        };
        let vpath = vpath.as_bytes().to_vec();
        Ok(Ok(Source { key, file, path, vpath, stamp, expected }))
    }

    fn path_of(&self, directory: DirNo) -> Result<VirtualPath, CatalogError> {
        let mut last = self.last.borrow_mut();
        if let Some((_, path)) = last.as_ref().filter(|(known, _)| *known == directory) {
            return Ok(path.clone());
        }
        let path = self.reader.path_of(directory)?;
        *last = Some((directory, path.clone()));
        Ok(path)
    }
}

impl Ahead {
    fn take(&mut self, object: ObjectNo) -> Option<FileOf> {
        let file = self.files.remove(&object)?;
        self.used += 1;
        Some(file)
    }
}

/// Why a file is not open as the catalog knows it.
#[derive(Debug)]
pub(in crate::ops) enum NotAsKnown {
    /// It is another file, or was changed.
    Changed,
    /// Nothing, or no regular file, stands there.
    Gone(std::io::Error),
    /// It cannot be read, for a reason in words.
    Unreadable(String),
}

/// Opens the file at a path, if it has this stamp.
pub(in crate::ops) fn open_unchanged(
    path: &Path,
    stamp: &Stamp,
    filesystems: &Filesystems,
) -> Result<SourceFile, NotAsKnown> {
    use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound};
    let file = SourceFile::open(path).map_err(|error| match error.kind() {
        NotFound | NotADirectory | InvalidInput => NotAsKnown::Gone(error),
        _ => NotAsKnown::Unreadable(format!("cannot open it: {error}")),
    })?;
    let filesystem = filesystems
        .of_device(file.stat().device, file.as_fd())
        .map_err(|error| NotAsKnown::Unreadable(format!("cannot identify its filesystem: {error}")))?;
    if filesystem.stamp(&file.stat(), file.stat().size) != *stamp {
        return Err(NotAsKnown::Changed);
    }
    Ok(file)
}
