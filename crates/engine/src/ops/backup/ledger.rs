//! The room of the disk during a visit, to the byte: no copy begins that does not fit (I4, I6).

use std::sync::Mutex;

use distbackup_core::model::Bytes;

/// Room that is left for objects, in billed bytes. Shared by the threads that copy.
#[derive(Debug)]
pub struct Ledger {
    room: Mutex<Bytes>,
}

impl Ledger {
    /// Begins with the room there is.
    pub fn new(room: Bytes) -> Self {
        Ledger { room: Mutex::new(room) }
    }

    /// Takes room for a copy; false if there is not enough.
    #[must_use = "a copy without room must not be made"]
    pub fn take(&self, bytes: Bytes) -> bool {
        let mut room = self.lock();
        let fits = bytes <= *room;
        if fits {
            *room = *room - bytes;
        }
        fits
    }

    /// Gives room back: of what was removed, and of a copy that was not made.
    pub fn give(&self, bytes: Bytes) {
        *self.lock() += bytes;
    }

    /// What is left.
    pub fn left(&self) -> Bytes {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bytes> {
        // A thread that panicked left a figure that is whole.
        self.room.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let ledger = Ledger::new(Bytes(10));
        assert!(ledger.take(Bytes(7)));
        assert!(!ledger.take(Bytes(4)));
        assert!(ledger.take(Bytes(3)));
        ledger.give(Bytes(5));
        assert_eq!(ledger.left(), Bytes(5));
    }
}
