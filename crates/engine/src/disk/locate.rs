//! Finding known disks among the mounted filesystems: by the identity that stands in the folder, never by guess.
//!
//! A disk is mounted today here, tomorrow there; its folder's path within its filesystem stays. So every known path is
//! tried on every mounted filesystem, and only what the identity file there says counts. Nothing is searched.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use distbackup_core::model::DiskUuid;

use super::folder::read_identity;
use super::port::DiskError;
use super::system::Folder;

/// A mounted filesystem, as the system's table of mounts tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Which part of the filesystem is to be seen there: `/`, or a folder or subvolume of it; raw bytes.
    pub root: Vec<u8>,
    /// Its type: `ext4`, `vfat`, `fuse.sshfs`…
    pub kind: String,
    /// A stable identity of the filesystem, if one is known.
    pub filesystem: Option<String>,
}

/// A disk of the set, and where it was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDisk {
    /// Which.
    pub uuid: DiskUuid,
    /// Stable identity of its filesystem; a hint only.
    pub filesystem: Option<String>,
    /// Path of its folder relative to its mount point, raw bytes; empty: the mount point itself.
    pub path: Vec<u8>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Located {
    /// Connected disks and their folders, by identity.
    pub found: Vec<(DiskUuid, PathBuf)>,
    /// One identity in several folders: a clone beside its original. The visit has to stop (N5, D12).
    pub ambiguous: Vec<(DiskUuid, Vec<PathBuf>)>,
    /// Folders that may be disks but could not be read, with the reason.
    pub unreadable: Vec<(PathBuf, DiskError)>,
}

/// Filesystems of the kernel itself, which hold no files of anybody; and those behind a network, which can block for
/// ever when their server is gone. A disk on one of the latter is given by its path.
const NEVER_LOOKED_INTO: [&str; 44] = [
    "9p",
    "afs",
    "autofs",
    "binfmt_misc",
    "bpf",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "coda",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.ceph",
    "fuse.davfs",
    "fuse.glusterfs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.snapfuse",
    "fuse.sshfs",
    "fusectl",
    "hugetlbfs",
    "lustre",
    "mqueue",
    "ncpfs",
    "nfs",
    "nfs4",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smb3",
    "sysfs",
    "tracefs",
];

/// Looks for `disks` on `mounts`.
///
/// The same folder reached by two mounts is one folder. Folders that are missing or belong to no known disk
/// are passed over in silence.
pub fn locate(mounts: &[Mount], disks: &[KnownDisk]) -> Located {
    let mut located = Located::default();
    let mut folders: BTreeMap<&DiskUuid, BTreeMap<Place, Candidate>> = BTreeMap::new();
    for mount in mounts.iter().filter(|mount| !NEVER_LOOKED_INTO.contains(&mount.kind.as_str())) {
        for path in candidates(mount, disks) {
            let (place, uuid) = match examine(&mount.point, path) {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(error) => {
                    located.unreadable.push((mount.point.join(path), error));
                    continue;
                }
            };
            let Some(disk) = disks.iter().find(|disk| disk.uuid == uuid) else { continue };
            let expected = disk.filesystem.is_some()
                && disk.filesystem == mount.filesystem
                && as_path(disk) == Some(path);
            let candidate = Candidate { unexpected: !expected, path: mount.point.join(path) };
            let best =
                folders.entry(&disk.uuid).or_default().entry(place).or_insert_with(|| candidate.clone());
            *best = candidate.min(best.clone());
        }
    }
    for (uuid, places) in folders {
        let mut paths: Vec<PathBuf> = places.into_values().map(|candidate| candidate.path).collect();
        paths.sort();
        if paths.len() > 1 {
            located.ambiguous.push((uuid.clone(), paths));
        } else {
            located.found.extend(paths.pop().map(|path| (uuid.clone(), path)));
        }
    }
    located
}

/// Device and inode tell folders apart: a clone made by `dd` has the same inode on another device.
type Place = (u64, u64);

/// A way to a folder; the smaller is the better one to show.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    unexpected: bool,
    path: PathBuf,
}

