//! The real disk: a folder on a mounted filesystem, laid out as DESIGN 3 says.
//!
//! - The folder is opened once and held: all names are looked up below that descriptor, so neither a symlink on
//!   the disk nor a path exchanged during the visit leads anywhere else (D15).
//! - The same descriptor is the one on which `syncfs` is called. The kernel reports an error of writing back once per
//!   open file, so a descriptor opened after the error would know nothing of it (DESIGN 6).
//! - A sync that failed is final: Linux marks the pages clean, and a second sync succeeds on nothing (N1). So this
//!   value refuses every later commit; the disk has to be connected anew.
//! - Opening writes nothing: a read-only medium can be verified and restored from (D9).

mod incoming;
mod listing;
mod naming;
mod page;
mod sidecars;
mod staging;
mod taking;
mod whole;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use distbackup_core::model::{BLOCK, Bytes, ObjectId};

use self::incoming::Incoming;
pub(super) use self::sidecars::read_identity;
use self::whole::WholeTree;
use super::layout;
use super::port::{
    Disk, DiskError, Identity, Listed, Loose, OwnName, ReadBack, Space, StageError, Staged, Taken,
};
use super::reader::FileContent;
use super::system::{Folder, file_max, forget_cached};
use crate::content::Content;
use crate::platform;

/// A disk that is a folder of a mounted filesystem.
#[derive(Debug)]
pub struct FolderDisk {
    root: Folder,
    /// Whether one `syncfs` makes everything durable, or every file and folder needs its own `fsync`.
    sync_covers_all: bool,
    /// Begins the names of our temporary files: no other process has the same.
    random: u64,
    next_handle: AtomicU64,
    /// Folders of files that come in, and what is staged.
    incoming: Mutex<Incoming>,
    /// The folder of what comes in, held open to make files without a name; `None` if this filesystem cannot.
    unnamed: OnceLock<Option<Folder>>,
    /// The tree of objects that is filled out of sight.
    whole: WholeTree,
    /// So many files without a name may be held at once.
    unnamed_max: usize,
    /// Large contents go past the memory of the system.
    straight: OnceLock<bool>,
    /// Folders of objects with changes that no sync has covered yet; used where each needs its own.
    touched: Mutex<BTreeSet<u16>>,
    /// Of what kind the first failed sync was, and what it said. Locked while one goes on.
    sync_failure: Mutex<Option<(io::ErrorKind, String)>>,
    file_max: OnceLock<Bytes>,
}

