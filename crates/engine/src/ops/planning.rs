//! The set as the planner sees it: all objects and disks, loaded from the catalog.

use std::collections::HashMap;

use distbackup_core::model::DAY_NS;
use distbackup_core::planner;

use crate::catalog::{CatalogError, CatalogTime, DiskRow, Reader, Scope, ScopeDisk};

/// Days after which the room of a disk that is away no longer counts (PLACEMENT 5).
pub const AWAY_DAYS: u32 = 120;

/// Everything in the catalog, as of `time`. `here` is the disk of a visit, with its room as it is now; it is not away.
///
/// The index of a disk in the scope is its position in the catalog's list of disks.
pub fn scope(
    reader: &Reader<'_>,
    time: CatalogTime,
    here: Option<&DiskRow>,
    provisional: bool,
) -> Result<Scope, CatalogError> {
    let mut locations: HashMap<String, u16> = HashMap::new();
    let mut disks = Vec::new();
    for known in reader.disks()? {
        let here = here.filter(|row| row.disk == known.disk);
        let row = here.unwrap_or(&known);
        let next = locations.len() as u16;
        let away_ns = time.now_ns.saturating_sub(row.seen_ns.unwrap_or(row.added_ns)).max(0);
        disks.push(ScopeDisk {
            number: Some(row.disk),
            doubtful: row.doubt.is_some() || row.open_visit,
            disk: planner::Disk {
                capacity: row.capacity,
                occupied_otherwise: reader.orphans_billed(row.disk, row.unit)?,
                unit: row.unit,
                file_max: row.file_max,
                location: row.location.clone().map(|location| *locations.entry(location).or_insert(next)),
                days_away: if here.is_some() { 0 } else { (away_ns / DAY_NS) as u32 },
            },
        });
    }
    Ok(Scope { disks, now_ns: time.now_ns, trust_days: reader.trust_days()?, provisional })
}
