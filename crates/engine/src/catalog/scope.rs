//! What the planner shall see of the set: which disks, with which room, at what time.

use std::collections::HashMap;

use distbackup_core::model::{Bytes, DAY_NS, DiskNo, SnapshotNo};
use distbackup_core::planner::Disk;

use super::{CatalogError, CatalogTime, DiskRow, Reader};

/// What to load for the planner.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The disks, in the order of their indices; what others hold does not count.
    pub disks: Vec<ScopeDisk>,
    /// Catalog time, nanoseconds since 1970.
    pub now_ns: i64,
    /// Evidence older than this does not stand (N3).
    pub trust_days: u32,
    /// Pending files follow as rows of their own.
    pub provisional: bool,
    /// What left the tree after this snapshot, which it had, is planned as live: the brake holds it (DESIGN 7.3).
    pub held_since: Option<SnapshotNo>,
}

/// A disk, as the planner shall see it.
#[derive(Debug, Clone)]
pub struct ScopeDisk {
    /// Its number; `None` for one that does not exist yet (`whatif add`).
    pub number: Option<DiskNo>,
    /// Nothing on it stands (N3).
    pub doubtful: bool,
    /// It is to leave the set: what it holds does not count, nor does its room.
    pub retiring: bool,
    /// Its room.
    pub disk: Disk,
}

impl Reader<'_> {
    /// All disks of the catalog, as of `time`. `here` is the disk of a visit, with its room as it is now; it is not away.
    ///
    /// The index of a disk in the scope is its position in [`Reader::disks`].
    pub fn scope(
        &self,
        time: CatalogTime,
        here: Option<&DiskRow>,
        provisional: bool,
    ) -> Result<Scope, CatalogError> {
        let mut locations: HashMap<String, u16> = HashMap::new();
        let mut disks = Vec::new();
        for known in self.disks()? {
            let here = here.filter(|row| row.disk == known.disk);
            let row = here.unwrap_or(&known);
            let next = locations.len() as u16;
            let away_ns = time.now_ns.saturating_sub(row.seen_ns.unwrap_or(row.added_ns)).max(0);
            disks.push(ScopeDisk {
                number: Some(row.disk),
                doubtful: row.doubt.is_some() || row.open_visit,
                retiring: row.retiring,
                disk: Disk {
                    capacity: if row.retiring { Bytes(0) } else { row.capacity },
                    occupied_otherwise: self.orphans_billed(row.disk, row.unit)?,
                    unit: row.unit,
                    file_max: row.file_max,
                    location: row.location.clone().map(|place| *locations.entry(place).or_insert(next)),
                    days_away: if here.is_some() { 0 } else { (away_ns / DAY_NS) as u32 },
                },
            });
        }
        Ok(Scope {
            disks,
            now_ns: time.now_ns,
            trust_days: self.trust_days()?,
            provisional,
            held_since: None,
        })
    }
}

impl Reader<'_> {
    /// How many batches of copies have evidence that still stands in a scope (N3). Only time makes it less.
    pub fn standing_proofs(&self, scope: &Scope) -> Result<u64, CatalogError> {
        const SQL: &str = "SELECT count(*) FROM proof WHERE how IN ('written', 'read') AND at_ns >= ?1";
        self.connection
            .query_row(SQL, [scope.oldest_evidence_ns()], |row| super::columns::unsigned(row, 0))
            .map_err(|source| CatalogError::sql("count evidence", source))
    }
}

impl Scope {
    /// Evidence from before does not stand.
    pub(super) fn oldest_evidence_ns(&self) -> i64 {
        self.now_ns.saturating_sub(i64::from(self.trust_days) * DAY_NS)
    }

    /// A disk that does not exist yet: empty, ordinary, of this capacity.
    pub fn add_new(&mut self, capacity: Bytes) {
        let disk = Disk {
            capacity,
            occupied_otherwise: Bytes(0),
            unit: 4096,
            file_max: Bytes(u64::MAX),
            location: None,
            days_away: 0,
        };
        self.disks.push(ScopeDisk { number: None, doubtful: false, retiring: false, disk });
    }
}
