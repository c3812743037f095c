//! The disk port: what a visit may ask of one connected disk, and the laws an implementation keeps.
//!
//! Nothing here says that an object is a plain file in a local folder, so that an encrypted disk,
//! a bucket or an object in parts can come later behind the same calls (DESIGN 4).

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

pub use distbackup_core::model::DiskStamp;
use distbackup_core::model::{Bytes, DiskUuid, ObjectId, SetUuid};

use crate::content::{Content, InMemory};
use crate::platform::Stat;

/// What `distbackup-disk.json` says. Keys that we do not know are kept as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Which disk.
    pub uuid: DiskUuid,
    /// Its name, as a hint for people; the catalog's name counts.
    pub name: String,
    /// Which set; `None` on a disk of distbackup 1.x.
    pub set: Option<SetUuid>,
    /// Version of the layout; 1 for disks of distbackup 1.x and for ours.
    pub format: u32,
    /// What a reader must understand to use this disk at all; anything unknown is refused.
    pub features_required: Vec<String>,
    /// Stamp of the last writing visit; `None` on a disk of distbackup 1.x.
    pub stamp: Option<DiskStamp>,
    /// All other keys, verbatim.
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Identity {
    /// That of a disk that nobody has written to yet, in the layout that we write.
    pub fn new(uuid: DiskUuid, name: &str, set: Option<SetUuid>) -> Self {
        Identity {
            uuid,
            name: name.to_owned(),
            set,
            format: 1,
            features_required: Vec::new(),
            stamp: None,
            other: serde_json::Map::new(),
        }
    }
}

/// Room on a disk and what its filesystem can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the whole filesystem.
    pub total: Bytes,
    /// Really free for us now.
    pub free: Bytes,
    /// Allocation unit in bytes.
    pub unit: u64,
    /// Largest file that the filesystem takes (D17).
    pub file_max: Bytes,
}

/// One name found in the objects folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A regular file with the name of an object, in its right place.
    Object {
        /// Whose name it bears; its content is not proven by that.
        id: ObjectId,
        /// Its size.
        size: Bytes,
    },
    /// Something else: a symlink, a folder, another name, an object in a wrong folder (D15). Never followed.
    Foreign {
        /// Raw path below the objects folder.
        path: Vec<u8>,
        /// What is odd about it, in words.
        what: &'static str,
    },
}

/// Content that was written without its final name: not safe and not visible before [`Disk::commit`].
#[derive(Debug)]
#[must_use = "a staged object takes room until it is committed or discarded"]
pub struct Staged {
    /// SHA-256 of what was read and written.
    pub id: ObjectId,
    /// Bytes of content.
    pub size: Bytes,
    /// The implementation's name for it.
    pub handle: u64,
}

/// An ordinary file on the disk's filesystem that is no object yet, in the disk's folder or beside it.
#[derive(Debug, Clone)]
pub struct Loose {
    /// The folder that holds it, held open.
    pub folder: Arc<OwnedFd>,
    /// Its name there.
    pub name: Vec<u8>,
    /// Its path, for messages; from the disk's folder if it lies below it.
    pub path: PathBuf,
    /// The facts about it when it was read, or for a clone when it was met.
    pub stat: Stat,
}

/// What becomes of an ordinary file's own name when the file becomes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnName {
    /// It goes: the file is moved.
    Goes,
    /// It stays as a second name of the same file, which becomes read-only.
    Stays,
}

/// What became of one ordinary file of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "only what was taken in may be recorded as a copy"]
pub enum Taken {
    /// It is an object now.
    In,
    /// It was left as it is, for this reason in words.
    Left(String),
}

/// An object that is read from the medium.
pub struct ReadBack<'d> {
    /// What the medium holds.
    pub content: Box<dyn Content + Send + 'd>,
    /// The system gives it from memory all the same: it lies on a filesystem in memory, or cannot be dropped from there.
    pub from_memory: bool,
}

