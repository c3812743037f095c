//! Reconcile: what is on the disk against what the catalog claims, before anything is planned (N4).
//!
//! One pass over the 4096 folders of the disk, each merged with the catalog's rows for it. Names and
//! sizes only: they can raise doubt and strike out claims, never renew proof (N3).

use distbackup_core::evidence::{Grounds, Warrant};
use distbackup_core::model::{Bytes, ObjectId};
use distbackup_core::plan::Tally;

use super::folders::Folders;
use super::{Visit, name_of};
use crate::catalog::{CatalogError, CheckedCopy, HeldObject, Merged, Orphan, ProofKind, Retention, Writer};
use crate::disk::layout::FOLDERS;
use crate::disk::{DiskError, Listed};
use crate::hash;
use crate::ops::{OpError, Problems, shelf, tempdir};
use crate::progress::{Event, Phase};
use distbackup_core::model::DAY_NS;

/// Threads that list folders ahead: more than processors, since they mostly wait for the disk.
const LISTERS: u16 = 4;

/// What a comparison found.
#[derive(Debug, Clone, Default)]
pub struct Reconciled {
    /// Objects on the disk.
    pub present: Tally,
    /// Claimed objects that are not there, by a path that has them (D5).
    pub missing: Problems,
    /// Claimed objects of another size than they should have (D6).
    pub wrong_size: Problems,
    /// Objects that were not claimed, are needed, and were read and found good.
    pub adopted: Tally,
    /// Objects that were not claimed, would be needed, but are damaged.
    pub damaged: Problems,
    /// Objects that nothing refers to: kept until their time has passed.
    pub orphans: Tally,
    /// Orphans whose time had passed; removed.
    pub expired: Tally,
    /// Removals that an earlier visit had recorded but not finished.
    pub finished_removals: u64,
    /// Names taken over from the disk's own catalog copy.
    pub merged_names: u64,
    /// Things in the objects folder that are no objects (D15).
    pub foreign: Problems,
    /// Bytes that interrupted visits had left in the incoming folder (D16).
    pub leftovers: Bytes,
    /// Anything was written to the disk or recorded about its copies.
    pub changed: bool,
}

/// One difference between a folder and its rows.
enum Finding {
    Missing(HeldObject),
    WrongSize(HeldObject, Bytes),
    Unknown(ObjectId, Bytes),
    OrphanGone(ObjectId),
}

/// Compares the whole disk. With `dry_run` nothing is read in full, written or removed; claims are
/// still struck out, in the private copy of the catalog that a dry run works on.
///
/// With one of the `streams`, which is for rotating disks, folders are listed one after the other.
pub fn reconcile(visit: &mut Visit<'_>, dry_run: bool, streams: usize) -> Result<Reconciled, OpError> {
    let mut found = Reconciled::default();
    visit.observer.event(Event::Begin {
        phase: Phase::Reconcile,
        files: u64::from(FOLDERS),
        bytes: Bytes(0),
    });
    let outcome = compare(visit, dry_run, streams, &mut found);
    visit.observer.event(Event::End);
    outcome?;
    Ok(found)
}

fn compare(
    visit: &mut Visit<'_>,
    dry_run: bool,
    streams: usize,
    found: &mut Reconciled,
) -> Result<(), OpError> {
    let name = visit.row.name.clone();
    let mut theirs = TheirCatalog::default();
    for listed in visit.disk.list_foreign().map_err(OpError::disk(&name))? {
        note_foreign(found, listed);
    }
    // Of a new disk nothing is known: to ask for each folder would go through the whole set.
    let known = visit.catalog.read().knows_any_on(visit.row.disk)?;
    std::thread::scope(|scope| -> Result<(), OpError> {
        let mut folders = Folders::ahead(scope, visit.disk, if streams > 1 { LISTERS } else { 0 });
        for prefix in 0..FOLDERS {
            if visit.observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            let listed = folders.next().map_err(OpError::disk(&name))?;
            let (held, orphans) = if known { known_in_folder(visit, prefix)? } else { Default::default() };
            let findings = merge(visit, held, orphans, listed, found)?;
            if !findings.is_empty() {
                found.changed = true;
                settle(visit, dry_run, findings, &mut theirs, found)?;
            }
            visit.observer.event(Event::Done { files: 1, bytes: Bytes(0) });
        }
        Ok(())
    })?;
    if let Some(merged) = theirs.merged.take() {
        found.merged_names = merged.names;
    }
    if !dry_run {
        expire_orphans(visit, found)?;
        if visit.row.open_visit {
            let disk = visit.row.disk;
            visit.catalog.write_aside("record a comparison", |writer| writer.record_compared(disk))?;
            visit.row.open_visit = false;
        }
    }
    Ok(())
}