/// All known paths, as they would look below `mount`.
///
/// All and not only the disk's own: so a clone that was put where another disk's folder is known is seen as well.
fn candidates<'a>(mount: &Mount, disks: &'a [KnownDisk]) -> Vec<&'a Path> {
    let root = Path::new(OsStr::from_bytes(&mount.root));
    let root = root.strip_prefix("/").unwrap_or(root);
    let mut paths = Vec::new();
    for path in disks.iter().filter_map(as_path) {
        paths.push(path);
        // A part of the filesystem is mounted: the folder may lie nearer to this mount point.
        if root.as_os_str().is_empty() {
            continue;
        }
        paths.extend(path.strip_prefix(root).ok());
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The known path, unless it leads out of the filesystem: it comes from a catalog, and that may be anybody's.
fn as_path(disk: &KnownDisk) -> Option<&Path> {
    let path = Path::new(OsStr::from_bytes(&disk.path));
    let stays = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (stays && !disk.path.contains(&0)).then_some(path)
}

/// Whose folder this is; `None` if there is no such folder, a symlink on the way to it, or no identity in it.
fn examine(point: &Path, path: &Path) -> Result<Option<(Place, DiskUuid)>, DiskError> {
    let failed = |action, source| DiskError::Io { action, path: point.join(path), source };
    let mut folder = match Folder::open(point) {
        Ok(folder) => folder,
        // The table of mounts was a moment older than this call.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // Something that is no folder can be mounted on: a single file, bound into a container.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(error) => return Err(failed("open", error)),
    };
    for part in path.components() {
        if let Component::Normal(name) = part {
            folder = match folder.step_into(name.as_ref()) {
                Ok(Some(folder)) => folder,
                Ok(None) | Err(DiskError::Foreign { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
        }
    }
    match read_identity(&folder) {
        Ok(identity) => {
            let place = folder.place().map_err(|error| failed("open", error))?;
            Ok(Some((place, identity.uuid)))
        }
        Err(DiskError::NotADisk { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room(tempfile::TempDir);

    impl Room {
        fn new() -> Self {
            Room(tempfile::tempdir().unwrap())
        }

        fn mount(&self, name: &str) -> Mount {
            let point = self.0.path().join(name);
            std::fs::create_dir_all(&point).unwrap();
            Mount { point, root: b"/".to_vec(), kind: "ext4".into(), filesystem: Some(name.into()) }
        }

        fn disk(&self, path: &str, uuid: &str) -> PathBuf {
            let folder = self.0.path().join(path);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(
                folder.join("distbackup-disk.json"),
                format!("{{\"uuid\":\"{uuid}\",\"name\":\"x\"}}"),
            )
            .unwrap();
            folder
        }
    }

    fn known(uuid: &str, path: &str) -> KnownDisk {
        KnownDisk { uuid: DiskUuid(uuid.into()), filesystem: None, path: path.as_bytes().to_vec() }
    }

    #[test]
    fn a_disk_is_found_wherever_its_filesystem_is_mounted_today() {
        let room = Room::new();
        let mounts = [room.mount("usb1"), room.mount("usb2")];
        let red = room.disk("usb2/backup/red", "r");
        let blue = room.disk("usb1", "b");
        let located = locate(&mounts, &[known("r", "backup/red"), known("b", ""), known("away", "x")]);
        assert_eq!(located.found, [(DiskUuid("b".into()), blue), (DiskUuid("r".into()), red)]);
        assert!(located.ambiguous.is_empty() && located.unreadable.is_empty());
    }

    /// D11: at the path of one disk lies another one.
    #[test]
    fn d11_the_identity_counts_and_not_the_place() {
        let room = Room::new();
        let mounts = [room.mount("usb")];
        let blue = room.disk("usb/red", "b");
        room.disk("usb/stranger", "s");
        let located = locate(&mounts, &[known("r", "red"), known("b", "blue"), known("c", "stranger")]);
        assert_eq!(located.found, [(DiskUuid("b".into()), blue)]);
    }

    #[test]
    fn d12_a_clone_beside_its_original_is_ambiguous() {
        let room = Room::new();
        let mounts = [room.mount("usb1"), room.mount("usb2")];
        let one = room.disk("usb1/red", "r");
        let two = room.disk("usb2/red", "r");
        let located = locate(&mounts, &[known("r", "red")]);
        assert!(located.found.is_empty());
        assert_eq!(located.ambiguous, [(DiskUuid("r".into()), vec![one, two])]);
    }

    #[test]
    fn one_folder_seen_through_two_mounts_is_one_disk() {
        let room = Room::new();
        let outer = room.mount("usb");
        let red = room.disk("usb/sub/red", "r");
        // A bind mount of /sub, as far as paths can tell.
        let inner = Mount { point: outer.point.join("sub"), root: b"/sub".to_vec(), ..outer.clone() };
        let mut disk = known("r", "sub/red");
        disk.filesystem = outer.filesystem.clone();
        for mounts in [vec![outer.clone(), inner.clone()], vec![inner.clone(), outer], vec![inner]] {
            let located = locate(&mounts, std::slice::from_ref(&disk));
            assert_eq!(located.found, [(DiskUuid("r".into()), red.clone())], "{mounts:?}");
            assert!(located.ambiguous.is_empty());
        }
    }

    #[test]
    fn kernel_and_network_filesystems_are_never_touched() {
        let room = Room::new();
        room.disk("usb", "r");
        for kind in ["proc", "autofs", "nfs4", "cifs", "fuse.sshfs"] {
            let mount = Mount { kind: kind.into(), ..room.mount("usb") };
            assert!(locate(&[mount], &[known("r", "")]).found.is_empty(), "{kind}");
        }
        assert!(NEVER_LOOKED_INTO.is_sorted());
    }

    #[test]
    fn a_path_that_leads_out_of_the_filesystem_leads_nowhere() {
        let room = Room::new();
        let mounts = [room.mount("usb")];
        let outside = room.disk("outside", "r");
        std::os::unix::fs::symlink(&outside, room.0.path().join("usb/link")).unwrap();
        let absolute = outside.to_str().unwrap();
        for path in ["../outside", absolute, "link", "a/../../outside", "x\0y"] {
            let located = locate(&mounts, &[known("r", path)]);
            assert!(located.found.is_empty() && located.ambiguous.is_empty(), "{path}");
        }
    }

    #[test]
    fn a_damaged_identity_is_reported_and_the_others_are_found() {
        let room = Room::new();
        let mounts = [room.mount("usb"), room.mount("gone")];
        std::fs::remove_dir(room.0.path().join("gone")).unwrap();
        let red = room.disk("usb/red", "r");
        let bad = room.disk("usb/bad", "");
        let located = locate(&mounts, &[known("r", "red"), known("b", "bad")]);
        assert_eq!(located.found, [(DiskUuid("r".into()), red)]);
        assert_eq!(located.unreadable.len(), 1);
        assert_eq!(located.unreadable[0].0, bad);
    }
}
