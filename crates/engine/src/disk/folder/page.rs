//! The page on the disk. Its data lie in a folder that only it names; so by one rename it is another page, on every filesystem.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use distbackup_core::model::Bytes;
use rustix::fs::FileType;

use super::FolderDisk;
use super::sidecars::PRIVATE;
use crate::content::BUFFER_BYTES;
use crate::disk::layout;
use crate::disk::port::DiskError;
use crate::disk::system::{Folder, meaning};

fn path_of(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

impl FolderDisk {
    pub(super) fn replace_page(&self, from: &Path, data: &str) -> Result<(), DiskError> {
        let all = self.root.folder_or_new(layout::PAGE_DATA)?;
        // What an interrupted writing of the same page began.
        remove(&all, data.as_bytes())?;
        let prepared = self.copy_data(from, &all, data).and_then(|()| {
            let page = from.join(layout::PAGE);
            let text = std::fs::read(&page).map_err(|source| unreadable(&page, source))?;
            self.draft_of(&text)
        });
        let page = match prepared {
            Ok(page) => page,
            Err(error) => {
                // The first error counts; what cannot be removed now goes with the next page.
                let _left_over = remove(&all, data.as_bytes());
                return Err(error);
            }
        };
        // If one of these fails nobody knows which page is there after a power cut: the data of both stay.
        page.rename(layout::PAGE)?;
        self.sync_root()?;
        clear(&all, Some(data))
    }

    /// Copies all files of the data and makes them durable, before any page names them.
    fn copy_data(&self, from: &Path, all: &Folder, data: &str) -> Result<(), DiskError> {
        let from = from.join(layout::PAGE_DATA).join(data);
        let folder = all.folder_or_new(data)?;
        for entry in std::fs::read_dir(&from).map_err(|source| unreadable(&from, source))? {
            let path = entry.map_err(|source| unreadable(&from, source))?.path();
            let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
            copy(&path, &folder, name)?;
        }
        folder.sync().map_err(|error| folder.error("sync", "", error))?;
        all.sync().map_err(|error| all.error("sync", "", error))
    }

    pub(super) fn data_of_page(&self) -> Result<Option<String>, DiskError> {
        /// Many times the page that we write: what lies here may be of any size (C7).
        const PAGE_BYTES_MAX: u64 = 4 << 20;
        let Some(page) = self.root.read(layout::PAGE)? else { return Ok(None) };
        let mut text = String::new();
        if page.take(PAGE_BYTES_MAX).read_to_string(&mut text).is_err() {
            // A page that cannot be read is none.
            return Ok(None);
        }
        let Some(data) = layout::data_of_page(&text) else { return Ok(None) };
        let Some(all) = self.root.folder(layout::PAGE_DATA)? else { return Ok(None) };
        let whole = match all.folder(data)? {
            Some(folder) => folder.has_file(layout::PAGE_STATE)?,
            None => false,
        };
        Ok(whole.then(|| data.to_owned()))
    }

    pub(super) fn clear_page(&self) -> Result<(), DiskError> {
        if self.root.has_file(layout::PAGE)? {
            self.root.unlink(layout::PAGE.as_ref())?;
        }
        let Some(all) = self.root.folder(layout::PAGE_DATA)? else { return Ok(()) };
        clear(&all, None)?;
        if all.names()?.is_empty() {
            self.root.remove_folder(layout::PAGE_DATA.as_ref())?;
        }
        self.sync_root()
    }
}

fn unreadable(path: &Path, source: io::Error) -> DiskError {
    DiskError::Io { action: "read", path: path.to_owned(), source }
}

fn copy(from: &Path, folder: &Folder, name: &str) -> Result<(), DiskError> {
    let mut local = File::open(from).map_err(|source| unreadable(from, source))?;
    let needed = Bytes(local.metadata().map_err(|source| unreadable(from, source))?.len());
    let mut file = folder.create(name, PRIVATE)?;
    let failed = |action, error| meaning(action, folder.path_of(name), error, needed);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match local.read(&mut buffer) {
            Ok(0) => return file.sync_all().map_err(|error| failed("sync", error)),
            Ok(read) => file.write_all(&buffer[..read]).map_err(|error| failed("write", error))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(unreadable(from, source)),
        }
    }
}

/// Removes the data of all pages but one.
fn clear(all: &Folder, kept: Option<&str>) -> Result<(), DiskError> {
    for name in all.names()? {
        if kept.map(str::as_bytes) != Some(&name) {
            remove(all, &name)?;
        }
    }
    all.sync().map_err(|error| all.error("sync", "", error))
}

/// Removes a folder of data. What no page of ours has stays: a folder in it, and then it itself; a file beside it.
fn remove(all: &Folder, name: &[u8]) -> Result<(), DiskError> {
    if !all.look(path_of(name))?.is_some_and(|found| found.kind == FileType::Directory) {
        return Ok(());
    }
    let Some(folder) = all.step_into(path_of(name))? else { return Ok(()) };
    let mut empty = true;
    for name in folder.names()? {
        let kind = folder.look(path_of(&name))?.map(|found| found.kind);
        match kind {
            Some(FileType::RegularFile) if is_data(&name) => drop(folder.unlink(path_of(&name))?),
            _ => empty = false,
        }
    }
    if empty {
        all.remove_folder(path_of(name))?;
    }
    Ok(())
}

/// Whether a page of ours has data of this name.
fn is_data(name: &[u8]) -> bool {
    name.ends_with(b".js")
}