fn note_foreign(found: &mut Reconciled, listed: Listed) {
    if let Listed::Foreign { path, what } = listed {
        found.foreign.add(&path, what);
    }
}

/// The catalog's rows for one folder.
fn known_in_folder(visit: &Visit<'_>, prefix: u16) -> Result<(Vec<HeldObject>, Vec<Orphan>), CatalogError> {
    let reader = visit.catalog.read();
    let held = reader.held_in_folder(visit.row.disk, prefix)?;
    Ok((held, reader.orphans_in_folder(visit.row.disk, prefix)?))
}

/// Merges one folder's names with the catalog's rows for it; all ascend.
fn merge(
    visit: &Visit<'_>,
    held: Vec<HeldObject>,
    orphans: Vec<Orphan>,
    listed: Vec<Listed>,
    found: &mut Reconciled,
) -> Result<Vec<Finding>, CatalogError> {
    let (mut held, mut orphans) = (held.into_iter().peekable(), orphans.into_iter().peekable());
    let mut findings = Vec::new();
    for listed in listed {
        let Listed::Object { id, size } = listed else {
            note_foreign(found, listed);
            continue;
        };
        found.present.add(size);
        while let Some(gone) = held.next_if(|held| held.id < id) {
            findings.push(Finding::Missing(gone));
        }
        while let Some(gone) = orphans.next_if(|orphan| orphan.id < id) {
            findings.push(Finding::OrphanGone(gone.id));
        }
        let orphan = orphans.next_if(|orphan| orphan.id == id);
        match held.next_if(|held| held.id == id) {
            Some(held) if held.size != size => findings.push(Finding::WrongSize(held, size)),
            Some(_) => {
                if orphan.is_some() {
                    findings.push(Finding::OrphanGone(id));
                }
            }
            None => match orphan {
                // Known as an orphan: looked at again only if something needs it by now.
                Some(orphan) if orphan.size == size && !needed(visit, &orphan)? => found.orphans.add(size),
                _ => findings.push(Finding::Unknown(id, size)),
            },
        }
    }
    findings.extend(held.map(Finding::Missing));
    findings.extend(orphans.map(|orphan| Finding::OrphanGone(orphan.id)));
    Ok(findings)
}

/// Whether an orphan has become useful: something refers to its content, and it was not found damaged.
fn needed(visit: &Visit<'_>, orphan: &Orphan) -> Result<bool, CatalogError> {
    let reader = visit.catalog.read();
    Ok(match reader.object_by_id(&orphan.id)? {
        Some(object) => !orphan.damaged && reader.is_referenced(object.object)?,
        None => false,
    })
}

/// The disk's own catalog copy, opened when the first unknown object makes it interesting.
#[derive(Default)]
struct TheirCatalog {
    tried: bool,
    copy: Option<CheckedCopy>,
    /// Keeps the local file while the copy is open.
    _folder: Option<tempdir::TempFolder>,
    merged: Option<Merged>,
}

impl TheirCatalog {
    fn open(&mut self, visit: &Visit<'_>) -> Result<Option<&CheckedCopy>, OpError> {
        if !self.tried {
            // Without room for it here the visit ends: at its end our catalog takes the place of this one.
            let folder =
                tempdir::TempFolder::new().map_err(OpError::io("make a folder in", std::env::temp_dir()))?;
            let local = folder.path().join("theirs.sqlite");
            // One that cannot be read, or is damaged, cannot help: unknown objects then become orphans.
            if visit.disk.fetch_catalog(&local).unwrap_or(false) {
                self.copy = crate::catalog::inspect(&local, true).ok();
                self.copy = self.copy.take().filter(|copy| copy.refuse_absurd_numbers(&local).is_ok());
                let set = visit.catalog.read().set_uuid()?;
                self.copy = self.copy.take().filter(|copy| copy.set == set);
            }
            self._folder = Some(folder);
            self.tried = true;
        }
        Ok(self.copy.as_ref())
    }
}

/// What is to be recorded about one finding, once everything that takes time is done.
enum Record {
    StrikeOut(HeldObject),
    WrongSize(HeldObject, Bytes),
    Forget(ObjectId),
    Adopt(ObjectId, Bytes),
    Orphan(ObjectId, Bytes, bool),
    Removed(ObjectId),
}

