//! The disks of these tests, and how their user calls programs.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use distbackup_testkit::dsb::{Dsb, Run, give_to};
use distbackup_testkit::mounts::{Filesystem, LoopDisk, Tmpfs};
use distbackup_testkit::skipped;
use tempfile::TempDir;

const MB: u64 = 1_000_000;

/// Disks of different sizes.
pub struct Shelf {
    disks: Vec<Disk>,
}

struct Disk {
    name: &'static str,
    path: PathBuf,
    bytes: u64,
    medium: Medium,
}

/// What keeps the disk in being.
enum Medium {
    Loop { _disk: LoopDisk },
    Folder { _folder: TempDir },
}

impl Shelf {
    /// Five real disks with three filesystems for `data` bytes, which none of them can hold; `None`, with a
    /// loud line, where they cannot be had.
    pub fn real(data: u64) -> Option<Shelf> {
        let percent = |percent: u64| data / 100 * percent;
        let disks = [
            ("red", Filesystem::Ext4, percent(35)),
            ("blue", Filesystem::Ext4, percent(45)),
            ("green", Filesystem::Ext4, percent(60)),
            ("white", Filesystem::Xfs, percent(50).max(Filesystem::Xfs.bytes_min())),
            ("black", Filesystem::Btrfs, percent(75)),
        ];
        let make = |(name, filesystem, bytes)| {
            let disk = LoopDisk::new(filesystem, bytes)?;
            Some(Disk { name, path: disk.path(), bytes, medium: Medium::Loop { _disk: disk } })
        };
        Some(Shelf { disks: disks.into_iter().map(make).collect::<Option<_>>()? })
    }

    /// Plain folders that lend so much and no more, for machines without disks to mount.
    pub fn folders(user: Option<u32>) -> Shelf {
        let make = |(name, bytes)| {
            let folder = TempDir::new().unwrap();
            chown(folder.path(), user, user).unwrap();
            let path = folder.path().to_path_buf();
            Disk { name, path, bytes, medium: Medium::Folder { _folder: folder } }
        };
        let disks = [("red", 40 * MB), ("blue", 60 * MB), ("green", 50 * MB), ("white", 240 * MB)];
        Shelf { disks: disks.into_iter().map(make).collect() }
    }

    /// Adds all to the set.
    pub fn join(&self, dsb: &Dsb) {
        for disk in &self.disks {
            let path = disk.path.to_str().unwrap();
            let size = disk.bytes.to_string();
            let size: &[&str] = match disk.medium {
                Medium::Loop { .. } => &[],
                Medium::Folder { .. } => &["--size", &size],
            };
            dsb.run(["disk", "add", disk.name, path].iter().chain(size)).ok();
        }
        say(dsb.run(["disk", "list"]).ok());
    }

    /// One visit of each disk, in turn.
    pub fn visit(&self, dsb: &Dsb) -> Vec<Run> {
        self.disks.iter().map(|disk| say(dsb.run(["backup", disk.name]).ok())).collect()
    }

    /// The folder of the disk that was visited last.
    pub fn last(&self) -> &Path {
        &self.disks.last().unwrap().path
    }

    /// Size of the largest disk; not all of it is for files.
    pub fn largest_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.bytes).max().unwrap()
    }

    /// Hands all that lies on the disks over to `user`.
    pub fn give_to(&self, user: u32) {
        for disk in &self.disks {
            give_to(&disk.path, user);
        }
    }

    /// Runs the `restore.py` of the first disk; `None`, with a loud line, without a Python for this user.
    pub fn restore_py(&self, to: &Path, user: Option<u32>, more: &[&str]) -> Option<Output> {
        let start = |python: &str| {
            let mut command = Command::new(python);
            // It must not matter where it is called from.
            command.current_dir("/").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
            if let Some(user) = user {
                command.uid(user).gid(user);
            }
            command
        };
        // What comes first in PATH may be a root's own.
        let works = |python: &&str| {
            let tried = start(python).arg("-c").arg("import sqlite3").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(works) else {
            skipped("restore.py needs Python 3 with sqlite3");
            return None;
        };
        let mut command = start(python);
        command.arg(self.disks[0].path.join("restore.py")).arg(to).args(more);
        for disk in &self.disks {
            command.arg("--disk").arg(&disk.path);
        }
        let done = command.output().unwrap();
        eprintln!("$ restore.py: {}\n{}{}", done.status, text(&done.stdout), text(&done.stderr));
        Some(done)
    }
}

/// Shows what the user saw, for those who look at the test's output.
pub fn say(run: Run) -> Run {
    eprintln!("{run}");
    run
}

/// What a program said.
///
/// # Panics
///
/// If it is no text: odd names have to be shown escaped (N12).
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("odd names are shown escaped")
}

/// An empty folder for a restore, which vanishes with this value.
pub enum Destination {
    Memory(Tmpfs),
    Folder(TempDir),
}

impl Destination {
    /// One that `user` may fill.
    pub fn new(user: Option<u32>) -> Destination {
        let folder = TempDir::new().unwrap();
        chown(folder.path(), user, user).unwrap();
        Destination::Folder(folder)
    }

    /// One for a large tree: in memory where that can hold all that a file may have, which is faster.
    pub fn large() -> Destination {
        const BYTES: u64 = 1000 * MB;
        let memory = Tmpfs::new(BYTES).filter(Tmpfs::holds_user_attributes);
        memory.map_or_else(|| Destination::new(None), Destination::Memory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Destination::Memory(tmpfs) => tmpfs.path(),
            Destination::Folder(folder) => folder.path(),
        }
    }
}
