//! Opening folders and source files so that nothing is followed, changed or waited for by accident.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::far::reach;
use super::stat::{Stat, stat_fd};
use super::system;

/// How often an open is repeated that another program's lease (Samba's oplocks) holds up.
const LEASE_ATTEMPTS_MAX: u32 = 20;
/// How long each time; together a second.
const LEASE_WAIT: Duration = Duration::from_millis(50);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
// NONBLOCK: opening a fifo that took the file's place must not hang (S14).
const SOURCE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a folder for listing; a symbolic link in its place is an error (S14).
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    open(CWD, path, FOLDER | OFlags::NOFOLLOW)
}

/// Opens the folder `name` in the open folder `dir`; a symbolic link in its place is an error (S14).
pub fn open_folder_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    open(dir, name, FOLDER | OFlags::NOFOLLOW)
}

/// Opens a folder that the user named: there a symbolic link is meant.
pub fn open_folder_following(path: &Path) -> io::Result<OwnedFd> {
    open(CWD, path, FOLDER)
}

/// Opens a regular file for reading, with what the system says of it once it is open.
///
/// Never follows a link, never hangs on a fifo, leaves the access time alone where that is
/// permitted. Anything but a regular file is `InvalidInput`.
pub fn open_source(path: &Path) -> io::Result<(File, Stat)> {
    reach(path, |dir, path| regular(open(dir, path, SOURCE)?))
}

/// Like [`open_source`], for `name` in the open folder `dir`.
pub fn open_source_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<(File, Stat)> {
    regular(open(dir, name, SOURCE)?)
}

/// Opens what lies below an open folder for reading, on its filesystem and without symlinks on the way; `None` if there is
/// nothing of that kind, or the system cannot do that in one call (Linux before 5.6).
pub fn open_beneath(dir: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    super::system::open_beneath(dir, path)
}

/// Makes a new file below an open folder, for reading and writing, on its filesystem and without symlinks on the way.
/// `AlreadyExists` if there is anything of that name; `Unsupported` where the system cannot do that in one call.
pub fn create_beneath(dir: BorrowedFd<'_>, path: &str, mode: u32) -> io::Result<File> {
    super::system::create_beneath(dir, path, Mode::from_raw_mode(mode)).map(File::from)
}

/// Tells the system that a file will be read from beginning to end; only ever makes it faster.
pub fn advise_sequential(file: &File) {
    system::advise_sequential(file.as_fd());
}

/// The target of the symbolic link `name` in the open folder `dir`, as raw bytes.
pub fn read_link_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

fn open<P: rustix::path::Arg + Copy>(dir: BorrowedFd<'_>, path: P, flags: OFlags) -> io::Result<OwnedFd> {
    let mut flags = flags | system::NO_ATIME;
    let mut attempt = 1;
    loop {
        match rustix::fs::openat(dir, path, flags, Mode::empty()) {
            // Only a file's owner may ask for an untouched access time.
            Err(Errno::PERM) if flags.intersects(system::NO_ATIME) => flags.remove(system::NO_ATIME),
            Err(Errno::INTR) if attempt < LEASE_ATTEMPTS_MAX => attempt += 1,
            Err(Errno::WOULDBLOCK) if attempt < LEASE_ATTEMPTS_MAX => {
                attempt += 1;
                thread::sleep(LEASE_WAIT);
            }
            other => return Ok(other?),
        }
    }
}

fn regular(fd: OwnedFd) -> io::Result<(File, Stat)> {
    let stat = stat_fd(fd.as_fd())?;
    if !stat.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file (any more)"));
    }
    Ok((File::from(fd), stat))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::FileType;

    #[test]
    fn s14_a_fifo_or_symlink_in_place_of_a_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open_folder(dir.path()).unwrap();
        rustix::fs::mknodat(&folder, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert_eq!(open_source_at(folder.as_fd(), b"fifo").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(open_source_at(folder.as_fd(), b"link").is_err());
        assert!(open_source(&dir.path().join("link")).is_err());
        assert_eq!(read_link_at(folder.as_fd(), b"link").unwrap(), b"/etc/passwd");
    }

    #[test]
    fn s14_a_symlink_to_a_folder_is_no_folder_unless_the_user_named_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(open_folder(&dir.path().join("link")).is_err());
        assert!(open_folder_at(open_folder(dir.path()).unwrap().as_fd(), b"link").is_err());
        assert!(open_folder_following(&dir.path().join("link")).is_ok());
    }

    #[test]
    fn reading_a_source_leaves_its_access_time_alone() {
        use std::io::Read;
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(std::fs::FileTimes::new().set_accessed(old)).unwrap();
        let (mut source, _) = open_source(&path).unwrap();
        source.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().atime(), 1_000_000);
    }
}
