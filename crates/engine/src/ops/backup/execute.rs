//! Execution of a plan: removals recorded before they happen, copies after they are durable.
//!
//! Copies go in batches. For each batch: the sources of copies that need victims are opened and found
//! unchanged (I6, N8); one transaction, with the evidence checked inside, releases the victims; they are
//! unlinked; the contents are staged, by several threads, each after it has taken its room from the
//! ledger; the disk makes the batch durable; one transaction claims it (DESIGN 6). Whatever stops this,
//! no claim is without its object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use distbackup_core::model::{Bytes, ObjectId, ObjectNo};
use distbackup_core::plan::{PlannedCopy, Tally, VisitPlan};

use super::ledger::Ledger;
use super::origins::{Copies, record_rot};
use super::prepare::Preparation;
use super::read_back::{self, Checked};
use super::remove::{Why, remove};
use super::sources::Finder;
use super::stage::{Copied, Failure, Provisional, Task, Tasks, Tools, large_streams, stage_all};
use super::write_out::WriteOut;
use super::{BackupOptions, Visit, VisitOutcome, name_of};
use crate::catalog::{Captured, CatalogError, Loaded, Orphan, PlanRow, ProofKind, View, Writer};
use crate::ops::OpError;
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;
use crate::platform::Accounts;
use crate::progress::{Event, Phase};

/// Bounds of a batch: what a power cut can cost.
const BATCH_FILES: usize = 16384;
const BATCH_BYTES: u64 = 2 << 30;
/// A disk without objects takes the first copies in one go with less work: so many and for so long, if that is quick.
const FIRST_FILES: usize = 8 * BATCH_FILES;
const FIRST_LASTS: Duration = Duration::from_secs(20);
/// When so many of them are staged, the disk writes what it has: it is done with that about when the last one is staged.
const WRITE_OUT_AT: (usize, usize) = (3, 4);
/// Sources that are kept open because victims go for them: bounded by the open files a process may have.
///
/// The first batch has one such copy, each later one twice as many: whoever pulls the plug early has lost
/// hardly any redundancy, and a long visit still has large batches.
const BATCH_OPEN: usize = 256;

/// What a plan could not do.
#[derive(Debug, Default)]
pub struct Failed {
    /// Rows whose source is missing, changed or unreadable, or that the disk did not give back as they were written.
    pub unreadable: Vec<PlanRow>,
    /// Copies that found no room, because what should have gone for them is still there.
    pub displaced: u64,
}

/// Carries out the plan of a visit.
pub fn execute(
    visit: &mut Visit<'_>,
    options: &BackupOptions,
    loaded: &Loaded,
    plan: &VisitPlan,
    ledger: &Ledger,
    outcome: &mut VisitOutcome,
) -> Result<Failed, OpError> {
    let mut failed = Failed::default();
    if plan.is_idle() {
        return Ok(failed);
    }
    visit.begin_writing()?;
    outcome.cleaned.merge(remove(visit, loaded, ledger, &plan.clean, Why::Dead)?);
    outcome.evicted.merge(remove(visit, loaded, ledger, &plan.excess, Why::Excess)?);
    let mut total = Tally::default();
    plan.copies().for_each(|copy| total.add(loaded.content(copy.object)));
    visit.observer.event(Event::Begin { phase: Phase::Copy, files: total.objects, bytes: total.bytes });
    let began = Instant::now();
    let copied = copy_all(visit, options, loaded, plan, ledger, outcome, &mut failed);
    outcome.copying += began.elapsed();
    visit.observer.event(Event::End);
    copied.map(|()| failed)
}

fn copy_all(
    visit: &mut Visit<'_>,
    options: &BackupOptions,
    loaded: &Loaded,
    plan: &VisitPlan,
    ledger: &Ledger,
    outcome: &mut VisitOutcome,
    failed: &mut Failed,
) -> Result<(), OpError> {
    let mapping = Mapping::load(&visit.catalog.read())?;
    let filesystems = Filesystems::load(&visit.catalog.read())?;
    let accounts = Accounts::new();
    let copies = Copies::default();
    let tools = Tools {
        mapping: &mapping,
        filesystems: &filesystems,
        accounts: &accounts,
        ledger,
        unit: visit.row.unit,
        disk: visit.disk,
        odd_places: !outcome.reconciled.foreign.is_empty(),
        hashes: plan.copies().any(|copy| loaded.is_pending(copy.object)),
        copies: &copies,
        read_back: options.read_back.then_some(options.streams),
        large_streams: large_streams(visit.disk, &mapping, options.streams),
        early: visit.early.filter(|early| !early.is_empty()),
        observer: visit.observer,
    };
    // The plan counts on room that early copies take, unless there is more than enough.
    if let Some(early) = tools.early.filter(|early| early.billed() > plan.room_after) {
        early.discard();
    }
    let one_batch = options.streams > 1 && !options.read_back && visit.disk.wants_one_batch();
    let first_until = one_batch.then(|| Instant::now() + FIRST_LASTS);
    let (disk, writing, flying) = (visit.disk, WriteOut::default(), None);
    let write_at = plan.copies().count().min(FIRST_FILES) * WRITE_OUT_AT.0 / WRITE_OUT_AT.1;
    let mut copier = Copier {
        visit,
        options,
        loaded,
        tools: &tools,
        outcome,
        failed,
        first_until,
        writing: &writing,
        write_at,
        flying,
    };
    // Early copies are written out already.
    if one_batch && tools.early.is_none() {
        writing.beside(disk, || copier.copy_and_land(plan))
    } else {
        copier.copy_and_land(plan)
    }
}

