//! Early copies: what the first scan of a set reads is staged on the disk at once, and not read a second time.
//!
//! A scan knows contents before there is a plan. On a disk without objects that has room to spare, nearly all of them will
//! be planned, so they may lie there already: out of sight, and taken by the visit as they are planned. What it does not want
//! goes before the catalog comes. Where room is short, all of it goes before the first copy: a plan counts on that room.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use distbackup_core::model::{Bytes, DirNo, ObjectId, billed};

use super::BackupOptions;
use super::write_out::WriteOut;
use crate::catalog::{Catalog, DiskRow};
use crate::disk::{Disk, Staged};
use crate::ops::OpError;
use crate::ops::update::Taker;

/// Copies that were staged before the visit of a disk. Dropping it discards what was not taken.
pub struct Early<'d> {
    disk: &'d dyn Disk,
    unit: u64,
    /// Room that may still be taken, in billed bytes.
    left: AtomicU64,
    /// The disk refused something: the visit will find out what is the matter.
    off: AtomicBool,
    /// `None`: just being staged.
    staged: Mutex<HashMap<ObjectId, Option<Staged>>>,
    /// Lets the disk write while the scan goes on.
    writing: WriteOut,
    /// When copying began.
    pub(super) began: Instant,
    /// What interrupted visits had left.
    pub(super) cleared: Bytes,
}

impl<'d> Early<'d> {
    /// Prepares the disk, which must be locked, to take copies before its visit with these options; `None` if the visit had
    /// better begin with nothing.
    pub fn begin(
        catalog: &Catalog,
        disk: &'d dyn Disk,
        row: &DiskRow,
        options: &BackupOptions,
    ) -> Result<Option<Self>, OpError> {
        let BackupOptions { limit, dry_run, streams, read_back, .. } = options;
        let simple = limit.is_none() && !dry_run && *streams > 1 && !read_back && !row.retiring;
        if !simple || catalog.read().has_entries(DirNo::ROOT)? || !disk.wants_one_batch() {
            return Ok(None);
        }
        // What the visit does first otherwise: afterwards it could not tell what is left over.
        let cleared = disk.clear_incoming().map_err(OpError::disk(&row.name))?;
        let left = AtomicU64::new(row.capacity.0 / 2);
        let (off, staged) = Default::default();
        let began = Instant::now();
        let writing = Default::default();
        Ok(Some(Early { disk, unit: row.unit, left, off, staged, writing, began, cleared }))
    }

    /// Lets the disk write what is staged while `work` goes on: the scan, and the visit.
    pub fn writing_out<T>(&self, work: impl FnOnce() -> T) -> T {
        self.writing.beside(self.disk, work)
    }

    /// Room on the disk that is taken, in billed bytes.
    pub fn billed(&self) -> Bytes {
        let staged = lock(&self.staged);
        let sizes = staged.values().flatten().map(|staged| billed(staged.size, self.unit).0);
        Bytes(sizes.sum())
    }

    /// Hands over the copy of a content.
    pub(super) fn claim(&self, id: ObjectId) -> Option<Staged> {
        lock(&self.staged).remove(&id).flatten()
    }

    /// Whether there is nothing to hand over.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.staged).is_empty()
    }

    /// Discards what was not handed over.
    pub(super) fn discard(&self) {
        self.off.store(true, Ordering::Relaxed);
        let staged = std::mem::take(&mut *lock(&self.staged));
        for staged in staged.into_values().flatten() {
            // What cannot be removed now is a left-over (D16); what is the matter with the disk is found out by others.
            let _left_over = self.disk.discard(staged);
        }
    }
}

/// Locks although another thread panicked: what is in there is valid after every single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Early<'_> {
    fn drop(&mut self) {
        self.discard();
    }
}

impl Taker for Early<'_> {
    fn wants_more(&self) -> bool {
        !self.off.load(Ordering::Relaxed)
    }

    /// The disk may write the last ones: it is done sooner, for all that the scan does until its end.
    fn no_more(&self) {
        self.writing.last();
    }

    fn take(&self, id: ObjectId, content: &[u8]) {
        let room = billed(Bytes(content.len() as u64), self.unit).0;
        let take = |left: u64| left.checked_sub(room);
        if !self.wants_more() {
            return;
        }
        match lock(&self.staged).entry(id) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => {
                if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                    return self.off.store(true, Ordering::Relaxed);
                }
                place.insert(None);
            }
        }
        match self.disk.stage_hashed(id, content) {
            Ok(staged) => {
                lock(&self.staged).insert(id, Some(staged));
            }
            // The visit reads it again, and tells what is wrong with the disk if it still is.
            Err(_) => {
                self.off.store(true, Ordering::Relaxed);
                lock(&self.staged).remove(&id);
            }
        }
    }
}