/// Acts on the differences of one folder: reads what has to be read, then records all in one transaction.
fn settle(
    visit: &mut Visit<'_>,
    dry_run: bool,
    findings: Vec<Finding>,
    theirs: &mut TheirCatalog,
    found: &mut Reconciled,
) -> Result<(), OpError> {
    let mut records = Vec::with_capacity(findings.len());
    for finding in findings {
        records.push(match finding {
            Finding::Missing(held) => {
                let name = || name_of(&visit.catalog.read(), held.object);
                found.missing.try_add(name, "it is not on the disk any more")?;
                Record::StrikeOut(held)
            }
            Finding::WrongSize(held, size) => {
                let why = format!("it has {size} on the disk instead of {}", held.size);
                found.wrong_size.try_add(|| name_of(&visit.catalog.read(), held.object), why)?;
                Record::WrongSize(held, size)
            }
            Finding::OrphanGone(id) => Record::Forget(id),
            Finding::Unknown(id, size) => unknown(visit, dry_run, theirs, found, id, size)?,
        });
    }
    let (disk, run, now_ns, name) = (visit.row.disk, visit.run, visit.time.now_ns, visit.row.name.clone());
    let TheirCatalog { copy, merged, .. } = theirs;
    visit.catalog.write("record what a comparison found", |writer| -> Result<(), CatalogError> {
        let mut proof = None;
        for record in records {
            match record {
                Record::StrikeOut(held) => writer.lose_copy(held.object, disk, now_ns, "missing")?,
                Record::WrongSize(held, size) => {
                    writer.lose_copy(held.object, disk, now_ns, "of the wrong size")?;
                    writer.record_orphan(disk, &orphan(writer, held.id, size, now_ns, true)?)?;
                }
                Record::Forget(id) => writer.forget_orphan(disk, &id)?,
                Record::Orphan(id, size, damaged) => {
                    // It may be what a removal has left; that is given up.
                    writer.record_removed(disk, &id)?;
                    if damaged && let Some(object) = writer.object_by_id(&id)? {
                        writer.lose_copy(object.object, disk, now_ns, "damaged")?;
                    }
                    writer.record_orphan(disk, &orphan(writer, id, size, now_ns, damaged)?)?;
                }
                Record::Removed(id) => writer.record_removed(disk, &id)?,
                Record::Adopt(id, size) => {
                    let object = writer.intern_object(&id, size)?;
                    if !writer.is_referenced(object)?
                        && let Some(copy) = copy.as_ref()
                    {
                        let mut into = match merged.take() {
                            Some(merged) => merged,
                            None => writer.begin_merge(&name, now_ns)?,
                        };
                        writer.merge_names(&mut into, copy, &id)?;
                        *merged = Some(into);
                    }
                    if !writer.is_referenced(object)? {
                        // None of its names could be taken over. As a copy it would go at once (N7).
                        writer.record_orphan(disk, &orphan(writer, id, size, now_ns, false)?)?;
                        continue;
                    }
                    let proof = match proof {
                        Some(proof) => proof,
                        None => *proof.insert(writer.record_proof(run, now_ns, ProofKind::Read)?),
                    };
                    writer.claim_copy(object, disk, proof)?;
                }
            }
        }
        writer.advance_generation()
    })?;
    Ok(())
}

/// What to make of an object that the catalog does not claim there.
fn unknown(
    visit: &mut Visit<'_>,
    dry_run: bool,
    theirs: &mut TheirCatalog,
    found: &mut Reconciled,
    id: ObjectId,
    size: Bytes,
) -> Result<Record, OpError> {
    if visit.catalog.read().is_recorded_removal(visit.row.disk, &id)? && may_finish_removal(visit, &id)? {
        found.finished_removals += 1;
        if !dry_run {
            visit.begin_writing()?;
            visit.disk.remove(id).map_err(OpError::disk(&visit.row.name))?;
        }
        return Ok(Record::Removed(id));
    }
    let known = visit.catalog.read().object_by_id(&id)?;
    let mut wanted = match known {
        Some(object) => visit.catalog.read().is_referenced(object.object)?,
        None => false,
    };
    if !wanted && let Some(copy) = theirs.open(visit)? {
        wanted = copy.names_object(&id)?;
    }
    if !wanted || dry_run {
        found.orphans.add(size);
        return Ok(Record::Orphan(id, size, false));
    }
    if content_matches(visit, id)? {
        found.adopted.add(size);
        Ok(Record::Adopt(id, size))
    } else {
        found.damaged.add(id.hex().as_bytes(), "its content does not match its name");
        Ok(Record::Orphan(id, size, true))
    }
}

/// Whether a removal that was recorded and not finished is still permitted: other copies may have gone since (N3), or
/// this may be another disk than the one it was recorded for (D12).
fn may_finish_removal(visit: &Visit<'_>, id: &ObjectId) -> Result<bool, OpError> {
    let reader = visit.catalog.read();
    if visit.deletions_forbidden {
        return Ok(false);
    }
    let Some(row) = reader.object_by_id(id)? else { return Ok(true) };
    if !reader.is_referenced(row.object)? {
        return Ok(true);
    }
    let copies = shelf::evidence(&reader, &visit.disks()?, row.object, visit.time)?;
    let grounds = Grounds::Redundant { copies: &copies, needed: 1, trust_days: reader.trust_days()? };
    Ok(Warrant::check(row.object, visit.row.disk, grounds).is_some())
}

