//! The files beside the objects: identity, catalog copies, recovery files. Each is replaced as a whole or not at all.
//!
//! All are written into the incoming folder first and renamed from there, so that whatever an interruption leaves is
//! removed by the next visit like any other left-over (D16).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use distbackup_core::model::{Bytes, ObjectId};
use sha2::{Digest, Sha256};

use super::FolderDisk;
use crate::content::BUFFER_BYTES;
use crate::disk::port::{DiskError, Identity};
use crate::disk::system::{Folder, forget_cached, meaning};
use crate::disk::{identity, layout};
use crate::platform;

/// Catalogs name every file that its owner has (C8).
pub(super) const PRIVATE: u32 = 0o600;
/// The identity and the recovery files shall be readable for whoever finds the disk.
const READABLE: u32 = 0o644;

/// Reads the identity file in `folder`.
pub(in crate::disk) fn read_identity(folder: &Folder) -> Result<Identity, DiskError> {
    let path = folder.path_of(layout::IDENTITY);
    let file = match folder.read(layout::IDENTITY) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(DiskError::NotADisk { folder: folder.path().to_owned() }),
        Err(DiskError::Foreign { path, what }) => {
            return Err(DiskError::DamagedIdentity { path, why: format!("it is {what}") });
        }
        Err(error) => return Err(error),
    };
    // What the medium says, not our memory of it: so a disk that was pulled out is found to be gone.
    forget_cached(&file);
    let mut text = Vec::new();
    file.take(identity::IDENTITY_BYTES_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|error| folder.error("read", layout::IDENTITY, error))?;
    identity::parse(&text, &path)
}

/// SHA-256 of a whole file.
pub(super) fn hash_file(file: &File) -> io::Result<ObjectId> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut position = 0;
    loop {
        match file.read_at(&mut buffer, position) {
            Ok(0) => return Ok(ObjectId(hash.finalize().into())),
            Ok(read) => {
                hash.update(&buffer[..read]);
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A file in the incoming folder that is to become another one. It goes when it is dropped before that.
pub(super) struct Draft<'a> {
    incoming: Folder,
    name: String,
    root: &'a Folder,
    kept: bool,
}

impl Draft<'_> {
    fn error(&self, action: &'static str, error: io::Error, needed: Bytes) -> DiskError {
        meaning(action, self.incoming.path_of(&self.name), error, needed)
    }

    /// Takes the place of `name` in the disk's folder.
    pub(super) fn rename(mut self, name: &str) -> Result<(), DiskError> {
        self.root.has_file(name)?;
        self.incoming.rename(&self.name, self.root, name)?;
        self.kept = true;
        Ok(())
    }

    /// Takes the name `name` if nothing bears it; otherwise `false`.
    fn rename_new(mut self, name: &str) -> Result<bool, DiskError> {
        self.kept = self.incoming.rename_new(&self.name, self.root, name)?;
        Ok(self.kept)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // Dropped because of an error that is being reported; otherwise a left-over (D16).
            let _left_over = self.incoming.unlink(self.name.as_ref());
        }
    }
}

