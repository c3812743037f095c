//! The disk writes what is staged while more is staged, so that it has little left to do when a large batch is made durable.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::disk::Disk;

/// So often the disk is asked to write: more often, and staging is slower for it.
const EVERY: Duration = Duration::from_secs(3);

/// What the thread that lets the disk write is told.
#[derive(Debug, Default)]
struct Told {
    /// Not to wait any longer.
    now: bool,
    /// No more is coming.
    last: bool,
    over: bool,
}

/// Lets a disk write beside other work.
#[derive(Debug, Default)]
pub(super) struct WriteOut {
    told: Mutex<Told>,
    wake: Condvar,
}

impl WriteOut {
    /// Does `work`; meanwhile a thread lets the disk write from time to time, and when it is told to.
    pub fn beside<T>(&self, disk: &dyn Disk, work: impl FnOnce() -> T) -> T {
        std::thread::scope(|scope| {
            scope.spawn(|| self.write_out(disk));
            let over = Over(self);
            let outcome = work();
            drop(over);
            outcome
        })
    }

    fn write_out(&self, disk: &dyn Disk) {
        loop {
            let waits = |told: &mut Told| !told.now && !told.over;
            let waited = self.wake.wait_timeout_while(self.lock(), EVERY, waits);
            let mut told = waited.unwrap_or_else(PoisonError::into_inner).0;
            told.now = false;
            let (last, over) = (told.last, told.over);
            drop(told);
            if over {
                return;
            }
            // The disk remembers that it failed, and takes no batch any more (N1).
            let _remembered = disk.sync();
            if last {
                return;
            }
        }
    }

    /// The disk may write now.
    pub fn now(&self) {
        self.tell(|told| told.now = true);
    }

    /// No more will be staged: the disk may write the last of it.
    pub fn last(&self) {
        self.tell(|told| (told.now, told.last) = (true, true));
    }

    /// There is nothing to be written any more.
    pub fn over(&self) {
        self.tell(|told| told.over = true);
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.lock());
        self.wake.notify_one();
    }

    /// Locks although another thread panicked: what is in there is valid after every single step.
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends it also when the work panics: the thread would wait for ever.
struct Over<'w>(&'w WriteOut);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over();
    }
}

#[cfg(test)]
mod tests {
    use distbackup_core::model::DiskUuid;

    use super::*;
    use crate::disk::{FolderDisk, Identity};

    fn disk(room: &tempfile::TempDir) -> FolderDisk {
        let identity = Identity::new(DiskUuid("r".into()), "red", None);
        FolderDisk::create(&room.path().join("red"), &identity).unwrap()
    }

    #[test]
    fn it_ends_with_the_work_whatever_it_was_told() {
        let room = tempfile::tempdir().unwrap();
        let disk = disk(&room);
        let tellings: [fn(&WriteOut); 4] =
            [|_| (), WriteOut::now, WriteOut::last, |write_out| (write_out.last(), write_out.over()).1];
        for tell in tellings {
            let write_out = WriteOut::default();
            assert_eq!(write_out.beside(&disk, || (tell(&write_out), 42).1), 42);
        }
    }

    #[test]
    fn a_panic_in_the_work_is_not_waited_for_for_ever() {
        let room = tempfile::tempdir().unwrap();
        let disk = disk(&room);
        let work = || WriteOut::default().beside(&disk, || panic!("as a test wants it"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
    }
}
