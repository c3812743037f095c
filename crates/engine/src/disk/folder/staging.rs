//! Copies on their way to the disk: written without their final names, then made durable and visible as a batch.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use distbackup_core::model::{Bytes, ObjectId};
use rustix::fs::FileType;

use super::FolderDisk;
use super::incoming::{Coming, is_numbered};
use super::naming::Waiting;
use super::whole::TREE;
use crate::content::{Content, LARGE_BYTES, Segment};
use crate::disk::layout;
use crate::disk::port::{DiskError, StageError, Staged};
use crate::disk::system::{Folder, meaning};
use crate::hash::Digest;
use crate::platform::{self, Growing};

/// Objects may be anybody's private files (C8).
pub(super) const FILE_MODE: u32 = 0o600;

impl FolderDisk {
    pub(super) fn stage_content(&self, content: &mut dyn Content) -> Result<Staged, StageError> {
        let handle = self.new_handle();
        let coming = self.create_incoming(handle)?;
        match self.write(handle, &coming, content) {
            Ok((id, size)) => {
                self.note_staged(handle, coming.place());
                Ok(Staged { id, size, handle })
            }
            Err(error) => {
                self.give_up(handle, coming);
                Err(error)
            }
        }
    }

    /// Stages a content that lies in memory and was hashed there.
    pub(super) fn stage_hashed_content(&self, id: ObjectId, content: &[u8]) -> Result<Staged, StageError> {
        let size = Bytes(content.len() as u64);
        if self.fills_whole_tree()
            && let Some(handle) = self.stage_in_whole_tree(id, content)?
        {
            return Ok(Staged { id, size, handle });
        }
        let handle = self.new_handle();
        let coming = self.create_incoming(handle)?;
        let mut written = coming.file().write_all_at(content, 0).map_err(|error| ("write", error));
        if written.is_ok() && !self.sync_covers_all {
            written = coming.file().sync_all().map_err(|error| ("sync", error));
        }
        if let Err((action, error)) = written {
            let error = meaning(action, self.path_of_coming(handle, &coming), error, size);
            self.give_up(handle, coming);
            return Err(error.into());
        }
        self.note_staged(handle, coming.place());
        Ok(Staged { id, size, handle })
    }

    fn write(
        &self,
        handle: u64,
        coming: &Coming,
        content: &mut dyn Content,
    ) -> Result<(ObjectId, Bytes), StageError> {
        let file = coming.file();
        let failed = |action, error, size| {
            StageError::Disk(meaning(action, self.path_of_coming(handle, coming), error, Bytes(size)))
        };
        let mut digest = Digest::new();
        let mut size = 0u64;
        let probable = content.probable_bytes();
        let mut growing = match probable >= LARGE_BYTES && self.can_write_straight() {
            true => Growing::straight(file, probable),
            false => Growing::new(file),
        };
        while let Some(segment) = content.next_segment().map_err(StageError::Source)? {
            match segment {
                Segment::Data(bytes) => {
                    // Beyond the end of the file this leaves a hole; a filesystem without holes fills in zeros itself.
                    let end = size.saturating_add(bytes.len() as u64);
                    growing.write(bytes, size).map_err(|error| failed("write", error, end))?;
                    digest.update(&segment);
                    size = end;
                }
                Segment::Zeros(run) => {
                    let end = size.saturating_add(run);
                    // Asked before zeros are hashed for hours: nobody can store this.
                    if i64::try_from(end).is_err() {
                        return Err(DiskError::TooLarge { size: Bytes(end) }.into());
                    }
                    file.set_len(end).map_err(|error| failed("write", error, end))?;
                    digest.zeros(run);
                    size = end;
                }
            }
        }
        growing.finish(size).map_err(|error| failed("write", error, size))?;
        if !self.sync_covers_all {
            // Here and not at commit: a file that was closed may have lost its error together with its pages.
            file.sync_all().map_err(|error| failed("sync", error, size))?;
        }
        Ok((digest.finish(), Bytes(size)))
    }

    /// Whether large contents go past the memory of the system. Not to a disk that rotates: while the next part is read and
    /// hashed it would stand still.
    pub(super) fn can_write_straight(&self) -> bool {
        let ask = || self.root.can_write_straight() && !platform::is_rotational(self.root.path());
        *self.straight.get_or_init(ask)
    }

