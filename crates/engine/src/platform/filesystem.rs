//! Which filesystem something lies on, under a name that survives reboots, and how much room it has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use distbackup_core::model::{Bytes, escape_bytes};
use rustix::fs::{CWD, Mode, OFlags};

use super::mounts::{Mount, Mounts};
use super::stat::stat_fd;
use super::system;

/// A filesystem, named so that it is recognised after a reboot or at another port (S6).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilesystemId {
    /// The UUID as lower-case hexadecimal digits, for btrfs with `/` and the subvolume; without one
    /// `type:source:root@mount point`. Never made from `st_dev`.
    pub identity: String,
    /// Its type as the system names it: `ext4`, `vfat`, `fuse.sshfs`…; empty if unknown.
    pub kind: String,
    /// Whether an inode number stays with its file, also over a remount (DESIGN 7.6).
    pub stable_inodes: bool,
    /// Whether `identity` is a UUID. If not, another filesystem mounted there later has the same identity.
    pub has_uuid: bool,
}

/// Names the filesystem on which an open file or folder lies.
///
/// The UUID comes from the kernel if it tells, else from udev. Fails only if not even the open
/// descriptor can be examined.
pub fn identify(fd: impl AsFd) -> io::Result<FilesystemId> {
    let fd = fd.as_fd();
    let device = stat_fd(fd)?.device;
    let numbers = device_numbers(device);
    let mounts = Mounts::read()?;
    let by_number = system::mount_id(fd).and_then(|id| mounts.by_id(id));
    let Some(mount) = by_number.or_else(|| mounts.all().iter().rev().find(|mount| mount.device == numbers))
    else {
        // In a chroot the mount may lie outside of what we see. The device number is not stored:
        // all such filesystems share one name, and are told apart no better than a path tells.
        let identity = system::kernel_uuid(fd);
        return Ok(FilesystemId {
            has_uuid: identity.is_some(),
            identity: identity.unwrap_or_else(|| "unknown".into()),
            kind: String::new(),
            stable_inodes: false,
        });
    };
    let uuid = uuid_of(fd, mount);
    Ok(FilesystemId {
        has_uuid: uuid.is_some(),
        identity: match uuid {
            Some(uuid) if mount.fstype == "btrfs" => {
                format!("{uuid}/{:016x}", rustix::fs::fstatvfs(fd)?.f_fsid)
            }
            Some(uuid) => uuid,
            None => identity_of_mount(mount),
        },
        kind: mount.fstype.clone(),
        stable_inodes: has_stable_inodes(&mount.fstype),
    })
}

/// Names the filesystem on which `path` lies, following symbolic links.
pub fn identify_path(path: &Path) -> io::Result<FilesystemId> {
    identify(open_any(path)?)
}

fn open_any(path: &Path) -> io::Result<OwnedFd> {
    // A folder or file is opened for reading, because the kernel's UUID is not told otherwise.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a folder"));
    }
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

fn device_numbers(device: u64) -> (u32, u32) {
    let device = device as rustix::fs::Dev;
    (rustix::fs::major(device), rustix::fs::minor(device))
}

fn uuid_of(fd: BorrowedFd<'_>, mount: &Mount) -> Option<String> {
    // Filesystems without a device of their own have none or a new one at each mount (tmpfs), except these,
    // which span several devices.
    let spanning = matches!(mount.fstype.as_str(), "btrfs" | "bcachefs");
    if mount.device.0 == 0 && !spanning {
        return None;
    }
    let btrfs = if mount.fstype == "btrfs" { system::btrfs_uuid(fd) } else { None };
    btrfs
        .or_else(|| system::kernel_uuid(fd))
        .or_else(|| {
            let (major, minor) = if spanning { source_device(mount)? } else { mount.device };
            system::udev_uuid(major, minor)
        })
        .map(|uuid| normalise(&uuid))
}

fn source_device(mount: &Mount) -> Option<(u32, u32)> {
    use std::os::unix::ffi::OsStrExt;
    let source = std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(&mount.source))).ok()?;
    source.file_type().is_block_device().then(|| device_numbers(source.rdev()))
}

