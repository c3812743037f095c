//! Where what comes in lies: in files without a name, or in folders for it.
//!
//! Where the filesystem can, a copy is a file without a name until it gets its final one: no folder is changed for what is on
//! its way, and what never arrives is gone when it is closed, also if the program dies. Each holds a descriptor. Where the
//! filesystem cannot, or the descriptors run out, a copy has a temporary name.
//!
//! A filesystem lets one process at a time change a folder, and looks through more of it the more names it has. So files
//! with temporary names come into several folders, each lent to one thread while it makes a file there; the more there is
//! to do, the more there are.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;

use distbackup_core::model::Bytes;

use super::staging::FILE_MODE;
use super::{FolderDisk, lock};
use crate::disk::layout;
use crate::disk::port::{DiskError, Staged};
use crate::disk::system::Folder;
use crate::platform::UnnamedFile;

/// One more for so many files.
const FILES_EACH: u64 = 256;
/// Never more than this.
const FOLDERS_MAX: usize = 16;

/// The folders in use, and what lies in them.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    free: VecDeque<Arc<Folder>>,
    made: usize,
    /// Where the staged content of each handle lies that is neither committed nor discarded.
    staged: BTreeMap<u64, Place>,
    /// How many files were ever staged in the folders.
    ever: u64,
}

/// Where content lies that is staged.
#[derive(Debug)]
pub(super) enum Place {
    /// In a file without a name. Dropping it discards it.
    Unnamed(UnnamedFile),
    /// Under its temporary name in this folder.
    Named(Arc<Folder>),
    /// Under its final name, in a tree that is moved to its place with all that is in it.
    Whole,
}

/// A file that content is written to.
#[derive(Debug)]
pub(super) enum Coming {
    /// One without a name.
    Unnamed(UnnamedFile),
    /// One with a temporary name in this folder.
    Named(File, Arc<Folder>),
}

impl Coming {
    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        match self {
            Coming::Unnamed(file) => file.file(),
            Coming::Named(file, _) => file,
        }
    }

    /// Where it lies.
    pub fn place(self) -> Place {
        match self {
            Coming::Unnamed(file) => Place::Unnamed(file),
            Coming::Named(_, folder) => Place::Named(folder),
        }
    }
}

