//! Private folders for short-lived files, such as a copy of a catalog.

use std::io;
use std::path::{Path, PathBuf};

use crate::platform;

/// Begins the names of those beside a catalog, of which whoever holds the catalog's lock knows that nobody uses them.
const BESIDE_CATALOG: &str = "distbackup-unfinished-";

/// A folder that only its owner can read, removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Makes one in the system's place for temporary files.
    pub fn new() -> io::Result<Self> {
        Self::named(&std::env::temp_dir(), "dsb-")
    }

    /// Makes one in the folder of a catalog, whose lock the caller holds alone. A killed process leaves it behind for
    /// [`TempFolder::clear_left_behind`].
    pub fn inside(catalog_folder: &Path) -> io::Result<Self> {
        Self::named(catalog_folder, BESIDE_CATALOG)
    }

    /// Removes what killed processes left in the folder of a catalog; the caller holds its lock alone.
    pub fn clear_left_behind(catalog_folder: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(catalog_folder)? {
            let entry = entry?;
            let ours = entry.file_name().as_encoded_bytes().starts_with(BESIDE_CATALOG.as_bytes());
            if ours && entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn named(parent: &Path, begin: &str) -> io::Result<Self> {
        let path = parent.join(format!("{begin}{:016x}", platform::random_bits()));
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
        // A left-over harms nobody, there is nobody to tell, and beside a catalog it goes with the next run.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_what_a_killed_process_left_beside_the_catalog_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let left = TempFolder::inside(folder.path()).unwrap();
        std::fs::write(left.path().join("copy.sqlite"), "all names").unwrap();
        for kept in ["dsb-0123456789abcdef", "log", "distbackup-unfinished"] {
            std::fs::create_dir(folder.path().join(kept)).unwrap();
        }
        std::os::unix::fs::symlink("log", folder.path().join(format!("{BESIDE_CATALOG}1"))).unwrap();
        TempFolder::clear_left_behind(folder.path()).unwrap();
        assert!(!left.path().exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }
}