fn orphan(
    writer: &Writer<'_>,
    id: ObjectId,
    size: Bytes,
    first_ns: i64,
    damaged: bool,
) -> Result<Orphan, CatalogError> {
    let snapshot = writer.newest_snapshot()?.map_or(0, |row| row.snapshot.0);
    Ok(Orphan { id, size, first_ns, snapshot, damaged })
}

/// Reads an object in full; a read error counts as a mismatch (D8).
fn content_matches(visit: &Visit<'_>, id: ObjectId) -> Result<bool, OpError> {
    let mut content = match visit.disk.open_on_medium(id) {
        Ok(content) => content,
        Err(DiskError::Missing(_) | DiskError::Io { .. }) => return Ok(false),
        Err(error) => return Err(OpError::disk(&visit.row.name)(error)),
    };
    let mut each = |bytes: u64| visit.observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    match hash::hash_content(content.as_mut(), &mut each, &|| visit.observer.stop_requested()) {
        Ok((found, _)) => Ok(found == id),
        Err(hash::HashError::Stopped) => Err(OpError::Stopped),
        Err(_) => Ok(false),
    }
}

/// An orphan that was found damaged is left alone until it expires. If something refers to its content by then, it is
/// read once more, and counts as a copy if it is whole: it was copied again since, or could not be read at that moment.
fn came_back(visit: &mut Visit<'_>, orphan: &Orphan) -> Result<bool, OpError> {
    let reader = visit.catalog.read();
    let Some(object) = reader.object_by_id(&orphan.id)? else { return Ok(false) };
    if !reader.is_referenced(object.object)? || !content_matches(visit, orphan.id)? {
        return Ok(false);
    }
    let (disk, run, now_ns) = (visit.row.disk, visit.run, visit.time.now_ns);
    visit.catalog.write("record a copy that is whole after all", |writer| -> Result<(), CatalogError> {
        let proof = writer.record_proof(run, now_ns, ProofKind::Read)?;
        writer.claim_copy(object.object, disk, proof)?;
        writer.forget_orphan(disk, &orphan.id)?;
        writer.advance_generation()
    })?;
    Ok(true)
}

/// Removes orphans that were first seen by an earlier run and whose retention time has passed (DESIGN 6, N7).
fn expire_orphans(visit: &mut Visit<'_>, found: &mut Reconciled) -> Result<(), OpError> {
    let Retention { days: Some(days), snapshots: Some(keep) } = visit.catalog.read().retention()? else {
        return Ok(());
    };
    if visit.deletions_forbidden || found.orphans.objects == 0 {
        return Ok(());
    }
    let newest = visit.catalog.read().newest_snapshot()?.map_or(0, |row| row.snapshot.0);
    let later = if days == 0 { 0 } else { 2 };
    for prefix in 0..FOLDERS {
        let orphans = visit.catalog.read().orphans_in_folder(visit.row.disk, prefix)?;
        let expired: Vec<Orphan> = orphans
            .into_iter()
            .filter(|orphan| orphan.first_ns < visit.time.now_ns)
            .filter(|orphan| {
                days == 0
                    || orphan.first_ns.saturating_add(i64::from(days) * DAY_NS) <= visit.time.confirmed_ns
            })
            .filter(|orphan| newest - orphan.snapshot >= i64::from(later.max(keep)))
            .collect();
        for orphan in expired {
            if came_back(visit, &orphan)? {
                found.adopted.add(orphan.size);
                found.orphans.objects = found.orphans.objects.saturating_sub(1);
                found.orphans.bytes = found.orphans.bytes - orphan.size;
                continue;
            }
            visit.begin_writing()?;
            let disk = visit.row.disk;
            visit.catalog.write("record an expired orphan", |writer| -> Result<(), CatalogError> {
                writer.release_orphan(disk, &orphan.id)?;
                writer.advance_generation()
            })?;
            visit.disk.remove(orphan.id).map_err(OpError::disk(&visit.row.name))?;
            visit
                .catalog
                .write("record a finished removal", |writer| writer.record_removed(disk, &orphan.id))?;
            found.expired.add(orphan.size);
            found.orphans.objects = found.orphans.objects.saturating_sub(1);
            found.orphans.bytes = found.orphans.bytes - orphan.size;
        }
    }
    Ok(())
}
