//! Scanning: one folder at a time, held open, its names sorted, each looked at without following it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::platform::{self, Names, Stat};

/// An open folder of a source.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
}

impl Folder {
    /// Opens a folder by its path; a symlink at its end is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        platform::open_folder(path).map(|descriptor| Folder { descriptor })
    }

    /// Opens a folder in another one, by its name alone: no path is too long, no symlink is followed (S14).
    pub fn open_at(parent: &Folder, name: &[u8]) -> io::Result<Self> {
        platform::open_folder_at(parent.as_fd(), name).map(|descriptor| Folder { descriptor })
    }

    /// All names in it, sorted by bytes. An error of any part is an error of the whole: an incomplete
    /// listing must never look like a deletion (N6).
    pub fn names(&self) -> io::Result<Names> {
        platform::read_names(self.as_fd())
    }

    /// Looks at one of its names.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        platform::stat_at(self.as_fd(), name)
    }

    /// Looks at the folder itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        platform::stat_fd(self)
    }

    /// Reads a symlink.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        platform::read_link_at(self.as_fd(), name)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
