//! Linux: a hold on one inode (`O_PATH`), and attributes by path.
//!
//! Calls that take only paths reach an `O_PATH` descriptor through `/proc/self/fd`. That link leads
//! straight to the inode and nowhere else, even if the inode is a symbolic link.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distbackup_core::model::{DeviceNumber, Kind};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::platform::stat::{Stat, stat_fd};

/// One inode, held without being opened; or a file that is open anyway.
#[derive(Debug)]
pub struct Target {
    fd: OwnedFd,
    /// Of a hold only: an open file takes all calls itself, without the way through /proc.
    path: Option<CString>,
}

impl Target {
    /// Takes hold of `name` in `dir` itself, also of a link.
    pub fn open_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        let path = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        Ok(Target { fd, path: Some(path) })
    }

    /// Takes hold of an open file. Its name is not needed here.
    pub fn of_open(file: &File, _: BorrowedFd<'_>, _: &[u8]) -> io::Result<Self> {
        Ok(Target { fd: file.as_fd().try_clone_to_owned()?, path: None })
    }

    /// What it is now.
    pub fn stat(&self) -> io::Result<Stat> {
        stat_fd(self.fd.as_fd())
    }

    /// Sets owner and group.
    pub fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        Ok(rustix::fs::chownat(&self.fd, c"", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    /// Sets the mode.
    pub fn set_mode(&self, mode: Mode) -> io::Result<()> {
        match &self.path {
            Some(path) => through_proc(rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())),
            None => Ok(rustix::fs::fchmod(&self.fd, mode)?),
        }
    }

    /// Sets both times.
    pub fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        match &self.path {
            Some(path) => through_proc(rustix::fs::utimensat(CWD, path, times, AtFlags::empty())),
            None => Ok(rustix::fs::futimens(&self.fd, times)?),
        }
    }

    /// Lists attributes.
    pub fn list_xattrs(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.path {
            Some(path) => rustix::fs::listxattr(path, buffer),
            None => rustix::fs::flistxattr(&self.fd, buffer),
        }
    }

    /// Reads an attribute.
    pub fn get_xattr(&self, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.path {
            Some(path) => rustix::fs::getxattr(path, name, buffer),
            None => rustix::fs::fgetxattr(&self.fd, name, buffer),
        }
    }

    /// Sets an attribute.
    pub fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match &self.path {
            Some(path) => through_proc(rustix::fs::setxattr(path, name, value, XattrFlags::empty())),
            None => Ok(rustix::fs::fsetxattr(&self.fd, name, value, XattrFlags::empty())?),
        }
    }

    /// Removes an attribute.
    pub fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        match &self.path {
            Some(path) => through_proc(rustix::fs::removexattr(path, name)),
            None => Ok(rustix::fs::fremovexattr(&self.fd, name)?),
        }
    }
}

/// The inode is held, so that a path that is not found means that /proc is not there.
fn through_proc(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Err(io::Error::other("/proc is not mounted")),
        result => Ok(result?),
    }
}

/// Lists attributes of a path, not following a link at its end.
pub fn list_xattrs(path: &Path, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::fs::llistxattr(path, buffer)
}

/// Reads an attribute of a path, not following a link at its end.
pub fn get_xattr(path: &Path, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::fs::lgetxattr(path, name, buffer)
}

/// Names of the attributes of an open file.
pub fn list_xattrs_of(file: BorrowedFd<'_>, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::fs::flistxattr(file, buffer)
}

/// Reads an attribute of an open file.
pub fn get_xattr_of(file: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::fs::fgetxattr(file, name, buffer)
}

/// A short path to `name` in an open folder, however deep that folder lies.
pub fn path_at(dir: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(OsStr::from_bytes(name))
}

/// Creates a fifo or device.
pub fn make_node(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
    mode: Mode,
    device: DeviceNumber,
) -> io::Result<()> {
    let file_type = match kind {
        Kind::Fifo => FileType::Fifo,
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::File | Kind::Directory | Kind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let numbers = if kind == Kind::Fifo { 0 } else { rustix::fs::makedev(device.major, device.minor) };
    Ok(rustix::fs::mknodat(dir, name, file_type, mode, numbers)?)
}
