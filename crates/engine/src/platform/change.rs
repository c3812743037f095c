//! Changing what a name is: owner, permissions, attributes and times, on exactly one inode.
//!
//! A [`Handle`] is opened without following links and without opening the file itself, so that a
//! restore can never be led to something outside its destination by a link that appears under
//! way (R3), and a fifo or device is not disturbed.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use distbackup_core::model::{DeviceNumber, Kind, Xattr};
use rustix::fs::{Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};

use super::stat::{Stat, timespec};
use super::system::{self, Target};
use super::xattrs;

/// One file, folder, link or other thing, of which everything but the content can be changed.
#[derive(Debug)]
pub struct Handle {
    target: Target,
}

impl Handle {
    /// Takes hold of `name` in the open folder `dir`; of a symbolic link itself.
    pub fn open_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        Ok(Handle { target: Target::open_at(dir, name)? })
    }

    /// Takes hold of a file that is open for writing anyway, which bears `name` in the open folder `dir`: that takes fewer
    /// calls than by its name.
    pub fn of_open(file: &File, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        Ok(Handle { target: Target::of_open(file, dir, name)? })
    }

    /// What it is now.
    pub fn stat(&self) -> io::Result<Stat> {
        self.target.stat()
    }

    /// Sets owner and group; `None` leaves one as it is. Clears set-id bits and capabilities.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        // The largest number means "leave as it is" to the system, and comes only from damage.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such user or group can exist"));
        }
        self.target.set_owner(uid.map(Uid::from_raw), gid.map(Gid::from_raw))
    }

    /// Sets permission, set-id and sticky bits. Symbolic links have none.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.target.set_mode(Mode::from_bits_retain((mode & 0o7777) as _))
    }

    /// Sets the time of the last change of content and leaves the access time.
    pub fn set_mtime(&self, mtime_ns: i64) -> io::Result<()> {
        self.target.set_times(&Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: timespec(mtime_ns),
        })
    }

    /// All attributes that may be read, sorted by name.
    pub fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        xattrs::collect(
            |buffer| self.target.list_xattrs(buffer),
            |name: &CStr, buffer| self.target.get_xattr(name, buffer),
        )
    }

    /// Creates or replaces one attribute.
    pub fn set_xattr(&self, xattr: &Xattr) -> io::Result<()> {
        self.target.set_xattr(&xattr.name, &xattr.value)
    }

    /// Removes one attribute.
    pub fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        self.target.remove_xattr(name)
    }
}

/// Creates a fifo or device special file under a name that must be free, readable by nobody else yet.
///
/// Permissions and owner are set afterwards. Other kinds are `InvalidInput`; devices need
/// privileges.
pub fn make_node_at(dir: BorrowedFd<'_>, name: &[u8], kind: Kind, device: DeviceNumber) -> io::Result<()> {
    if !matches!(kind, Kind::Fifo | Kind::CharDevice | Kind::BlockDevice) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a fifo nor a device"));
    }
    system::make_node(dir.as_fd(), name, kind, Mode::RUSR | Mode::WUSR, device)
}

#[cfg(test)]
mod tests {
    use super::super::{FileKind, open_folder, stat_at};
    use super::*;

    fn root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: needs root");
        }
        root
    }

    #[test]
    fn r3_what_a_symlink_points_to_is_never_changed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("target"), "").unwrap();
        std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
        let folder = open_folder(dir.path()).unwrap();
        let before = stat_at(folder.as_fd(), b"target").unwrap();
        let link = Handle::open_at(folder.as_fd(), b"link").unwrap();
        link.set_mtime(-1_999_999_995).unwrap();
        // Refused or without effect, depending on the kernel; never on the target.
        let _ = link.set_mode(0o7777);
        assert_eq!(link.stat().unwrap().mtime_ns, -1_999_999_995, "S11: the link's own time, before 1970");
        if root() {
            link.set_owner(Some(1234), Some(5678)).unwrap();
            link.set_xattr(&Xattr { name: b"trusted.dsb".to_vec(), value: b"1".to_vec() }).unwrap();
            let stat = stat_at(folder.as_fd(), b"link").unwrap();
            assert_eq!((stat.uid, stat.gid), (1234, 5678));
            assert_eq!(link.xattrs().unwrap().len(), 1);
            link.remove_xattr(b"trusted.dsb").unwrap();
            assert_eq!(link.xattrs().unwrap(), []);
        }
        assert_eq!(stat_at(folder.as_fd(), b"target").unwrap(), before);
    }

    #[test]
    fn a_fifo_is_made_and_changed_without_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open_folder(dir.path()).unwrap();
        let none = DeviceNumber { major: 0, minor: 0 };
        make_node_at(folder.as_fd(), b"fifo\xff", Kind::Fifo, none).unwrap();
        let fifo = Handle::open_at(folder.as_fd(), b"fifo\xff").unwrap();
        fifo.set_mode(0o640).unwrap();
        fifo.set_mtime(5).unwrap();
        let stat = stat_at(folder.as_fd(), b"fifo\xff").unwrap();
        assert_eq!((stat.kind, stat.mode, stat.mtime_ns), (FileKind::Entry(Kind::Fifo), 0o640, 5));
        assert!(make_node_at(folder.as_fd(), b"fifo\xff", Kind::Fifo, none).is_err(), "the name is taken");
        assert!(make_node_at(folder.as_fd(), b"file", Kind::File, none).is_err());
    }

    #[test]
    fn a_device_keeps_its_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open_folder(dir.path()).unwrap();
        let device = DeviceNumber { major: 1, minor: 300 };
        match make_node_at(folder.as_fd(), b"null", Kind::CharDevice, device) {
            Err(error) => eprintln!("SKIPPED: devices cannot be made here: {error}"),
            Ok(()) => assert_eq!(stat_at(folder.as_fd(), b"null").unwrap().rdev, device),
        }
    }

    #[test]
    fn an_owner_that_cannot_exist_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open_folder(dir.path()).unwrap();
        let handle = Handle::open_at(folder.as_fd(), b".").unwrap();
        assert!(handle.set_owner(Some(u32::MAX), None).is_err());
        assert!(handle.set_owner(None, Some(u32::MAX)).is_err());
    }
}
