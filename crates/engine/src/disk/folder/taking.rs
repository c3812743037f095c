//! Ordinary files become objects: moved, linked, or cloned so that both share their content.
//!
//! A file that is moved has been read before, and nothing keeps another program from changing it. So it is looked at
//! just before and just after: nobody may have it open for writing, it may have no second name, and size, times and
//! inode must be those that it was read with. What a rename itself changes is the ctime only.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use distbackup_core::model::{Bytes, ObjectId};
use rustix::io::Errno;

use super::{FolderDisk, lock};
use crate::content::{Content, Segment};
use crate::disk::layout;
use crate::disk::port::{DiskError, Loose, OwnName, StageError, Staged, Taken};
use crate::disk::reader::FileContent;
use crate::disk::system::{Folder, meaning};
use crate::hash::Digest;
use crate::platform::{self, Stat};

const CHANGED: &str = "it changed after it was read";
const WRITTEN: &str = "another program has it open for writing";
const LINKED: &str = "it has another name, under which it could be changed";

impl FolderDisk {
    pub(super) fn can_clone(&self) -> Result<bool, DiskError> {
        let Some(sample) = self.root.read(layout::IDENTITY)? else {
            return Err(DiskError::NotADisk { folder: self.root.path().to_owned() });
        };
        platform::clones_contents(self.root.as_fd(), &sample)
            .map_err(|error| self.root.error("look at the abilities of", "", error))
    }

