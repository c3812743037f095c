//! Puts metadata back on something that a restore has just made.
//!
//! The order matters: changing the owner clears set-id bits and capabilities, an ACL changes the
//! mode, and nearly everything changes times. So: owner, attributes, mode, times.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use distbackup_core::model::{Kind, Metadata, Owner, Xattr, escape_bytes};

use crate::platform::{self, Accounts, FileKind, Handle, Stat};

/// How owners are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// With these, a user or group that is known here by name counts before its number; without, numbers only.
    pub owner_by_name: Option<&'a Accounts>,
}

/// Something that could not be put back.
#[derive(Debug)]
pub struct Unset {
    /// What: `owner`, `group`, `mode`, `set-id bits`, `times`, `xattr user.comment`; escaped for the terminal.
    pub what: String,
    /// What the system said.
    pub reason: io::Error,
}

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;

/// Puts metadata back on `target`. The folders on the way to it are followed as they are.
///
/// See [`apply_at`], which a restore into an untrusted destination uses instead (R3).
pub fn apply(
    target: &Path,
    kind: Kind,
    metadata: &Metadata,
    mtime_ns: i64,
    options: Options<'_>,
) -> Vec<Unset> {
    let name = target.file_name().unwrap_or(OsStr::new("."));
    let folder = match (target.file_name(), target.parent()) {
        (Some(_), Some(parent)) if parent != Path::new("") => parent,
        (Some(_), _) => Path::new("."),
        (None, _) => target,
    };
    match platform::open_folder_following(folder) {
        Ok(folder) => apply_at(folder.as_fd(), name.as_bytes(), kind, metadata, mtime_ns, options),
        Err(reason) => vec![Unset { what: "anything".into(), reason }],
    }
}

/// Puts metadata back on `name` in the open folder `dir`; returns what could not be set.
///
/// Works on one inode, never through a link; if that is not of the expected kind, nothing is set.
/// Attributes that the target has got from its folder (default ACLs) and that are not wanted are removed. If
/// the owner cannot be set, set-id bits are not either: they would lend somebody else's rights.
/// The time of a folder has to be set after everything in it is in place.
pub fn apply_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
    metadata: &Metadata,
    mtime_ns: i64,
    options: Options<'_>,
) -> Vec<Unset> {
    put(Handle::open_at(dir, name), kind, metadata, mtime_ns, options)
}

/// As [`apply_at`], on a file that is open for writing anyway, and bears `name` in the open folder `dir`.
pub fn apply_to(
    file: &File,
    dir: BorrowedFd<'_>,
    name: &[u8],
    metadata: &Metadata,
    mtime_ns: i64,
    options: Options<'_>,
) -> Vec<Unset> {
    put(Handle::of_open(file, dir, name), Kind::File, metadata, mtime_ns, options)
}

fn put(
    handle: io::Result<Handle>,
    kind: Kind,
    metadata: &Metadata,
    mtime_ns: i64,
    options: Options<'_>,
) -> Vec<Unset> {
    let (handle, before) = match handle.and_then(|handle| expect(handle, kind)) {
        Ok(held) => held,
        Err(reason) => return vec![Unset { what: "anything".into(), reason }],
    };
    let mut unset = Vec::new();
    let forbidden = set_owner(&handle, &before, &metadata.owner, options, &mut unset);
    set_xattrs(&handle, &metadata.xattrs, &mut unset);
    if kind != Kind::Symlink {
        set_mode(&handle, kind, metadata.mode, forbidden, &mut unset);
    }
    note(&mut unset, "times", handle.set_mtime(mtime_ns));
    unset
}

fn expect(handle: Handle, kind: Kind) -> io::Result<(Handle, Stat)> {
    let stat = handle.stat()?;
    if stat.kind == FileKind::Entry(kind) {
        Ok((handle, stat))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "something of another kind stands there"))
    }
}

