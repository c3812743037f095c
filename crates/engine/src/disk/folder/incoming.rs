//! Folders for what comes in.
//!
//! A filesystem lets one process at a time change a folder, and looks through more of it the more names it has. So files
//! come into several, each lent to one thread while it makes a file there; the more there is to do, the more there are.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use super::staging::FILE_MODE;
use super::{FolderDisk, lock};
use crate::disk::layout;
use crate::disk::port::DiskError;
use crate::disk::system::Folder;

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
    staged: BTreeMap<u64, Arc<Folder>>,
    ever: u64,
}

/// Whether a name is that of one of these folders.
pub(super) fn is_ours(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

impl FolderDisk {
    /// Makes a file for a handle in one of the folders.
    pub(super) fn create_incoming(&self, handle: u64) -> Result<(File, Arc<Folder>), DiskError> {
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
        Ok((file?, folder))
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
    pub(super) fn note_staged(&self, handle: u64, folder: Arc<Folder>) {
        let mut incoming = lock(&self.incoming);
        incoming.staged.insert(handle, folder);
        incoming.ever += 1;
    }

    /// Where the content of a handle lies; from now on it is not staged any more.
    pub(super) fn take_staged(&self, handle: u64) -> Option<Arc<Folder>> {
        lock(&self.incoming).staged.remove(&handle)
    }

    /// Removes the folders if nothing is in them any more. What is in the way stays: the next visit clears it.
    pub(super) fn tidy_incoming(&self) -> Result<(), DiskError> {
        let mut incoming = lock(&self.incoming);
        if !incoming.staged.is_empty() || incoming.free.len() < incoming.made {
            return Ok(());
        }
        let made = incoming.made;
        *incoming = Incoming::default();
        if let Some(folder) = self.root.folder(layout::INCOMING)? {
            for number in 0..made {
                let _not_empty = folder.remove_folder(number.to_string().as_ref());
            }
        }
        Ok(())
    }

    /// Forgets what was staged: it is going to be cleared away.
    pub(super) fn forget_incoming(&self) {
        *lock(&self.incoming) = Incoming::default();
    }
}
