//! Durability: what it takes until content survives a power cut.
//!
//! An error of any of these is final for everything it covered: Linux forgets dirty pages after a
//! failed sync, and a second try succeeds on nothing (N1). So nothing here retries.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::open::open_folder_following;
use super::system;

/// Makes everything written to the filesystem of `fd` durable (`syncfs`).
///
/// Errors are reported once per open descriptor, and only for what went wrong after it was opened: call it on
/// one that was opened before the first write. `Unsupported` on systems without it; see
/// [`syncfs_reports_errors`] too.
pub fn sync_filesystem(fd: impl AsFd) -> io::Result<()> {
    system::sync_filesystem(fd.as_fd())
}

/// Whether [`sync_filesystem`] returns write errors: Linux 5.8 and later.
///
/// Where it does not, files have to be synced one by one. `false` if the version is unknown.
pub fn syncfs_reports_errors() -> bool {
    system::syncfs_reports_errors()
}

/// Makes the content and metadata of one file durable (`fsync`; with the disk's own cache on macOS).
pub fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Has a file that grows written to its medium part by part, while the next part comes: else nothing is written before a
/// tenth of all memory is full of it. A hint, which makes nothing durable and reports no error: a later sync does.
#[derive(Debug, Default)]
pub struct WritingOut {
    begun: u64,
}

impl WritingOut {
    /// What goes together. Smaller files wait for their sync.
    const PART: u64 = 8 << 20;

    /// Of a file of which all up to here is on its way already.
    pub fn from(begun: u64) -> Self {
        WritingOut { begun }
    }

    /// The file has been written up to here.
    pub fn reached(&mut self, file: &File, end: u64) {
        let waiting = end.saturating_sub(self.begun);
        if waiting >= Self::PART {
            system::begin_writing_out(file.as_fd(), self.begun, waiting);
            self.begun = end;
        }
    }
}

/// Makes the content of one file durable, and of its metadata only what reading it needs (`fdatasync`).
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Makes the names in a folder durable: new, renamed and removed ones.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::from(open_folder_following(path)?).sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_filesystems_can_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("a")).unwrap();
        sync_file(&file).unwrap();
        sync_data(&file).unwrap();
        sync_directory(dir.path()).unwrap();
        assert!(sync_directory(&dir.path().join("a")).is_err(), "a file is no folder");
        if cfg!(target_os = "linux") {
            sync_filesystem(&file).unwrap();
        }
    }
}
