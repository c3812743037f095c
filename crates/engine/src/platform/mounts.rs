//! The table of mounts: which filesystem is mounted where, and through which mount a path is seen.
//!
//! `/proc/self/mountinfo` is read as the kernel writes it: paths escaped in octal, one filesystem
//! possibly at several points, a bind mount showing only a part (`root`), and later mounts hiding
//! earlier ones at the same point or above them.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::system;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number; the kernel reuses them.
    pub mount_id: u64,
    /// Number of the mount on which it is mounted.
    pub parent_id: u64,
    /// Major and minor number of the filesystem's device; major 0 if there is none.
    pub device: (u32, u32),
    /// Which folder of the filesystem is visible; `/` unless bound or a subvolume.
    pub root: Vec<u8>,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type: `ext4`, `btrfs`, `fuse.sshfs`…
    pub fstype: String,
    /// What is mounted: a device, `server:/export`, or any text.
    pub source: Vec<u8>,
    /// Whether the mount or its filesystem is read-only.
    pub read_only: bool,
}

/// All mounts that this process sees, as they were when read.
#[derive(Debug, Clone, Default)]
pub struct Mounts {
    mounts: Vec<Mount>,
    /// Lines that could not be understood and were left out, for a note to the user.
    pub not_understood: Vec<Vec<u8>>,
}

impl Mounts {
    /// Reads the table now; empty on systems other than Linux.
    pub fn read() -> io::Result<Self> {
        system::read_mounts()
    }