/// Whether a name is that of a folder that we make here for files with temporary names: these have numbers.
pub(super) fn is_numbered(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

impl FolderDisk {
    /// Makes a file for a handle: one without a name if there can be one, else in one of the folders.
    pub(super) fn create_incoming(&self, handle: u64) -> Result<Coming, DiskError> {
        let unnamed = self
            .unnamed_folder()
            // Whatever is in the way: with a name it is tried again, and told.
            .and_then(|folder| UnnamedFile::new(folder.as_fd(), FILE_MODE, self.unnamed_max).ok().flatten());
        match unnamed {
            Some(file) => Ok(Coming::Unnamed(file)),
            None => self.create_named(handle),
        }
    }

    /// The folder of what comes in, held open; `None` if no files without a name can be made there.
    pub(super) fn unnamed_folder(&self) -> Option<&Folder> {
        self.unnamed.get_or_init(|| self.folder_for_unnamed()).as_ref()
    }

    /// The folder of what comes in, if files without a name can be made there and get one later: that is tried with an
    /// empty one. Anything unexpected means no.
    pub(super) fn folder_for_unnamed(&self) -> Option<Folder> {
        // Where each file has to be synced on its own, nobody knows what becomes of one without a name.
        if !self.sync_covers_all || self.unnamed_max == 0 {
            return None;
        }
        let folder = self.root.folder_or_new(layout::INCOMING).ok()?;
        let file = UnnamedFile::new(folder.as_fd(), FILE_MODE, self.unnamed_max).ok()??;
        let name = self.temporary_name(self.new_handle());
        let linked = file.link_at(folder.as_fd(), name.as_bytes());
        let unlinked = folder.unlink(name.as_ref());
        (linked.is_ok() && matches!(unlinked, Ok(true))).then_some(folder)
    }

    fn create_named(&self, handle: u64) -> Result<Coming, DiskError> {
        let name = self.temporary_name(handle);
        let folder = self.lend_incoming()?;
        let folder = match folder.is_there() {
            true => folder,
            // Somebody cleared it away: begin anew.
            false => {
                let mut incoming = lock(&self.incoming);
                (incoming.free, incoming.made) = Default::default();
                drop(incoming);
                self.lend_incoming()?
            }
        };
        let file = folder.create(&name, FILE_MODE);
        lock(&self.incoming).free.push_back(Arc::clone(&folder));
        Ok(Coming::Named(file?, folder))
    }

    fn lend_incoming(&self) -> Result<Arc<Folder>, DiskError> {
        let mut incoming = lock(&self.incoming);
        let enough = incoming.made >= FOLDERS_MAX || incoming.ever < incoming.made as u64 * FILES_EACH;
        if enough && let Some(folder) = incoming.free.pop_front() {
            return Ok(folder);
        }
        let name = incoming.made.to_string();
        let folder = self.root.folder_or_new(layout::INCOMING)?.folder_or_new(&name)?;
        incoming.made += 1;
        Ok(Arc::new(folder))
    }

    /// Notes that the content of a handle is whole.
    pub(super) fn note_staged(&self, handle: u64, place: Place) {
        let mut incoming = lock(&self.incoming);
        incoming.ever += u64::from(matches!(place, Place::Named(_)));
        incoming.staged.insert(handle, place);
    }

    /// Gives up what was begun for a handle. The error that led to it counts; what cannot be removed now is a left-over (D16).
    pub(super) fn give_up(&self, handle: u64, coming: Coming) {
        let dropped = match coming {
            Coming::Unnamed(_closed) => Ok(()),
            Coming::Named(_, folder) => folder.unlink(self.temporary_name(handle).as_ref()).map(drop),
        };
        let _left_over = dropped.and_then(|()| self.tidy_incoming());
    }

    /// Removes the content of an object that is staged no more.
    pub(super) fn drop_content(&self, object: &Staged, place: Place) -> Result<(), DiskError> {
        match place {
            Place::Unnamed(_closed) => Ok(()),
            Place::Named(folder) => folder.unlink(self.temporary_name(object.handle).as_ref()).map(drop),
            Place::Whole => self.drop_out_of_tree(object.id),
        }
    }

    /// Where the content of a handle lies; from now on it is not staged any more.
    pub(super) fn take_staged(&self, handle: u64) -> Option<Place> {
        lock(&self.incoming).staged.remove(&handle)
    }

    /// What messages call a file that comes in.
    pub(super) fn path_of_coming(&self, handle: u64, coming: &Coming) -> PathBuf {
        match coming {
            Coming::Unnamed(_) => self.root.path_of(layout::INCOMING),
            Coming::Named(_, folder) => folder.path_of(&self.temporary_name(handle)),
        }
    }

    /// Removes the folders if nothing is in them any more. What is in the way stays: the next visit clears it.
    pub(super) fn tidy_incoming(&self) -> Result<(), DiskError> {
        let mut incoming = lock(&self.incoming);
        if incoming.staged.is_empty() {
            drop(incoming);
            self.tidy_whole_tree()?;
            incoming = lock(&self.incoming);
        }
        let made = incoming.made;
        if made == 0 || !incoming.staged.is_empty() || incoming.free.len() < made {
            return Ok(());
        }
        *incoming = Incoming::default();
        if let Some(folder) = self.root.folder(layout::INCOMING)? {
            for number in 0..made {
                let _not_empty = folder.remove_folder(number.to_string().as_ref());
            }
        }
        Ok(())
    }

    /// Forgets what was staged: it is going to be cleared away. Returns the bytes of what has no name, which are gone.
    pub(super) fn forget_incoming(&self) -> Bytes {
        self.whole.forget();
        let forgotten = std::mem::take(&mut *lock(&self.incoming));
        let mut bytes = Bytes(0);
        for place in forgotten.staged.values() {
            if let Place::Unnamed(file) = place {
                bytes += Bytes(file.file().metadata().map_or(0, |facts| facts.len()));
            }
        }
        bytes
    }
}
