//! Facts about one name: kind, size, times, owner, as one `stat` tells them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use distbackup_core::model::{DeviceNumber, Kind};
use rustix::fs::FileType;

use super::far::reach;
use super::system;

/// What kind of thing a name stands for, including those that are no entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Something that becomes an entry.
    Entry(Kind),
    /// A socket: belongs to a running program, and is reported, not backed up.
    Socket,
    /// Something this system knows and we do not.
    Unknown,
}

impl FileKind {
    /// The kind of entry; `None` for what is never backed up.
    pub fn to_kind(self) -> Option<Kind> {
        match self {
            FileKind::Entry(kind) => Some(kind),
            FileKind::Socket | FileKind::Unknown => None,
        }
    }
}

/// What one `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `st_dev`: valid until the next reboot or mount, so never to be stored (S6).
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Kind.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Number of names of this inode.
    pub nlink: u64,
    /// Bytes of content; for a symbolic link the length of its target.
    pub size: u64,
    /// Allocated blocks of 512 bytes, whatever the filesystem's own unit is.
    pub blocks_512: u64,
    /// Last change of content, nanoseconds since 1970, negative before (S11).
    pub mtime_ns: i64,
    /// Last change of anything, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Numbers of a device special file; zero for everything else.
    pub rdev: DeviceNumber,
}

impl Stat {
    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::Entry(Kind::File)
    }

    /// Whether this is a folder.
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Entry(Kind::Directory)
    }

    /// Whether fewer blocks are allocated than the size needs: only then it pays to look for holes.
    pub fn may_have_holes(&self) -> bool {
        self.blocks_512.saturating_mul(512) < self.size
    }

    /// Whether `other` shows the same file with the same content: device, inode, size and both times agree (S8).
    pub fn same_content_as(&self, other: &Stat) -> bool {
        (self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns)
            == (other.device, other.inode, other.size, other.mtime_ns, other.ctime_ns)
    }
}

/// The facts about `name` in the open folder `dir`; a symbolic link is not followed.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    Ok(convert(&rustix::fs::statat(dir, name, system::STAT_FLAGS)?))
}

/// The facts about `path`; a symbolic link as its last component is not followed.
pub fn stat_path(path: &Path) -> io::Result<Stat> {
    reach(path, |dir, path| Ok(convert(&rustix::fs::statat(dir, path, system::STAT_FLAGS)?)))
}

/// The facts about an open file or folder.
pub fn stat_fd(fd: impl AsFd) -> io::Result<Stat> {
    Ok(convert(&rustix::fs::fstat(fd)?))
}

// The types of these fields differ between systems and processors.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
fn convert(stat: &rustix::fs::Stat) -> Stat {
    let kind = match FileType::from_raw_mode(stat.st_mode as rustix::fs::RawMode) {
        FileType::RegularFile => FileKind::Entry(Kind::File),
        FileType::Directory => FileKind::Entry(Kind::Directory),
        FileType::Symlink => FileKind::Entry(Kind::Symlink),
        FileType::Fifo => FileKind::Entry(Kind::Fifo),
        FileType::CharacterDevice => FileKind::Entry(Kind::CharDevice),
        FileType::BlockDevice => FileKind::Entry(Kind::BlockDevice),
        FileType::Socket => FileKind::Socket,
        _ => FileKind::Unknown,
    };
    let rdev = match kind {
        FileKind::Entry(Kind::CharDevice | Kind::BlockDevice) => DeviceNumber {
            major: rustix::fs::major(stat.st_rdev as rustix::fs::Dev),
            minor: rustix::fs::minor(stat.st_rdev as rustix::fs::Dev),
        },
        _ => DeviceNumber { major: 0, minor: 0 },
    };
    Stat {
        device: stat.st_dev as u64,
        inode: stat.st_ino as u64,
        kind,
        mode: stat.st_mode as u32 & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        nlink: stat.st_nlink as u64,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        blocks_512: u64::try_from(stat.st_blocks).unwrap_or(0),
        mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        rdev,
    }
}

/// One number of nanoseconds; times beyond the years 1677 to 2262 become the nearest that fits.
fn nanoseconds(seconds: i64, nanos: i64) -> i64 {
    // In 128 bits: the smallest i64 of nanoseconds is reached by a sum of which one part does not fit.
    let exact = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    exact.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// The seconds and nanoseconds (0 to 999 999 999) that the system wants for our time.
pub(super) fn timespec(ns: i64) -> rustix::fs::Timespec {
    rustix::fs::Timespec { tv_sec: ns.div_euclid(1_000_000_000), tv_nsec: ns.rem_euclid(1_000_000_000) as _ }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn s11_times_before_1970_and_far_away_stay_in_order() {
        assert_eq!(nanoseconds(-1, 999_999_999), -1);
        assert_eq!(nanoseconds(-2, 5), -1_999_999_995);
        assert_eq!(nanoseconds(i64::MAX, 0), i64::MAX);
        assert_eq!(nanoseconds(i64::MIN, 0), i64::MIN);
        for ns in [0, -1, 1, i64::MIN, i64::MAX, -1_999_999_995] {
            let time = timespec(ns);
            #[allow(clippy::useless_conversion)]
            let back = nanoseconds(time.tv_sec, i64::from(time.tv_nsec));
            assert_eq!(back, ns);
        }
    }

    #[test]
    fn a_symlink_is_described_itself_and_never_its_target() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let folder = std::fs::File::open(dir.path()).unwrap();
        let stat = stat_at(folder.as_fd(), b"link").unwrap();
        assert_eq!((stat.kind, stat.size), (FileKind::Entry(Kind::Symlink), 7));
        assert_eq!(stat_path(&dir.path().join("link")).unwrap(), stat);
    }

    #[test]
    fn s10_names_of_any_bytes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = std::fs::File::open(dir.path()).unwrap();
        let long = vec![b'x'; 255];
        for name in [&b"\xff\xfe"[..], b"a\nb", b"\x1b[31m", &long] {
            std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "12345").unwrap();
            assert_eq!(stat_at(folder.as_fd(), name).unwrap().size, 5);
        }
        assert_eq!(stat_at(folder.as_fd(), b"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn s14_a_socket_is_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let stat = stat_path(&dir.path().join("socket")).unwrap();
        assert_eq!((stat.kind, stat.kind.to_kind()), (FileKind::Socket, None));
    }
}
