//! What `dsb disk` and what carries objects between disks take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;

use crate::complete;

/// What to do with disks.
#[derive(Debug, Subcommand)]
pub enum DiskCommand {
    /// List the disks
    List,
    /// A disk joins the shelf
    Add {
        /// Its name
        name: String,
        /// Its folder on a mounted filesystem
        path: PathBuf,
        /// Room to use: 500G, 7.4T, 1.5TiB, 80%, -20G (all but), auto
        #[arg(short = 's', long, value_name = "SIZE", allow_hyphen_values = true)]
        size: Option<String>,
        /// Where it is kept
        #[arg(long)]
        location: Option<String>,
    },
    /// Change what is known of a disk
    Set {
        /// Name, UUID or path
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: String,
        /// Room to use: 500G, 7.4T, 1.5TiB, 80%, -20G (all but), auto
        #[arg(short = 's', long, value_name = "SIZE", allow_hyphen_values = true)]
        size: Option<String>,
        /// Its folder, if it was moved
        #[arg(short = 'p', long)]
        path: Option<PathBuf>,
        /// Its folder below whatever mount point it has
        #[arg(short = 'r', long)]
        relpath: Option<OsString>,
        /// Where it is kept
        #[arg(long)]
        location: Option<String>,
        /// A note
        #[arg(long)]
        note: Option<String>,
    },
    /// Give a disk another name
    #[command(visible_alias = "mv")]
    Rename {
        /// Name, UUID or path
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: String,
        /// The new name
        name: String,
    },
    /// A disk is lost or broken: forget what it held
    Drop {
        /// Name or UUID
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: String,
    },
    /// A disk is to leave: bring everything that only it holds to others
    Retire {
        /// Name, UUID or path
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: String,
        /// It stays after all
        #[arg(long, conflicts_with_all = ["staging", "staging_size"])]
        cancel: bool,
        /// How objects get from one disk to another
        #[command(flatten)]
        staging: StagingArgs,
    },
    /// One disk takes the place of another: bring it everything that the other should hold
    Replace {
        /// The disk that goes; it need not be readable
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        old: String,
        /// The disk that takes its place; it has joined with `disk add`
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        new: String,
        /// How objects get from one disk to another
        #[command(flatten)]
        staging: StagingArgs,
    },
    /// Take a disk out of the set: an empty or retired one
    Del {
        /// Name or UUID
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: String,
    },
    /// Flush, unmount and power off, so that it can be unplugged; never by force
    Eject {
        /// Name, UUID or path; without it, the one that is connected
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: Option<String>,
    },
    /// Ask the drives how they are; exit code 4 if one is failing
    Health {
        /// Names, UUIDs or paths; without any, all that are connected
        #[arg(value_name = "DISK", add = ArgValueCompleter::new(complete::disks))]
        disks: Vec<String>,
    },
    /// What to print and stick on it: its name, size, place, and a code that tells which one it is
    Label {
        /// Name, UUID or path; it need not be connected
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: String,
        /// As a drawing of 62 x 29 mm; -: to standard output
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// As text, which is what happens without --svg
        #[arg(long, conflicts_with = "svg")]
        txt: bool,
    },
    /// Look again which objects are on a disk
    Refresh {
        /// Name, UUID or path; without it, the one that is connected
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: Option<String>,
    },
}

/// How objects get from one disk to another.
#[derive(Debug, Args)]
pub struct StagingArgs {
    /// With a single bay: objects wait in this folder while the disks are changed; an empty or a new one
    #[arg(long, value_name = "FOLDER")]
    pub staging: Option<PathBuf>,
    /// At most so much waits there at a time; without it, half of what is free
    #[arg(long, value_name = "SIZE", requires = "staging")]
    pub staging_size: Option<String>,
}
