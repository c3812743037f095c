//! One process at a time: a lock on a folder itself (DESIGN 6).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::open::open_folder_following;
use super::stat::stat_fd;
use super::system;

/// Beside the catalog: the process that holds its lock, and when that started (DESIGN 6). Only the lock counts; a
/// file that a killed process left behind is recognised by the start time and written over.
const HOLDER: &str = "distbackup.holder";
/// The start of a process is known to the tick, the start of the system to the second.
const START_TOLERANCE_NS: u64 = 2_000_000_000;

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
    holder: Option<PathBuf>,
}

impl DirectoryLock {
    /// Takes the lock on the folder of a disk or says at once who holds it; never waits, and creates nothing.
    pub fn acquire(path: &Path, access: Access) -> Result<Self, LockError> {
        Self::take(path, access, || None)
    }

    /// Takes the lock on the folder of a catalog; who holds it alone says so in a file beside the catalog.
    pub fn acquire_catalog(path: &Path, access: Access) -> Result<Self, LockError> {
        let file = path.join(HOLDER);
        let mut lock = Self::take(path, access, || announced(&file))?;
        if access == Access::Exclusive {
            let pid = std::process::id();
            let (_, started_ns) = system::describe_process(pid);
            fs::write(&file, format!("{pid} {}\n", started_ns.unwrap_or_default()))?;
            lock.holder = Some(file);
        }
        Ok(lock)
    }

    fn take(path: &Path, access: Access, announced: impl FnOnce() -> Option<u32>) -> Result<Self, LockError> {
        let folder = open_folder_following(path)?;
        let operation = match access {
            Access::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Access::Shared => FlockOperation::NonBlockingLockShared,
        };
        match rustix::fs::flock(&folder, operation) {
            Ok(()) => Ok(DirectoryLock { _folder: folder, holder: None }),
            Err(Errno::WOULDBLOCK) => Err(held(&folder, announced)?),
            Err(error) => Err(LockError::Io(error.into())),
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if let Some(file) = &self.holder {
            // While the lock is still held, so that it cannot be another's; what stays behind misleads nobody.
            let _ = fs::remove_file(file);
        }
    }
}

fn held(folder: &OwnedFd, announced: impl FnOnce() -> Option<u32>) -> io::Result<LockError> {
    let stat = stat_fd(folder)?;
    let pid = announced().or_else(|| system::lock_holder(stat.device, stat.inode));
    let (command, started_ns) = pid.map_or((None, None), system::describe_process);
    Ok(LockError::Held { pid, command, started_ns })
}

/// The process that the file names, if it is alive and the one that wrote it.
fn announced(file: &Path) -> Option<u32> {
    let text = fs::read_to_string(file).ok()?;
    let (pid, started_ns) = text.trim_end().split_once(' ')?;
    let (pid, announced_ns): (u32, i64) = (pid.parse().ok()?, started_ns.parse().ok()?);
    let (_, started_ns) = system::describe_process(pid);
    (started_ns?.abs_diff(announced_ns) <= START_TOLERANCE_NS).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_the_second_process_is_refused_and_told_who_holds_the_catalog() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire_catalog(dir.path(), Access::Exclusive).unwrap();
        for access in [Access::Shared, Access::Exclusive] {
            let refused = DirectoryLock::acquire_catalog(dir.path(), access).unwrap_err();
            let LockError::Held { pid, command, .. } = refused else { panic!("{refused:?}") };
            if cfg!(target_os = "linux") {
                assert_eq!(pid, Some(std::process::id()));
                assert!(command.is_some());
            }
        }
        drop(lock);
        let _again = DirectoryLock::acquire_catalog(dir.path(), Access::Exclusive).unwrap();
    }

    #[test]
    fn c5_a_killed_holder_is_not_taken_for_a_process_that_got_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(HOLDER);
        fs::write(&file, format!("{} 1000\n", std::process::id())).unwrap();
        assert_eq!(announced(&file), None);
        fs::write(&file, "damaged").unwrap();
        assert_eq!(announced(&file), None);
        let _lock = DirectoryLock::acquire_catalog(dir.path(), Access::Exclusive).unwrap();
    }

    #[test]
    fn for_the_lock_on_a_disk_nothing_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = DirectoryLock::acquire(dir.path(), Access::Exclusive).unwrap();
        assert!(matches!(DirectoryLock::acquire(dir.path(), Access::Shared), Err(LockError::Held { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
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
