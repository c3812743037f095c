//! Execution of a plan: removals recorded before they happen, copies after they are durable.
//!
//! Copies go in batches. For each batch: the sources of copies that need victims are opened and found
//! unchanged (I6, N8); one transaction, with the evidence checked inside, releases the victims; they are
//! unlinked; the contents are staged, by several threads; the disk makes the batch durable; one
//! transaction claims it (DESIGN 6). Whatever stops this, no claim is without its object.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use distbackup_core::evidence::{Grounds, Warrant};
use distbackup_core::model::{Bytes, DiskNo, ObjectId, ObjectNo, SnapshotNo};
use distbackup_core::plan::{PlannedCopy, Tally, VisitPlan};

use super::sources::{self, Source};
use super::{BackupOptions, Visit, VisitOutcome};
use crate::catalog::{Captured, CatalogError, DiskRow, Loaded, PendingKey, PlanRow, ProofKind, Writer};
use crate::content::{Content, Segment};
use crate::disk::{Disk, DiskError, StageError, Staged};
use crate::hash::ATTEMPTS;
use crate::metadata;
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;
use crate::ops::{OpError, shelf};
use crate::platform::Accounts;
use crate::progress::{Event, Observer, Phase};

/// Bounds of a batch: what a power cut can cost.
const BATCH_FILES: usize = 8192;
const BATCH_BYTES: u64 = 2 << 30;
/// Sources that are kept open because victims go for them: bounded by the open files a process may have.
///
/// The first batch has one such copy, each later one twice as many: whoever pulls the plug early has lost
/// hardly any redundancy, and a long visit still has large batches.
const BATCH_OPEN: usize = 256;
/// Removals recorded in one transaction.
const REMOVALS: usize = 4096;

/// One copy of a batch, resolved.
struct Task {
    what: PlanRow,
    copies_before: u16,
    victims: Vec<u32>,
    /// Opened ahead, because victims go for it.
    source: Option<Source>,
}

/// A copy that was staged.
struct Copied {
    staged: Staged,
    copies_before: u16,
    /// For a file that was not hashed before: its place and what was captured.
    provisional: Option<(PendingKey, SnapshotNo, Captured)>,
    /// For an object: its row.
    object: Option<ObjectNo>,
}

/// Carries out the plan of a visit.
pub fn execute(
    visit: &mut Visit<'_>,
    options: &BackupOptions,
    loaded: &Loaded,
    plan: &VisitPlan,
    outcome: &mut VisitOutcome,
) -> Result<(), OpError> {
    if plan.is_idle() {
        return Ok(());
    }
    visit.begin_writing()?;
    let dead = remove(visit, loaded, &plan.clean, Why::Dead)?;
    outcome.cleaned = dead;
    let excess = remove(visit, loaded, &plan.excess, Why::Excess)?;
    outcome.evicted = excess;
    let total = outcome.planned.copies.total();
    visit.observer.event(Event::Begin { phase: Phase::Copy, files: total.objects, bytes: total.bytes });
    let copied = copy_all(visit, options, loaded, plan, outcome);
    visit.observer.event(Event::End);
    copied
}

/// On which grounds copies are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Dead,
    Excess,
    Victim,
}

/// Asks for the permission to remove a copy, inside the transaction that records it (N3).
fn warrant(
    writer: &Writer<'_>,
    visit_disk: DiskNo,
    disks: &HashMap<DiskNo, DiskRow>,
    time: crate::catalog::CatalogTime,
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

/// Removes copies of the disk: recorded durably, then unlinked, then recorded as done (N2).
fn remove(visit: &mut Visit<'_>, loaded: &Loaded, rows: &[u32], why: Why) -> Result<Tally, OpError> {
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
        visit.catalog.write("record finished removals", |writer| {
            ids.iter().try_for_each(|(id, _)| writer.record_removed(disk, id))
        })?;
    }
    Ok(removed)
}