    pub(super) fn commit_batch(&self, batch: Vec<Staged>) -> Result<(), DiskError> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len();
        self.whole.close();
        // All of them leave the set, whatever happens: after an error nothing of the batch may be used again.
        let mut known: Vec<Waiting> = batch
            .into_iter()
            .filter_map(|object| Some(Waiting { place: Some(self.take_staged(object.handle)?), object }))
            .collect();
        let result = if known.len() == count {
            self.make_durable_and_visible(&mut known)
        } else {
            let source =
                io::Error::new(io::ErrorKind::NotFound, "it was committed, discarded or cleared before");
            Err(DiskError::Io { action: "commit", path: self.root.path_of(layout::INCOMING), source })
        };
        if result.is_err() {
            // The first error counts; what cannot be removed now is a left-over (D16).
            for Waiting { object, place } in known {
                let _left_over = place.map(|place| self.drop_content(&object, place));
            }
            let _left_over = self.tidy_incoming();
        }
        result
    }

    fn make_durable_and_visible(&self, batch: &mut [Waiting]) -> Result<(), DiskError> {
        // Contents first: a name must never become durable before what it names (D2, D3).
        self.flush(batch.len())?;

        self.give_names(batch)?;
        self.tidy_incoming()?;
        self.flush(batch.len())
    }

    pub(super) fn discard_staged(&self, staged: &Staged) -> Result<(), DiskError> {
        if let Some(place) = self.take_staged(staged.handle) {
            self.drop_content(staged, place)?;
        }
        self.tidy_incoming()
    }

    pub(super) fn remove_left_overs(&self) -> Result<Bytes, DiskError> {
        let mut bytes = self.forget_incoming();
        if let Some(incoming) = self.root.folder(layout::INCOMING)? {
            for name in incoming.names()? {
                bytes += match std::str::from_utf8(&name) {
                    Ok(TREE) => remove_own_folder(&incoming, TREE, remove_from_tree)?,
                    Ok(number) if is_numbered(&name) => {
                        remove_own_folder(&incoming, number, remove_file_or_link)?
                    }
                    _ => remove_file_or_link(&incoming, &name)?,
                };
            }
        }
        for name in self.root.names()?.iter().filter(|name| layout::is_left_by_v1(name)) {
            bytes += remove_file_or_link(&self.root, name)?;
        }
        Ok(bytes)
    }

    pub(super) fn new_handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn temporary_name(&self, handle: u64) -> String {
        format!("{:016x}-{handle}", self.random)
    }
}

/// A folder that files come into, each name in it by `remove`. If its own name is that of something else, that goes.
fn remove_own_folder(
    incoming: &Folder,
    name: &str,
    remove: impl Fn(&Folder, &[u8]) -> Result<Bytes, DiskError>,
) -> Result<Bytes, DiskError> {
    match incoming.look(name.as_ref())? {
        Some(found) if found.kind == FileType::Directory => {}
        _ => return remove_file_or_link(incoming, name.as_bytes()),
    }
    let mut bytes = Bytes(0);
    if let Some(folder) = incoming.folder(name)? {
        for name in folder.names()? {
            bytes += remove(&folder, &name)?;
        }
    }
    // A folder in it is not ours, and keeps it.
    let _not_empty = incoming.remove_folder(name.as_ref());
    Ok(bytes)
}

/// A name in the tree that the first copies come into: one of its folders, or something that is not ours.
fn remove_from_tree(tree: &Folder, name: &[u8]) -> Result<Bytes, DiskError> {
    match layout::prefix_of_name(name) {
        Some(prefix) => remove_own_folder(tree, &layout::folder_name(prefix), remove_file_or_link),
        None => remove_file_or_link(tree, name),
    }
}

/// Other folders stay: nothing of ours makes them, and what they hold is not known.
fn remove_file_or_link(folder: &Folder, name: &[u8]) -> Result<Bytes, DiskError> {
    let name = Path::new(OsStr::from_bytes(name));
    match folder.look(name)? {
        Some(found) if found.kind == FileType::RegularFile => folder.unlink(name).map(|_| found.size),
        Some(found) if found.kind == FileType::Symlink => folder.unlink(name).map(|_| Bytes(0)),
        _ => Ok(Bytes(0)),
    }
}
