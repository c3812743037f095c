//! The folders of a disk, listed ahead by several threads: to list one is to wait for the disk once for each of its objects.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use crate::disk::layout::FOLDERS;
use crate::disk::{Disk, DiskError, Listed};

/// Folders that one thread is ahead.
const AHEAD: usize = 4;

/// What is in one folder.
type Folder = Result<Vec<Listed>, DiskError>;

/// The folders in their order.
pub(super) struct Folders<'s> {
    disk: &'s dyn Disk,
    /// From each thread its folders; without threads each is listed when it is its turn.
    ahead: Vec<Receiver<Folder>>,
    next: u16,
}

impl<'s> Folders<'s> {
    /// Begins to list them with so many threads, which end with the last folder or when this is dropped.
    pub fn ahead(scope: &'s Scope<'s, '_>, disk: &'s dyn Disk, threads: u16) -> Self {
        let begin = |first: u16| {
            let (done, listed) = sync_channel(AHEAD);
            scope.spawn(move || list(disk, (first..FOLDERS).step_by(usize::from(threads)), &done));
            listed
        };
        Folders { disk, ahead: (0..threads).map(begin).collect(), next: 0 }
    }

    /// The next folder: its objects ascending by id, then whatever else is in it.
    pub fn next(&mut self) -> Folder {
        let prefix = self.next;
        self.next += 1;
        let thread = usize::from(prefix).checked_rem(self.ahead.len());
        match thread.and_then(|thread| self.ahead.get(thread)).map(Receiver::recv) {
            Some(Ok(listed)) => listed,
            // Without threads; or the one for this folder panicked, which the scope hands on.
            Some(Err(_)) | None => self.disk.list_folder(prefix),
        }
    }
}

fn list(disk: &dyn Disk, prefixes: impl Iterator<Item = u16>, done: &SyncSender<Folder>) {
    for prefix in prefixes {
        // Nobody waits for more if the comparison has ended.
        if done.send(disk.list_folder(prefix)).is_err() {
            return;
        }
    }
}