fn copy_all(
    visit: &mut Visit<'_>,
    options: &BackupOptions,
    loaded: &Loaded,
    plan: &VisitPlan,
    outcome: &mut VisitOutcome,
) -> Result<(), OpError> {
    let mapping = Mapping::of(visit.catalog.read().sources()?);
    let filesystems = Filesystems::load(&visit.catalog.read())?;
    let accounts = Accounts::new();
    let tools = Tools { mapping: &mapping, filesystems: &filesystems, accounts: &accounts };
    let mut batch: Vec<PlannedCopy<'_>> = Vec::new();
    let (mut bytes, mut open, mut open_max) = (0, 0, 1);
    for copy in plan.copies() {
        if visit.deletions_forbidden && !copy.victims.is_empty() {
            continue;
        }
        let size = loaded.billed(copy.object, visit.row.unit).0;
        let opened = usize::from(!copy.victims.is_empty());
        let over = batch.len() >= BATCH_FILES || bytes + size > BATCH_BYTES || open + opened > open_max;
        if over && !batch.is_empty() {
            run_batch(visit, options, loaded, &tools, std::mem::take(&mut batch), outcome)?;
            if open > 0 {
                open_max = (open_max * 2).min(BATCH_OPEN);
            }
            (bytes, open) = (0, 0);
        }
        if outcome.full {
            return Ok(());
        }
        if visit.observer.stop_requested() {
            return Err(OpError::Stopped);
        }
        bytes += size;
        open += opened;
        batch.push(copy);
    }
    if !batch.is_empty() {
        run_batch(visit, options, loaded, &tools, batch, outcome)?;
    }
    if visit.observer.stop_requested() { Err(OpError::Stopped) } else { Ok(()) }
}

/// What is needed to find and read sources.
struct Tools<'t> {
    mapping: &'t Mapping,
    filesystems: &'t Filesystems,
    accounts: &'t Accounts,
}

fn run_batch(
    visit: &mut Visit<'_>,
    options: &BackupOptions,
    loaded: &Loaded,
    tools: &Tools<'_>,
    batch: Vec<PlannedCopy<'_>>,
    outcome: &mut VisitOutcome,
) -> Result<(), OpError> {
    let tasks = prepare(visit, loaded, tools, batch, outcome)?;
    let victims: Vec<u32> = tasks.iter().flat_map(|task| task.victims.iter().copied()).collect();
    let evicted = remove(visit, loaded, &victims, Why::Victim)?;
    outcome.evicted.merge(evicted);
    let (copied, full) = stage_all(visit, options, tools, tasks, outcome)?;
    outcome.full |= full;
    finish(visit, copied, outcome)
}

/// Resolves the rows of a batch and opens the sources that victims would go for.
fn prepare(
    visit: &Visit<'_>,
    loaded: &Loaded,
    tools: &Tools<'_>,
    batch: Vec<PlannedCopy<'_>>,
    outcome: &mut VisitOutcome,
) -> Result<Vec<Task>, OpError> {
    let reader = visit.catalog.read();
    let mut tasks = Vec::with_capacity(batch.len());
    for copy in batch {
        let what = reader.plan_row(loaded, copy.object)?;
        let mut source = None;
        if let (false, PlanRow::Known(object)) = (copy.victims.is_empty(), &what) {
            match sources::open_known(&reader, tools.mapping, tools.filesystems, *object)? {
                Ok(found) => source = Some(found),
                Err((path, why)) => {
                    report(visit, outcome, &path, &why);
                    continue;
                }
            }
        }
        let victims = copy.victims.to_vec();
        tasks.push(Task { what, copies_before: copy.copies_before, victims, source });
    }
    Ok(tasks)
}

fn report(visit: &Visit<'_>, outcome: &mut VisitOutcome, path: &[u8], reason: &str) {
    visit.observer.event(Event::Skipped { path, reason });
    outcome.problems.add(path, reason);
}

/// Why one copy of a batch was not made.
enum Failure {
    /// The file is left out.
    File(Vec<u8>, String),
    /// The disk has no room.
    Full,
    /// The catalog fails, and the visit with it.
    Visit(OpError),
    /// The disk fails, and the visit with it.
    Disk(DiskError),
    /// The user asked to stop.
    Stopped,
}

