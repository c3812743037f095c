//! Folders held by descriptor: every name is looked up relative to a folder that we hold, and no symlink is followed.
//!
//! Whatever a disk holds, and whatever is exchanged under our hands, a call can only reach what lies in the folder it
//! was given (D15, DESIGN 7.7). Paths are kept beside the descriptors for messages only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use distbackup_core::model::{BLOCK, Bytes};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::port::{DiskError, Space};
use crate::platform::UnnamedFile;

/// Private folders: objects of private files are nobody else's business (C8).
const FOLDER_MODE: u32 = 0o700;

/// A folder held open.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
    device: u64,
}

/// What stands under a name, the name itself not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub kind: FileType,
    pub size: Bytes,
    pub inode: u64,
}

/// What a kind of file is called in messages, if it is not the regular file that it should be.
pub(super) fn oddity(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symlink",
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// Gives a system error its meaning for a visit; `needed` is what did not fit if the disk is full.
pub(super) fn meaning(action: &'static str, path: PathBuf, source: io::Error, needed: Bytes) -> DiskError {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => DiskError::Full { needed },
        Some(Errno::FBIG) => DiskError::TooLarge { size: needed },
        Some(Errno::ROFS) => DiskError::ReadOnly,
        _ => DiskError::Io { action, path, source },
    }
}

impl Folder {
    /// Whether the folder has a name still: a held one can be removed.
    pub fn is_there(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Opens the folder at `path`. The user named this path, so symlinks on the way to it are the user's will.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let device = rustix::fs::fstat(&fd)?.st_dev;
        Ok(Folder { fd, path: path.to_owned(), device })
    }