/// Why a content could not be staged: trouble with the source is one file's, trouble with the disk is the visit's.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The content could not be read.
    #[error("the source could not be read: {0}")]
    Source(#[source] io::Error),
    /// The disk could not take it.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What went wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The folder has no identity file: most often a mount point with nothing mounted (D10).
    #[error("no backup disk at {}", folder.display())]
    NotADisk {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The identity file cannot be understood.
    #[error("{} is damaged: {why}", path.display())]
    DamagedIdentity {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The folder is a backup disk already; its identity is never overwritten (D13).
    #[error("{} is a backup disk already", folder.display())]
    AlreadyADisk {
        /// The folder that was to become a disk.
        folder: PathBuf,
    },
    /// Something stands where only our own file or folder may stand: never followed, never replaced (D15).
    #[error("{} is {what}: it is not touched", path.display())]
    Foreign {
        /// Where it stands.
        path: PathBuf,
        /// What it is: "a symlink", "not a folder"…
        what: &'static str,
    },
    /// Written by a newer program in a way this one would damage.
    #[error("the disk at {} needs a newer dsb: it uses {feature}", folder.display())]
    UnknownFeature {
        /// The disk's folder.
        folder: PathBuf,
        /// The first unknown feature.
        feature: String,
    },
    /// No room left although the disk promised it (D4).
    #[error("no room left on the disk ({needed} needed)")]
    Full {
        /// What did not fit.
        needed: Bytes,
    },
    /// A single file is larger than the filesystem takes (D17).
    #[error("{size} in one file is more than this filesystem takes")]
    TooLarge {
        /// The file's size.
        size: Bytes,
    },
    /// Turned read-only, or always was (D9).
    #[error("the disk is read-only")]
    ReadOnly,
    /// The object is not there.
    #[error("object {0} is not on the disk")]
    Missing(ObjectId),
    /// Nothing that the failed sync covered may be recorded as a copy (N1).
    #[error("the disk could not make what was written durable ({objects} new objects): {source}")]
    NotDurable {
        /// How many objects the sync covered.
        objects: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Any other failure, with what was attempted.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "write", "rename", "list"…
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// One connected disk, as a visit sees it.
///
/// Laws (every implementation passes `laws.rs`):
/// 1. What [`commit`](Disk::commit) returned `Ok` for survives a power cut, under its final name, whole.
/// 2. When `commit` fails, none of its objects may be recorded: some may be there, some not (N1).
/// 3. Staged content is invisible to [`list_folder`](Disk::list_folder) and [`open`](Disk::open), and gone after
///    [`clear_incoming`](Disk::clear_incoming).
/// 4. [`remove`](Disk::remove) deletes only regular files with an object's name; it succeeds if there is none.
/// 5. Nothing outside the disk's own folder is ever read or written, whatever stands in it (D15, rule 7), except the
///    ordinary files that the caller hands in.
/// 6. [`read_back`](Disk::read_back) gives what the medium holds, whatever memory remembers of it.
/// 7. An ordinary file that [`take_in`](Disk::take_in) says is `In` survives a power cut, whole, under its name as an object.
///    One that is not what it was when it was read, or that is moved and has a further name, is left. None is ever lost:
///    it has its old name, or its new one.
pub trait Disk: Sync {
    /// Reads the identity file.
    fn identity(&self) -> Result<Identity, DiskError>;

    /// Replaces the identity file atomically and durably.
    fn write_identity(&self, identity: &Identity) -> Result<(), DiskError>;

    /// Room, read anew (DESIGN 7.9).
    fn space(&self) -> Result<Space, DiskError>;

    /// All names of one of the 4096 folders `000` to `fff`, objects ascending by id. A missing folder is empty.
    fn list_folder(&self, prefix: u16) -> Result<Vec<Listed>, DiskError>;

    /// Names in the objects folder itself that are none of the 4096 folders (D15).
    fn list_foreign(&self) -> Result<Vec<Listed>, DiskError>;

    /// Opens an object for reading.
    fn open(&self, id: ObjectId) -> Result<Box<dyn Content + Send + '_>, DiskError>;

    /// Opens an object that was committed for reading from the medium, as far as the system lets us.
    fn read_back(&self, id: ObjectId) -> Result<ReadBack<'_>, DiskError>;

    /// Streams a content to the disk, not yet under its final name, and hashes it on the way. Holes stay
    /// holes where the filesystem knows them. On error nothing is left behind.
    fn stage(&self, content: &mut dyn Content) -> Result<Staged, StageError>;

    /// Writes a content that lies in memory, was hashed there and has this identity; otherwise as [`stage`](Disk::stage).
    fn stage_hashed(&self, id: ObjectId, content: &[u8]) -> Result<Staged, StageError> {
        let staged = self.stage(&mut InMemory::new(content))?;
        debug_assert_eq!(staged.id, id, "the caller has hashed it");
        Ok(staged)
    }

    /// Whether what is staged by [`stage_hashed`](Disk::stage_hashed) from now on costs less to commit the more of it is
    /// committed at a time.
    fn wants_one_batch(&self) -> bool {
        false
    }

    /// Whether many large contents may be staged at a time: each waits for the drive, and lies in one piece all the same.
    fn takes_large_together(&self) -> bool {
        false
    }

    /// Whether files can share contents here ([`stage_clone`](Disk::stage_clone)). Leaves nothing behind.
    fn clones(&self) -> Result<bool, DiskError>;

    /// As [`open`](Disk::open), after memory was asked to let go of what it remembers: verification right after a copy shall see
    /// the medium (N10). A hint; [`read_back`](Disk::read_back) tells whether it was heard.
    fn open_on_medium(&self, id: ObjectId) -> Result<Box<dyn Content + Send + '_>, DiskError> {
        self.open(id)
    }

    /// Stages what an ordinary file holds without taking room for it: both share the content until one of them is changed.
    /// `None` if the filesystem cannot do that, or not for this file.
    ///
    /// What is hashed is what was staged, so the file may change meanwhile. `each` hears of the bytes that were read, and
    /// ends the reading by an error.
    fn stage_clone(
        &self,
        file: &Loose,
        each: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<Option<Staged>, StageError>;

    /// Makes objects of ordinary files, each of which was read and has this content: their contents are made durable, then
    /// each that is still what it was gets its name as an object, then the names are made durable. Tells of each what
    /// became of it, in the same order.
    ///
    /// When it fails, none of them may be recorded: some are objects, some not (N1). An object that is there already under
    /// the same name is replaced, as by [`commit`](Disk::commit).
    fn take_in(&self, files: &[(Loose, ObjectId)], own_name: OwnName) -> Result<Vec<Taken>, DiskError>;

    /// Makes a batch durable and visible: contents, then final names, then folders.
    ///
    /// An object that is there already under the same name is replaced: its content was just proven, the old one's was not.
    fn commit(&self, batch: Vec<Staged>) -> Result<(), DiskError>;

    /// Drops staged content.
    fn discard(&self, staged: Staged) -> Result<(), DiskError>;

    /// Removes what interrupted visits left in the incoming folder (D16); returns its bytes.
    fn clear_incoming(&self) -> Result<Bytes, DiskError>;

    /// Unlinks one object. The caller has recorded the removal durably before (N2).
    fn remove(&self, id: ObjectId) -> Result<(), DiskError>;

    /// Makes all removals and renames since the last sync durable.
    fn sync(&self) -> Result<(), DiskError>;

    /// Moves an object that failed verification to `bad-objects/`.
    fn quarantine(&self, id: ObjectId) -> Result<(), DiskError>;

    /// Copies the disk's catalog into a local file, for reading; `false` if the disk has none.
    fn fetch_catalog(&self, to: &std::path::Path) -> Result<bool, DiskError>;

    /// The same for the catalog of the visit before, in case the newer one is damaged (N11).
    fn fetch_previous_catalog(&self, to: &std::path::Path) -> Result<bool, DiskError>;

    /// SHA-256 of the catalog copy on the disk; `None` if there is none or it cannot be read.
    fn catalog_hash(&self) -> Option<ObjectId>;

    /// Removes a catalog copy that was found damaged, so that it does not become the previous one (C4). No error if there is none.
    fn drop_catalog(&self) -> Result<(), DiskError>;

    /// Replaces the catalog copy atomically and durably by the local file `from`, keeps the previous one as
    /// `distbackup.sqlite.previous`; returns the SHA-256 of what was read back from the disk before the rename.
    ///
    /// `check` is asked when the new one is durable and before it takes its place: so what takes a while to be found out can be
    /// found out meanwhile. If it fails, everything stays as it was.
    fn publish_catalog(
        &self,
        from: &std::path::Path,
        check: Box<dyn FnOnce() -> io::Result<()> + '_>,
    ) -> Result<ObjectId, DiskError>;

    /// Replaces the page by which the catalog can be browsed: `from` is a local folder with `CATALOG.html` and
    /// `distbackup-catalog/DATA`. At every instant the page on the disk is the old one or the new one, and its data are
    /// whole. The data of older pages go; when it fails, what was begun of the new ones.
    fn publish_page(&self, from: &std::path::Path, data: &str) -> Result<(), DiskError>;

    /// The name of the data of the page on the disk; `None` if there is no page, or its data are not there.
    fn page_data(&self) -> Result<Option<String>, DiskError>;

    /// Removes the page and all its data; no error if there is none.
    fn remove_page(&self) -> Result<(), DiskError>;

    /// Writes a recovery file (`RESTORE.txt`, `restore.py`) atomically if it is missing or differs; tells whether it did.
    fn write_recovery_file(&self, name: &str, content: &[u8]) -> Result<bool, DiskError>;
}
