//! Options of the verbs that visit disks: `backup`, `restore`, `verify`, `forget`, and which part they do.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;

use crate::complete;

/// Options of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Names, UUIDs or paths; without any, the disk that is connected
    #[arg(value_name = "DISK", add = ArgValueCompleter::new(complete::disks))]
    pub disks: Vec<String>,
    /// Update first; new files are hashed while they are copied
    #[arg(short = 'u', long)]
    pub update: bool,
    /// Protect this folder: maps it if it is not mapped yet, adds the disk if it is new, and updates
    #[arg(long, value_name = "FOLDER")]
    pub source: Vec<PathBuf>,
    /// Copy at most so much
    #[arg(long, value_name = "SIZE")]
    pub limit: Option<String>,
    /// Make no copies beyond this number
    #[arg(long, value_name = "N")]
    pub maxcopies: Option<u16>,
    /// Leave so many percent of the disk free of copies that not everything can have
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=90))]
    pub reserve: u8,
    /// Read everything again from the medium after it was written, before it counts as a copy
    #[arg(long)]
    pub read_back: bool,
    /// With --update: accept what looks like an accident
    #[arg(long)]
    pub accept: bool,
    /// With --update: look at locked files and folders, too
    #[arg(long)]
    pub ignore_lock: bool,
    /// Plan only, as --dry-run
    #[arg(long, hide = true)]
    pub simulate: bool,
    /// No longer needed: durability is never given up
    #[arg(long, hide = true)]
    pub noflush: bool,
    /// Of distbackup 1.x, without effect there and here
    #[arg(long, hide = true)]
    pub sync: bool,
    /// Of distbackup 1.x, without effect there and here
    #[arg(long, hide = true)]
    pub slack: bool,
    /// Of distbackup 1.x: there is no helper process any more
    #[arg(long, hide = true)]
    pub nohelper: bool,
    /// Of distbackup 1.x: the catalog is always copied to the disk
    #[arg(long, hide = true)]
    pub nocopy: bool,
}

/// Options of `adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// A folder with ordinary files on the drive of a disk
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// How files become objects; without it: reflink where the filesystem can, else copy
    #[arg(long, value_enum, value_name = "HOW")]
    pub how: Option<HowChoice>,
    /// Which disk, if it is not plain from the folder
    #[arg(long, value_name = "DISK", add = ArgValueCompleter::new(complete::disks))]
    pub disk: Option<String>,
}

/// How an ordinary file becomes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HowChoice {
    /// The file leaves its folder and becomes the object: takes no room and no time
    Move,
    /// The object shares the file's content: takes no room, the file stays as it is; btrfs, XFS, bcachefs
    Reflink,
    /// The object is a second name of the file, which becomes read-only: takes no room
    Link,
    /// The object is a copy: takes room
    Copy,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// With --to: patterns over virtual paths. Without: a disk and a destination
    #[arg(value_name = "PATTERN|DISK DEST", add = ArgValueCompleter::new(complete::disks_and_vpaths))]
    pub arguments: Vec<OsString>,
    /// Destination
    #[arg(long, value_name = "DEST")]
    pub to: Option<PathBuf>,
    /// Only what matches this pattern (with DISK DEST)
    #[arg(short = 'f', long, value_name = "PATTERN", add = ArgValueCompleter::new(complete::vpaths))]
    pub filter: Vec<OsString>,
    /// The tree at a date or of a snapshot
    #[arg(long, value_name = "DATE|SNAPSHOT", add = ArgValueCompleter::new(complete::snapshots))]
    pub at: Option<String>,
    /// Leave out files that are there already, of the same size, at their place below this folder; may be given again
    #[arg(short = 'e', long, value_name = "FOLDER")]
    pub existing: Vec<PathBuf>,
    /// Only say which disks it takes, as few as there can be
    #[arg(long, conflicts_with_all = ["to", "overwrite"])]
    pub minset: bool,
    /// Of distbackup 1.x: hard links to the objects; files are copied all the same
    #[arg(short = 'l', long, hide = true)]
    pub link: bool,
    /// Replace files that are there with other content
    #[arg(long)]
    pub overwrite: bool,
    /// Restore owners by number, not by name
    #[arg(long)]
    pub numeric_ids: bool,
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Name, UUID or path; without it, the disk that is connected
    #[arg(add = ArgValueCompleter::new(complete::disks))]
    pub disk: Option<String>,
    /// Report only: claims stay as they are
    #[arg(short = 'c', long)]
    pub check: bool,
    /// Move damaged objects to bad-objects/
    #[arg(long)]
    pub quarantine: bool,
    /// Begin again instead of going on where an interrupted verify stopped
    #[arg(long)]
    pub restart: bool,
    /// Of distbackup 1.x: it goes on by itself where it stopped
    #[arg(short = 's', long, hide = true, value_name = "HEX")]
    pub start: Option<String>,
    /// Of distbackup 1.x: nothing is deleted; --quarantine moves damaged objects away
    #[arg(short = 'd', long, hide = true)]
    pub delete: bool,
    /// Write a list of what is damaged or missing to this file, or to an open descriptor
    #[arg(long, value_name = "FILE|@FD")]
    pub errors: Option<PathBuf>,
    /// How much to read
    #[command(flatten)]
    pub part: PartArgs,
}

/// Options of `forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Numbers of snapshots, as `dsb snapshots` lists them
    #[arg(value_name = "SNAPSHOT", required_unless_present_any = ["keep_deleted", "keep_snapshots"],
          conflicts_with_all = ["keep_deleted", "keep_snapshots"])]
    #[arg(add = ArgValueCompleter::new(complete::snapshots))]
    pub snapshots: Vec<i64>,
    /// All but those that show something that left the tree in this time (90d, 12w, 2y)
    #[arg(long, value_name = "TIME")]
    pub keep_deleted: Option<String>,
    /// All but so many newest ones
    #[arg(long, value_name = "N")]
    pub keep_snapshots: Option<u32>,
}

/// Options for reading a part of what could be read.
#[derive(Debug, Args)]
pub struct PartArgs {
    /// Read for so long (2h, 30min), what was proven longest ago first; the next time goes on
    #[arg(long = "for", value_name = "TIME")]
    pub time: Option<String>,
    /// Read only what was not proven for so long (90d, 12w, 1y)
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Read a random share of that, another one each time (5%)
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<String>,
}
