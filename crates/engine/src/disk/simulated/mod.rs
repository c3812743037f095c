//! A disk in memory that can lose everything not yet durable, fail the n-th operation, fill up, or vanish.
//!
//! It follows the same protocol as the real disk and counts what would be calls to the device. Every change is known
//! to memory only until a sync; [`SimulatedDisk::power_cut`] drops what no sync covered, or keeps an arbitrary part of
//! it in any order. A failed sync forgets the contents it should have written, as Linux does (N1).
//!
//! With a [`Lie`] it breaks one law on purpose: so `laws.rs` is tested itself.

mod medium;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distbackup_core::model::{Bytes, DeviceNumber, Kind, ObjectId};
use rustix::io::Errno;

pub use self::medium::PowerCut;
use self::medium::{Blob, Change, Medium, Node};
use super::port::{DiskError, Identity, Loose};
use super::system::meaning;
use super::{identity, layout};
use crate::platform;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Input/output error.
    Eio,
    /// No room left.
    Enospc,
    /// The filesystem has turned read-only.
    Erofs,
}

/// What an operation does to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads a file.
    Read,
    /// Lists a folder.
    List,
    /// Writes a whole new file.
    Write,
    /// Renames or links a file.
    Rename,
    /// Unlinks a file.
    Unlink,
    /// Makes durable.
    Sync,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Counted from 1, since the disk was made.
    pub number: u64,
    /// What.
    pub action: Action,
    /// On which path below the disk's folder.
    pub path: String,
}

/// What befalls a disk in the middle of something.
pub enum Strike {
    /// One operation fails.
    Fail(Failure),
    /// The disk is pulled out.
    Vanish,
    /// The process dies: this is called, as for [`SimulatedDisk::look_at`], and nothing gets to the disk any more.
    Crash(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strike::Fail(failure) => write!(f, "{failure:?}"),
            Strike::Vanish => f.write_str("Vanish"),
            Strike::Crash(_) => f.write_str("Crash"),
        }
    }
}

/// A strike that is to come.
#[derive(Debug)]
struct Blow {
    passed: u64,
    on: fn(Action) -> bool,
    strike: Strike,
}

/// Something that has no business where it stands (D15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A symlink to [`SimulatedDisk::outside`], or to a file like that.
    Symlink,
    /// A folder.
    Folder,
    /// A small file.
    File,
}

/// A law that the disk breaks on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Commit does not make contents durable before it renames, nor after.
    NoSyncAtAll,
    /// Commit does not make the new names durable.
    NoSyncOfNames,
    /// Commit says `Ok` although a sync failed.
    HiddenFailure,
    /// Commit tries a failed sync once more and believes it.
    SecondTry,
    /// A later commit is believed although a sync failed before.
    FailureForgotten,
    /// Staged content stands under its final name at once.
    StagedIsVisible,
    /// Left-overs are not removed.
    NothingCleared,
    /// Cleared content can be committed all the same.
    ClearedIsCommitted,
    /// Removes whatever bears the name.
    RemovesAnything,
    /// Fails to remove what is not there.
    RemoveNeedsObject,
    /// A removal is forgotten by the next power cut, sync or not.
    RemovalNotSynced,
    /// Symlinks are read through.
    ReadsThroughSymlinks,
    /// Symlinks are written through.
    WritesThroughSymlinks,
    /// Symlinks are listed as objects.
    ListsSymlinks,
    /// Identity and catalog are not made durable.
    SidecarsNotSynced,
    /// Of objects whose hash is an even number, other bytes get to the medium than memory remembers.
    MediumRots,
    /// Reading back asks memory, not the medium.
    ReadsBackFromMemory,
    /// An ordinary file is taken in before its content is durable.
    TakenNotSynced,
    /// An ordinary file is taken in although it is not what was read any more.
    TakesWhatChanged,
    /// An ordinary file is moved although it has another name.
    TakesWhatIsLinked,
}

/// A disk in memory.
#[derive(Debug)]
pub struct SimulatedDisk {
    state: Mutex<State>,
}

