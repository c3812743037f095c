//! Files without a name: what is written to them is nowhere to be seen until they get one, and gone if they never do.
//!
//! No folder is changed to make one, nor to give it up, and only the folder of its name is changed to name it. Each is held
//! by a descriptor, of which a process may have a limited number: so they are counted for all of the process.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::Mode;

use super::system;

/// Descriptors that are left for everything else: sources, folders, the catalog, pipes.
const RESERVE: usize = 1024;
/// Two batches of copies. More would only take memory of the system.
const HELD_MAX: usize = 32_768;

/// How many there are now.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// A file without a name. It vanishes when it is dropped, unless it got one.
#[derive(Debug)]
pub struct UnnamedFile {
    file: File,
    _counted: Counted,
}

#[derive(Debug)]
struct Counted;

impl Counted {
    fn below(max: usize) -> Option<Self> {
        let taken = HELD.fetch_add(1, Ordering::Relaxed) < max;
        let counted = Counted;
        taken.then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

impl UnnamedFile {
    /// Makes one on the filesystem of an open folder, for reading and writing. `None` if this process holds `held_max` of
    /// them or more, or the filesystem has none.
    pub fn new(dir: BorrowedFd<'_>, mode: u32, held_max: usize) -> io::Result<Option<Self>> {
        let Some(counted) = Counted::below(held_max) else { return Ok(None) };
        let file = system::unnamed_file(dir, Mode::from_raw_mode(mode))?;
        Ok(file.map(|file| UnnamedFile { file, _counted: counted }))
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it a name in an open folder of its filesystem. An existing name is an error, also if it is that of a symlink.
    pub fn link_at(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        system::link_unnamed(&self.file, dir, name)
    }
}

/// How many unnamed files a process with its limit of open files may hold at once; 0 if it had better hold none.
pub fn unnamed_files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.saturating_sub(RESERVE).min(HELD_MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::open_folder;
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, MetadataExt, symlink};

    #[test]
    fn a_file_has_no_name_until_it_gets_one_and_never_takes_another_s() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open_folder(dir.path()).unwrap();
        let Some(file) = UnnamedFile::new(folder.as_fd(), 0o600, usize::MAX).unwrap() else {
            return eprintln!("SKIPPED: the filesystem of the temporary folder has no unnamed files");
        };
        file.file().write_all_at(b"content", 0).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        std::fs::write(dir.path().join("taken"), "mine").unwrap();
        symlink("nowhere", dir.path().join("link")).unwrap();
        for name in [&b"taken"[..], b"link"] {
            let error = file.link_at(folder.as_fd(), name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        file.link_at(folder.as_fd(), b"name").unwrap();
        drop(file);
        let path = dir.path().join("name");
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(dir.path().join("taken")).unwrap(), b"mine");
        // One more would be one too many.
        assert!(UnnamedFile::new(folder.as_fd(), 0o600, 0).unwrap().is_none());
    }
}