/// One spelling for kernel and udev: without dashes, lower case.
fn normalise(uuid: &str) -> String {
    uuid.chars().filter(|&c| c != '-').flat_map(char::to_lowercase).collect()
}

fn identity_of_mount(mount: &Mount) -> String {
    use std::os::unix::ffi::OsStrExt;
    format!(
        "{}:{}:{}@{}",
        mount.fstype,
        escape_bytes(&mount.source),
        escape_bytes(&mount.root),
        escape_bytes(mount.point.as_os_str().as_bytes())
    )
}

/// Whether inode numbers mean something beyond one mount.
///
/// FAT and exFAT have no inodes and make numbers up; FUSE, 9p, SMB and the shared folders of virtual
/// machines may; overlays change them when a file is copied up. NFS hands on the server's.
fn has_stable_inodes(fstype: &str) -> bool {
    const UNSTABLE: [&str; 16] = [
        "vfat", "msdos", "fat", "exfat", "fuse", "fuseblk", "9p", "virtiofs", "cifs", "smb3", "smbfs",
        "ncpfs", "vboxsf", "prl_fs", "overlay", "aufs",
    ];
    !UNSTABLE.contains(&fstype) && !fstype.starts_with("fuse.")
}

/// Room on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the whole filesystem.
    pub total: Bytes,
    /// Free for ordinary users: what is reserved for root is not ours, even if we are root.
    pub free: Bytes,
    /// Allocation unit in bytes, at least 1.
    pub unit: u64,
    /// Largest file that it takes (D17); `i64::MAX` if no limit is known.
    pub file_max: Bytes,
}

/// The room on the filesystem of an open file or folder, as it is now.
pub fn space(fd: impl AsFd) -> io::Result<Space> {
    let fd = fd.as_fd();
    let facts = rustix::fs::fstatvfs(fd)?;
    let unit = if facts.f_frsize > 0 { facts.f_frsize } else { facts.f_bsize }.max(1);
    Ok(Space {
        total: Bytes(facts.f_blocks.saturating_mul(unit)),
        free: Bytes(facts.f_bavail.saturating_mul(unit)),
        unit,
        file_max: Bytes(system::file_bytes_max(fd, unit)),
    })
}

/// The room on the filesystem on which `path` lies.
pub fn space_at(path: &Path) -> io::Result<Space> {
    space(open_any(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_a_filesystem_keeps_its_name_and_different_ones_differ() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let here = identify_path(dir.path()).unwrap();
        let file = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        assert_eq!(identify(file.as_file()).unwrap(), here);
        assert_eq!(identify_path(file.path()).unwrap(), here);
        assert!(!here.kind.is_empty());
        let other = identify_path(Path::new("/proc")).unwrap();
        assert_ne!(other.identity, here.identity);
        assert!(!other.has_uuid);
        assert_eq!(other.kind, "proc");
        assert!(
            other.identity.starts_with("proc:") && other.identity.ends_with("@/proc"),
            "{}",
            other.identity
        );
    }

    #[test]
    fn kernel_and_udev_spell_one_uuid_alike() {
        assert_eq!(normalise("3F2504E0-4f89-11d3-9a0c-0305e82c3301"), "3f2504e04f8911d39a0c0305e82c3301");
        assert_eq!(normalise("ABCD-1234"), "abcd1234");
    }

    #[test]
    fn inode_numbers_of_made_up_kinds_are_not_trusted() {
        for kind in ["vfat", "exfat", "fuseblk", "fuse.sshfs", "cifs", "9p"] {
            assert!(!has_stable_inodes(kind), "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "ntfs3", "nfs4", "zfs", "f2fs"] {
            assert!(has_stable_inodes(kind), "{kind}");
        }
    }

    #[test]
    fn room_is_what_an_ordinary_user_may_take() {
        let dir = tempfile::tempdir().unwrap();
        let space = space_at(dir.path()).unwrap();
        assert!(space.free <= space.total && space.unit >= 1);
        assert!(space.file_max >= Bytes(u64::from(u32::MAX)));
    }

    #[test]
    fn s14_a_device_or_fifo_is_not_opened_to_ask_for_its_filesystem() {
        assert_eq!(identify_path(Path::new("/dev/null")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
