//! Removal of copies from the disk: permitted by the evidence, recorded before it happens (N2, N3).

use std::collections::HashMap;

use distbackup_core::evidence::{Grounds, Warrant};
use distbackup_core::model::{Bytes, DiskNo, ObjectId, ObjectNo, billed};
use distbackup_core::plan::Tally;

use super::Visit;
use super::ledger::Ledger;
use crate::catalog::{CatalogError, CatalogTime, DiskRow, Loaded, PlanRow, Writer};
use crate::ops::{OpError, shelf};

/// Removals recorded in one transaction.
const REMOVALS: usize = 4096;

/// On which grounds copies are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing that is kept refers to them.
    Dead,
    /// There are more than `maxcopies`.
    Excess,
    /// A copy that is going to be made needs the room.
    Victim,
}

/// Asks for the permission to remove a copy, inside the transaction that records it (N3).
fn warrant(
    writer: &Writer<'_>,
    visit_disk: DiskNo,
    disks: &HashMap<DiskNo, DiskRow>,
    time: CatalogTime,
    object: ObjectNo,
    why: Why,
    copies_max: u16,
) -> Result<Option<Warrant>, CatalogError> {
    let trust_days = writer.trust_days()?;
    if why == Why::Dead {
        let references = u64::from(writer.is_referenced(object)?);
        return Ok(Warrant::check(object, visit_disk, Grounds::Dead { references }));
    }
    let copies = shelf::evidence(writer, disks, object, time)?;
    let needed = if why == Why::Excess { copies_max.max(1) } else { 1 };
    Ok(Warrant::check(object, visit_disk, Grounds::Redundant { copies: &copies, needed, trust_days }))
}

/// Removes copies of the disk: recorded durably, then unlinked, then recorded as done (N2). What the evidence
/// does not permit stays.
pub fn remove(
    visit: &mut Visit<'_>,
    loaded: &Loaded,
    ledger: &Ledger,
    rows: &[u32],
    why: Why,
) -> Result<Tally, OpError> {
    let mut removed = Tally::default();
    if rows.is_empty() || visit.deletions_forbidden {
        return Ok(removed);
    }
    let disks = visit.disks()?;
    let (disk, time, name) = (visit.row.disk, visit.time, visit.row.name.clone());
    for chunk in rows.chunks(REMOVALS) {
        let ids = visit.catalog.write("record removals", |writer| -> Result<_, CatalogError> {
            let mut ids: Vec<(ObjectId, Bytes)> = Vec::with_capacity(chunk.len());
            for &row in chunk {
                let PlanRow::Known(object) = writer.plan_row(loaded, row)? else { continue };
                let limit = loaded.copies_max(row);
                let Some(warrant) = warrant(writer, disk, &disks, time, object, why, limit)? else {
                    continue;
                };
                if let Some(object) = writer.object(object)? {
                    writer.release_copy(warrant)?;
                    ids.push((object.id, object.size));
                }
            }
            writer.advance_generation()?;
            Ok(ids)
        })?;
        for (id, size) in &ids {
            visit.disk.remove(*id).map_err(OpError::disk(&name))?;
            removed.add(*size);
        }
        visit.disk.sync().map_err(OpError::disk(&name))?;
        ids.iter().for_each(|(_, size)| ledger.give(billed(*size, visit.row.unit)));
        visit.catalog.write("record finished removals", |writer| {
            ids.iter().try_for_each(|(id, _)| writer.record_removed(disk, id))
        })?;
    }
    Ok(removed)
}
