//! What a plan depends on: rows of objects, sets of holders, disks and options.

use crate::model::Bytes;
use crate::plan::Row;

/// Days after which the room of a disk that is away no longer counts, unless said otherwise (PLACEMENT 5).
pub const AWAY_DAYS: u32 = 120;

/// One object, as the planner sees it: 16 bytes, no hash, no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Content in blocks of 4 KiB, rounded up; billed room is one block more (PLACEMENT 1).
    pub blocks: u32,
    /// Index into [`Input::nexuses`]: which disks hold it.
    pub nexus: u32,
    /// Number of the directory of its first name; rows stand in directory order.
    pub directory: u32,
    /// Index into [`Input::classes`].
    pub class: u16,
    /// What the object is.
    pub state: State,
}

/// Whether and why an object is kept (DESIGN 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In the current tree.
    Live,
    /// In the current tree, but its source cannot be read now: keeps its copies, gets none.
    LiveUnreadable,
    /// A new file, not hashed yet, planned by its size: uses free room only.
    Provisional,
    /// Only in older snapshots that are kept.
    History,
    /// In nothing that is kept.
    Dead,
}

/// What objects have in common by configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Served first inside a level; 1 unless configured.
    pub priority: u32,
    /// Copies above this number are excess; `None`: as many as there are disks.
    pub copies_max: Option<u16>,
}

/// The set of disks that hold an object: by claim, and by claims that stand (N3). Sorted indices into [`Input::disks`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Nexus {
    /// Disks that claim a copy: what counts for wanting copies.
    pub claimed: Vec<u16>,
    /// Those whose evidence stands: what counts for permission to delete.
    pub standing: Vec<u16>,
}

/// A disk of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Room for objects in billed bytes, objects that are there included (PLACEMENT I4).
    pub capacity: Bytes,
    /// Room already taken by what the planner does not see: orphans, staged content.
    pub occupied_otherwise: Bytes,
    /// Allocation unit in bytes.
    pub unit: u64,
    /// Largest file the filesystem takes.
    pub file_max: Bytes,
    /// Where it is kept: equal numbers, one failure domain; `None`: not said.
    pub location: Option<u16>,
    /// Days since it was last seen; 0 for the connected one.
    pub days_away: u32,
}

/// All that a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// All objects, in directory order.
    pub objects: Vec<Object>,
    /// The distinct nexuses.
    pub nexuses: Vec<Nexus>,
    /// The distinct classes.
    pub classes: Vec<Class>,
    /// All disks of the set, in the order of their numbers.
    pub disks: Vec<Disk>,
    /// History objects on the connected disk, the one that left the tree first in front. Read only
    /// with [`Options::allow_history_loss`]; may be empty otherwise.
    pub history_oldest_first: Vec<Row>,
}

/// How to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Index of the connected disk.
    pub disk: u16,
    /// No copies beyond this number are made in this visit (`backup --maxcopies`); nothing is deleted for it.
    pub copies_max: Option<u16>,
    /// At most so many billed bytes are copied (`backup --limit`).
    pub bytes_max: Option<Bytes>,
    /// Billed bytes left free by copies beyond what the whole set can give to everything of their priority
    /// (`backup --reserve`): data that grows then finds room without evictions.
    pub reserve: Bytes,
    /// A disk away for longer gives no future room.
    pub away_days: u32,
    /// Last copies of history objects may make room for first copies of live ones.
    pub allow_history_loss: bool,
}

impl Input {
    /// Takes disks away, as if they were lost: what they hold counts no more, and they have no room.
    pub fn lose(&mut self, lost: &[u16]) {
        for nexus in &mut self.nexuses {
            nexus.claimed.retain(|disk| !lost.contains(disk));
            nexus.standing.retain(|disk| !lost.contains(disk));
        }
        for &disk in lost {
            if let Some(disk) = self.disks.get_mut(usize::from(disk)) {
                disk.capacity = Bytes(0);
            }
        }
    }
}
