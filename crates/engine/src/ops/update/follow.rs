//! Symlinks that are taken as what they lead to, in folders that are configured so (`source set --follow`).
//!
//! Only there: everywhere else a link is a link (S14). What is reached counts as standing where the link stands; a
//! folder that is reached this way is walked like any other, and links in it are links again.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use distbackup_core::model::Kind;

use super::walk::OpenFolder;
use crate::ops::filesystems::{Filesystem, Filesystems};
use crate::ops::mapping::Mapping;
use crate::platform::Stat;
use crate::scan::Folder;

/// A name of a folder, looked at.
pub struct Seen {
    /// The facts about it, or about what it leads to.
    pub stat: Stat,
    /// What it leads to, where it is followed.
    pub through: Option<Target>,
    /// Why a link that should be followed is not.
    pub unfollowed: Option<String>,
}

/// Where a followed link leads.
pub struct Target {
    path: PathBuf,
    folder: Folder,
    name: Vec<u8>,
}

impl Target {
    /// Its real path, free of links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that holds it, open.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its name there.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The filesystem it lies on.
    pub fn filesystem(&self, stat: &Stat, filesystems: &Filesystems) -> io::Result<Filesystem> {
        if stat.kind.to_kind() == Some(Kind::Directory) {
            let folder = Folder::open_at(&self.folder, &self.name)?;
            return filesystems.of_device(stat.device, folder.as_fd());
        }
        filesystems.of_device(stat.device, self.folder.as_fd())
    }
}

/// Looks at a name, and through it if links are followed there. An error is one of the name itself; a link that leads
/// nowhere, or to a folder it stands in, is seen as a link.
pub fn look(opened: &OpenFolder, name: &[u8], follow: bool, mapping: &Mapping) -> io::Result<Seen> {
    let stat = opened.folder.stat(name)?;
    let link = |stat, unfollowed| Ok(Seen { stat, through: None, unfollowed });
    if !follow || stat.kind.to_kind() != Some(Kind::Symlink) {
        return link(stat, None);
    }
    match target(opened, name, mapping) {
        Ok((target, found)) if !holds(opened, &found) => {
            Ok(Seen { stat: found, through: Some(target), unfollowed: None })
        }
        Ok(_) => link(stat, Some("it leads to a folder that contains it, and is kept as a link".to_owned())),
        Err(error) => link(stat, Some(format!("it is to be followed, and leads nowhere: {error}"))),
    }
}

fn target(opened: &OpenFolder, name: &[u8], mapping: &Mapping) -> io::Result<(Target, Stat)> {
    use std::os::unix::ffi::OsStrExt as _;
    let real = mapping.real_path(&opened.vpath().join(name));
    let path = std::fs::canonicalize(real.ok_or(io::ErrorKind::NotFound)?)?;
    let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    let (folder, last) = (Folder::open(parent)?, last.as_bytes().to_vec());
    let stat = folder.stat(&last)?;
    Ok((Target { path, folder, name: last }, stat))
}

/// Whether an open folder is this one, or stands in it.
fn holds(opened: &OpenFolder, stat: &Stat) -> bool {
    let mut at = Some(opened);
    while let Some(folder) = at {
        if folder.folder.stat_self().is_ok_and(|own| (own.device, own.inode) == (stat.device, stat.inode)) {
            return true;
        }
        at = folder.parent();
    }
    false
}