impl FolderDisk {
    /// Opens the disk in the folder `path`, which must hold an identity file that this program understands.
    ///
    /// Fails with [`DiskError::NotADisk`] if there is no such folder or no identity in it (D10). Writes nothing.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let disk = Self::hold(path)?;
        disk.identity()?;
        Ok(disk)
    }

    /// Makes the folder `path` a disk: makes the folder itself if only that is missing, and writes `identity`.
    ///
    /// Fails with [`DiskError::AlreadyADisk`] if anything bears the name of an identity file there (D13).
    pub fn create(path: &Path, identity: &Identity) -> Result<Self, DiskError> {
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(super::system::meaning("create", path.to_owned(), error, Bytes(BLOCK))),
        }
        let disk = Self::hold(path)?;
        if disk.root.look(layout::IDENTITY.as_ref())?.is_some() || !disk.write_first_identity(identity)? {
            return Err(DiskError::AlreadyADisk { folder: path.to_owned() });
        }
        Ok(disk)
    }

    fn hold(path: &Path) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io { action: "open", path: path.to_owned(), source };
        let root = Folder::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                DiskError::NotADisk { folder: path.to_owned() }
            }
            _ => failed(error),
        })?;
        let random = getrandom::u64().map_err(|error| failed(io::Error::other(error.to_string())))?;
        Ok(FolderDisk {
            sync_covers_all: root.sync_covers_all().map_err(failed)?,
            root,
            random,
            next_handle: AtomicU64::new(0),
            incoming: Mutex::default(),
            unnamed: OnceLock::new(),
            whole: WholeTree::default(),
            unnamed_max: platform::unnamed_files_max(),
            straight: OnceLock::new(),
            touched: Mutex::default(),
            sync_failure: Mutex::default(),
            file_max: OnceLock::new(),
        })
    }

    /// Folder `prefix` of the objects, or `None` if it or all of them are missing.
    fn objects(&self, prefix: u16) -> Result<Option<Folder>, DiskError> {
        match self.root.folder(layout::OBJECTS)? {
            Some(objects) => objects.folder(&layout::folder_name(prefix)),
            None => Ok(None),
        }
    }

    fn open_object(&self, id: ObjectId, forget: bool) -> Result<Box<dyn Content + Send + '_>, DiskError> {
        let name = id.hex();
        let file = match self.root.read_below(&layout::object_path(id)) {
            Some(file) => file,
            // Step by step: that tells what is there instead.
            None => {
                let folder = self.objects(layout::prefix(id))?.ok_or(DiskError::Missing(id))?;
                folder.read(&name)?.ok_or(DiskError::Missing(id))?
            }
        };
        if forget {
            forget_cached(&file);
        }
        let content = FileContent::new(file)
            .map_err(|error| self.root.error("open", &layout::object_path(id), error))?;
        Ok(Box::new(content))
    }

    /// Makes everything written so far durable; `objects` is how many copies depend on it.
    ///
    /// Only names in folders of objects, `bad-objects/` and the disk's folder have to be synced where the
    /// filesystem is not synced as a whole: contents were, when they were staged.
    fn flush(&self, objects: usize) -> Result<(), DiskError> {
        let failure = |source| DiskError::NotDurable { objects, source };
        // Held until this one has ended: the kernel tells an error once, so whoever syncs beside another one that fails would
        // hear of nothing.
        let mut first_failure = lock(&self.sync_failure);
        if let Some((kind, first)) = first_failure.as_ref() {
            let said = format!("an earlier sync of this disk failed: {first}");
            return Err(failure(io::Error::new(*kind, said)));
        }
        let result = if self.sync_covers_all {
            self.root.sync_filesystem().map_err(failure)
        } else {
            self.flush_touched().map_err(|error| match error {
                DiskError::Io { source, .. } => failure(source),
                error => error,
            })
        };
        if let Err(error) = &result {
            let kind = match error {
                DiskError::NotDurable { source, .. } => source.kind(),
                _ => io::ErrorKind::Other,
            };
            *first_failure = Some((kind, error.to_string()));
        }
        result
    }

    fn flush_touched(&self) -> Result<(), DiskError> {
        // What another thread changes from now on waits for that thread's own sync.
        let touched = std::mem::take(&mut *lock(&self.touched));
        let sync = |folder: &Folder| folder.sync().map_err(|error| folder.error("sync", "", error));
        if let Some(objects) = self.root.folder(layout::OBJECTS)? {
            for prefix in touched {
                if let Some(folder) = objects.folder(&layout::folder_name(prefix))? {
                    sync(&folder)?;
                }
            }
            sync(&objects)?;
        }
        if let Some(bad) = self.root.folder(layout::BAD_OBJECTS)? {
            sync(&bad)?;
        }
        sync(&self.root)
    }

    /// Works as on a filesystem whose `syncfs` cannot be trusted.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn syncing_each_file(mut self) -> Self {
        self.sync_covers_all = false;
        self
    }

    /// Works as if this process could hold only so many files without a name.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn holding_unnamed(mut self, max: usize) -> Self {
        self.unnamed_max = max;
        self
    }
}

