//! The observer port: facts about a running operation, for whoever watches it.

use distbackup_core::model::{Bytes, ObjectId};

/// The part of an operation that is running now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Sources are walked.
    Scan,
    /// New and changed files are read and hashed.
    Hash,
    /// Unchanged files are read again.
    Reread,
    /// The disk is compared with the catalog.
    Reconcile,
    /// The visit is planned.
    Plan,
    /// Objects are removed.
    Remove,
    /// Objects are copied to the disk.
    Copy,
    /// Objects are put into the staging folder.
    Stage,
    /// What was copied is read again from the medium; lies within [`Phase::Copy`].
    ReadBack,
    /// The catalog is copied to the disk.
    Publish,
    /// The page by which the catalog can be browsed is written.
    Page,
    /// Objects are read and checked.
    Verify,
    /// Files are restored.
    Restore,
    /// Another kind of catalog is taken over.
    Import,
    /// Ordinary files on the disk are read, and become objects.
    Adopt,
    /// What people will ask is worked out ahead.
    LookAhead,
}

/// What a running operation tells whoever watches it: the terminal, a JSON stream or a test.
#[derive(Debug)]
pub enum Event<'a> {
    /// A phase begins. Totals are what is known by now; zero: unknown.
    Begin {
        /// Which.
        phase: Phase,
        /// Files or objects to come.
        files: u64,
        /// Bytes to come.
        bytes: Bytes,
    },
    /// So much more of the phase is done.
    Done {
        /// Files or objects.
        files: u64,
        /// Bytes.
        bytes: Bytes,
    },
    /// The file in hand, as raw bytes of a virtual path or an object's name.
    Working {
        /// Its path.
        path: &'a [u8],
    },
    /// The phase is over.
    End,
    /// One file had to be left out; the operation goes on and ends with exit code 3.
    Skipped {
        /// Raw bytes of its path.
        path: &'a [u8],
        /// Why, in words.
        reason: &'a str,
    },
    /// An object of a disk is damaged or missing; told for each, and before it is recorded.
    Damaged {
        /// Which.
        id: ObjectId,
        /// The size that it should have.
        size: Bytes,
        /// Raw bytes of a virtual path that has it, or its hash if none is known.
        path: &'a [u8],
        /// `missing`, `size=BYTES` or `hash=HEX` as found, or `error=WORDS`.
        what: &'a str,
    },
    /// Something the user should know, in one sentence.
    Note {
        /// The sentence.
        text: &'a str,
    },
}

/// Called often and from several threads: implementations are quick and cannot fail.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);

    /// Whether the user asked to stop; operations look at every file and end in order.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}
