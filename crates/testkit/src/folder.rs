//! An open folder, for trees whose paths are longer than a system call takes.
//!
//! Linux refuses paths from 4096 bytes on, but a name below an open folder can be addressed as
//! `/proc/self/fd/N/name`. So every function of `std` works at any depth, and none of the folders on
//! the way is looked up again.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// A folder, held open.
#[derive(Debug)]
pub struct Folder(OwnedFd);

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens the folder at `path`; a symlink as its last part is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Folder(rustix::fs::openat(CWD, path, FLAGS, Mode::empty())?))
    }

    /// Opens the folder `name` in this one; a symlink is refused.
    pub fn child(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Folder(rustix::fs::openat(&self.0, name, FLAGS, Mode::empty())?))
    }

    /// Makes the folder `name` in this one and opens it.
    pub fn create(&self, name: &OsStr) -> io::Result<Self> {
        std::fs::create_dir(self.at(name))?;
        self.child(name)
    }

    /// A short path of `name` in this folder, good as long as the folder is held open.
    pub fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd())).join(name.as_ref())
    }

    /// A short path of the folder itself, good as long as it is held open. Its last part is `.`, so
    /// that calls that do not follow symlinks reach the folder too.
    pub fn itself(&self) -> PathBuf {
        self.at(".")
    }

    /// The names in the folder, in order of their bytes.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let listed = std::fs::read_dir(self.itself())?.map(|entry| Ok(entry?.file_name()));
        let mut names = listed.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }
}