/// Locks although another thread panicked: the sets in there are valid after every single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for FolderDisk {
    fn identity(&self) -> Result<Identity, DiskError> {
        sidecars::read_identity(&self.root)
    }

    fn write_identity(&self, identity: &Identity) -> Result<(), DiskError> {
        self.replace_identity(identity)
    }

    fn space(&self) -> Result<Space, DiskError> {
        let failed = |error| self.root.error("read the room of", "", error);
        let file_max = match self.file_max.get() {
            Some(known) => *known,
            None => match self.root.read(layout::IDENTITY)? {
                Some(file) => *self.file_max.get_or_init(|| file_max(&file)),
                None => return Err(DiskError::NotADisk { folder: self.root.path().to_owned() }),
            },
        };
        self.root.space(file_max).map_err(failed)
    }

    fn list_folder(&self, prefix: u16) -> Result<Vec<Listed>, DiskError> {
        listing::list_folder(&self.root, prefix)
    }

    fn list_foreign(&self) -> Result<Vec<Listed>, DiskError> {
        listing::list_foreign(&self.root)
    }

    fn open(&self, id: ObjectId) -> Result<Box<dyn Content + Send + '_>, DiskError> {
        self.open_object(id, false)
    }

    fn open_on_medium(&self, id: ObjectId) -> Result<Box<dyn Content + Send + '_>, DiskError> {
        self.open_object(id, true)
    }

    fn read_back(&self, id: ObjectId) -> Result<ReadBack<'_>, DiskError> {
        let name = id.hex();
        let folder = self.objects(layout::prefix(id))?.ok_or(DiskError::Missing(id))?;
        let file = folder.read(&name)?.ok_or(DiskError::Missing(id))?;
        // What a sync has covered is clean, and what is clean is dropped.
        let from_memory = !platform::is_forgotten(file.as_fd());
        let content = FileContent::new(file).map_err(|error| folder.error("open", &name, error))?;
        Ok(ReadBack { content: Box::new(content), from_memory })
    }

    fn stage(&self, content: &mut dyn Content) -> Result<Staged, StageError> {
        self.stage_content(content)
    }

    fn stage_hashed(&self, id: ObjectId, content: &[u8]) -> Result<Staged, StageError> {
        self.stage_hashed_content(id, content)
    }

    fn wants_one_batch(&self) -> bool {
        self.fills_whole_tree()
    }

    fn takes_large_together(&self) -> bool {
        self.can_write_straight()
    }

    fn clones(&self) -> Result<bool, DiskError> {
        self.can_clone()
    }

    fn stage_clone(
        &self,
        file: &Loose,
        each: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<Option<Staged>, StageError> {
        self.stage_shared(file, each)
    }

    fn take_in(&self, files: &[(Loose, ObjectId)], own_name: OwnName) -> Result<Vec<Taken>, DiskError> {
        self.take_in_batch(files, own_name)
    }

    fn commit(&self, batch: Vec<Staged>) -> Result<(), DiskError> {
        self.commit_batch(batch)
    }

    fn discard(&self, staged: Staged) -> Result<(), DiskError> {
        self.discard_staged(&staged)
    }

    fn clear_incoming(&self) -> Result<Bytes, DiskError> {
        self.remove_left_overs()
    }

    fn remove(&self, id: ObjectId) -> Result<(), DiskError> {
        let prefix = layout::prefix(id);
        let Some(folder) = self.objects(prefix)? else { return Ok(()) };
        let name = id.hex();
        if folder.has_file(&name)? {
            folder.unlink(name.as_ref())?;
            lock(&self.touched).insert(prefix);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.flush(0)
    }

    fn quarantine(&self, id: ObjectId) -> Result<(), DiskError> {
        /// So often may one object go bad before somebody should look.
        const TRIES_MAX: u32 = 1000;
        let (prefix, name) = (layout::prefix(id), id.hex());
        let folder = self.objects(prefix)?.ok_or(DiskError::Missing(id))?;
        if !folder.has_file(&name)? {
            return Err(DiskError::Missing(id));
        }
        let bad = self.root.folder_or_new(layout::BAD_OBJECTS)?;
        for number in 0..TRIES_MAX {
            let new = if number == 0 { name.clone() } else { format!("{name}.{number}") };
            if folder.rename_new(&name, &bad, &new)? {
                lock(&self.touched).insert(prefix);
                return Ok(());
            }
        }
        Err(bad.error("rename to", &name, io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    fn fetch_catalog(&self, to: &Path) -> Result<bool, DiskError> {
        self.fetch(layout::CATALOG, to)
    }

    fn fetch_previous_catalog(&self, to: &Path) -> Result<bool, DiskError> {
        self.fetch(layout::CATALOG_PREVIOUS, to)
    }

    fn catalog_hash(&self) -> Option<ObjectId> {
        let file = self.root.read(layout::CATALOG).ok()??;
        forget_cached(&file);
        sidecars::hash_file(&file).ok()
    }

    fn drop_catalog(&self) -> Result<(), DiskError> {
        match self.root.has_file(layout::CATALOG)? {
            true => self.root.unlink(layout::CATALOG.as_ref()).map(drop),
            false => Ok(()),
        }
    }

    fn publish_catalog(
        &self,
        from: &Path,
        check: Box<dyn FnOnce() -> io::Result<()> + '_>,
    ) -> Result<ObjectId, DiskError> {
        self.publish(from, check)
    }

    fn publish_page(&self, from: &Path, data: &str) -> Result<(), DiskError> {
        self.replace_page(from, data)
    }

    fn page_data(&self) -> Result<Option<String>, DiskError> {
        self.data_of_page()
    }

    fn remove_page(&self) -> Result<(), DiskError> {
        self.clear_page()
    }

    fn write_recovery_file(&self, name: &str, content: &[u8]) -> Result<bool, DiskError> {
        self.write_recovery(name, content)
    }
}

#[cfg(test)]
mod tests;