/// Somebody who wants to see the world at the moment of an operation.
struct Look(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

#[derive(Debug, Default)]
struct State {
    medium: Medium,
    log: Vec<Operation>,
    count: u64,
    failures: BTreeMap<u64, Failure>,
    next_syncs_to_pass: Option<u64>,
    crash_at: Option<u64>,
    look_at: Option<(u64, Look)>,
    blow: Option<Blow>,
    vanished: bool,
    read_only: bool,
    capacity: Option<Bytes>,
    sync_failure: Option<String>,
    staged: BTreeSet<u64>,
    last_handle: u64,
    outside: Vec<u8>,
    lie: Option<Lie>,
}

impl SimulatedDisk {
    /// What the file outside of the disk holds at first.
    pub const OUTSIDE: &'static [u8] = b"somebody's precious file";

    /// A disk with this identity, durable already.
    pub fn new(identity: &Identity) -> Self {
        let mut state = State { outside: Self::OUTSIDE.to_vec(), ..State::default() };
        state.put(layout::IDENTITY, Blob::of(&identity::render(identity)));
        state.medium.sync();
        SimulatedDisk { state: Mutex::new(state) }
    }

    /// The same, but it breaks a law.
    pub fn lying(identity: &Identity, lie: Lie) -> Self {
        let disk = Self::new(identity);
        disk.state().lie = Some(lie);
        disk
    }

    /// A second disk with the same durable content, as `dd` would make it (D12).
    pub fn cloned(&self) -> Self {
        let (mut medium, capacity) = {
            let state = self.state();
            (state.medium.clone(), state.capacity)
        };
        medium.power_cut(PowerCut::LoseAll);
        let state = State { medium, capacity, outside: Self::OUTSIDE.to_vec(), ..State::default() };
        SimulatedDisk { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of operations so far.
    pub fn operations(&self) -> u64 {
        self.state().count
    }

    /// All operations so far.
    pub fn log(&self) -> Vec<Operation> {
        self.state().log.clone()
    }

    /// Number of operations so far that changed something on the disk: an idle visit has none.
    pub fn changes(&self) -> usize {
        let changes = |operation: &&Operation| operation.action.changes();
        self.state().log.iter().filter(changes).count()
    }

    /// Lets operation `number` fail, counted as [`SimulatedDisk::operations`] counts.
    pub fn fail_at(&self, number: u64, failure: Failure) {
        self.state().failures.insert(number, failure);
    }

    /// Lets a sync fail: the next one, or the one after `passed` more.
    pub fn fail_sync_after(&self, passed: u64) {
        self.state().next_syncs_to_pass = Some(passed);
    }

    /// From operation `number` on everything fails, until [`SimulatedDisk::power_cut`]: the process is dead.
    pub fn crash_at(&self, number: u64) {
        self.state().crash_at = Some(number);
    }

    /// Calls `look` when operation `number` begins, before anything of it happens: a process that is killed there
    /// leaves the rest of the world as it is then, but in a test it goes on for a while. `look` may not use the disk.
    pub fn look_at(&self, number: u64, look: impl FnOnce() + Send + 'static) {
        self.state().look_at = Some((number, Look(Box::new(look))));
    }

    /// Strikes at one of the operations to come that `on` tells of, after `passed` of them.
    pub fn strike_after(&self, passed: u64, on: fn(Action) -> bool, strike: Strike) {
        self.state().blow = Some(Blow { passed, on, strike });
    }

    /// Calls off a strike; tells whether it was still to come.
    pub fn spare(&self) -> bool {
        self.state().blow.take().is_some()
    }

    /// The disk is pulled out (`true`) or put back; what no sync covered is kept for a power cut to decide on.
    pub fn vanish(&self, vanished: bool) {
        self.state().vanished = vanished;
    }

    /// Turns the disk read-only or writable.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// Limits the room to so many billed bytes; `None`: no limit.
    pub fn set_capacity(&self, capacity: Option<Bytes>) {
        self.state().capacity = capacity;
    }

    /// Cuts the power and connects the disk anew: what no sync covered is lost as `cut` says, planned crashes,
    /// failures and failed syncs are forgotten.
    pub fn power_cut(&self, cut: PowerCut) {
        let mut state = self.state();
        state.medium.power_cut(cut);
        state.new_connection();
    }

    /// Disconnects and connects the disk in order: everything that memory still knows of becomes durable.
    pub fn reconnect(&self) {
        let mut state = self.state();
        state.medium.sync();
        state.medium.power_cut(PowerCut::LoseAll);
        state.new_connection();
    }

    /// Whether the object would survive a power cut now, whole: what a claim says (N1).
    pub fn holds_durably(&self, id: ObjectId) -> bool {
        let state = self.state();
        match state.medium.durable.names.get(&layout::object_path(id)) {
            Some(Node::File(inode)) => state.medium.durable.content(*inode).hash() == id,
            _ => false,
        }
    }

    /// Objects that memory and medium know by name, ascending; their contents may be rotten.
    pub fn objects(&self) -> Vec<ObjectId> {
        let state = self.state();
        let all = state.medium.cached.below("distbackup-objects/");
        all.filter_map(|(path, _)| ObjectId::from_name(path.split_once('/')?.1.as_bytes())).collect()
    }

    /// Objects that would survive a power cut now by name, ascending, and whether their content would, too.
    pub fn durable_objects(&self) -> Vec<(ObjectId, bool)> {
        let state = self.state();
        let all = state.medium.durable.below("distbackup-objects/");
        all.filter_map(|(path, node)| {
            let id = ObjectId::from_name(path.split_once('/')?.1.as_bytes())?;
            let Node::File(inode) = node else { return None };
            Some((id, state.medium.durable.content(*inode).hash() == id))
        })
        .collect()
    }

    /// Whether everything is durable, save that data of an older page are gone.
    pub fn is_clean(&self) -> bool {
        self.state().medium.is_clean()
    }

    /// Somebody deletes an object, durably (D5).
    pub fn delete_by_hand(&self, id: ObjectId) {
        let mut state = self.state();
        state.medium.change(Change::Unlink { path: layout::object_path(id) });
        state.medium.sync();
    }

    /// A bit of the object turns over, durably (D7).
    pub fn rot(&self, id: ObjectId) {
        self.damage(id, Blob::rotten);
    }

    /// A bit of the object turns over on the medium, while memory remembers it as it was.
    pub fn rot_beneath(&self, id: ObjectId) {
        self.state().medium.rot_beneath(&layout::object_path(id));
    }

    /// The object loses all but its first `size` bytes, durably (D6).
    pub fn cut_off(&self, id: ObjectId, size: Bytes) {
        self.damage(id, |blob| blob.cut_off(size.0));
    }

    fn damage(&self, id: ObjectId, how: impl Fn(&Blob) -> Blob) {
        let mut state = self.state();
        let path = layout::object_path(id);
        if let Some(Node::File(inode)) = state.medium.cached.names.get(&path).cloned() {
            let blob = how(&state.medium.cached.content(inode));
            state.put(&path, blob);
            state.medium.sync();
        }
    }

    /// Puts something at `path` below the disk's folder, durably; a file holds `content`.
    pub fn plant(&self, path: &str, what: Planted, content: &[u8]) {
        let mut state = self.state();
        match what {
            Planted::File => state.put(path, Blob::of(content)),
            Planted::Symlink => state.medium.change(Change::Name { path: path.into(), node: Node::Symlink }),
            Planted::Folder => state.medium.change(Change::Name { path: path.into(), node: Node::Folder }),
        }
        state.medium.sync();
    }

    /// Puts an ordinary file at `path` below the disk's folder, in memory only, or changes the one that is there.
    pub fn put_loose(&self, path: &str, content: &[u8]) -> io::Result<Loose> {
        let mut state = self.state();
        state.put(path, Blob::of(content));
        state.loose(path)
    }

    /// Gives a file a second name, in memory only.
    pub fn link_by_hand(&self, path: &str, new: &str) {
        let mut state = self.state();
        if let Some(node @ Node::File(_)) = state.medium.cached.names.get(path).cloned() {
            state.medium.change(Change::Name { path: new.into(), node });
        }
    }

    /// Whether anything bears this name below the disk's folder.
    pub fn exists(&self, path: &str) -> bool {
        self.state().medium.cached.names.contains_key(path)
    }

    /// What the file outside of the disk holds now; planted symlinks lead to it.
    pub fn outside(&self) -> Vec<u8> {
        self.state().outside.clone()
    }
}

impl Action {
    /// Whether it changes something on the disk.
    pub fn changes(self) -> bool {
        matches!(self, Action::Write | Action::Rename | Action::Unlink)
    }

    fn name(self) -> &'static str {
        match self {
            Action::Read => "read",
            Action::List => "list",
            Action::Write => "write",
            Action::Rename => "rename to",
            Action::Unlink => "remove",
            Action::Sync => "sync",
        }
    }
}

impl State {
    fn lies(&self, lie: Lie) -> bool {
        self.lie == Some(lie)
    }

    fn new_connection(&mut self) {
        self.staged.clear();
        self.failures.clear();
        (self.crash_at, self.next_syncs_to_pass, self.sync_failure) = (None, None, None);
        (self.look_at, self.blow) = (None, None);
    }

    /// Lets the strike happen that is due at this operation.
    fn be_struck(&mut self, action: Action) {
        let Some(blow) = self.blow.as_mut().filter(|blow| (blow.on)(action)) else { return };
        if blow.passed > 0 {
            blow.passed -= 1;
            return;
        }
        match self.blow.take().map(|blow| blow.strike) {
            Some(Strike::Fail(failure)) => drop(self.failures.insert(self.count, failure)),
            Some(Strike::Vanish) => self.vanished = true,
            Some(Strike::Crash(look)) => {
                look();
                self.crash_at = Some(self.count);
            }
            None => {}
        }
    }

    /// Counts an operation, and fails it if it is to fail.
    fn begin(&mut self, action: Action, path: &str) -> Result<(), DiskError> {
        self.count += 1;
        self.log.push(Operation { number: self.count, action, path: path.to_owned() });
        if let Some((_, Look(look))) = self.look_at.take_if(|(number, _)| *number == self.count) {
            look();
        }
        self.be_struck(action);
        let sync_fails = action == Action::Sync && self.sync_is_to_fail();
        let errno = match self.failures.remove(&self.count) {
            _ if self.is_gone() || sync_fails => Errno::IO,
            _ if self.read_only && action.changes() => Errno::ROFS,
            Some(Failure::Eio) => Errno::IO,
            Some(Failure::Enospc) => Errno::NOSPC,
            Some(Failure::Erofs) => Errno::ROFS,
            None => return Ok(()),
        };
        Err(meaning(action.name(), PathBuf::from(path), io::Error::from(errno), Bytes(0)))
    }

    /// Whether nothing gets through to the disk any more.
    fn is_gone(&self) -> bool {
        self.vanished || self.crash_at.is_some_and(|number| number <= self.count)
    }

    /// What a failed sync does to the contents it should have written. One that never got to the disk does nothing:
    /// memory still knows them, and a power cut or a new connection decides what becomes of them.
    fn lose_what_a_failed_sync_covered(&mut self) {
        if !self.is_gone() {
            self.medium.fail_sync();
        }
    }

    fn sync_is_to_fail(&mut self) -> bool {
        match self.next_syncs_to_pass {
            Some(0) => {
                self.next_syncs_to_pass = None;
                true
            }
            Some(more) => {
                self.next_syncs_to_pass = Some(more - 1);
                false
            }
            None => false,
        }
    }

    /// The sync of a batch or of removals; after a failure all later ones fail too.
    fn flush(&mut self, objects: usize) -> Result<(), DiskError> {
        let failure = |source| DiskError::NotDurable { objects, source };
        if let Some(first) = &self.sync_failure {
            return Err(failure(io::Error::other(format!("an earlier sync of this disk failed: {first}"))));
        }
        if let Err(error) = self.begin(Action::Sync, "") {
            self.lose_what_a_failed_sync_covered();
            if self.lies(Lie::SecondTry) {
                self.begin(Action::Sync, "")?;
                self.medium.sync();
                return Ok(());
            }
            self.sync_failure = Some(error.to_string()).filter(|_| !self.lies(Lie::FailureForgotten));
            return Err(match error {
                DiskError::Io { source, .. } => failure(source),
                error => failure(io::Error::other(error.to_string())),
            });
        }
        self.medium.sync();
        Ok(())
    }

    /// Writes a new file and gives it a name, in memory.
    fn put(&mut self, path: &str, blob: Blob) {
        let inode = self.medium.new_inode();
        self.medium.change(Change::Write { inode, blob: Arc::new(blob) });
        self.medium.change(Change::Name { path: path.into(), node: Node::File(inode) });
    }

    /// The facts about an ordinary file.
    fn loose(&self, path: &str) -> io::Result<Loose> {
        let inode = self.file(path).ok().flatten().unwrap_or(0);
        let nlink =
            self.medium.cached.names.values().filter(|node| **node == Node::File(inode)).count() as u64;
        let size = self.medium.cached.content(inode).size().0;
        let kind = platform::FileKind::Entry(Kind::File);
        let rdev = DeviceNumber { major: 0, minor: 0 };
        let stat = platform::Stat {
            device: 0,
            inode,
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink,
            size,
            blocks_512: size.div_ceil(512),
            mtime_ns: 0,
            ctime_ns: 0,
            rdev,
        };
        // Nothing here has a descriptor: the path tells all.
        let folder = Arc::new(platform::open_folder("/".as_ref())?);
        let name = path.rsplit('/').next().unwrap_or(path).as_bytes().to_vec();
        Ok(Loose { folder, name, path: path.into(), stat })
    }

    /// The file at `path`, if there is one; an error if it, or a folder on the way to it, is something else (D15).
    fn file(&self, path: &str) -> Result<Option<u64>, DiskError> {
        let names = &self.medium.cached.names;
        let foreign = |path: &str, what| Err(DiskError::Foreign { path: PathBuf::from(path), what });
        for (end, _) in path.match_indices('/') {
            if let Some(Node::File(_) | Node::Symlink) = names.get(&path[..end]) {
                return foreign(&path[..end], "not a folder");
            }
        }
        match names.get(path) {
            None => Ok(None),
            Some(Node::File(inode)) => Ok(Some(*inode)),
            Some(Node::Symlink) => foreign(path, "a symlink"),
            Some(Node::Folder) => foreign(path, "a folder"),
        }
    }

    fn has_room_for(&self, size: Bytes) -> Result<(), DiskError> {
        let needed = distbackup_core::model::billed(size, distbackup_core::model::BLOCK);
        match self.capacity {
            Some(capacity) if self.medium.cached.used() + needed > capacity => {
                Err(DiskError::Full { needed: size })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
