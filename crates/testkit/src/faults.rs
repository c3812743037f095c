//! Single system calls that go wrong: a library that is preloaded into the program under test.
//!
//! The program runs as it is, a release build too. The library (`preload.c` beside this file, compiled by the test)
//! counts every call that changes something below chosen folders, those of SQLite included, and at a chosen one the
//! process dies or gets an error.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::skipped;

const PRELOAD: &str = include_str!("faults/preload.c");

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL before the call (D1).
    KillBefore,
    /// SIGKILL after the call, before the program does anything else.
    KillAfter,
    /// The call fails with this error (an `errno`), all others work (D19).
    Once(i32),
    /// This call and all later ones below the same of the folders fail: a disk that is gone, or full for good.
    FromThenOn(i32),
}

impl Fault {
    /// Each of them, with an input/output error and with a full disk, and a disk that turns read-only (D9).
    pub const ALL: [Fault; 7] = [
        Fault::KillBefore,
        Fault::KillAfter,
        Fault::Once(libc::EIO),
        Fault::Once(libc::ENOSPC),
        Fault::FromThenOn(libc::EIO),
        Fault::FromThenOn(libc::ENOSPC),
        Fault::FromThenOn(libc::EROFS),
    ];

    /// Whether the process dies of it.
    pub fn kills(self) -> bool {
        matches!(self, Fault::KillBefore | Fault::KillAfter)
    }

    /// Whether the disk turns read-only.
    pub fn is_read_only(self) -> bool {
        self == Fault::FromThenOn(libc::EROFS)
    }

    /// Whether the disk says that it is full.
    pub fn is_full(self) -> bool {
        matches!(self, Fault::Once(libc::ENOSPC) | Fault::FromThenOn(libc::ENOSPC))
    }
}

/// A call that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// From 1 on, in the order in which they were made.
    pub number: u64,
    /// `write`, `truncate`, `sync`, `create`, `mkdir`, `rename`, `link`, `unlink` or `mode`.
    pub kind: String,
    /// The file; of two names the new one.
    pub path: PathBuf,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}, {} {}", self.number, self.kind, self.path.display())
    }
}

/// The number of calls of each kind.
pub fn kinds(calls: &[Call]) -> BTreeMap<&str, usize> {
    calls.iter().fold(BTreeMap::new(), |mut counts, call| {
        *counts.entry(call.kind.as_str()).or_default() += 1;
        counts
    })
}

/// The library, compiled; gone with this value.
#[derive(Debug)]
pub struct Injector {
    folder: TempDir,
}

impl Injector {
    /// Compiles the library; `None`, with a loud line, where it cannot work: without a C compiler, or without `/proc`.
    ///
    /// # Panics
    ///
    /// If the compiler refuses it.
    pub fn new() -> Option<Injector> {
        if !cfg!(target_os = "linux") || !Path::new("/proc/self/fd").exists() {
            skipped("needs Linux with /proc to tell which file a call is about");
            return None;
        }
        let injector = Injector { folder: TempDir::new().unwrap() };
        let source = injector.folder.path().join("preload.c");
        fs::write(&source, PRELOAD).unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-shared", "-fPIC", "-pthread", "-o"]).arg(injector.library()).arg(source);
        let compiled = match compile.arg("-ldl").output() {
            Ok(compiled) => compiled,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                skipped("needs cc");
                return None;
            }
            Err(error) => panic!("cc: {error}"),
        };
        assert!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
        Some(injector)
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("preload.so")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    /// Has a command count its calls below `folders`, and suffer `fault` at the call of that number if there is one.
    pub fn arm(&self, command: &mut Command, folders: &[&Path], fault: Option<(u64, Fault)>) {
        let folders = folders.iter().map(|folder| folder.to_str().unwrap()).collect::<Vec<_>>().join(":");
        let _nothing_logged_yet = fs::remove_file(self.log());
        command.env("LD_PRELOAD", self.library()).env("DSB_FAULT_BELOW", folders);
        command.env("DSB_FAULT_LOG", self.log());
        let Some((number, fault)) = fault else { return };
        let how = match fault {
            Fault::KillBefore => "before".to_owned(),
            Fault::KillAfter => "after".to_owned(),
            Fault::Once(errno) | Fault::FromThenOn(errno) => errno.to_string(),
        };
        command.env("DSB_FAULT_AT", number.to_string()).env("DSB_FAULT_HOW", how);
        if let Fault::FromThenOn(_) = fault {
            command.env("DSB_FAULT_ON", "1");
        }
    }

    /// The calls of the last armed command; the one that went wrong is among them.
    pub fn calls(&self) -> Vec<Call> {
        // No file: the library was not loaded, or no call concerned it.
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines()
            .map(|line| {
                let mut parts = line.splitn(3, '\t');
                let mut part = || parts.next().unwrap_or_else(|| panic!("{line:?} of the log"));
                let (number, kind, path) = (part(), part(), part());
                Call { number: number.parse().unwrap(), kind: kind.to_owned(), path: path.into() }
            })
            .collect()
    }
}
