//! The destination: nothing is ever written outside it, and never through a symlink (R3, rule 7).
//!
//! Every folder is held by a descriptor and entered by one name at a time without following links.
//! What is done to a name in it goes through `/proc/self/fd`, which names that very folder, so it does
//! not matter how long the path is or what somebody puts in its place meanwhile.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::platform::{self, Stat, path_of_bytes};

/// A folder of the destination.
#[derive(Debug)]
pub struct Folder {
    descriptor: OwnedFd,
}

/// How temporary names begin; the process and a number follow.
const TEMPORARY: &str = ".dsb-restore-";

/// Numbers temporary names of this process.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Folder {
    /// Opens the destination itself; it is made, with its parents, if it is missing.
    pub fn destination(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        // The user's own path may lead through symlinks; below it none is followed.
        let real = std::fs::canonicalize(path)?;
        let folder = Folder { descriptor: platform::open_folder(&real)? };
        folder.clear_left_overs();
        Ok(folder)
    }

    /// Makes everything on the destination's filesystem durable. The folder was opened before the first write, so an
    /// error of writing back is told here. Where there is no such call, the system is asked to write, and trusted.
    pub fn sync(&self) -> io::Result<()> {
        match platform::sync_filesystem(self.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                rustix::fs::sync();
                Ok(())
            }
            result => result,
        }
    }

    /// Enters a folder below; `None` if there is none.
    pub fn enter(&self, name: &[u8]) -> io::Result<Option<Self>> {
        match platform::open_folder_at(self.as_fd(), name) {
            Ok(descriptor) => Ok(Some(Folder { descriptor })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Enters a folder below, made if it is missing: for its owner only, until its own mode is set.
    pub fn make(&self, name: &[u8]) -> io::Result<Self> {
        let new = match platform::make_directory_at(self.as_fd(), name, 0o700) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        let folder = Folder { descriptor: platform::open_folder_at(self.as_fd(), name)? };
        if !new {
            folder.clear_left_overs();
        }
        Ok(folder)
    }

    /// Removes unfinished files of restores that were killed (R4). Those of running ones are locked.
    ///
    /// Trouble only means that one stays: it is in nobody's way.
    fn clear_left_overs(&self) {
        let Ok(names) = std::fs::read_dir(self.path(b".")) else { return };
        for name in names.flatten().map(|entry| platform::bytes_of_path(Path::new(&entry.file_name()))) {
            if is_temporary(&name)
                && let Ok((file, _)) = platform::open_source_at(self.as_fd(), &name)
                && file.try_lock().is_ok()
            {
                let _ = self.remove(&name);
            }
        }
    }

    /// A path that means this folder's entry `name`, valid as long as this value lives.
    pub fn path(&self, name: &[u8]) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()));
        path.push(path_of_bytes(name));
        path
    }

    /// What is there under a name; `None` if nothing is.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match platform::stat_at(self.as_fd(), name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A new file under a temporary name.
    pub fn create_temporary(&self) -> io::Result<(File, Vec<u8>)> {
        loop {
            let name = self.temporary_name();
            let mut options = OpenOptions::new();
            options.write(true).read(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.open(self.path(&name)) {
                Ok(file) => {
                    // Shows that somebody is still writing it; where files cannot be locked, none is ever cleared.
                    let _ = file.try_lock();
                    return Ok((file, name));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A name that no entry is likely to have.
    pub fn temporary_name(&self) -> Vec<u8> {
        let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
        format!("{TEMPORARY}{}-{number}", std::process::id()).into_bytes()
    }

    /// Gives a temporary name its final one, replacing what is there.
    pub fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        platform::rename_at(self.as_fd(), from, self.as_fd(), to)
    }

    /// Gives a temporary name its final one, unless something is there.
    pub fn rename_new(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        platform::rename_new_at(self.as_fd(), from, to)
    }

    /// Removes a name that is no folder.
    pub fn remove(&self, name: &[u8]) -> io::Result<()> {
        platform::unlink_at(self.as_fd(), name)
    }

    /// Makes `name` another link of `of` in the folder `other`.
    pub fn link(&self, name: &[u8], other: &Folder, of: &[u8]) -> io::Result<()> {
        platform::link_at(other.as_fd(), of, self.as_fd(), name)
    }

    /// Makes a symlink.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> io::Result<()> {
        platform::symlink_at(target, self.as_fd(), name)
    }

    /// Makes a fifo or a device.
    pub fn make_node(
        &self,
        name: &[u8],
        kind: distbackup_core::model::Kind,
        device: distbackup_core::model::DeviceNumber,
    ) -> io::Result<()> {
        platform::make_node_at(self.as_fd(), name, kind, device)
    }

    /// Room on the destination's filesystem.
    pub fn space(&self) -> io::Result<platform::Space> {
        platform::space(self.as_fd())
    }
}

/// Whether a name is one that [`Folder::temporary_name`] gives.
fn is_temporary(name: &[u8]) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = std::str::from_utf8(name).ok().and_then(|text| text.strip_prefix(TEMPORARY));
    text.and_then(|text| text.split_once('-')).is_some_and(|(one, other)| number(one) && number(other))
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
