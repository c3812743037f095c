//! Programs of the system, replaced: a folder that stands alone in `PATH`.

#![allow(dead_code, reason = "each test program uses its part of this module")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The only programs that dsb finds.
pub struct Tools {
    folder: TempDir,
}

impl Tools {
    /// None at all.
    pub fn none() -> Tools {
        Tools { folder: TempDir::new().unwrap() }
    }

    /// What stands in `PATH`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program that notes how it was called in `calls` and then does this, in the language of `/bin/sh`. The tools of the
    /// system are in its own `PATH`.
    pub fn add(&self, name: &str, script: &str) {
        let (file, calls) = (self.path().join(name), self.calls_file());
        let path = std::env::var("PATH").unwrap_or_default();
        let text =
            format!("#!/bin/sh\nPATH='{path}'\necho \"{name} $*\" >>'{}'\n{script}\n", calls.display());
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program of the system itself, with a note of each call.
    pub fn add_real(&self, name: &str) {
        self.add(name, &format!("exec {name} \"$@\""));
    }

    /// How programs were called so far, in order.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn calls_file(&self) -> PathBuf {
        self.path().join("calls")
    }
}