fn note(unset: &mut Vec<Unset>, what: &str, result: io::Result<()>) {
    if let Err(reason) = result {
        unset.push(Unset { what: what.into(), reason });
    }
}

/// Sets the owner where it differs. Returns the set-id bits that must not be set, because they would
/// belong to another user or group than they did.
fn set_owner(
    handle: &Handle,
    before: &Stat,
    owner: &Owner,
    options: Options<'_>,
    unset: &mut Vec<Unset>,
) -> u32 {
    let mut uid = owner.uid;
    let mut gid = owner.gid;
    if let Some(accounts) = options.owner_by_name {
        uid = owner.user.as_deref().and_then(|name| accounts.uid(name)).unwrap_or(uid);
        gid = owner.group.as_deref().and_then(|name| accounts.gid(name)).unwrap_or(gid);
    }
    let mut forbidden = 0;
    // One after the other: an ordinary user may set one of his groups, but never another owner.
    for (what, bit, differs, user, group) in [
        ("group", SET_GID, before.gid != gid, None, Some(gid)),
        ("owner", SET_UID, before.uid != uid, Some(uid), None),
    ] {
        if !differs {
            continue;
        }
        let result = handle.set_owner(user, group);
        if result.is_err() {
            forbidden |= bit;
        }
        note(unset, what, result);
    }
    forbidden
}

/// Whether an attribute may come from the folder in which the target was made, rather than from
/// the system's own bookkeeping (SELinux labels, overlays), which is not ours to remove.
fn may_be_inherited(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability"
}

fn set_xattrs(handle: &Handle, wanted: &[Xattr], unset: &mut Vec<Unset>) {
    let present = match handle.xattrs() {
        Ok(present) => present,
        // Nothing is known of what is there: all that is wanted is tried.
        Err(reason) => {
            unset.push(Unset { what: "inherited xattrs".into(), reason });
            Vec::new()
        }
    };
    let label = |name: &[u8]| format!("xattr {}", escape_bytes(name));
    for extra in present.iter().filter(|xattr| may_be_inherited(&xattr.name)) {
        if !wanted.iter().any(|xattr| xattr.name == extra.name) {
            note(unset, &label(&extra.name), handle.remove_xattr(&extra.name));
        }
    }
    for xattr in wanted.iter().filter(|xattr| !present.contains(xattr)) {
        note(unset, &label(&xattr.name), handle.set_xattr(xattr));
    }
}