/// Copies batch by batch: while one is made durable and claimed, the next one is read and written.
struct Copier<'c, 'v> {
    visit: &'c mut Visit<'v>,
    options: &'c BackupOptions,
    loaded: &'c Loaded,
    tools: &'c Tools<'c>,
    outcome: &'c mut VisitOutcome,
    failed: &'c mut Failed,
    /// While the first copies on a disk are staged, to be committed together: until when.
    first_until: Option<Instant>,
    /// Lets the disk write them, some in good time before the last of them is staged.
    writing: &'c WriteOut,
    write_at: usize,
    /// Staged, and not durable yet.
    flying: Option<Batch>,
}

impl Copier<'_, '_> {
    fn copy_and_land(&mut self, plan: &VisitPlan) -> Result<(), OpError> {
        let copied = self.copy_all(plan);
        // What was staged before is good whatever came after it.
        let settled = self.land_last(copied.is_ok());
        copied.and(settled)
    }

    fn copy_all(&mut self, plan: &VisitPlan) -> Result<(), OpError> {
        let mut batch: Vec<PlannedCopy<'_>> = Vec::new();
        let (mut bytes, mut open, mut open_max) = (0, 0, 1);
        for copy in plan.copies() {
            if self.visit.deletions_forbidden && !copy.victims.is_empty() {
                continue;
            }
            let size = self.loaded.billed(copy.object, self.visit.row.unit).0;
            let opened = usize::from(!copy.victims.is_empty());
            let over = batch.len() >= BATCH_FILES || bytes + size > BATCH_BYTES || open + opened > open_max;
            if over && !batch.is_empty() {
                if bytes + size > BATCH_BYTES {
                    self.end_first()?;
                }
                self.run_batch(std::mem::take(&mut batch))?;
                if open > 0 {
                    open_max = (open_max * 2).min(BATCH_OPEN);
                }
                (bytes, open) = (0, 0);
            }
            if self.outcome.full {
                return Ok(());
            }
            if self.visit.observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            bytes += size;
            open += opened;
            batch.push(copy);
        }
        if !batch.is_empty() {
            self.run_batch(batch)?;
        }
        if self.visit.observer.stop_requested() { Err(OpError::Stopped) } else { Ok(()) }
    }

