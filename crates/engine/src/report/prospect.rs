//! Questions about what is not there: disks that are away, lost, or not bought yet.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use distbackup_core::model::Bytes;
use distbackup_core::plan::Tally;
use distbackup_core::planner::{self, AWAY_DAYS, Options, Outlook, outlook, reachable_levels};

use super::PlannedVisit;
use crate::catalog::{ByState, CatalogError, CatalogTime, DiskRow, Loaded, Reader, Scope, Unreadable};

/// Disks that are planned at once, at most: each plan takes memory for all that it moves.
const THREADS_MAX: usize = 4;

/// The whole set in memory, to be asked and changed in thought: about 25 bytes for each object.
#[derive(Debug)]
pub struct Prospect {
    loaded: Loaded,
    /// The disks; an index into them is what the methods take.
    pub disks: Vec<DiskRow>,
}

/// What a visit of a disk would bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitable {
    /// Index of the disk.
    pub disk: usize,
    /// The visit.
    pub planned: PlannedVisit,
}

/// What the loss of disks would mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// The set with the disks.
    pub before: ByState,
    /// The set without them.
    pub after: ByState,
    /// Live objects that would have no copy any more: their sources have them, if they are still there.
    pub unprotected: Tally,
    /// Objects of history that would be gone.
    pub gone: Tally,
    /// What the other disks hold and can hold.
    pub outlook: Outlook,
}

/// What is missing for a number of copies of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// New disks, at the least.
    pub disks: u16,
    /// Room that each of them needs for objects, in billed bytes.
    pub bytes_each: Bytes,
}

impl Prospect {
    /// Loads the set as of `now_ns`; pending files count as files without a copy. `new` disks of these capacities join it.
    pub fn load(reader: &Reader<'_>, now_ns: i64, new: &[Bytes]) -> Result<Self, CatalogError> {
        let time = CatalogTime { now_ns, confirmed_ns: now_ns, leap: false };
        let mut scope = reader.scope(time, None, true)?;
        new.iter().for_each(|&capacity| scope.add_new(capacity));
        Self::load_scope(reader, &scope)
    }

    /// Loads the set as a scope sees it.
    pub fn load_scope(reader: &Reader<'_>, scope: &Scope) -> Result<Self, CatalogError> {
        let loaded = reader.load_plan(scope, &Unreadable::default())?;
        Ok(Prospect { loaded, disks: reader.disks()? })
    }

    /// Objects by number of copies.
    pub fn by_state(&self) -> ByState {
        self.loaded.by_state()
    }

    /// What the disks hold and can hold.
    pub fn outlook(&self) -> Outlook {
        outlook(&self.loaded.input)
    }

    /// Plans every disk: what helps most comes first (PLACEMENT 5.7). A disk that is new comes after those of the catalog.
    pub fn next(&self) -> Vec<Visitable> {
        let before = self.by_state();
        let live = self.loaded.live_billed();
        let (next, disks) = (AtomicUsize::new(0), self.loaded.input.disks.len());
        let some = || {
            let mut some: Vec<(Vec<Reverse<i64>>, Visitable)> = Vec::new();
            loop {
                let disk = next.fetch_add(1, Ordering::Relaxed);
                if disk >= disks {
                    return some;
                }
                let plan = planner::plan_visit(&self.loaded.input, &options(disk));
                let planned = PlannedVisit::of(&self.loaded, &plan, before.clone(), live);
                some.push((plan.gain.iter().copied().map(Reverse).collect(), Visitable { disk, planned }));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(disks);
        let mut all: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
            let join = |worker: ScopedJoinHandle<'_, Vec<_>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect()
        });
        all.sort_by(|(gain, one), (other_gain, other)| (gain, one.disk).cmp(&(other_gain, other.disk)));
        all.into_iter().map(|(_, visitable)| visitable).collect()
    }

    /// Plans a visit of one disk, connected or not.
    pub fn visit(&self, disk: usize) -> PlannedVisit {
        let plan = planner::plan_visit(&self.loaded.input, &options(disk));
        PlannedVisit::new(&self.loaded, &plan)
    }

    /// What would be if these disks were lost. Afterwards they are, in thought.
    pub fn lose(&mut self, disks: &[usize]) -> Loss {
        let before = self.by_state();
        let lost: Vec<u16> = disks.iter().map(|&disk| disk as u16).collect();
        self.loaded.input.lose(&lost);
        let after = self.by_state();
        let none = |levels: &[Tally]| levels.first().copied().unwrap_or_default();
        let more = |after: Tally, before: Tally| Tally {
            objects: after.objects.saturating_sub(before.objects),
            bytes: after.bytes - before.bytes,
        };
        Loss {
            unprotected: more(none(&after.live), none(&before.live)),
            gone: more(none(&after.history), none(&before.history)),
            outlook: self.outlook(),
            before,
            after,
        }
    }

    /// The smallest number of equal new disks, and the least room on each, with which everything can have `copies` copies
    /// (of what may have so many); `None` if it can already. Whole objects may need a little more.
    pub fn shortage(&self, copies: u16) -> Option<Shortage> {
        let live = self.loaded.live_billed().0;
        let capacities: Vec<u64> =
            self.loaded.input.disks.iter().map(|disk| (disk.capacity - disk.occupied_otherwise).0).collect();
        let reaches = |new: u16, each: u64| {
            let mut all = capacities.clone();
            all.extend(std::iter::repeat_n(each, usize::from(new)));
            let demand = vec![live; usize::from(copies)];
            let levels = reachable_levels(&demand, &all);
            levels.len() >= usize::from(copies) && levels[..usize::from(copies)] == demand[..]
        };
        if reaches(0, 0) {
            return None;
        }
        // No more disks than copies are ever needed: each of them can hold everything once.
        let disks = (1..=copies).find(|&new| reaches(new, live))?;
        let (mut low, mut high) = (0, live);
        while low < high {
            let middle = low + (high - low) / 2;
            if reaches(disks, middle) { high = middle } else { low = middle + 1 }
        }
        Some(Shortage { disks, bytes_each: Bytes(high) })
    }
}

fn options(disk: usize) -> Options {
    Options { disk: disk as u16, away_days: AWAY_DAYS, ..Options::default() }
}
