//! What a beginner may want: names that are caches or trash, and places where a disk is mounted. Nothing here decides.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::OpError;
use crate::platform::{Mount, Mounts, Stat, space_at};
use crate::scan::read_folder;
use distbackup_core::model::{Bytes, Kind};

/// Names that programs give to caches and trash, and what they are. Literal, or with a final `*`.
const LEFTOVERS: &[(&str, &str)] = &[
    (".cache", "caches"),
    (".thumbnails", "pictures of pictures"),
    ("__pycache__", "compiled Python"),
    ("node_modules", "packages that npm gets again"),
    (".Trash", "trash"),
    (".Trash-*", "trash"),
    ("$RECYCLE.BIN", "trash of Windows"),
    ("System Volume Information", "of Windows itself"),
    (".Trashes", "trash of macOS"),
    (".Spotlight-V100", "of macOS itself"),
    (".fseventsd", "of macOS itself"),
    (".DS_Store", "of macOS itself"),
    ("Thumbs.db", "pictures of pictures"),
    ("lost+found", "of the filesystem itself"),
];

/// A rule that could be set, and what it would hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// As `source set --ignore` takes it.
    pub rule: String,
    /// What such things are.
    pub what: &'static str,
    /// How many were seen.
    pub seen: u64,
    /// The first one.
    pub first: PathBuf,
}

/// Looks for caches and trash below a folder: breadth first, no deeper than six folders, and only for so long. What
/// cannot be read is passed over, since nothing depends on it.
pub fn leftovers(folder: &Path, for_at_most: Duration) -> Vec<Leftover> {
    const DEPTH_MAX: usize = 6;
    let began = Instant::now();
    let mut found: BTreeMap<usize, Leftover> = BTreeMap::new();
    let mut queue = VecDeque::from([(folder.to_owned(), 0)]);
    while let Some((at, depth)) = queue.pop_front().filter(|_| began.elapsed() < for_at_most) {
        let Ok(listing) = read_folder(&at) else { continue };
        for seen in listing.batches().flatten() {
            let path = at.join(crate::platform::path_of_bytes(seen.name));
            if let Some(known) = LEFTOVERS.iter().position(|(name, _)| hits(name, seen.name)) {
                let (rule, what) = LEFTOVERS[known];
                let leftover = found.entry(known).or_insert_with(|| Leftover {
                    rule: rule.to_owned(),
                    what,
                    seen: 0,
                    first: path,
                });
                leftover.seen += 1;
            } else if depth < DEPTH_MAX
                && seen.stat.is_ok_and(|stat: Stat| stat.kind.to_kind() == Some(Kind::Directory))
            {
                queue.push_back((path, depth + 1));
            }
        }
    }
    found.into_values().collect()
}

fn hits(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

/// A mounted filesystem that could be a disk of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type.
    pub fstype: String,
    /// Its size.
    pub total: Bytes,
    /// What is free.
    pub free: Bytes,
}

/// Filesystems that look like disks to back up to: on a device of their own, writable, neither the system's nor a source's.
pub fn candidates(sources: &[PathBuf]) -> Result<Vec<Candidate>, OpError> {
    let table = PathBuf::from("/proc/self/mountinfo");
    let mounts = Mounts::read().map_err(OpError::io("read", table))?;
    let used: Vec<&Mount> = sources.iter().filter_map(|source| mounts.mount_of(source)).collect();
    let mut found: Vec<Candidate> = Vec::new();
    for mount in mounts.all() {
        let shown = mounts.mount_of(&mount.point).is_some_and(|seen| seen.mount_id == mount.mount_id);
        let taken = used.iter().any(|source| source.device == mount.device);
        if !shown || taken || mount.read_only || mount.root != b"/" || is_systems(mount) {
            continue;
        }
        let Ok(space) = space_at(&mount.point) else { continue };
        found.push(Candidate {
            point: mount.point.clone(),
            fstype: mount.fstype.clone(),
            total: space.total,
            free: space.free,
        });
    }
    found.sort_by(|a, b| a.point.cmp(&b.point));
    Ok(found)
}

/// Whether a mount belongs to the system itself.
fn is_systems(mount: &Mount) -> bool {
    const KINDS: &[&str] = &["squashfs", "iso9660", "udf", "overlay", "erofs", "ramfs", "tmpfs", "devtmpfs"];
    const PLACES: &[&str] = &[
        "/boot",
        "/efi",
        "/usr",
        "/var",
        "/opt",
        "/srv/snap",
        "/snap",
        "/nix",
        "/etc",
        "/proc",
        "/sys",
        "/dev",
    ];
    const WHOLE: &[&str] = &["/", "/home", "/root", "/srv", "/tmp"];
    let network =
        ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "virtiofs"].contains(&mount.fstype.as_str());
    let has_device = mount.device.0 != 0 || mount.source.starts_with(b"/dev/") || network;
    !has_device
        || KINDS.contains(&mount.fstype.as_str())
        || WHOLE.iter().any(|place| mount.point == Path::new(place))
        || PLACES.iter().any(|place| mount.point.starts_with(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn caches_and_trash_are_seen_and_not_entered() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["a/.cache/node_modules", "b/node_modules/x", ".Trash-1000", "photos/Trash"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("photos/Thumbs.db"), "").unwrap();
        let found = leftovers(dir.path(), Duration::from_secs(60));
        let seen: Vec<_> = found.iter().map(|leftover| (leftover.rule.as_str(), leftover.seen)).collect();
        assert_eq!(seen, [(".cache", 1), ("node_modules", 1), (".Trash-*", 1), ("Thumbs.db", 1)]);
        assert_eq!(found[0].first, dir.path().join("a/.cache"));
        assert!(leftovers(&dir.path().join("missing"), Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn every_rule_that_is_proposed_can_be_set() {
        let rules: Vec<String> = LEFTOVERS.iter().map(|(rule, _)| (*rule).to_owned()).collect();
        let read = distbackup_core::rules::Rules::parse(&rules).unwrap();
        for (rule, _) in LEFTOVERS {
            assert!(read.first_match(rule.replace('*', "1000").as_bytes()).is_some(), "{rule}");
        }
    }

    #[test]
    fn the_systems_own_filesystems_are_no_candidates() {
        let mounts = Mounts::parse(
            b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
              22 21 8:2 / /boot/efi rw - vfat /dev/sda2 rw\n\
              23 21 0:30 / /run rw - tmpfs tmpfs rw\n\
              24 21 7:3 / /snap/core/1 ro - squashfs /dev/loop3 ro\n\
              25 21 8:17 / /media/me/Elements rw - ext4 /dev/sdb1 rw\n\
              26 21 0:50 / /mnt/nas rw - nfs4 nas:/shelf rw\n",
        );
        let points: Vec<_> =
            mounts.all().iter().filter(|mount| !is_systems(mount)).map(|mount| &mount.point).collect();
        assert_eq!(points, [Path::new("/media/me/Elements"), Path::new("/mnt/nas")]);
    }
}
