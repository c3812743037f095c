//! Other Unix systems: what is portable, and `Unsupported` for the rest. Same functions as `linux`.

use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use distbackup_core::model::{DeviceNumber, Kind};
use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use super::mounts::Mounts;
use super::stat::{Stat, stat_at};

/// Links are not followed.
pub const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW;
/// There is no such flag here.
pub const NO_ATIME: OFlags = OFlags::empty();

/// Hands each name of the folder with its inode number to `each`, from the beginning.
pub fn list(folder: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr, u64) -> io::Result<()>) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        #[allow(clippy::useless_conversion)]
        each(entry.file_name(), u64::from(entry.ino()))?;
    }
    Ok(())
}

/// Nobody tells.
pub fn memory_available() -> Option<u64> {
    None
}

/// Everything counts as data.
pub fn seek_data(_: BorrowedFd<'_>, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    Ok(Some(from..size))
}

/// Advice that not every system takes.
pub fn advise_sequential(_: BorrowedFd<'_>) {}

/// Unknown: no limit of our own; the write will say.
pub fn file_bytes_max(_: BorrowedFd<'_>, _: u64) -> u64 {
    i64::MAX as u64
}

/// There is no such way that all systems have.
pub fn write_straight(_: BorrowedFd<'_>, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nor this.
pub fn set_room_aside(_: BorrowedFd<'_>, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The system begins when it likes.
pub fn begin_writing_out(_: BorrowedFd<'_>, _: u64, _: u64) {}

/// There is none: the caller has to sync its files one by one.
pub fn sync_filesystem(_: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is no `syncfs`.
pub fn syncfs_reports_errors() -> bool {
    false
}

/// There is no table of mounts that we can read.
pub fn read_mounts() -> io::Result<Mounts> {
    Ok(Mounts::default())
}

/// Mounts have no numbers.
pub fn mount_id(_: BorrowedFd<'_>) -> Option<u64> {
    None
}

/// There is no such call.
pub fn open_beneath(_: BorrowedFd<'_>, _: &str) -> Option<OwnedFd> {
    None
}

/// There is no such call.
pub fn create_beneath(_: BorrowedFd<'_>, _: &str, _: Mode) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing that we know of.
pub fn clone_content(_: &std::fs::File, _: &std::fs::File) -> io::Result<bool> {
    Ok(false)
}

/// Every file has a name.
pub fn unnamed_file(_: BorrowedFd<'_>, _: Mode) -> io::Result<Option<std::fs::File>> {
    Ok(None)
}

/// Never used, because every file has a name.
pub fn link_unnamed(_: &std::fs::File, _: BorrowedFd<'_>, _: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The system does not tell.
pub fn is_open_for_writing(_: BorrowedFd<'_>) -> bool {
    false
}

/// The system does not tell.
pub fn kernel_uuid(_: BorrowedFd<'_>) -> Option<String> {
    None
}

/// There is no btrfs.
pub fn btrfs_uuid(_: BorrowedFd<'_>) -> Option<String> {
    None
}

/// There is no udev.
pub fn udev_uuid(_: u32, _: u32) -> Option<String> {
    None
}

/// The system does not tell.
pub fn lock_holder(_: u64, _: u64) -> Option<u32> {
    None
}

/// The system does not tell.
pub fn describe_process(_: u32) -> (Option<String>, Option<i64>) {
    (None, None)
}

/// A name in an open folder: there is no hold on an inode, so every call names it again, not following a link.
#[derive(Debug)]
pub struct Target {
    dir: OwnedFd,
    name: Vec<u8>,
}

impl Target {
    /// Remembers `name` in `dir`.
    pub fn open_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        stat_at(dir, name)?;
        Ok(Target { dir: dir.try_clone_to_owned()?, name: name.to_vec() })
    }

    /// Remembers the name of an open file.
    pub fn of_open(_: &std::fs::File, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        Target::open_at(dir, name)
    }

    /// What it is now.
    pub fn stat(&self) -> io::Result<Stat> {
        stat_at(self.dir.as_fd(), &self.name)
    }

    /// Sets owner and group.
    pub fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> io::Result<()> {
        Ok(rustix::fs::chownat(&self.dir, &self.name[..], uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the mode.
    pub fn set_mode(&self, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::chmodat(&self.dir, &self.name[..], mode, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets both times.
    pub fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        Ok(rustix::fs::utimensat(&self.dir, &self.name[..], times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Attributes are not supported here.
    pub fn list_xattrs(&self, _: &mut [u8]) -> rustix::io::Result<usize> {
        Err(Errno::OPNOTSUPP)
    }

    /// Attributes are not supported here.
    pub fn get_xattr(&self, _: &CStr, _: &mut [u8]) -> rustix::io::Result<usize> {
        Err(Errno::OPNOTSUPP)
    }

    /// Attributes are not supported here.
    pub fn set_xattr(&self, _: &[u8], _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Attributes are not supported here.
    pub fn remove_xattr(&self, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Attributes are not supported here.
pub fn list_xattrs(_: &Path, _: &mut [u8]) -> rustix::io::Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Attributes are not supported here.
pub fn get_xattr(_: &Path, _: &CStr, _: &mut [u8]) -> rustix::io::Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Attributes are not supported here.
pub fn list_xattrs_of(_: BorrowedFd<'_>, _: &mut [u8]) -> rustix::io::Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Attributes are not supported here.
pub fn get_xattr_of(_: BorrowedFd<'_>, _: &CStr, _: &mut [u8]) -> rustix::io::Result<usize> {
    Err(Errno::OPNOTSUPP)
}

/// Never used, because no attributes are read.
pub fn path_at(_: BorrowedFd<'_>, _: &[u8]) -> PathBuf {
    PathBuf::new()
}

/// Fifos and devices cannot be made here.
pub fn make_node(_: BorrowedFd<'_>, _: &[u8], _: Kind, _: Mode, _: DeviceNumber) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
