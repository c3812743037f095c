//! Where the content of an object can be read: the files of the sources that have it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use distbackup_core::model::{ObjectNo, Stamp};

use crate::catalog::{At, CatalogError, PendingKey, Reader};
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
}

/// Opens a file that has an object, unchanged since it was hashed (I6). `Err` says in words why there is none.
pub fn open_known(
    reader: &Reader<'_>,
    mapping: &Mapping,
    filesystems: &Filesystems,
    object: ObjectNo,
) -> Result<Result<Source, (Vec<u8>, String)>, CatalogError> {
    let mut trouble = (Vec::new(), "no name of it is left in the sources".to_owned());
    for reference in reader.references(object, NAMES_TRIED)? {
        if !reference.live {
            break; // live names come first
        }
        let key = PendingKey { directory: reference.directory, name: reference.name };
        match open_entry(reader, mapping, filesystems, &key)? {
            Ok(source) => return Ok(Ok(source)),
            Err(why) => trouble = why,
        }
    }
    Ok(Err(trouble))
}

/// Opens the file of one entry, if it is as the catalog knows it.
pub fn open_entry(
    reader: &Reader<'_>,
    mapping: &Mapping,
    filesystems: &Filesystems,
    key: &PendingKey,
) -> Result<Result<Source, (Vec<u8>, String)>, CatalogError> {
    let path_of_folder = reader.path_of(key.directory)?;
    let vpath = path_of_folder.join(&key.name);
    let trouble = |why: String| Ok(Err((vpath.as_bytes().to_vec(), why)));
    let Some(path) = mapping.real_path(&vpath) else {
        return trouble("its source is not mapped any more".into());
    };
    let Some(entry) = reader.entry(key.directory, &key.name, At::Now)? else {
        return trouble("it is not in the tree any more".into());
    };
    let file = match open_unchanged(&path, &entry.stamp, filesystems) {
        Ok(file) => file,
        Err(NotAsKnown::Changed) => {
            return trouble("it changed since the last update; the next one will take it".into());
        }
        Err(NotAsKnown::Gone(error)) => return trouble(format!("cannot open it: {error}")),
        Err(NotAsKnown::Unreadable(why)) => return trouble(why),
    };
    let (key, vpath, stamp) = (key.clone(), vpath.as_bytes().to_vec(), entry.stamp);
    Ok(Ok(Source { key, file, path, vpath, stamp }))
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
