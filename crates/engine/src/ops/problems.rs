//! Problems with single files: all are counted, the first ones are kept by path.

use std::sync::Mutex;

use crate::progress::{Event, Observer};

/// One file that had to be left out, or one thing that could not be done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Raw bytes of its path, virtual or real.
    pub path: Vec<u8>,
    /// Why, in words.
    pub reason: String,
}

/// Problems of one operation. More than [`Problems::KEPT`] are counted, not kept: memory is bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// How many there were.
    pub count: u64,
    /// The first ones.
    pub first: Vec<Problem>,
}

impl Problems {
    /// So many are kept by path.
    pub const KEPT: usize = 1000;

    /// Counts one.
    pub fn add(&mut self, path: &[u8], reason: impl Into<String>) {
        self.count += 1;
        if self.first.len() < Self::KEPT {
            self.first.push(Problem { path: path.to_vec(), reason: reason.into() });
        }
    }

    /// Counts one whose path takes time to look up: that is only done for those that are kept.
    pub fn try_add<E>(
        &mut self,
        path: impl FnOnce() -> Result<Vec<u8>, E>,
        reason: impl Into<String>,
    ) -> Result<(), E> {
        if self.first.len() < Self::KEPT {
            self.add(&path()?, reason);
        } else {
            self.count += 1;
        }
        Ok(())
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds those of a part of the operation.
    pub fn extend(&mut self, other: Problems) {
        self.count += other.count;
        let room = Self::KEPT.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

/// Problems reported by several threads, each told to the observer at once.
pub(super) struct SharedProblems<'a> {
    problems: Mutex<Problems>,
    observer: &'a dyn Observer,
}

impl<'a> SharedProblems<'a> {
    pub fn new(observer: &'a dyn Observer) -> Self {
        SharedProblems { problems: Mutex::default(), observer }
    }

    pub fn add(&self, path: &[u8], reason: &str) {
        self.observer.event(Event::Skipped { path, reason });
        // A thread that panicked while counting left a count that is still good.
        self.problems.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(path, reason);
    }

    pub fn into_inner(self) -> Problems {
        self.problems.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