    /// Stages a batch while the one before lands.
    ///
    /// The first copies on a disk do not land before the last of them is staged, and nothing else is staged before they did: so
    /// they can take their place together. Meanwhile the system is asked to write.
    /// One thing at a time where copies were removed for it, so that no more of them are missing than one batch has, and
    /// on a disk that is slower when two things go on.
    fn run_batch(&mut self, batch: Vec<PlannedCopy<'_>>) -> Result<(), OpError> {
        let makes_room = batch.iter().any(|copy| !copy.victims.is_empty());
        let alone = makes_room || self.options.streams < 2 || self.options.read_back;
        if alone {
            self.end_first()?;
            self.land()?;
        }
        let first = self.first_until.is_some();
        let staged = self.flying.as_ref().map_or(0, |flying| flying.copied.len());
        if first && staged > 0 && (staged..staged + batch.len()).contains(&self.write_at) {
            self.writing.now();
        }
        let tasks = prepare(self.visit, self.loaded, self.tools, batch, self.outcome, self.failed)?;
        let victims: Vec<u32> = tasks.iter().flat_map(|task| task.victims.iter().copied()).collect();
        let evicted = remove(self.visit, self.loaded, self.tools.ledger, &victims, Why::Victim)?;
        self.outcome.evicted.merge(evicted);
        let (tools, halt) = (self.tools, AtomicBool::new(false));
        let tasks = Tasks::new(tasks, tools, self.options.streams);
        let views = views(self.visit, tasks.threads)?;
        let (landed, results) = std::thread::scope(|scope| {
            let staging = scope.spawn(|| stage_all(tools, views, tasks, &halt));
            let landed = if first { Ok(()) } else { self.land() };
            if landed.is_err() {
                halt.store(true, Ordering::Relaxed);
            }
            (landed, staging.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let batch = sort_out(self.visit, results, landed.err());
        let (_, rotten) = self.tools.copies.take_noticed();
        record_rot(self.visit, &rotten)?;
        self.outcome.rotten += rotten.len() as u64;
        let batch = batch?;
        self.outcome.full |= batch.full;
        let flying = self.flying.get_or_insert_default();
        flying.append(batch);
        // Early copies are all there: to wait for the last of them risks nothing more.
        let early = self.tools.early.is_some_and(|early| !early.is_empty());
        let few = flying.copied.len() + BATCH_FILES <= FIRST_FILES;
        let goes_on = |until: Instant| early || (few && Instant::now() < until);
        if self.first_until.is_some_and(|until| !goes_on(until)) {
            self.end_first()?;
        }
        if alone { self.land() } else { Ok(()) }
    }

    /// From now on copies land while the next ones are staged.
    fn end_first(&mut self) -> Result<(), OpError> {
        match self.first_until.take() {
            Some(_) => {
                self.writing.over();
                self.land()
            }
            None => Ok(()),
        }
    }

    /// Makes what was staged durable, claims it, and notes what could not be copied.
    fn land(&mut self) -> Result<(), OpError> {
        self.land_last(false)
    }

    /// As [`Copier::land`]; if it is the `last` batch of the visit, its end is prepared meanwhile.
    fn land_last(&mut self, last: bool) -> Result<(), OpError> {
        let Some(batch) = self.flying.take() else { return Ok(()) };
        self.failed.displaced += batch.displaced.len() as u64;
        for (what, path, why) in batch.left_out.into_iter().chain(batch.unfit) {
            self.outcome.problems.add(&path, why);
            self.failed.unreadable.push(what);
        }
        let preparation = last.then(|| Preparation::of(self.visit));
        let not_copied = finish_with(self.visit, self.tools, batch.copied, self.outcome, preparation)?;
        self.failed.unreadable.extend(not_copied.into_iter().map(PlanRow::Known));
        Ok(())
    }
}

/// Resolves the rows of a batch and opens the sources that victims would go for.
fn prepare(
    visit: &Visit<'_>,
    loaded: &Loaded,
    tools: &Tools<'_>,
    batch: Vec<PlannedCopy<'_>>,
    outcome: &mut VisitOutcome,
    failed: &mut Failed,
) -> Result<Vec<Task>, OpError> {
    let reader = visit.catalog.read();
    let finder = Finder::new(&reader, tools.mapping, tools.filesystems);
    let mut tasks = Vec::with_capacity(batch.len());
    for copy in batch {
        let what = reader.plan_row(loaded, copy.object)?;
        let mut source = None;
        if let (false, PlanRow::Known(object)) = (copy.victims.is_empty(), &what) {
            match finder.open_known(*object)? {
                Ok(found) => source = Some(found),
                Err((path, why)) => {
                    report(visit, outcome, &path, &why);
                    failed.unreadable.push(what);
                    continue;
                }
            }
        }
        let (victims, billed) = (copy.victims.to_vec(), loaded.billed(copy.object, tools.unit));
        tasks.push(Task { what, billed, copies_before: copy.copies_before, victims, source });
    }
    Ok(tasks)
}

fn report(visit: &Visit<'_>, outcome: &mut VisitOutcome, path: &[u8], reason: &str) {
    visit.observer.event(Event::Skipped { path, reason });
    outcome.problems.add(path, reason);
}

/// What became of the copies of a batch that was staged.
#[derive(Default)]
pub struct Batch {
    /// Staged, to be finished.
    pub copied: Vec<Copied>,
    /// Left out, because the content could not be had; with a name and the reason.
    pub left_out: Vec<(PlanRow, Vec<u8>, String)>,
    /// Left out, because the disk has no place for it; with a name and the reason.
    pub unfit: Vec<(PlanRow, Vec<u8>, String)>,
    /// Not tried, for lack of room.
    pub displaced: Vec<PlanRow>,
    /// The disk refused room that it had promised.
    pub full: bool,
}

impl Batch {
    fn append(&mut self, other: Batch) {
        self.copied.extend(other.copied);
        self.left_out.extend(other.left_out);
        self.unfit.extend(other.unfit);
        self.displaced.extend(other.displaced);
        self.full |= other.full;
    }
}

/// A view of the catalog for each thread that stages.
fn views(visit: &Visit<'_>, threads: usize) -> Result<Vec<View>, CatalogError> {
    (0..threads).map(|_| visit.catalog.view()).collect()
}

/// Stages a batch and sorts out what became of each copy. An error that ends the visit drops what was staged.
pub fn staged(
    visit: &Visit<'_>,
    streams: usize,
    tools: &Tools<'_>,
    tasks: Vec<Task>,
) -> Result<Batch, OpError> {
    let tasks = Tasks::new(tasks, tools, streams);
    let views = views(visit, tasks.threads)?;
    sort_out(visit, stage_all(tools, views, tasks, &AtomicBool::new(false)), None)
}

/// Sorts out what became of each copy. An error that ends the visit, met here or before, drops what was staged.
fn sort_out(
    visit: &Visit<'_>,
    results: Vec<Result<Copied, (PlanRow, Failure)>>,
    mut fatal: Option<OpError>,
) -> Result<Batch, OpError> {
    let mut batch = Batch::default();
    for result in results {
        match result {
            Ok(done) => batch.copied.push(done),
            Err((what, Failure::File(path, why))) => batch.left_out.push((what, path, why)),
            Err((what, Failure::Unfit(path, why))) => batch.unfit.push((what, path, why)),
            Err((what, Failure::Displaced)) => batch.displaced.push(what),
            Err((_, Failure::Full)) => batch.full = true,
            Err((_, Failure::Stopped)) => {}
            Err((_, Failure::Visit(error))) => fatal = fatal.or(Some(error)),
            Err((_, Failure::Disk(error))) => fatal = fatal.or(Some(OpError::disk(&visit.row.name)(error))),
        }
    }
    let Some(error) = fatal else { return Ok(batch) };
    for done in batch.copied {
        // The visit fails with the first error; what cannot be dropped now is cleared by the next visit.
        let _ = visit.disk.discard(done.staged);
    }
    Err(error)
}

/// A content of a batch that is on the disk now.
struct Landed {
    id: ObjectId,
    size: Bytes,
    copies_before: u16,
    provisional: Option<Box<Provisional>>,
    object: Option<ObjectNo>,
    /// It was there before, or is twice in the batch.
    duplicate: bool,
}

/// Makes a staged batch durable and claims it; where it is asked for, not before it was read back and found good.
/// Returns the objects that were not.
pub fn finish(
    visit: &mut Visit<'_>,
    tools: &Tools<'_>,
    copied: Vec<Copied>,
    outcome: &mut VisitOutcome,
) -> Result<Vec<ObjectNo>, OpError> {
    finish_with(visit, tools, copied, outcome, None)
}

/// As [`finish`]; prepares the end of the visit meanwhile, if that is asked for and pays.
fn finish_with(
    visit: &mut Visit<'_>,
    tools: &Tools<'_>,
    copied: Vec<Copied>,
    outcome: &mut VisitOutcome,
    preparation: Option<Preparation<'_>>,
) -> Result<Vec<ObjectNo>, OpError> {
    let (disk, name) = (visit.row.disk, visit.row.name.clone());
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let mut batch = Vec::new();
    let mut landed = Vec::new();
    let view = visit.catalog.view()?;
    for Copied { staged, billed, copies_before, provisional, object } in copied {
        // A new file may turn out to have a content that is on this disk already, or twice in the batch. An object was
        // planned because it is not there, and can only have come with such a file.
        let known = match object {
            Some(object) => Some(object).filter(|_| tools.hashes),
            None => view.read().object_by_id(&staged.id)?.map(|row| row.object),
        };
        let held = match known {
            Some(object) => view.read().holds(disk, object)?,
            None => false,
        };
        let duplicate = held || !seen.insert(staged.id);
        let (id, size) = (staged.id, staged.size);
        landed.push(Landed { id, size, copies_before, provisional, object, duplicate });
        if duplicate {
            visit.disk.discard(staged).map_err(OpError::disk(&name))?;
            tools.ledger.give(billed);
        } else {
            batch.push(staged);
            outcome.written += billed;
        }
    }
    drop(view);
    if landed.is_empty() {
        return Ok(Vec::new());
    }
    let (disk, written) =
        (visit.disk, batch.iter().map(|staged| (staged.id, staged.size)).collect::<Vec<_>>());
    let commit = move || match batch.is_empty() {
        true => Ok(()),
        false => disk.commit(batch).map_err(OpError::disk(&name)),
    };
    let (bad, checked) = match tools.read_back {
        Some(streams) => {
            commit()?;
            let checked = read_back::check(visit, streams, &written)?;
            (record(visit, &landed, &checked, None, || Ok(()))?, checked)
        }
        // The claims are written down while the disk works, and committed when it is done.
        None => std::thread::scope(|scope| {
            let committing = scope.spawn(commit);
            let committed = || committing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let checked = HashMap::new();
            record(visit, &landed, &checked, preparation, committed).map(|bad| (bad, checked))
        })?,
    };
    count(visit, outcome, &landed, &checked, &bad)?;
    Ok(bad.into_values().collect())
}

/// Claims what is on the disk as soon as `committed` says that it is; returns the rows of those that are not what was
/// written.
fn record(
    visit: &mut Visit<'_>,
    landed: &[Landed],
    checked: &HashMap<ObjectId, Checked>,
    preparation: Option<Preparation<'_>>,
    committed: impl FnOnce() -> Result<(), OpError>,
) -> Result<BTreeMap<ObjectId, ObjectNo>, OpError> {
    let (disk, run, now_ns) = (visit.row.disk, visit.run, visit.time.now_ns);
    let mut prepared = None;
    let claim = |writer: &Writer<'_>| -> Result<_, OpError> {
        let mut bad = BTreeMap::new();
        let mut proofs = [None; 2];
        let mut claims = Vec::with_capacity(landed.len());
        for Landed { id, size, provisional, object, duplicate, .. } in landed {
            let object = match object {
                Some(object) => *object,
                None => writer.intern_object(id, *size)?,
            };
            let how = match checked.get(id) {
                _ if *duplicate => None,
                None | Some(Checked::FromMemory) => Some(ProofKind::Written),
                Some(Checked::Good) => Some(ProofKind::Read),
                Some(Checked::Unread) => None,
                Some(Checked::Bad(why, there)) => {
                    // A removal of the same name that was never finished is over: another file has the name.
                    writer.record_removed(disk, id)?;
                    writer.lose_copy(object, disk, now_ns, why)?;
                    let snapshot = writer.newest_snapshot()?.map_or(0, |row| row.snapshot.0);
                    let orphan = Orphan { id: *id, size: *there, first_ns: now_ns, snapshot, damaged: true };
                    writer.record_orphan(disk, &orphan)?;
                    bad.insert(*id, object);
                    None
                }
            };
            if let Some(how) = how {
                let proof = &mut proofs[usize::from(how == ProofKind::Read)];
                let proof = match *proof {
                    Some(proof) => proof,
                    None => *proof.insert(writer.record_proof(run, now_ns, how)?),
                };
                claims.push((object, proof));
            }
            // The source was read and is known now, whatever the disk made of it.
            if let Some(provisional) = provisional {
                let Provisional { key, born, captured, linked } = &**provisional;
                let captured = Captured { object: Some(object), ..captured.clone() };
                match linked {
                    true => writer.capture_linked(key, *born, &captured)?,
                    false => writer.capture(key, *born, None, &captured)?,
                };
            }
        }
        writer.claim_copies(disk, claims)?;
        writer.advance_generation()?;
        Ok(bad)
    };
    let bad = visit.catalog.write_and_look("record copies", claim, |written| {
        if let Some(preparation) = preparation {
            prepared = preparation.ahead(written, landed.len())?;
        }
        // No claim counts before this transaction ends, and it ends only with what is durable (N1).
        committed()
    })?;
    visit.prepared = prepared;
    Ok(bad)
}

/// Adds up what was claimed, and tells of what was not.
fn count(
    visit: &Visit<'_>,
    outcome: &mut VisitOutcome,
    landed: &[Landed],
    checked: &HashMap<ObjectId, Checked>,
    bad: &BTreeMap<ObjectId, ObjectNo>,
) -> Result<(), OpError> {
    for Landed { id, size, copies_before, .. } in landed.iter().filter(|landed| !landed.duplicate) {
        let Some(checked) = checked.get(id) else {
            outcome.copied.add(*copies_before, *size);
            continue;
        };
        let read = outcome.read_back.get_or_insert_default();
        match checked {
            Checked::Good => read.good.add(*size),
            Checked::FromMemory => read.from_memory.add(*size),
            Checked::Unread => continue,
            Checked::Bad(why, _) => {
                let reader = visit.catalog.read();
                let path = match bad.get(id) {
                    Some(object) => name_of(&reader, *object)?,
                    None => id.hex().into_bytes(),
                };
                visit.observer.event(Event::Skipped { path: &path, reason: why });
                read.bad.add(&path, why.clone());
                continue;
            }
        }
        outcome.copied.add(*copies_before, *size);
    }
    Ok(())
}
