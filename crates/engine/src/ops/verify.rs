//! Verify: every object of a disk is read and hashed; what was proven is recorded.
//!
//! Both directions: what the catalog claims and what the disk has. Read errors are one object's trouble
//! (D8). A damaged or missing object loses its claim at once (D7); nothing is moved or deleted unless
//! asked. What is found is recorded folder by folder, so an interrupted verify goes on where it stopped.

use std::sync::atomic::{AtomicUsize, Ordering};

use distbackup_core::model::{Bytes, ObjectId};
use distbackup_core::plan::Tally;

use super::backup::name_of;
use super::{OpError, Problems};
use crate::catalog::{Catalog, CatalogError, DiskRow, HeldObject, Orphan, ProofKind, VerifyProgress};
use crate::clock::Clock;
use crate::disk::{Disk, DiskError, Listed};
use crate::hash;
use crate::progress::{Event, Observer, Phase};

/// Folders of the objects folder.
const FOLDERS: u16 = 4096;

/// Objects are handed to the readers so many at a time, or a folder if that has more.
const OBJECTS_AT_ONCE: usize = 256;

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Begin again, although an earlier verify was interrupted.
    pub restart: bool,
    /// Report only: claims stay as they are.
    pub check_only: bool,
    /// Move damaged objects to `bad-objects/`.
    pub quarantine: bool,
    /// Objects that are read at the same time; 1 for a rotating disk.
    pub streams: usize,
}

/// What a verify found.
#[derive(Debug, Clone, Default)]
pub struct VerifyOutcome {
    /// Objects read and found good.
    pub good: Tally,
    /// Objects whose content does not match their name (D7), by a path that has them.
    pub bad: Problems,
    /// Objects that could not be read (D8).
    pub unreadable: Problems,
    /// Claimed objects that are not there (D5).
    pub missing: Problems,
    /// Objects of the disk that the catalog does not claim there.
    pub unknown: Tally,
    /// Things in the objects folder that are no objects (D15).
    pub foreign: Problems,
    /// The catalog copy on the disk is missing or damaged (C4).
    pub catalog_copy_damaged: bool,
    /// It went on where an interrupted verify had stopped.
    pub resumed: bool,
    /// Every object was looked at.
    pub complete: bool,
    /// Bad and missing objects that the interrupted verify had found before.
    pub bad_before: u64,
    /// Damaged objects that were moved.
    pub quarantined: u64,
}

impl VerifyOutcome {
    /// Whether nothing bad was found.
    pub fn all_good(&self) -> bool {
        self.bad.is_empty()
            && self.unreadable.is_empty()
            && self.missing.is_empty()
            && self.bad_before == 0
            && !self.catalog_copy_damaged
    }
}

/// What one object turned out to be.
enum Finding {
    Good(HeldObject),
    Bad(HeldObject, Bytes),
    Missing(HeldObject),
    UnknownBad(ObjectId, Bytes),
}

/// Reads and checks all objects of a disk.
pub fn verify(
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: &DiskRow,
    clock: &dyn Clock,
    run: Option<distbackup_core::model::RunNo>,
    options: &VerifyOptions,
    observer: &dyn Observer,
) -> Result<VerifyOutcome, OpError> {
    let time = catalog.write("note the time", |writer| writer.advance_time(clock.now_ns(), false))?;
    let mut outcome = VerifyOutcome::default();
    let saved = catalog.read().verify_progress(row.disk)?.filter(|_| !options.restart && !options.check_only);
    let mut progress =
        saved.unwrap_or(VerifyProgress { started_ns: time.now_ns, next: 0, good: 0, bad: 0, bytes: 0 });
    outcome.resumed = progress.next > 0;
    outcome.bad_before = progress.bad;
    let (objects, bytes) = catalog.read().held_total(row.disk)?;
    observer.event(Event::Begin { phase: Phase::Verify, files: objects, bytes });
    let finished = folders(catalog, disk, row, time, run, options, observer, &mut progress, &mut outcome);
    observer.event(Event::End);
    finished?;
    outcome.complete = progress.next >= FOLDERS;
    if row.copy_sha256.is_some() && outcome.complete {
        outcome.catalog_copy_damaged = disk.catalog_hash() != row.copy_sha256;
    }
    if outcome.complete && !options.check_only {
        let had_bad = progress.bad > 0;
        let (disk, now_ns) = (row.disk, time.now_ns);
        catalog.write("record a verify", |writer| -> Result<(), CatalogError> {
            writer.forget_verify_progress(disk)?;
            writer.record_disk_verified(disk, now_ns, !had_bad)?;
            writer.record_compared(disk)?;
            writer.advance_generation()
        })?;
    }
    Ok(outcome)
}

