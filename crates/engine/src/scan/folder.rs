//! An open folder, from which its names, their facts and its children are reached.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::platform::{self, Names, Stat};

/// How often a folder is listed again because it changed meanwhile; then the last listing counts.
const LISTINGS_MAX: u32 = 3;

/// A folder of a source, held open.
///
/// Needs one descriptor; a walk of depth n therefore holds n of them.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// The reading position belongs to the descriptor: two listings at once would each be half.
    listing: Mutex<()>,
}

impl Folder {
    /// Opens a folder; a symbolic link in its place is an error (S14).
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::from_fd(platform::open_folder(path)?))
    }

    /// Opens the root of a source, which the user named: a symbolic link there is meant.
    pub fn open_root(path: &Path) -> io::Result<Self> {
        Ok(Self::from_fd(platform::open_folder_following(path)?))
    }

    /// Opens the folder `name` in this one; a symbolic link in its place is an error (S14).
    pub fn open_at(&self, name: &[u8]) -> io::Result<Self> {
        Ok(Self::from_fd(platform::open_folder_at(self.as_fd(), name)?))
    }

    fn from_fd(fd: OwnedFd) -> Self {
        Folder { fd, listing: Mutex::new(()) }
    }

    /// All names, sorted bytewise. Any error is an error of the whole listing (N6).
    ///
    /// A file that is renamed while its folder is listed may be seen under neither name, and would
    /// look deleted. So a folder that changed meanwhile is listed again, three times at most.
    pub fn names(&self) -> io::Result<Names> {
        let _alone = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = self.stat_self()?;
        let mut names = platform::read_names(self.as_fd())?;
        for _ in 1..LISTINGS_MAX {
            let after = self.stat_self()?;
            if after.mtime_ns == before.mtime_ns {
                break;
            }
            before = after;
            names = platform::read_names(self.as_fd())?;
        }
        Ok(names)
    }

    /// The facts about `name`; a symbolic link is not followed. `NotFound` if it vanished.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        platform::stat_at(self.as_fd(), name)
    }

    /// The facts about the folder itself.
    pub fn stat_self(&self) -> io::Result<Stat> {
        platform::stat_fd(self)
    }

    /// The target of the symbolic link `name`, as raw bytes.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        platform::read_link_at(self.as_fd(), name)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Folder> for OwnedFd {
    fn from(folder: Folder) -> OwnedFd {
        folder.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn paths_longer_than_the_system_accepts_are_walked() {
        let dir = tempfile::tempdir().unwrap();
        let name = [b'd'; 250];
        let mut folder = Folder::open(dir.path()).unwrap();
        for _ in 0..40 {
            rustix::fs::mkdirat(&folder, &name[..], rustix::fs::Mode::RWXU).unwrap();
            folder = folder.open_at(&name).unwrap();
        }
        rustix::fs::symlinkat("target\n\u{1}", &folder, "link").unwrap();
        assert_eq!(folder.names().unwrap().iter().collect::<Vec<_>>(), [b"link"]);
        assert_eq!(folder.read_link(b"link").unwrap(), b"target\n\x01");
        assert!(crate::platform::read_xattrs_at(folder.as_fd(), b"link").is_ok(), "10 000 bytes deep");
    }

    #[test]
    fn s14_a_link_to_a_folder_is_a_leaf() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", dir.path().join("loop")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        assert!(folder.open_at(b"loop").is_err());
        assert!(Folder::open(&dir.path().join("loop")).is_err());
        assert!(Folder::open_root(&dir.path().join("loop")).is_ok());
    }

    #[test]
    fn n6_a_file_that_is_renamed_while_its_folder_is_listed_is_not_overlooked() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..3000 {
            fs::write(dir.path().join(format!("steady-{n}")), "").unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        let running = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (a, b) = (dir.path().join("wanders-a"), dir.path().join("wanders-b"));
                fs::write(&a, "").unwrap();
                while running.load(std::sync::atomic::Ordering::Relaxed) {
                    fs::rename(&a, &b).unwrap();
                    fs::rename(&b, &a).unwrap();
                }
            });
            for _ in 0..20 {
                // Ends although the folder never stands still, and what stood still is there.
                let names = folder.names().unwrap();
                assert_eq!(names.iter().filter(|name| name.starts_with(b"steady-")).count(), 3000);
            }
            running.store(false, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(folder.names().unwrap().contains(b"wanders-a"));
    }

    #[test]
    fn one_folder_listed_by_several_threads_is_whole_for_each() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..3000 {
            fs::write(dir.path().join(format!("{n:0100}")), "").unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| assert_eq!(folder.names().unwrap().len(), 3000)));
            }
        });
    }
}