    pub(super) fn stage_shared(
        &self,
        file: &Loose,
        each: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<Option<Staged>, StageError> {
        let (source, _) =
            platform::open_source_at(file.folder.as_fd(), &file.name).map_err(StageError::Source)?;
        let handle = self.new_handle();
        let coming = self.create_incoming(handle)?;
        let staged = self.share(&source, coming.file(), each, |action, error| {
            meaning(action, self.path_of_coming(handle, &coming), error, Bytes(file.stat.size))
        });
        match staged {
            Ok(Some((id, size))) => {
                self.note_staged(handle, coming.place());
                Ok(Some(Staged { id, size, handle }))
            }
            none => {
                self.give_up(handle, coming);
                none.map(|_| None)
            }
        }
    }

    /// Clones the content and reads the clone, so that nothing that is read can change any more.
    fn share(
        &self,
        source: &File,
        clone: &File,
        each: &mut dyn FnMut(u64) -> io::Result<()>,
        failed: impl Fn(&'static str, io::Error) -> DiskError,
    ) -> Result<Option<(ObjectId, Bytes)>, StageError> {
        if !platform::clone_content(source, clone).map_err(|error| failed("clone to", error))? {
            return Ok(None);
        }
        if !self.sync_covers_all {
            clone.sync_all().map_err(|error| failed("sync", error))?;
        }
        let (mut digest, mut size) = (Digest::new(), 0u64);
        let clone = clone.try_clone().map_err(|error| failed("read", error))?;
        let mut content = FileContent::new(clone).map_err(StageError::Source)?;
        while let Some(segment) = content.next_segment().map_err(StageError::Source)? {
            digest.update(&segment);
            let bytes = match segment {
                Segment::Data(data) => data.len() as u64,
                Segment::Zeros(run) => run,
            };
            size = size.saturating_add(bytes);
            each(bytes).map_err(StageError::Source)?;
        }
        Ok(Some((digest.finish(), Bytes(size))))
    }

    pub(super) fn take_in_batch(
        &self,
        files: &[(Loose, ObjectId)],
        own_name: OwnName,
    ) -> Result<Vec<Taken>, DiskError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        // Contents first: memory may hold what was written to them a moment ago (D2, D3).
        self.flush(files.len())?;
        let objects = self.root.folder_or_new(layout::OBJECTS)?;
        let mut taken = Vec::with_capacity(files.len());
        for (file, id) in files {
            taken.push(self.take(&objects, file, *id, own_name)?);
        }
        self.flush(files.len())?;
        if !self.sync_covers_all {
            // The folders that lost a name, too: else it could be there again after a power cut, beside the new one.
            for (file, _) in files.iter().filter(|_| own_name == OwnName::Goes) {
                match rustix::fs::fsync(&*file.folder) {
                    Ok(()) | Err(Errno::INVAL) => {}
                    Err(source) => {
                        return Err(DiskError::NotDurable { objects: files.len(), source: source.into() });
                    }
                }
            }
        }
        Ok(taken)
    }

    fn take(
        &self,
        objects: &Folder,
        file: &Loose,
        id: ObjectId,
        own_name: OwnName,
    ) -> Result<Taken, DiskError> {
        let opened = match still_itself(file, own_name) {
            Ok(opened) => opened,
            Err(why) => return Ok(Taken::Left(why)),
        };
        if !self.sync_covers_all {
            opened.sync_all().map_err(|error| failed("sync", file, error))?;
        }
        let (prefix, name) = (layout::prefix(id), id.hex());
        let folder = objects.folder_or_new(&layout::folder_name(prefix))?;
        match folder.has_file(&name) {
            Err(error @ DiskError::Foreign { .. }) => {
                return Ok(Taken::Left(format!("no place for it on the disk: {error}")));
            }
            present => present?,
        };
        lock(&self.touched).insert(prefix);
        let taken = match own_name {
            OwnName::Goes => {
                platform::rename_at(file.folder.as_fd(), &file.name, folder.as_fd(), name.as_bytes())
            }
            OwnName::Stays => self.second_name(file, &folder, &name)?,
        };
        if let Err(error) = taken {
            return refused(file, own_name, error);
        }
        let now = platform::stat_at(folder.as_fd(), name.as_bytes());
        let now = now.map_err(|error| folder.error("look at", &name, error))?;
        if !same_but_ctime(&now, &file.stat) || (own_name == OwnName::Goes && now.nlink != 1) {
            give_back(file, &folder, &name, own_name)?;
            return Ok(Taken::Left(CHANGED.to_owned()));
        }
        match own_name {
            OwnName::Goes => platform::make_own(&opened),
            OwnName::Stays => platform::make_read_only(&opened, &now),
        }
        .map_err(|error| folder.error("protect", &name, error))?;
        Ok(Taken::In)
    }

    /// Links a file into the objects. By a temporary name, since only a rename replaces what is there.
    fn second_name(&self, file: &Loose, folder: &Folder, name: &str) -> Result<io::Result<()>, DiskError> {
        let incoming = self.root.folder_or_new(layout::INCOMING)?;
        let temporary = self.temporary_name(self.new_handle());
        let linked =
            platform::link_at(file.folder.as_fd(), &file.name, incoming.as_fd(), temporary.as_bytes());
        if linked.is_err() {
            return Ok(linked);
        }
        let renamed = incoming.rename(&temporary, folder, name);
        // Two names of one file are both left by a rename of the one to the other.
        incoming.unlink(temporary.as_ref())?;
        renamed.map(Ok)
    }
}

fn failed(action: &'static str, file: &Loose, error: io::Error) -> DiskError {
    meaning(action, file.path.clone(), error, Bytes(file.stat.size))
}

/// Whether all but the ctime is what it was: that one changes with each name.
fn same_but_ctime(now: &Stat, then: &Stat) -> bool {
    Stat { ctime_ns: then.ctime_ns, ..*now }.same_content_as(then)
}

/// Opens a file if it is still what was read, and nobody can change it while it gets its new name.
fn still_itself(file: &Loose, own_name: OwnName) -> Result<File, String> {
    let (opened, stat) = platform::open_source_at(file.folder.as_fd(), &file.name)
        .map_err(|error| format!("cannot open it any more: {error}"))?;
    if !stat.same_content_as(&file.stat) {
        return Err(CHANGED.to_owned());
    }
    if own_name == OwnName::Goes && stat.nlink != 1 {
        return Err(LINKED.to_owned());
    }
    if !platform::is_owner(&stat) {
        return Err("it belongs to somebody else, who could change it".to_owned());
    }
    if platform::is_open_for_writing(opened.as_fd()) {
        return Err(WRITTEN.to_owned());
    }
    Ok(opened)
}

/// What the refusal of a new name means: for this one file, or for the visit.
fn refused(file: &Loose, own_name: OwnName, error: io::Error) -> Result<Taken, DiskError> {
    let verb = match own_name {
        OwnName::Goes => "move",
        OwnName::Stays => "link",
    };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(
            Errno::PERM
            | Errno::ACCESS
            | Errno::NOENT
            | Errno::BUSY
            | Errno::MLINK
            | Errno::XDEV
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::TXTBSY,
        ) => Ok(Taken::Left(format!("cannot {verb} it: {error}"))),
        _ => Err(failed(verb, file, error)),
    }
}

/// Takes the name of an object from a file that is not what was read. A file that was moved gets its own name again, or one
/// like it if another has that by now.
fn give_back(file: &Loose, folder: &Folder, name: &str, own_name: OwnName) -> Result<(), DiskError> {
    /// Names like a file's own that are tried.
    const TRIES_MAX: u32 = 1000;
    if own_name == OwnName::Stays {
        return folder.unlink(name.as_ref()).map(drop);
    }
    for number in 0..TRIES_MAX {
        let mut own = file.name.clone();
        if number > 0 {
            own.extend_from_slice(format!(".{number}").as_bytes());
        }
        if platform::stat_at(file.folder.as_fd(), &own).is_ok() {
            continue;
        }
        return platform::rename_at(folder.as_fd(), name.as_bytes(), file.folder.as_fd(), &own)
            .map_err(|error| failed("put back", file, error));
    }
    Err(failed("put back", file, io::ErrorKind::AlreadyExists.into()))
}