    /// The path of a name in this folder, for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder's path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode: the same for two paths to one folder.
    pub fn place(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// An error of this folder, with what was attempted on which name.
    pub fn error(&self, action: &'static str, name: &str, source: impl Into<io::Error>) -> DiskError {
        meaning(action, self.path_of(name), source.into(), Bytes(BLOCK))
    }

    /// Opens the folder `name` in this one; `None` if there is none. A symlink is not followed, another
    /// filesystem mounted there not entered: a sync of ours would not reach it, and no rename either.
    pub fn folder(&self, name: &str) -> Result<Option<Folder>, DiskError> {
        let folder = self.step_into(name.as_ref())?;
        match folder {
            Some(folder) if folder.device != self.device => {
                Err(DiskError::Foreign { path: folder.path, what: "on another filesystem" })
            }
            folder => Ok(folder),
        }
    }

    /// As [`Folder::folder`], but enters mounted filesystems too.
    pub fn step_into(&self, name: &Path) -> Result<Option<Folder>, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.path.join(name);
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(DiskError::Foreign { path, what: "not a folder" });
            }
            Err(error) => return Err(meaning("open", path, error.into(), Bytes(BLOCK))),
        };
        match rustix::fs::fstat(&fd) {
            Ok(stat) => Ok(Some(Folder { fd, path, device: stat.st_dev })),
            Err(error) => Err(meaning("open", path, error.into(), Bytes(BLOCK))),
        }
    }

    /// Opens the folder `name`, makes it if it is missing.
    pub fn folder_or_new(&self, name: &str) -> Result<Folder, DiskError> {
        if let Some(folder) = self.folder(name)? {
            return Ok(folder);
        }
        self.make_folder(name)?;
        self.folder(name)?.ok_or_else(|| self.error("open", name, Errno::NOENT))
    }

    /// Makes the folder `name`; `false` if anything of that name is there.
    pub fn make_folder(&self, name: &str) -> Result<bool, DiskError> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.error("create", name, error)),
        }
    }

    /// What stands under `name`, or `None`.
    pub fn look(&self, name: &Path) -> Result<Option<Found>, DiskError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found {
                kind: FileType::from_raw_mode(stat.st_mode),
                size: Bytes(u64::try_from(stat.st_size).unwrap_or(0)),
                inode: stat.st_ino,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(meaning("look at", self.path.join(name), error.into(), Bytes(BLOCK))),
        }
    }

    /// Whether a regular file of this name is there; anything else of this name is an error.
    pub fn has_file(&self, name: &str) -> Result<bool, DiskError> {
        match self.look(name.as_ref())? {
            None => Ok(false),
            Some(found) if found.kind == FileType::RegularFile => Ok(true),
            Some(found) => Err(DiskError::Foreign { path: self.path_of(name), what: oddity(found.kind) }),
        }
    }

    /// Opens a regular file for reading; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<File>, DiskError> {
        // Without NONBLOCK a pipe of that name would hold us for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let foreign = |what| DiskError::Foreign { path: self.path_of(name), what };
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(foreign("a symlink")),
            Err(Errno::NXIO) => return Err(foreign("not a file")),
            Err(error) => return Err(self.error("open", name, error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| self.error("open", name, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(File::from(fd))),
            kind => Err(foreign(oddity(kind))),
        }
    }

    /// Opens a regular file below this folder for reading, in one call, if it lies on this filesystem and no symlink is on
    /// the way. `None` for any other outcome, which [`Folder::folder`] and [`Folder::read`] explain.
    pub fn read_below(&self, path: &str) -> Option<File> {
        let fd = crate::platform::open_beneath(self.fd.as_fd(), path)?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| File::from(fd))
    }

    /// Makes a new file, for reading and writing; it is an error if there is anything of that name.
    pub fn create(&self, name: &str, mode: u32) -> Result<File, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(mode))
            .map(File::from)
            .map_err(|error| self.error("create", name, error))
    }

    /// Renames a file, replacing a file of the new name.
    pub fn rename(&self, name: &str, to: &Folder, new: &str) -> Result<(), DiskError> {
        rustix::fs::renameat(&self.fd, name, &to.fd, new).map_err(|error| to.error("rename to", new, error))
    }

    /// Renames a file unless something of the new name is there; `false` then.
    pub fn rename_new(&self, name: &str, to: &Folder, new: &str) -> Result<bool, DiskError> {
        match rustix::fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // Some filesystems cannot promise it in one step; we hold the disk's lock and look.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match to.look(new.as_ref())? {
                Some(_) => Ok(false),
                None => self.rename(name, to, new).map(|()| true),
            },
            Err(error) => Err(to.error("rename to", new, error)),
        }
    }

    /// Renames a folder to a name that nothing has, or an empty folder; `false` if anything else is in its way.
    pub fn rename_over_empty(&self, name: &str, to: &Folder, new: &str) -> Result<bool, DiskError> {
        match rustix::fs::renameat(&self.fd, name, &to.fd, new) {
            Ok(()) => Ok(true),
            // Not empty, no folder, or one that something is mounted on.
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::BUSY | Errno::XDEV) => Ok(false),
            Err(error) => Err(to.error("rename to", new, error)),
        }
    }

    /// Gives a file a second name; `false` if the filesystem has no hard links.
    pub fn link(&self, name: &str, to: &Folder, new: &str) -> Result<bool, DiskError> {
        match rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::XDEV) => Ok(false),
            Err(error) => Err(to.error("link to", new, error)),
        }
    }

    /// Gives a file without a name this one, unless something of this name is there; `false` then.
    pub fn link_unnamed(&self, file: &UnnamedFile, name: &str) -> Result<bool, DiskError> {
        match file.link_at(self.fd.as_fd(), name.as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(self.error("link to", name, error)),
        }
    }

    /// Unlinks a name that is not a folder; `false` if there is none. Of a symlink the link itself goes.
    pub fn unlink(&self, name: &Path) -> Result<bool, DiskError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(meaning("remove", self.path.join(name), error.into(), Bytes(BLOCK))),
        }
    }

    /// Removes an empty folder; `false` if there is none.
    pub fn remove_folder(&self, name: &Path) -> Result<bool, DiskError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(meaning("remove", self.path.join(name), error.into(), Bytes(BLOCK))),
        }
    }

    /// All names in the folder, in no order.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, DiskError> {
        let failed = |error: Errno| meaning("list", self.path.clone(), error.into(), Bytes(BLOCK));
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Makes the names in this folder durable.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.fd) {
            // "This kind of file has no fsync": such a filesystem writes its folders in its own way.
            Err(Errno::INVAL) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Makes everything on the filesystem durable. Errors of writing back since the folder was opened are reported once.
    pub fn sync_filesystem(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.fd)?;
        // FAT, exFAT and NTFS write everything back but do not tell the drive to empty its cache; their fsync does.
        self.sync()
    }

    /// Whether what is written to files here may go past the memory of the system.
    pub fn can_write_straight(&self) -> bool {
        crate::platform::can_write_straight(&self.fd)
    }

    /// Whether [`Folder::sync_filesystem`] covers all contents and reports all errors here.
    ///
    /// It does on local filesystems of the kernel, from 5.8 on. FUSE and network filesystems take the data and may
    /// keep it in memory elsewhere; there every file has to be synced on its own.
    pub fn sync_covers_all(&self) -> io::Result<bool> {
        /// ext2-4, XFS, Btrfs, F2FS, JFS, Reiserfs, bcachefs, FAT, exFAT, NTFS3, tmpfs.
        const LOCAL: [u32; 11] = [
            0xef53,
            0x5846_5342,
            0x9123_683e,
            0xf2f5_2010,
            0x3153_464a,
            0x5265_4973,
            0xca45_1a4e,
            0x4d44,
            0x2011_bab0,
            0x7366_746e,
            0x0102_1994,
        ];
        let kind = rustix::fs::fstatfs(&self.fd)?.f_type;
        // The type's width and sign differ between architectures; magic numbers have 32 bits.
        Ok(LOCAL.contains(&(kind as u32)) && kernel_reports_sync_errors())
    }

    /// Room on the filesystem; `file_max` is measured with [`file_max`].
    pub fn space(&self, file_max: Bytes) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.fd)?;
        let bytes = |blocks: u64| Bytes(blocks.saturating_mul(stat.f_frsize));
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail), unit: stat.f_frsize, file_max })
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Drops what the page cache holds of a file, so that it is read from the medium and not from memory. A hint:
/// what cannot be dropped is read from memory, as it would have been anyway.
pub(super) fn forget_cached(file: &File) {
    let _hint_only = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// The largest file that the filesystem of `file` takes (D17).
///
/// Linux refuses to seek a file beyond the filesystem's limit, so the limit is found without writing a byte and
/// without a table of filesystems: 4 GiB on FAT, 16 TiB on ext4 with blocks of 4 KiB.
pub(super) fn file_max(file: &File) -> Bytes {
    let takes = |offset: u64| rustix::fs::seek(file, rustix::fs::SeekFrom::Start(offset)).is_ok();
    let (mut low, mut high) = (0u64, i64::MAX as u64);
    if takes(high) {
        return Bytes(high);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if takes(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Bytes(low)
}

/// Before 5.8 `syncfs` returned success whatever happened to the data.
fn kernel_reports_sync_errors() -> bool {
    // Unreadable or odd: then the slow way, which is right everywhere.
    std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_since_5_8(&release))
}

fn is_since_5_8(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= (5, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_do_not_report_what_they_lost() {
        for old in ["5.7.19", "4.19.0-26-amd64", "", "next", "5"] {
            assert!(!is_since_5_8(old), "{old}");
        }
        for new in ["5.8.0", "5.10.0-30-amd64", "6.1.0", "10.0"] {
            assert!(is_since_5_8(new), "{new}");
        }
    }

    #[test]
    fn errors_that_change_a_visit_get_their_own_name() {
        let error = |errno: Errno| meaning("write", "/x".into(), errno.into(), Bytes(7));
        assert!(matches!(error(Errno::NOSPC), DiskError::Full { needed: Bytes(7) }));
        assert!(matches!(error(Errno::DQUOT), DiskError::Full { .. }));
        assert!(matches!(error(Errno::FBIG), DiskError::TooLarge { size: Bytes(7) }));
        assert!(matches!(error(Errno::ROFS), DiskError::ReadOnly));
        assert!(matches!(error(Errno::IO), DiskError::Io { action: "write", .. }));
    }
}