#[allow(clippy::too_many_arguments)]
fn folders(
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: &DiskRow,
    time: crate::catalog::CatalogTime,
    run: Option<distbackup_core::model::RunNo>,
    options: &VerifyOptions,
    observer: &dyn Observer,
    progress: &mut VerifyProgress,
    outcome: &mut VerifyOutcome,
) -> Result<(), OpError> {
    for listed in disk.list_foreign().map_err(OpError::disk(&row.name))? {
        note_foreign(outcome, listed);
    }
    let mut waiting: Vec<Finding> = Vec::new();
    let mut recorded_at = std::time::Instant::now();
    while progress.next < FOLDERS {
        if observer.stop_requested() {
            break;
        }
        let mut stopped = false;
        for folder in read_folders(disk, row, options, observer, progress.next)? {
            let Some(found) = judge(catalog, disk, row, options, progress.next, folder, outcome)? else {
                stopped = true;
                break;
            };
            for finding in &found {
                match finding {
                    Finding::Good(held) => {
                        progress.good += 1;
                        progress.bytes += held.size.0;
                        outcome.good.add(held.size);
                    }
                    _ => progress.bad += 1,
                }
            }
            waiting.extend(found);
            progress.next += 1;
        }
        if stopped {
            break;
        }
        if waiting.len() >= 10_000 || recorded_at.elapsed().as_secs() >= 10 || progress.next == FOLDERS {
            record(catalog, row, time, run, options, std::mem::take(&mut waiting), progress)?;
            recorded_at = std::time::Instant::now();
        }
    }
    record(catalog, row, time, run, options, waiting, progress)
}

fn note_foreign(outcome: &mut VerifyOutcome, listed: Listed) {
    if let Listed::Foreign { path, what } = listed {
        outcome.foreign.add(&path, what);
    }
}

/// What one folder holds, with the verdict on each object.
type ReadFolder = Vec<(Listed, Option<Verdict>)>;

/// Lists folders from `first` on, until there is enough to read, and reads their objects by several threads.
fn read_folders(
    disk: &dyn Disk,
    row: &DiskRow,
    options: &VerifyOptions,
    observer: &dyn Observer,
    first: u16,
) -> Result<Vec<ReadFolder>, OpError> {
    let mut folders: Vec<ReadFolder> = Vec::new();
    let mut ids = Vec::new();
    for prefix in first..FOLDERS {
        let listed = disk.list_folder(prefix).map_err(OpError::disk(&row.name))?;
        ids.extend(listed.iter().filter_map(|listed| match listed {
            Listed::Object { id, .. } => Some(*id),
            Listed::Foreign { .. } => None,
        }));
        folders.push(listed.into_iter().map(|listed| (listed, None)).collect());
        if ids.len() >= OBJECTS_AT_ONCE {
            break;
        }
    }
    let mut verdicts = read_all(disk, options, observer, &ids).into_iter();
    for (listed, verdict) in folders.iter_mut().flatten() {
        if matches!(listed, Listed::Object { .. }) {
            *verdict = verdicts.next();
        }
    }
    Ok(folders)
}

