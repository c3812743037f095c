//! Metadata of entries: captured from a source, applied at a destination (R6).

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use distbackup_core::model::{Kind, Metadata, Owner};

use crate::platform::{self, Accounts, Handle, Stat};

fn with(stat: &Stat, accounts: &Accounts, xattrs: Vec<distbackup_core::model::Xattr>) -> Metadata {
    let owner = Owner {
        uid: stat.uid,
        gid: stat.gid,
        user: accounts.user(stat.uid),
        group: accounts.group(stat.gid),
    };
    Metadata { mode: stat.mode, owner, xattrs }
}

/// Captures the metadata of a name in an open folder, without following it.
pub fn capture_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    stat: &Stat,
    accounts: &Accounts,
) -> io::Result<Metadata> {
    Ok(with(stat, accounts, platform::read_xattrs_at(dir, name)?))
}

/// Captures the metadata of an open folder itself.
pub fn capture_open(dir: BorrowedFd<'_>, stat: &Stat, accounts: &Accounts) -> io::Result<Metadata> {
    capture_at(dir, b".", stat, accounts)
}

/// Captures the metadata of a path, without following its last component.
pub fn capture_path(path: &Path, stat: &Stat, accounts: &Accounts) -> io::Result<Metadata> {
    Ok(with(stat, accounts, platform::read_xattrs(path)?))
}

/// Something that could not be set.
#[derive(Debug)]
pub struct Unset {
    /// What: "owner", "xattr security.capability"…
    pub what: String,
    /// Why not.
    pub reason: io::Error,
}

/// How to apply metadata.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// Owners by name where this system knows the name; else by number.
    pub by_name: Option<&'a Accounts>,
}

/// Gives a name in an open folder its metadata. Never fails as a whole: what could not be set is returned.
///
/// The order matters: a change of owner clears set-id bits and capabilities, a change of attributes or mode
/// changes nothing else, and times come last because everything before touches them.
pub fn apply(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
    metadata: &Metadata,
    mtime_ns: i64,
    options: &ApplyOptions<'_>,
) -> Vec<Unset> {
    let mut unset = Vec::new();
    let mut note = |what: &str, outcome: io::Result<()>| {
        if let Err(reason) = outcome {
            unset.push(Unset { what: what.to_owned(), reason });
        }
    };
    let handle = match Handle::open_at(dir, name) {
        Ok(handle) => handle,
        Err(reason) => return vec![Unset { what: "metadata".to_owned(), reason }],
    };
    match handle.stat() {
        Ok(stat) => note("owner", set_owner(&handle, &stat, &metadata.owner, options)),
        Err(reason) => note("owner", Err(reason)),
    }
    set_xattrs(&handle, metadata, &mut note);
    if kind != Kind::Symlink {
        note("mode", handle.set_mode(metadata.mode));
    }
    note("mtime", handle.set_mtime(mtime_ns));
    unset
}

fn set_owner(handle: &Handle, stat: &Stat, owner: &Owner, options: &ApplyOptions<'_>) -> io::Result<()> {
    let known = |name: &Option<Vec<u8>>, find: fn(&Accounts, &[u8]) -> Option<u32>| {
        options.by_name.zip(name.as_deref()).and_then(|(accounts, name)| find(accounts, name))
    };
    let uid = known(&owner.user, Accounts::uid).unwrap_or(owner.uid);
    let gid = known(&owner.group, Accounts::gid).unwrap_or(owner.gid);
    // Only what differs: an ordinary user may not even set what is right already.
    let uid = (stat.uid != uid).then_some(uid);
    let gid = (stat.gid != gid).then_some(gid);
    if uid.is_none() && gid.is_none() { Ok(()) } else { handle.set_owner(uid, gid) }
}

fn set_xattrs(handle: &Handle, metadata: &Metadata, note: &mut dyn FnMut(&str, io::Result<()>)) {
    let there = match handle.xattrs() {
        Ok(there) => there,
        Err(_) if metadata.xattrs.is_empty() => return,
        Err(reason) => return note("xattrs", Err(reason)),
    };
    // What a new file inherited, such as a default ACL, was not on the original.
    for xattr in there.iter().filter(|xattr| !metadata.xattrs.iter().any(|wanted| wanted.name == xattr.name))
    {
        let what = format!("removal of xattr {}", String::from_utf8_lossy(&xattr.name));
        note(&what, handle.remove_xattr(&xattr.name));
    }
    for xattr in metadata.xattrs.iter().filter(|xattr| !there.contains(xattr)) {
        let what = format!("xattr {}", String::from_utf8_lossy(&xattr.name));
        note(&what, handle.set_xattr(xattr));
    }
}