impl FolderDisk {
    fn draft(&self) -> Result<Draft<'_>, DiskError> {
        let incoming = self.root.folder_or_new(layout::INCOMING)?;
        let name = self.temporary_name(self.new_handle());
        Ok(Draft { incoming, name, root: &self.root, kept: false })
    }

    /// A durable draft with this content.
    pub(super) fn draft_of(&self, content: &[u8]) -> Result<Draft<'_>, DiskError> {
        let draft = self.draft()?;
        let mut file = draft.incoming.create(&draft.name, READABLE)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.map_err(|error| draft.error("write", error, Bytes(content.len() as u64)))?;
        Ok(draft)
    }

    pub(super) fn sync_root(&self) -> Result<(), DiskError> {
        self.root.sync().map_err(|error| self.root.error("sync", "", error))
    }

    pub(super) fn replace_identity(&self, identity: &Identity) -> Result<(), DiskError> {
        self.draft_of(&identity::render(identity))?.rename(layout::IDENTITY)?;
        self.sync_root()
    }

    /// `false` if there is an identity already.
    pub(super) fn write_first_identity(&self, identity: &Identity) -> Result<bool, DiskError> {
        let written = self.draft_of(&identity::render(identity))?.rename_new(layout::IDENTITY)?;
        self.sync_root()?;
        Ok(written)
    }

    pub(super) fn write_recovery(&self, name: &str, content: &[u8]) -> Result<bool, DiskError> {
        if !layout::RECOVERY_FILES.contains(&name) {
            return Err(self.root.error("write", name, io::Error::from(io::ErrorKind::InvalidInput)));
        }
        if let Some(file) = self.root.read(name)? {
            let mut present = Vec::new();
            let read = file.take(content.len() as u64 + 1).read_to_end(&mut present);
            // A file that cannot be read is a file that differs.
            if read.is_ok() && present == content {
                return Ok(false);
            }
        }
        self.draft_of(content)?.rename(name)?;
        self.sync_root()?;
        Ok(true)
    }

    /// Copies one of the catalogs into the local file `to`, which is made private or emptied; `false` if there is none.
    ///
    /// One that would fill the local filesystem is refused: what lies on a disk may be of any size (C7).
    pub(super) fn fetch(&self, name: &str, to: &Path) -> Result<bool, DiskError> {
        let Some(mut from) = self.root.read(name)? else { return Ok(false) };
        forget_cached(&from);
        let local = |source| DiskError::Io { action: "write", path: to.to_owned(), source };
        let mut options = File::options();
        let mut copy =
            options.write(true).create(true).truncate(true).mode(PRIVATE).open(to).map_err(local)?;
        let size = Bytes(from.metadata().map_err(|error| self.root.error("look at", name, error))?.len());
        let free = platform::space(&copy).map_err(local)?.free;
        if size > free {
            let why = format!("{name} on the disk has {size}, and only {free} are free here");
            return Err(local(io::Error::new(io::ErrorKind::StorageFull, why)));
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(read) => copy.write_all(&buffer[..read]).map_err(local)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.root.error("read", name, error)),
            }
        }
    }

    pub(super) fn publish(
        &self,
        from: &Path,
        check: impl FnOnce() -> io::Result<()>,
    ) -> Result<ObjectId, DiskError> {
        let local = |source| DiskError::Io { action: "read", path: from.to_owned(), source };
        let (draft, id) = self.draft_copy(&mut File::open(from).map_err(local)?, &local)?;
        check().map_err(local)?;
        if self.root.has_file(layout::CATALOG)? {
            self.keep_previous_catalog()?;
        }
        for name in layout::CATALOG_COMPANIONS {
            if self.root.has_file(name)? {
                self.root.unlink(name.as_ref())?;
            }
        }
        draft.rename(layout::CATALOG)?;
        self.sync_root()?;
        Ok(id)
    }

    /// A durable private copy of `from`, read back from the disk and compared.
    fn draft_copy(
        &self,
        from: &mut File,
        unreadable: &dyn Fn(io::Error) -> DiskError,
    ) -> Result<(Draft<'_>, ObjectId), DiskError> {
        let draft = self.draft()?;
        let mut file = draft.incoming.create(&draft.name, PRIVATE)?;
        let needed = Bytes(from.metadata().map_err(unreadable)?.len());
        let mut hash = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    file.write_all(&buffer[..read]).map_err(|error| draft.error("write", error, needed))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        file.sync_all().map_err(|error| draft.error("sync", error, needed))?;
        forget_cached(&file);
        let read_back = hash_file(&file).map_err(|error| draft.error("read back", error, needed))?;
        if read_back != ObjectId(hash.finalize().into()) {
            return Err(draft.error("read back", io::Error::other("it is not what was written"), needed));
        }
        Ok((draft, read_back))
    }

    /// Gives the catalog its second name, so that at every instant one whole catalog stands under its own.
    fn keep_previous_catalog(&self) -> Result<(), DiskError> {
        let draft = self.draft()?;
        if self.root.link(layout::CATALOG, &draft.incoming, &draft.name)? {
            // If both names are one file already, the rename does nothing and leaves the draft's name.
            let name = draft.name.clone();
            draft.rename(layout::CATALOG_PREVIOUS)?;
            return self.root.folder_or_new(layout::INCOMING)?.unlink(name.as_ref()).map(drop);
        }
        // No hard links (FAT, exFAT): a copy. The new catalog is on the disk already, durable, under another name; so
        // if there is no room for a third one, the old one moves aside.
        let Some(mut current) = self.root.read(layout::CATALOG)? else { return Ok(()) };
        let unreadable = |error| self.root.error("read", layout::CATALOG, error);
        match self.draft_copy(&mut current, &unreadable) {
            Ok((copy, _)) => copy.rename(layout::CATALOG_PREVIOUS),
            Err(DiskError::Full { .. }) => {
                self.root.has_file(layout::CATALOG_PREVIOUS)?;
                self.root.rename(layout::CATALOG, &self.root, layout::CATALOG_PREVIOUS)
            }
            // The old catalog is damaged (C4): it is not worth being kept, least of all in place of a whole one.
            Err(DiskError::Io { action: "read", .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