fn read_all(
    disk: &dyn Disk,
    options: &VerifyOptions,
    observer: &dyn Observer,
    ids: &[ObjectId],
) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let each = || {
        let mut read_here = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&id) = ids.get(at) else { return read_here };
            observer.event(Event::Working { path: id.hex().as_bytes() });
            read_here.push((at, read(disk, id, observer)));
            observer.event(Event::Done { files: 1, bytes: Bytes(0) });
        }
    };
    let mut verdicts: Vec<(usize, Verdict)> = std::thread::scope(|scope| {
        let helpers = options.streams.clamp(1, ids.len().max(1)) - 1;
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(each)).collect();
        let mut all = each();
        for helper in helpers {
            all.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    verdicts.sort_unstable_by_key(|(at, _)| *at);
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

/// Compares one folder that was read with what the catalog claims; `None` if the user asked to stop in its middle.
fn judge(
    catalog: &Catalog,
    disk: &dyn Disk,
    row: &DiskRow,
    options: &VerifyOptions,
    prefix: u16,
    folder: ReadFolder,
    outcome: &mut VerifyOutcome,
) -> Result<Option<Vec<Finding>>, OpError> {
    if folder.iter().any(|(_, verdict)| matches!(verdict, Some(Verdict::Stopped))) {
        return Ok(None);
    }
    let reader = catalog.read();
    let mut held = reader.held_in_folder(row.disk, prefix)?.into_iter().peekable();
    let mut findings = Vec::new();
    let missing = |held: HeldObject, outcome: &mut VerifyOutcome| -> Result<Finding, OpError> {
        outcome.missing.try_add(|| name_of(&reader, held.object), "it is not on the disk")?;
        Ok(Finding::Missing(held))
    };
    for (listed, verdict) in folder {
        let (Listed::Object { id, size }, Some(verdict)) = (&listed, verdict) else {
            note_foreign(outcome, listed);
            continue;
        };
        let (id, size) = (*id, *size);
        while let Some(gone) = held.next_if(|held| held.id < id) {
            findings.push(missing(gone, outcome)?);
        }
        let claimed = held.next_if(|held| held.id == id);
        let name = || claimed.map_or_else(|| Ok(id.hex().into_bytes()), |held| name_of(&reader, held.object));
        match (verdict, claimed) {
            (Verdict::Stopped, _) => return Ok(None),
            (Verdict::Good, Some(held)) => findings.push(Finding::Good(held)),
            (Verdict::Good, None) => outcome.unknown.add(size),
            (Verdict::Bad, claimed) => {
                let why = format!("object {id}: its content differs (bit rot or a failing disk)");
                outcome.bad.try_add(name, why)?;
                findings.push(match claimed {
                    Some(held) => Finding::Bad(held, size),
                    None => Finding::UnknownBad(id, size),
                });
                if options.quarantine && !options.check_only {
                    disk.quarantine(id).map_err(OpError::disk(&row.name))?;
                    outcome.quarantined += 1;
                }
            }
            (Verdict::Unreadable(why), claimed) => {
                outcome.unreadable.try_add(name, format!("object {id}: {why}"))?;
                findings.extend(claimed.map(|held| Finding::Bad(held, size)));
            }
            (Verdict::Gone, claimed) => {
                if let Some(held) = claimed {
                    findings.push(missing(held, outcome)?);
                }
            }
        }
    }
    for gone in held {
        findings.push(missing(gone, outcome)?);
    }
    Ok(Some(findings))
}

enum Verdict {
    Good,
    Bad,
    Unreadable(String),
    Gone,
    Stopped,
}

fn read(disk: &dyn Disk, id: ObjectId, observer: &dyn Observer) -> Verdict {
    let mut content = match disk.open(id) {
        Ok(content) => content,
        Err(DiskError::Missing(_)) => return Verdict::Gone,
        Err(error) => return Verdict::Unreadable(error.to_string()),
    };
    let mut each = |bytes: u64| observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    match hash::hash_content(content.as_mut(), &mut each, &|| observer.stop_requested()) {
        Ok((found, _)) if found == id => Verdict::Good,
        Ok(_) => Verdict::Bad,
        Err(hash::HashError::Stopped) => Verdict::Stopped,
        Err(error) => Verdict::Unreadable(error.to_string()),
    }
}

fn record(
    catalog: &mut Catalog,
    row: &DiskRow,
    time: crate::catalog::CatalogTime,
    run: Option<distbackup_core::model::RunNo>,
    options: &VerifyOptions,
    findings: Vec<Finding>,
    progress: &VerifyProgress,
) -> Result<(), OpError> {
    if options.check_only {
        return Ok(());
    }
    let disk = row.disk;
    catalog.write("record what was verified", |writer| -> Result<(), CatalogError> {
        let proof = writer.record_proof(run, time.now_ns, ProofKind::Read)?;
        let snapshot = writer.newest_snapshot()?.map_or(0, |row| row.snapshot.0);
        let orphan = |id, size| Orphan { id, size, first_ns: time.now_ns, snapshot, damaged: true };
        for finding in findings {
            match finding {
                Finding::Good(held) => writer.claim_copy(held.object, disk, proof)?,
                Finding::Missing(held) => writer.strike_out_copy(held.object, disk)?,
                Finding::Bad(held, size) => {
                    writer.strike_out_copy(held.object, disk)?;
                    if !options.quarantine {
                        writer.record_orphan(disk, &orphan(held.id, size))?;
                    }
                }
                Finding::UnknownBad(id, size) => writer.record_orphan(disk, &orphan(id, size))?,
            }
        }
        writer.record_verify_progress(disk, progress)?;
        writer.advance_generation()
    })?;
    Ok(())
}