    /// Understands the bytes of a `mountinfo` file; see proc(5).
    pub fn parse(table: &[u8]) -> Self {
        let mut mounts = Self::default();
        for line in table.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match parse_line(line) {
                Some(mount) => mounts.mounts.push(mount),
                None => mounts.not_understood.push(line.to_vec()),
            }
        }
        mounts
    }

    /// All mounts in the kernel's order, hidden ones too.
    pub fn all(&self) -> &[Mount] {
        &self.mounts
    }

    /// The mount with this number.
    pub fn by_id(&self, mount_id: u64) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.mount_id == mount_id)
    }

    /// The mount through which an absolute path without symbolic links is seen.
    ///
    /// Walks from mount to mount as the kernel does, so that a mount hidden by a later one at the
    /// same point or above is not taken. `None` for a relative path or if nothing is known.
    pub fn mount_of(&self, path: &Path) -> Option<&Mount> {
        if !path.is_absolute() {
            return None;
        }
        let mut current: Option<&Mount> = None;
        // Each round goes one mount deeper: a damaged table cannot keep us longer than it is.
        for _ in 0..self.mounts.len() {
            match self.next_on_way(current, path) {
                Some(next) => current = Some(next),
                None => break,
            }
        }
        current
    }

    fn next_on_way(&self, current: Option<&Mount>, path: &Path) -> Option<&Mount> {
        let is_child = |mount: &&Mount| match current {
            Some(above) => mount.parent_id == above.mount_id && mount.mount_id != above.mount_id,
            None => mount.parent_id == mount.mount_id || self.by_id(mount.parent_id).is_none(),
        };
        let on_way = |mount: &&Mount| path.starts_with(&mount.point);
        // The one met first; of several at one point, which only an old kernel can have, the newest.
        let depth = |mount: &&Mount| mount.point.components().count();
        self.mounts.iter().rev().filter(is_child).filter(on_way).min_by_key(depth)
    }
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    // Single blanks: a source may be empty.
    let mut fields = line.split(|&byte| byte == b' ');
    let mount_id = number(fields.next()?)?;
    let parent_id = number(fields.next()?)?;
    let device = std::str::from_utf8(fields.next()?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let root = unescape(fields.next()?);
    let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    let options = fields.next()?;
    fields.by_ref().find(|&field| field == b"-")?;
    let fstype = String::from_utf8(unescape(fields.next()?)).ok().filter(|fstype| !fstype.is_empty())?;
    let source = unescape(fields.next()?);
    let filesystem_options = fields.next().unwrap_or_default();
    let read_only = |options: &[u8]| options.split(|&byte| byte == b',').any(|option| option == b"ro");
    if !point.as_os_str().as_bytes().starts_with(b"/") {
        return None;
    }
    Some(Mount {
        mount_id,
        parent_id,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        point,
        fstype,
        source,
        read_only: read_only(options) || read_only(filesystem_options),
    })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Undoes `\040` and the like; anything else with a backslash stays as it is.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        match *rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &rest[4..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        40 27 8:1 / /media/red rw shared:7 master:2 - ext4 /dev/sda1 rw\n\
        41 27 8:1 /photos /srv/pictures ro - ext4 /dev/sda1 rw\n\
        42 27 0:50 / /mnt/with\\040blank\\134\\012x rw - fuse.sshfs  rw\n\
        43 40 8:17 / /media/red/inner rw - vfat /dev/sdb1 ro\n\
        44 40 8:33 / /media/red rw - xfs /dev/sdc1 rw\n";

    fn seen_through(path: &str) -> u64 {
        Mounts::parse(TABLE).mount_of(Path::new(path)).unwrap().mount_id
    }

    #[test]
    fn paths_belong_to_the_mount_through_which_they_are_seen() {
        assert_eq!(seen_through("/home/a"), 27);
        assert_eq!(seen_through("/srv/pictures"), 41);
        assert_eq!(seen_through("/srv/pictures/2011"), 41);
        assert_eq!(seen_through("/srv/pictures2"), 27, "a name that only starts alike");
        assert_eq!(seen_through("/mnt/with blank\\\nx/y"), 42);
        assert_eq!(Mounts::parse(TABLE).mount_of(Path::new("relative")), None);
    }

    #[test]
    fn a_later_mount_hides_what_was_mounted_there_and_below() {
        assert_eq!(seen_through("/media/red"), 44);
        assert_eq!(seen_through("/media/red/inner/x"), 44, "43 is mounted on what 44 hides");
    }

    #[test]
    fn a_bind_mount_shows_a_part_and_read_only_is_seen_on_either_side() {
        let mounts = Mounts::parse(TABLE);
        let bound = mounts.by_id(41).unwrap();
        assert_eq!((bound.device, &bound.root[..], bound.read_only), ((8, 1), &b"/photos"[..], true));
        assert!(mounts.by_id(43).unwrap().read_only);
        assert!(!mounts.by_id(40).unwrap().read_only);
        assert_eq!(mounts.by_id(42).unwrap().source, b"");
    }

    #[test]
    fn damaged_lines_are_left_out_and_reported() {
        let damaged: [&[u8]; 7] = [
            b"nonsense",
            b"1 2 3:4 / relative rw - ext4 /dev/x rw",
            b"1 2 34 / / rw - ext4 /dev/x rw",
            b"1 2 3:4 / / rw shared:1 ext4 /dev/x rw",
            b"-1 2 3:4 / / rw - ext4 /dev/x rw",
            b"1 2 3:99999999999 / / rw - ext4 /dev/x rw",
            b"1 2 3:4 / / rw -  ",
        ];
        let mut table = damaged.join(&b'\n');
        table.extend_from_slice(b"\n\n");
        table.extend_from_slice(TABLE);
        let mounts = Mounts::parse(&table);
        assert_eq!(mounts.not_understood, damaged);
        assert_eq!(mounts.all().len(), 6);
        for cut in 0..TABLE.len() {
            Mounts::parse(&TABLE[..cut]).mount_of(Path::new("/media/red/inner"));
        }
    }

    #[test]
    fn a_table_that_turns_in_circles_ends() {
        let circle = b"1 2 0:1 / / rw - a b rw\n2 1 0:2 / / rw - a b rw\n3 3 0:3 / / rw - a b rw\n1 3 0:1 / / rw - a b rw";
        assert!(Mounts::parse(circle).mount_of(Path::new("/x")).is_some());
    }

    #[test]
    fn the_mounts_of_this_system_are_understood() {
        if cfg!(target_os = "linux") {
            let mounts = Mounts::read().unwrap();
            assert_eq!(mounts.not_understood, Vec::<Vec<u8>>::new());
            assert_eq!(mounts.mount_of(Path::new("/proc/self")).unwrap().fstype, "proc");
        }
    }
}
