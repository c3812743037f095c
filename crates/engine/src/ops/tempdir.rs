//! Private folders for short-lived files, such as a copy of a catalog.

use std::io;
use std::path::{Path, PathBuf};

use crate::platform;

/// A folder that only its owner can read, removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes one in the system's place for temporary files.
    pub fn new() -> io::Result<Self> {
        Self::inside(&std::env::temp_dir())
    }

    /// Makes one inside a folder.
    pub fn inside(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("dsb-{:016x}", platform::random_bits()));
        std::fs::create_dir(&path)?;
        platform::make_private(&path)?;
        Ok(TempFolder(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // A left-over in the system's temporary folder harms nobody, and there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
