//! Entries: names of the virtual tree with everything needed to put them back.

use crate::model::ids::FilesystemNo;

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file; its content is an object unless it is empty.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; never followed (S14).
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// The letter that stands in the catalog: `f d l p c b`, as `find -type` prints it.
    pub fn letter(self) -> char {
        match self {
            Kind::File => 'f',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::Fifo => 'p',
            Kind::CharDevice => 'c',
            Kind::BlockDevice => 'b',
        }
    }

    /// Reads [`Kind::letter`] back.
    pub fn from_letter(letter: &str) -> Option<Self> {
        Some(match letter {
            "f" => Kind::File,
            "d" => Kind::Directory,
            "l" => Kind::Symlink,
            "p" => Kind::Fifo,
            "c" => Kind::CharDevice,
            "b" => Kind::BlockDevice,
            _ => return None,
        })
    }
}

/// What one `stat` says of a file, under an identity that survives a reboot (DESIGN 7.6).
///
/// Two equal stamps at one path mean: unchanged, no need to read. Times are nanoseconds since
/// 1970, negative before (S11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The filesystem, never a `st_dev` (S6).
    pub filesystem: FilesystemNo,
    /// The inode number; 0 where the filesystem has no stable ones.
    pub inode: u64,
    /// Bytes of content.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime_ns: i64,
    /// Time of the last change of anything.
    pub ctime_ns: i64,
}

impl Stamp {
    /// Whether `other` may be the same unread content under a new name (DESIGN 7.6): everything
    /// but the ctime agrees, which a rename changes.
    pub fn may_be_moved_from(&self, other: &Stamp) -> bool {
        Stamp { ctime_ns: other.ctime_ns, ..*self } == *other && self.inode != 0
    }
}

/// Who owns an entry: by number, and by name where the system knew one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Owner {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Name of the user when the entry was scanned.
    pub user: Option<Vec<u8>>,
    /// Name of the group when the entry was scanned.
    pub group: Option<Vec<u8>>,
}

/// One extended attribute. POSIX ACLs are attributes too (`system.posix_acl_access`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name with its namespace, such as `user.comment`.
    pub name: Vec<u8>,
    /// Raw value.
    pub value: Vec<u8>,
}

/// What many entries share: permissions, ownership and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// Permission bits, set-id and sticky bits (`st_mode & 0o7777`).
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

/// Numbers of a device special file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceNumber {
    /// Driver.
    pub major: u32,
    /// Unit.
    pub minor: u32,
}

/// The holes of a sparse file: `(offset, length)` in bytes, ascending, not touching.
///
/// A hole reads as zeros; it is remembered so that a restored file takes no more room than the
/// original did. Empty for a file without holes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Holes(pub Vec<(u64, u64)>);

impl Holes {
    /// No more holes than this are remembered, the largest ones; beyond it a file is restored
    /// with the rest filled. Bounds what one entry may take in memory and in the catalog.
    pub const MAX: usize = 65_536;

    /// For the catalog: pairs of LEB128 numbers, each offset relative to the end of the hole before.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 6);
        let mut end = 0;
        for &(offset, length) in &self.0 {
            push_leb(&mut out, offset.saturating_sub(end));
            push_leb(&mut out, length);
            end = offset.saturating_add(length);
        }
        out
    }

    /// Reads [`Holes::encode`] back; `None` if the bytes are damaged.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut holes = Vec::new();
        let mut end: u64 = 0;
        while !bytes.is_empty() {
            let offset = end.checked_add(take_leb(&mut bytes)?)?;
            let length = take_leb(&mut bytes)?;
            end = offset.checked_add(length)?;
            if holes.len() == Self::MAX {
                return None;
            }
            holes.push((offset, length));
        }
        Some(Holes(holes))
    }

    /// Keeps the largest [`Holes::MAX`] holes.
    pub fn bounded(mut self) -> Self {
        if self.0.len() > Self::MAX {
            self.0.sort_by_key(|&(offset, length)| (std::cmp::Reverse(length), offset));
            self.0.truncate(Self::MAX);
            self.0.sort_unstable();
        }
        self
    }
}

fn push_leb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_leb(bytes: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_survive_the_catalog_and_damage_is_noticed() {
        let holes = Holes(vec![(0, 4096), (1 << 20, 1 << 37), (1 << 40, 1)]);
        assert_eq!(Holes::decode(&holes.encode()), Some(holes.clone()));
        assert_eq!(Holes::decode(&[]), Some(Holes::default()));
        let mut damaged = holes.encode();
        damaged.pop();
        assert_eq!(Holes::decode(&damaged), None);
        assert_eq!(Holes::decode(&[0xff; 11]), None);
    }

    #[test]
    fn a_rename_changes_only_the_ctime_of_a_stamp() {
        let old = Stamp { filesystem: FilesystemNo(1), inode: 7, size: 5, mtime_ns: -3, ctime_ns: 1 };
        assert!(Stamp { ctime_ns: 2, ..old }.may_be_moved_from(&old));
        assert!(!Stamp { size: 6, ..old }.may_be_moved_from(&old));
        assert!(!Stamp { filesystem: FilesystemNo(2), ..old }.may_be_moved_from(&old), "S6");
        let unstable = Stamp { inode: 0, ..old };
        assert!(!unstable.may_be_moved_from(&unstable), "no moves where inodes mean nothing");
    }
}
