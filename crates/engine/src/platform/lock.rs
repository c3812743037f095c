//! One process at a time: a lock on a folder itself, for which nothing is created in it (DESIGN 6).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::open::open_folder_following;
use super::stat::stat_fd;
use super::system;

/// Who may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody else: for everything that writes.
    Exclusive,
    /// Others that only read: for reports and dry runs.
    Shared,
}

/// A folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it. Who, as far as the system tells.
    #[error("in use by another process")]
    Held {
        /// Its number.
        pid: Option<u32>,
        /// Its name, escaped for the terminal.
        command: Option<String>,
        /// When it started, nanoseconds since 1970.
        started_ns: Option<i64>,
    },
    /// The folder could not be opened, or its filesystem has no locks.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A held lock on a folder; given back when dropped, and by the system if the process dies (C5).
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct DirectoryLock {
    _folder: OwnedFd,
}

impl DirectoryLock {
    /// Takes the lock on the folder `path` or says at once who holds it; never waits.
    pub fn acquire(path: &Path, access: Access) -> Result<Self, LockError> {
        let folder = open_folder_following(path)?;
        let operation = match access {
            Access::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Access::Shared => FlockOperation::NonBlockingLockShared,
        };
        match rustix::fs::flock(&folder, operation) {
            Ok(()) => Ok(DirectoryLock { _folder: folder }),
            Err(Errno::WOULDBLOCK) => Err(held(&folder)?),
            Err(error) => Err(LockError::Io(error.into())),
        }
    }
}

fn held(folder: &OwnedFd) -> io::Result<LockError> {
    let stat = stat_fd(folder)?;
    let pid = system::lock_holder(stat.device, stat.inode);
    let (command, started_ns) = pid.map_or((None, None), system::describe_process);
    Ok(LockError::Held { pid, command, started_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_the_second_process_is_refused_and_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire(dir.path(), Access::Exclusive).unwrap();
        let refused = DirectoryLock::acquire(dir.path(), Access::Shared).unwrap_err();
        let LockError::Held { pid, command, .. } = refused else { panic!("{refused:?}") };
        if cfg!(target_os = "linux") {
            assert_eq!(pid, Some(std::process::id()));
            assert!(command.is_some());
        }
        drop(lock);
        let _again = DirectoryLock::acquire(dir.path(), Access::Exclusive).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was created");
    }

    #[test]
    fn readers_share_and_keep_writers_out() {
        let dir = tempfile::tempdir().unwrap();
        let _one = DirectoryLock::acquire(dir.path(), Access::Shared).unwrap();
        let _two = DirectoryLock::acquire(dir.path(), Access::Shared).unwrap();
        assert!(matches!(DirectoryLock::acquire(dir.path(), Access::Exclusive), Err(LockError::Held { .. })));
        assert!(matches!(
            DirectoryLock::acquire(&dir.path().join("none"), Access::Shared),
            Err(LockError::Io(_))
        ));
    }
}