fn set_mode(handle: &Handle, kind: Kind, mode: u32, forbidden: u32, unset: &mut Vec<Unset>) {
    // On a folder set-gid lends no rights: it only says which group new files get.
    let forbidden = if kind == Kind::Directory { 0 } else { forbidden };
    if mode & forbidden != 0 {
        let reason = io::Error::new(io::ErrorKind::PermissionDenied, "the owner could not be set");
        unset.push(Unset { what: "set-id bits".into(), reason });
    }
    let mode = mode & !forbidden;
    if let Err(reason) = handle.set_mode(mode) {
        unset.push(Unset { what: "mode".into(), reason });
        return;
    }
    // FAT accepts a mode and keeps none; a user outside the group silently loses set-gid.
    match handle.stat() {
        Ok(stat) if stat.mode == mode & 0o7777 => {}
        Ok(_) => unset.push(Unset { what: "mode".into(), reason: io::ErrorKind::Unsupported.into() }),
        Err(reason) => unset.push(Unset { what: "mode".into(), reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::capture;
    use crate::platform::{open_folder, stat_at};
    use std::fs;
    use std::os::fd::OwnedFd;

    const BY_NUMBER: Options<'static> = Options { owner_by_name: None };

    fn root() -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            eprintln!("SKIPPED: needs root");
        }
        root
    }

    fn xattr(name: &str, value: &[u8]) -> Xattr {
        Xattr { name: name.into(), value: value.to_vec() }
    }

    /// A folder with an empty file `name`, and the metadata of a file that we own.
    fn place(name: &str) -> (tempfile::TempDir, OwnedFd, Metadata) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), "").unwrap();
        let folder = open_folder(dir.path()).unwrap();
        let metadata = taken(&folder, name);
        (dir, folder, metadata)
    }

    fn facts(folder: &OwnedFd, name: &str) -> Stat {
        stat_at(folder.as_fd(), name.as_bytes()).unwrap()
    }

    fn taken(folder: &OwnedFd, name: &str) -> Metadata {
        capture(folder.as_fd(), name.as_bytes(), &facts(folder, name), &Accounts::new()).unwrap()
    }

    /// Puts `metadata` on `name` and returns what could not be set. A file gets it twice: by its name, and opened.
    fn put(folder: &OwnedFd, name: &str, kind: Kind, metadata: &Metadata, mtime_ns: i64) -> Vec<String> {
        let said = |unset: Vec<Unset>| unset.into_iter().map(|unset| unset.what).collect::<Vec<_>>();
        let unset = said(apply_at(folder.as_fd(), name.as_bytes(), kind, metadata, mtime_ns, BY_NUMBER));
        if let (Kind::File, Ok((file, _))) = (kind, platform::open_source_at(folder.as_fd(), name.as_bytes()))
        {
            let again = apply_to(&file, folder.as_fd(), name.as_bytes(), metadata, mtime_ns, BY_NUMBER);
            assert_eq!(said(again), unset);
        }
        unset
    }

    #[test]
    fn r6_what_was_taken_is_put_back() {
        let (_dir, folder, mut wanted) = place("a\n");
        wanted.mode = 0o1451;
        wanted.xattrs = vec![xattr("user.comment", b"Fj\xf6r\0"), xattr("user.empty", b"")];
        let unset = put(&folder, "a\n", Kind::File, &wanted, -1_999_999_995);
        if unset.iter().any(|what| what.starts_with("xattr")) {
            eprintln!("SKIPPED: the filesystem of the temporary folder has no user attributes");
            return;
        }
        assert_eq!(unset, [""; 0]);
        assert_eq!(taken(&folder, "a\n"), wanted);
        assert_eq!(facts(&folder, "a\n").mtime_ns, -1_999_999_995, "S11: a time before 1970");
    }

    #[test]
    fn r6_owner_set_id_bits_and_capabilities_survive_each_other() {
        if !root() {
            return;
        }
        let (_dir, folder, mut wanted) = place("a");
        wanted.mode = 0o6755;
        wanted.owner = Owner { uid: 1234, gid: 5678, user: None, group: None };
        // cap_net_raw=ep, as `setcap` writes it.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        wanted.xattrs = vec![xattr("security.capability", &capability), xattr("trusted.dsb", b"1")];
        for _ in 0..2 {
            let unset = put(&folder, "a", Kind::File, &wanted, 5);
            if unset.iter().any(|what| what.starts_with("xattr")) {
                eprintln!("SKIPPED: privileged attributes are refused here: {unset:?}");
                return;
            }
            assert_eq!(unset, [""; 0]);
            assert_eq!(taken(&folder, "a"), wanted, "also over an earlier restore");
        }
    }

    #[test]
    fn r6_an_acl_that_the_new_file_inherited_is_removed_and_one_it_had_is_restored() {
        let (dir, folder, _) = place("before");
        // Default ACL: user::rwx, user:1234:rwx, group::r-x, mask::rwx, other::r-x.
        let mut acl = vec![2, 0, 0, 0];
        for (tag, permissions, id) in
            [(1u16, 7u16, u32::MAX), (2, 7, 1234), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
        {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        if xattr::set(dir.path(), "system.posix_acl_default", &acl).is_err() {
            eprintln!("SKIPPED: the filesystem of the temporary folder has no ACLs");
            return;
        }
        fs::write(dir.path().join("a"), "").unwrap();
        let with_acl = taken(&folder, "a");
        assert_eq!(with_acl.xattrs.len(), 1, "inherited");

        let wanted = Metadata { mode: 0o640, xattrs: vec![], ..with_acl.clone() };
        assert_eq!(put(&folder, "a", Kind::File, &wanted, 5), [""; 0]);
        assert_eq!(taken(&folder, "a"), wanted);

        assert_eq!(put(&folder, "before", Kind::File, &with_acl, 5), [""; 0]);
        assert_eq!(taken(&folder, "before"), with_acl);
    }

    #[test]
    fn r3_a_symlink_gets_its_own_owner_and_time_and_its_target_nothing() {
        let (dir, folder, mut wanted) = place("target");
        std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
        let before = facts(&folder, "target");
        wanted.mode = 0o777;
        if root() {
            wanted.owner = Owner { uid: 1234, gid: 5678, user: None, group: None };
            wanted.xattrs = vec![xattr("trusted.dsb", b"1")];
        }
        assert_eq!(put(&folder, "link", Kind::Symlink, &wanted, 5), [""; 0]);
        assert_eq!(taken(&folder, "link"), wanted);
        assert_eq!(facts(&folder, "link").mtime_ns, 5);
        assert_eq!(facts(&folder, "target"), before);
        // Expected was a file, and a link appeared in its place.
        assert_eq!(put(&folder, "link", Kind::File, &wanted, 7), ["anything"]);
        assert_eq!(facts(&folder, "target"), before);
    }

    #[test]
    fn r6_what_cannot_be_set_is_named_and_the_rest_is_set() {
        let (dir, folder, mut wanted) = place("a");
        wanted.mode = 0o4711;
        wanted.xattrs = vec![xattr("nonsense.\x1b", b"1")];
        // No such user can exist, not even for root.
        wanted.owner.uid = u32::MAX;
        let unset = apply(&dir.path().join("a"), Kind::File, &wanted, 5, BY_NUMBER);
        let what: Vec<&str> = unset.iter().map(|unset| unset.what.as_str()).collect();
        assert_eq!(what, ["owner", "xattr nonsense.\\x1b", "set-id bits"]);
        assert_eq!(facts(&folder, "a").mode, 0o711, "nobody else's set-uid program became ours");
        assert_eq!(facts(&folder, "a").mtime_ns, 5);
        let gone = apply(&dir.path().join("gone/a"), Kind::File, &wanted, 5, BY_NUMBER);
        assert_eq!(gone.len(), 1);
    }

    #[test]
    fn owners_are_found_by_name_before_number() {
        if !root() {
            return;
        }
        let (_dir, folder, mut wanted) = place("a");
        wanted.owner = Owner {
            uid: 1234,
            gid: 5678,
            user: Some(b"root".to_vec()),
            group: Some(b"no such group".to_vec()),
        };
        let accounts = Accounts::new();
        let by_name = Options { owner_by_name: Some(&accounts) };
        let unset = apply_at(folder.as_fd(), b"a", Kind::File, &wanted, 5, by_name);
        assert!(unset.is_empty(), "{unset:?}");
        assert_eq!((facts(&folder, "a").uid, facts(&folder, "a").gid), (0, 5678));
    }

    #[test]
    fn folders_and_fifos_get_theirs_too() {
        let (dir, folder, mut wanted) = place("file");
        fs::create_dir(dir.path().join("folder")).unwrap();
        let none = distbackup_core::model::DeviceNumber { major: 0, minor: 0 };
        platform::make_node_at(folder.as_fd(), b"fifo", Kind::Fifo, none).unwrap();
        wanted.mode = 0o2570;
        for (name, kind) in [("folder", Kind::Directory), ("fifo", Kind::Fifo)] {
            assert_eq!(put(&folder, name, kind, &wanted, 5), [""; 0], "{name}");
            assert_eq!((facts(&folder, name).mode, facts(&folder, name).mtime_ns), (0o2570, 5), "{name}");
        }
    }
}
