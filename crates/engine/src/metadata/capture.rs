//! What a scan records of an entry besides its content.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use distbackup_core::model::{Metadata, Owner, Xattr};

use crate::platform::{self, Accounts, Stat};

/// The metadata of `name` in the open folder `dir`; of a symbolic link itself.
///
/// `stat` is what a scan just learned of it. Fails if the attributes cannot be listed; one that
/// this user may not read is left out.
pub fn capture(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat, accounts: &Accounts) -> io::Result<Metadata> {
    Ok(metadata(stat, platform::read_xattrs_at(dir, name)?, accounts))
}

/// Like [`capture`], of an open file.
pub fn capture_open(file: BorrowedFd<'_>, stat: &Stat, accounts: &Accounts) -> io::Result<Metadata> {
    Ok(metadata(stat, platform::read_xattrs_of(file)?, accounts))
}

/// Like [`capture`], by path: for the root of a source.
pub fn capture_path(path: &Path, stat: &Stat, accounts: &Accounts) -> io::Result<Metadata> {
    Ok(metadata(stat, platform::read_xattrs(path)?, accounts))
}

fn metadata(stat: &Stat, xattrs: Vec<Xattr>, accounts: &Accounts) -> Metadata {
    let (uid, gid) = (stat.uid, stat.gid);
    let owner = Owner { uid, gid, user: accounts.user(uid), group: accounts.group(gid) };
    Metadata { mode: stat.mode, owner, xattrs }
}
