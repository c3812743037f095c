//! Stable numbers for the filesystems that a scan meets.
//!
//! `st_dev` changes across reboots, so each device number met is resolved once per run to the identity
//! of its filesystem, and that to the catalog's number for it (DESIGN 7.6, S6).

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard};

use distbackup_core::model::{FilesystemNo, Stamp};

use crate::catalog::{CatalogError, Reader, Writer};
use crate::platform::{self, Stat};

/// A filesystem as a scan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    pub number: FilesystemNo,
    pub stable_inodes: bool,
}

#[derive(Debug, Default)]
struct Known {
    by_device: HashMap<u64, Filesystem>,
    by_identity: HashMap<String, Filesystem>,
    /// Met for the first time in this run; to be recorded.
    new: Vec<(FilesystemNo, String, String, bool)>,
    next: i64,
}

/// All filesystems met so far; shared by the scanning threads.
#[derive(Debug)]
pub struct Filesystems(Mutex<Known>);

impl Filesystems {
    /// Those that the catalog knows.
    pub fn load(reader: &Reader<'_>) -> Result<Self, CatalogError> {
        let mut known = Known { next: 1, ..Known::default() };
        for (number, identity, stable_inodes) in reader.filesystems()? {
            known.next = known.next.max(number.0 + 1);
            known.by_identity.insert(identity, Filesystem { number, stable_inodes });
        }
        Ok(Filesystems(Mutex::new(known)))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The filesystem with this device number; `folder` is an open folder on it, asked once per device.
    pub fn of_device(&self, device: u64, folder: BorrowedFd<'_>) -> io::Result<Filesystem> {
        if let Some(&found) = self.lock().by_device.get(&device) {
            return Ok(found);
        }
        let id = platform::identify(folder)?;
        let mut known = self.lock();
        let found = match known.by_identity.get(&id.identity) {
            Some(&found) => found,
            None => {
                let number = FilesystemNo(known.next);
                known.next += 1;
                let found = Filesystem { number, stable_inodes: id.stable_inodes };
                known.by_identity.insert(id.identity.clone(), found);
                known.new.push((number, id.identity, id.kind, id.stable_inodes));
                found
            }
        };
        known.by_device.insert(device, found);
        Ok(found)
    }

    /// The filesystem of a device that was met before in this run.
    pub fn known_device(&self, device: u64) -> Option<Filesystem> {
        self.lock().by_device.get(&device).copied()
    }

    /// Records those met for the first time.
    pub fn record(&self, writer: &Writer<'_>) -> Result<(), CatalogError> {
        for (number, identity, kind, stable_inodes) in std::mem::take(&mut self.lock().new) {
            writer.record_filesystem(number, &identity, &kind, stable_inodes)?;
        }
        Ok(())
    }
}

impl Filesystem {
    /// The stamp of something found on this filesystem.
    pub fn stamp(self, stat: &Stat, size: u64) -> Stamp {
        Stamp {
            filesystem: self.number,
            inode: if self.stable_inodes { stat.inode } else { 0 },
            size,
            mtime_ns: stat.mtime_ns,
            ctime_ns: stat.ctime_ns,
        }
    }
}
