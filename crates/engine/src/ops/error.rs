//! What ends an operation.

use std::io;
use std::path::PathBuf;

use crate::browse::BrowseError;
use crate::catalog::CatalogError;
use crate::disk::DiskError;
use crate::platform::Holder;
use distbackup_core::model::escape_bytes;

/// What ends an operation. Trouble with a single file never does: see [`super::Problems`].
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The tree could not be read as asked.
    #[error(transparent)]
    Browse(#[from] BrowseError),
    /// A disk; the visit stopped in order.
    #[error("disk {name}: {source}")]
    Disk {
        /// Its name, or its folder when it has none yet.
        name: String,
        /// What went wrong.
        #[source]
        source: DiskError,
    },
    /// No disk of the set has this name, UUID or path.
    #[error("there is no disk {wanted} in this set")]
    NoSuchDisk {
        /// What was asked for.
        wanted: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// The disk is known but not connected.
    #[error("disk {name} is not connected")]
    NotConnected {
        /// Its name.
        name: String,
        /// When it was last seen.
        seen_ns: Option<i64>,
        /// Where it is kept.
        location: Option<String>,
        /// Disks that are connected.
        connected: Vec<String>,
    },
    /// Nothing was named and no disk of the set is connected, or several are.
    #[error("{}", if connected.is_empty() { "no disk of this set is connected".to_owned() } else { format!("several disks are connected: {}", connected.join(", ")) })]
    WhichDisk {
        /// Disks that are connected.
        connected: Vec<String>,
    },
    /// No disk of the set lies on the filesystem of a folder.
    #[error("no connected disk of this set is on the drive of {}", folder.display())]
    NoDiskBeside {
        /// The folder.
        folder: PathBuf,
    },
    /// A disk of another set, or another disk than expected (D11).
    #[error("the disk at {} is another one: {why}", folder.display())]
    WrongDisk {
        /// Its folder.
        folder: PathBuf,
        /// What was expected and what was found.
        why: String,
    },
    /// Something is to be written into a new folder, and there is something in it.
    #[error("there is something in {}", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// A name that cannot be a disk's, or is taken.
    #[error("{name:?} cannot be the name of a disk: {why}")]
    BadDiskName {
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// `disk add` on a folder that already is a disk which this set may not take (D13).
    #[error("the folder {} already is a backup disk: {why}", folder.display())]
    AlreadyADisk {
        /// The folder.
        folder: PathBuf,
        /// Whose.
        why: String,
    },
    /// The disk's stamp says that the catalog or the disk went back in time, or that there are two of them (N5).
    #[error("disk {name}: {why}")]
    StampMismatch {
        /// Its name.
        name: String,
        /// What was found.
        why: &'static str,
        /// The PC's catalog is the older one: `recover` helps.
        catalog_is_old: bool,
    },
    /// Another process works with the catalog or the disk (C5).
    #[error("{what} is in use by another dsb{}", match (pid, command) {
        (Some(pid), Some(command)) => format!(" (process {pid}: {command})"),
        (Some(pid), None) => format!(" (process {pid})"),
        _ => String::new(),
    })]
    InUse {
        /// The catalog or the disk.
        what: String,
        /// Its process.
        pid: Option<u32>,
        /// What it does.
        command: Option<String>,
    },
    /// Other programs use a disk that was to be unmounted; nothing was changed.
    #[error("disk {name} is in use{}", in_use_by(holders))]
    Busy {
        /// Its name.
        name: String,
        /// Who, as far as the system tells.
        holders: Vec<Holder>,
    },
    /// A disk could not be let go in full.
    #[error("disk {name} is {what}: {why}")]
    NotEjected {
        /// Its name.
        name: String,
        /// How far it came.
        what: &'static str,
        /// What the programs said that were asked to do it.
        why: String,
        /// The command that would go on.
        command: String,
    },
    /// A program that this takes is not installed.
    #[error("{program} is not installed, and {what}")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// What it is needed for.
        what: &'static str,
        /// The command that installs it.
        command: &'static str,
    },
    /// No source is mapped, so there is nothing to back up.
    #[error("no source is mapped yet")]
    NoSources,
    /// A virtual path, pattern, date or snapshot that means nothing here.
    #[error("{what}: {why}")]
    BadRequest {
        /// What was given.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no room for what is to be restored (R7).
    #[error("{} has {free} free, {needed} are needed", folder.display())]
    DestinationTooSmall {
        /// The destination.
        folder: PathBuf,
        /// Free there.
        free: distbackup_core::model::Bytes,
        /// Needed.
        needed: distbackup_core::model::Bytes,
    },
    /// The file system.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user asked to stop; what was done is recorded.
    #[error("stopped as asked")]
    Stopped,
    /// The operation would need the user's word first (exit code 14).
    #[error("{what}")]
    NeedsConsent {
        /// What would happen.
        what: String,
    },
}

/// Programs that are named when a disk is in use; the others are counted.
const HOLDERS_SHOWN: usize = 5;

fn in_use_by(holders: &[Holder]) -> String {
    let each = holders.iter().take(HOLDERS_SHOWN).map(|holder| {
        let how = if holder.open { "has a file open" } else { "works there" };
        let file = escape_bytes(holder.file.as_os_str().as_encoded_bytes());
        format!("\n{} (process {}) {how}: {file}", holder.command, holder.pid)
    });
    let more = match holders.len().saturating_sub(HOLDERS_SHOWN) {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    if holders.is_empty() {
        " by a program that the system does not name".to_owned()
    } else {
        format!(":{}{more}", each.collect::<String>())
    }
}

impl OpError {
    /// For `map_err`: trouble with a disk of this name.
    pub fn disk(name: &str) -> impl FnOnce(DiskError) -> OpError + '_ {
        move |source| OpError::Disk { name: name.to_owned(), source }
    }

    /// For `map_err`: trouble with the file system.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpError {
        let path = path.into();
        move |source| OpError::Io { action, path, source }
    }
}