/// Stages the contents of a batch by several threads, each with a view of the catalog of its own.
fn stage_all(
    visit: &mut Visit<'_>,
    options: &BackupOptions,
    tools: &Tools<'_>,
    tasks: Vec<Task>,
    outcome: &mut VisitOutcome,
) -> Result<(Vec<Copied>, bool), OpError> {
    let threads = options.streams.clamp(1, tasks.len().max(1));
    let views = (0..threads).map(|_| visit.catalog.view()).collect::<Result<Vec<_>, _>>()?;
    let queue = Mutex::new(tasks.into_iter());
    let halt = AtomicBool::new(false);
    let (disk, observer) = (visit.disk, visit.observer);
    let results: Vec<Vec<Result<Copied, Failure>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = views
            .into_iter()
            .map(|view| {
                let (queue, halt) = (&queue, &halt);
                scope.spawn(move || {
                    let mut results = Vec::new();
                    loop {
                        let task = queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                        let Some(task) = task.filter(|_| !halt.load(Ordering::Relaxed)) else {
                            return results;
                        };
                        let result = stage(view.read(), disk, observer, tools, task);
                        if matches!(
                            result,
                            Err(Failure::Full | Failure::Visit(_) | Failure::Disk(_) | Failure::Stopped)
                        ) {
                            halt.store(true, Ordering::Relaxed);
                        }
                        results.push(result);
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut copied = Vec::new();
    let (mut full, mut failed) = (false, None);
    for result in results.into_iter().flatten() {
        match result {
            Ok(done) => copied.push(done),
            Err(Failure::File(path, why)) => outcome.problems.add(&path, why),
            Err(Failure::Full) => full = true,
            Err(Failure::Stopped) => {}
            Err(Failure::Visit(error)) => failed = failed.or(Some(error)),
            Err(Failure::Disk(error)) => failed = failed.or(Some(OpError::disk(&visit.row.name)(error))),
        }
    }
    match failed {
        None => Ok((copied, full)),
        Some(error) => {
            for done in copied {
                // The visit fails with the first error; what cannot be dropped now is cleared by the next visit.
                let _ = disk.discard(done.staged);
            }
            Err(error)
        }
    }
}

fn stage(
    reader: crate::catalog::Reader<'_>,
    disk: &dyn Disk,
    observer: &dyn Observer,
    tools: &Tools<'_>,
    task: Task,
) -> Result<Copied, Failure> {
    let catalog = |error: CatalogError| Failure::Visit(error.into());
    for attempt in 1.. {
        let opened = match (&task.source, &task.what) {
            (Some(_), _) => None,
            (None, PlanRow::Known(object)) => Some(
                sources::open_known(&reader, tools.mapping, tools.filesystems, *object).map_err(catalog)?,
            ),
            (None, PlanRow::Pending(key, _)) => {
                Some(sources::open_entry(&reader, tools.mapping, tools.filesystems, key).map_err(catalog)?)
            }
        };
        let mut source = match opened {
            Some(Ok(source)) => source,
            Some(Err((path, why))) => {
                observer.event(Event::Skipped { path: &path, reason: &why });
                return Err(Failure::File(path, why));
            }
            None => return stage_opened(reader, disk, observer, tools, task),
        };
        observer.event(Event::Working { path: &source.vpath });
        let staged = write(disk, observer, &mut source)?;
        match settle(&reader, tools, &task, source, staged).map_err(catalog)? {
            Settled::Good(copied) => return Ok(*copied),
            Settled::Unstable(staged, path)
                if attempt >= ATTEMPTS || matches!(task.what, PlanRow::Known(_)) =>
            {
                discard(disk, staged)?;
                let why = "it changes while it is read; it will be tried again next time".to_owned();
                observer.event(Event::Skipped { path: &path, reason: &why });
                return Err(Failure::File(path, why));
            }
            Settled::Unstable(staged, _) => discard(disk, staged)?,
            Settled::Differs(staged, path) => {
                discard(disk, staged)?;
                let why = "its content differs from what was hashed, with the same size and times: \
                           the source may be damaged (the copies elsewhere are kept)"
                    .to_owned();
                observer.event(Event::Skipped { path: &path, reason: &why });
                return Err(Failure::File(path, why));
            }
        }
    }
    Err(Failure::Stopped)
}

/// A source that was opened ahead is used once: what it was checked for has been evicted already.
fn stage_opened(
    reader: crate::catalog::Reader<'_>,
    disk: &dyn Disk,
    observer: &dyn Observer,
    tools: &Tools<'_>,
    mut task: Task,
) -> Result<Copied, Failure> {
    let Some(mut source) = task.source.take() else { return Err(Failure::Stopped) };
    observer.event(Event::Working { path: &source.vpath });
    let staged = write(disk, observer, &mut source)?;
    match settle(&reader, tools, &task, source, staged).map_err(|error| Failure::Visit(error.into()))? {
        Settled::Good(copied) => Ok(*copied),
        Settled::Unstable(staged, path) | Settled::Differs(staged, path) => {
            discard(disk, staged)?;
            let why = "it changed after it was found unchanged; it will be tried again next time".to_owned();
            observer.event(Event::Skipped { path: &path, reason: &why });
            Err(Failure::File(path, why))
        }
    }
}

fn discard(disk: &dyn Disk, staged: Staged) -> Result<(), Failure> {
    disk.discard(staged).map_err(Failure::Disk)
}

/// What became of a staged content.
enum Settled {
    Good(Box<Copied>),
    /// The file changed while it was read.
    Unstable(Staged, Vec<u8>),
    /// Same stamp, other content (S4).
    Differs(Staged, Vec<u8>),
}

/// Judges what was staged against what was expected.
fn settle(
    reader: &crate::catalog::Reader<'_>,
    tools: &Tools<'_>,
    task: &Task,
    source: Source,
    staged: Staged,
) -> Result<Settled, CatalogError> {
    let Source { file, path, vpath, stamp } = source;
    let Ok(reading) = file.finish() else { return Ok(Settled::Unstable(staged, vpath)) };
    if !reading.stable() {
        return Ok(Settled::Unstable(staged, vpath));
    }
    let copies_before = task.copies_before;
    match &task.what {
        PlanRow::Known(object) => {
            let expected = reader.object(*object)?.map(|row| row.id);
            if expected != Some(staged.id) {
                return Ok(Settled::Differs(staged, vpath));
            }
            let object = Some(*object);
            Ok(Settled::Good(Box::new(Copied { staged, copies_before, provisional: None, object })))
        }
        PlanRow::Pending(key, born) => {
            let metadata = match stamp.ctime_ns == reading.after.ctime_ns {
                true => None,
                false => metadata::capture_path(&path, &reading.after, tools.accounts).ok(),
            };
            let captured = Captured { object: None, stamp, holes: reading.holes, metadata };
            let provisional = Some((key.clone(), *born, captured));
            Ok(Settled::Good(Box::new(Copied { staged, copies_before, provisional, object: None })))
        }
    }
}

/// A source on its way to the disk, watched.
struct Watched<'a> {
    source: &'a mut Source,
    observer: &'a dyn Observer,
}

impl Content for Watched<'_> {
    fn next_segment(&mut self) -> std::io::Result<Option<Segment<'_>>> {
        if self.observer.stop_requested() {
            return Err(std::io::Error::from(std::io::ErrorKind::Interrupted));
        }
        let segment = self.source.file.next_segment()?;
        let bytes = match &segment {
            Some(Segment::Data(data)) => data.len() as u64,
            Some(Segment::Zeros(length)) => *length,
            None => 0,
        };
        self.observer.event(Event::Done { files: u64::from(segment.is_none()), bytes: Bytes(bytes) });
        Ok(segment)
    }
}

fn write(disk: &dyn Disk, observer: &dyn Observer, source: &mut Source) -> Result<Staged, Failure> {
    let vpath = source.vpath.clone();
    disk.stage(&mut Watched { source, observer }).map_err(|error| match error {
        StageError::Source(error) if error.kind() == std::io::ErrorKind::Interrupted => Failure::Stopped,
        StageError::Source(error) => {
            let why = format!("cannot read it: {error}");
            observer.event(Event::Skipped { path: &vpath, reason: &why });
            Failure::File(vpath, why)
        }
        StageError::Disk(DiskError::Full { .. }) => Failure::Full,
        StageError::Disk(error @ DiskError::TooLarge { .. }) => {
            let why = error.to_string();
            observer.event(Event::Skipped { path: &vpath, reason: &why });
            Failure::File(vpath, why)
        }
        StageError::Disk(error) => Failure::Disk(error),
    })
}

/// Makes a staged batch durable and claims it.
fn finish(visit: &mut Visit<'_>, copied: Vec<Copied>, outcome: &mut VisitOutcome) -> Result<(), OpError> {
    let (disk, name) = (visit.row.disk, visit.row.name.clone());
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let mut batch = Vec::new();
    let mut rest = Vec::new();
    for Copied { staged, copies_before, provisional, object } in copied {
        // A new file may turn out to have a content that is on this disk already, or twice in the batch.
        let known = visit.catalog.read().object_by_id(&staged.id)?;
        let held = match known {
            Some(row) => visit.catalog.read().holds(disk, row.object)?,
            None => false,
        };
        let duplicate = held || !seen.insert(staged.id);
        rest.push((staged.id, staged.size, copies_before, provisional, object, duplicate));
        if duplicate {
            visit.disk.discard(staged).map_err(OpError::disk(&name))?;
        } else {
            batch.push(staged);
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    if !batch.is_empty() {
        visit.disk.commit(batch).map_err(OpError::disk(&name))?;
    }
    let (run, now_ns) = (visit.run, visit.time.now_ns);
    visit.catalog.write("record copies", |writer| -> Result<(), CatalogError> {
        let proof = writer.record_proof(run, now_ns, ProofKind::Written)?;
        for (id, size, _, provisional, object, duplicate) in &rest {
            let object = match object {
                Some(object) => *object,
                None => writer.intern_object(id, *size)?,
            };
            if !duplicate {
                writer.claim_copy(object, disk, proof)?;
            }
            if let Some((key, born, captured)) = provisional {
                let captured = Captured { object: Some(object), ..captured.clone() };
                writer.capture_linked(key, *born, &captured)?;
            }
        }
        writer.advance_generation()
    })?;
    for (_, size, copies_before, _, _, duplicate) in rest {
        if !duplicate {
            outcome.copied.add(copies_before, size);
        }
    }
    Ok(())
}
