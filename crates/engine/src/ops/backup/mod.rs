//! Backup: one visit of one disk.
//!
//! A visit reconciles, plans, executes, and leaves a copy of the catalog on the disk (DESIGN 5, 6).
//! Nothing is written to the disk before `Visit::begin_writing`, so a visit that has nothing to do
//! leaves the disk as it found it.

pub mod adopt;
mod deliver;
mod early;
mod execute;
mod folders;
mod ledger;
mod origins;
mod prepare;
mod publish;
mod read_back;
mod reconcile;
mod remove;
pub(in crate::ops) mod sources;
mod stage;
mod write_out;

use std::collections::HashMap;

use distbackup_core::brake::Gone;
use distbackup_core::model::{Bytes, DiskNo, ObjectNo, RunNo};
use distbackup_core::plan::{Tally, VisitPlan};
use distbackup_core::planner;

use super::guard::{self, Held, Moment};
use super::shelf;
use super::{OpError, Problems};
use crate::catalog::{Catalog, CatalogError, CatalogTime, DiskRow, Loaded, Pending, Reader, Unreadable};
use crate::disk::{Disk, DiskError, DiskStamp, Identity};
use crate::platform;
use crate::progress::{Event, Observer, Phase};
use crate::report::{ByCopies, PlannedVisit};
pub(super) use deliver::strike_out_bad;
pub use deliver::{Delivered, Delivery, deliver};
pub use early::Early;
use ledger::Ledger;
pub use origins::Holder;
pub(super) use origins::{BadCopy, Givers};
use prepare::Prepared;
pub use read_back::ReadBackOutcome;
pub use reconcile::Reconciled;
pub(super) use stage::Watched;

/// How to back up.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// Also copy files that are not hashed yet: they are hashed on the way (`--update`).
    pub take_pending: bool,
    /// Copy at most so much.
    pub limit: Option<Bytes>,
    /// Make no copies beyond this number; nothing is deleted for it.
    pub copies_max: Option<u16>,
    /// The user has said that removing a large part of a disk's copies is right (DESIGN 7.3).
    pub accept: bool,
    /// Percent of the disk that copies beyond what the whole set can give to everything leave free.
    pub reserve_percent: u8,
    /// Plan only; the catalog given is a private copy.
    pub dry_run: bool,
    /// Files that are written at the same time; 1 for a rotating disk.
    pub streams: usize,
    /// Read everything again from the medium after it was written, before it is claimed.
    pub read_back: bool,
}

/// Plans in one visit, at most: each next one serves what found no room because copies had failed (I6).
const ROUNDS_MAX: usize = 4;

/// What a visit did.
#[derive(Debug, Clone, Default)]
pub struct VisitOutcome {
    /// Name of the disk.
    pub disk: String,
    /// What the comparison found.
    pub reconciled: Reconciled,
    /// What was planned; with a dry run, all there is.
    pub planned: PlannedVisit,
    /// Objects copied.
    pub copied: ByCopies,
    /// Their billed bytes.
    pub written: Bytes,
    /// Time that the copying took, making it durable included.
    pub copying: std::time::Duration,
    /// What was read back, if that was asked for.
    pub read_back: Option<ReadBackOutcome>,
    /// Dead objects removed.
    pub cleaned: Tally,
    /// Redundant copies removed to make room, or in excess.
    pub evicted: Tally,
    /// So much has left the tree since it was last accepted that nothing was removed for it (S3).
    pub held: Option<Held>,
    /// Copies that would have been removed from the disk, of all live ones there: too many without the user's word.
    pub waiting: Option<Gone>,
    /// Entries of history that expired.
    pub expired: u64,
    /// Files that could not be copied.
    pub problems: Problems,
    /// Of those, files whose content differs from what was recorded, under the same size and times (S4).
    pub rotten: u64,
    /// Files whose content is in no object yet and which this visit did not take.
    pub pending: Tally,
    /// The disk refused room that it had promised.
    pub full: bool,
    /// The user asked to stop; what was copied is recorded.
    pub interrupted: bool,
    /// The disk was written to and carries the current catalog.
    pub published: bool,
    /// The disk's stamp is older than ours: nothing was deleted (N5).
    pub in_doubt: bool,
    /// The disk is to leave the set: it was compared, but nothing was copied to it or removed from it.
    pub retiring: bool,
    /// Its filesystem has no identity: the disk is found by its path alone.
    pub unnamed_filesystem: bool,
    /// Room left for objects.
    pub room_left: Bytes,
}

impl VisitOutcome {
    /// Whether everything that could be done was done (exit code 0 rather than 3).
    pub fn complete(&self) -> bool {
        let all_came_back = self.read_back.as_ref().is_none_or(|read| read.bad.is_empty());
        self.problems.is_empty() && self.pending.objects == 0 && !self.interrupted && all_came_back
    }
}

/// One visit in progress.
pub struct Visit<'a> {
    pub(super) catalog: &'a mut Catalog,
    pub(super) disk: &'a dyn Disk,
    pub(super) row: DiskRow,
    identity: Identity,
    pub(super) time: CatalogTime,
    pub(super) run: Option<RunNo>,
    pub(super) observer: &'a dyn Observer,
    /// Copies that are staged on the disk already.
    early: Option<&'a Early<'a>>,
    /// What the visit leaves besides the catalog, as far as it is ready.
    prepared: Option<Prepared>,
    writing: bool,
    /// The disk may have gone back in time: nothing on it is deleted (N5).
    pub(super) deletions_forbidden: bool,
    /// All that is on the disk was compared with the catalog.
    compared: bool,
}

/// A name to show for an object: a path that has it, else its hash.
pub fn name_of(reader: &Reader<'_>, object: ObjectNo) -> Result<Vec<u8>, CatalogError> {
    if let Some(reference) = reader.references(object, 1)?.into_iter().next() {
        return Ok(reader.path_of(reference.directory)?.join(&reference.name).as_bytes().to_vec());
    }
    Ok(reader.object(object)?.map_or_else(|| b"(unknown)".to_vec(), |row| row.id.hex().into_bytes()))
}

/// Live copies that a plan removes from a disk, of all that it has.
fn removals(loaded: &Loaded, plan: &VisitPlan, disk: DiskNo) -> Gone {
    let mut removed = Gone { gone: Tally::default(), of: loaded.live_on(disk) };
    for &row in plan.excess.iter().chain(plan.victims()) {
        if loaded.row(row).is_some_and(|object| object.state != planner::State::History) {
            removed.gone.add(loaded.content(row));
        }
    }
    removed
}

/// Visits one disk. `row` is what the catalog knows of it, with its place and room as they are now.
#[allow(clippy::too_many_arguments)]
pub fn visit(
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: DiskRow,
    clock_ns: i64,
    run: Option<RunNo>,
    options: &BackupOptions,
    observer: &dyn Observer,
) -> Result<VisitOutcome, OpError> {
    visit_with(None, catalog, disk, row, clock_ns, run, options, observer)
}

/// As [`visit`]; takes the copies that were staged on the disk before.
#[allow(clippy::too_many_arguments)]
pub fn visit_with(
    early: Option<&Early<'_>>,
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: DiskRow,
    clock_ns: i64,
    run: Option<RunNo>,
    options: &BackupOptions,
    observer: &dyn Observer,
) -> Result<VisitOutcome, OpError> {
    let (mut visit, mut outcome) = Visit::begin(catalog, disk, row, clock_ns, run, observer)?;
    visit.early = early;
    // The disk's pace is told from it.
    outcome.copying = early.map_or(std::time::Duration::ZERO, |early| early.began.elapsed());
    outcome.read_back = options.read_back.then(ReadBackOutcome::default);
    let finished = visit.work(options, &mut outcome);
    if let Some(early) = early {
        // What was not planned: its room is needed for the catalog.
        early.discard();
    }
    match finished {
        Err(OpError::Stopped) => outcome.interrupted = true,
        other => other?,
    }
    if options.dry_run {
        return Ok(outcome);
    }
    if !visit.compared {
        // The catalog there may be the only one that knows names of what was not compared yet (C1).
        return Ok(outcome);
    }
    // An interrupted visit ends with the catalog copy as well (DESIGN 6).
    outcome.published = publish::publish(&mut visit, outcome.interrupted)?;
    Ok(outcome)
}

impl<'a> Visit<'a> {
    /// Looks at the disk's identity and stamp (N5), and notes that it was seen.
    fn begin(
        catalog: &'a mut Catalog,
        disk: &'a dyn Disk,
        row: DiskRow,
        clock_ns: i64,
        run: Option<RunNo>,
        observer: &'a dyn Observer,
    ) -> Result<(Self, VisitOutcome), OpError> {
        let identity = disk.identity().map_err(OpError::disk(&row.name))?;
        let time = catalog.write_aside("note the time", |writer| writer.advance_time(clock_ns, false))?;
        let mut visit = Visit {
            catalog,
            disk,
            row,
            identity,
            time,
            run,
            observer,
            early: None,
            prepared: None,
            writing: false,
            deletions_forbidden: false,
            compared: false,
        };
        let mut outcome = VisitOutcome { disk: visit.row.name.clone(), ..VisitOutcome::default() };
        outcome.in_doubt = visit.check_stamp()?;
        visit.note_seen()?;
        Ok((visit, outcome))
    }

    /// Compares the disk with the catalog, and clears what interrupted visits left.
    fn look_first(
        &mut self,
        dry_run: bool,
        streams: usize,
        outcome: &mut VisitOutcome,
    ) -> Result<(), OpError> {
        outcome.reconciled = reconcile::reconcile(self, dry_run, streams)?;
        self.compared = true;
        if !dry_run {
            outcome.reconciled.leftovers = match self.early {
                // What lies there now was staged for this visit.
                Some(early) => early.cleared,
                None => self.clear_leftovers()?,
            };
        }
        Ok(())
    }

    fn work(&mut self, options: &BackupOptions, outcome: &mut VisitOutcome) -> Result<(), OpError> {
        self.look_first(options.dry_run, options.streams, outcome)?;
        if self.row.retiring {
            // What it holds does not count any more, but stays until the owner takes the disk out of the set.
            outcome.retiring = true;
            return Ok(());
        }
        let (held, expired) = guard::settle(self.catalog, self.time, Moment::Visit)?;
        (outcome.held, outcome.expired) = (held, expired);
        let mut unreadable = Unreadable::default();
        for round in 1..=ROUNDS_MAX {
            let (loaded, mut plan, ledger) = self.plan(options, outcome, &unreadable)?;
            let removed = removals(&loaded, &plan, self.row.disk);
            if removed.is_massive_in_number() && !options.accept {
                // The rest of the plan goes on; what would have gone for it, and it, waits.
                outcome.waiting = Some(removed);
                plan.excess.clear();
                plan.keep_what_is_there();
            }
            if round == 1 {
                outcome.planned = PlannedVisit::new(&loaded, &plan);
            }
            outcome.room_left = plan.room_after;
            if options.dry_run {
                break;
            }
            let failed = execute::execute(self, options, &loaded, &plan, &ledger, outcome)?;
            outcome.room_left = ledger.left();
            let wanted = failed.displaced > 0 || plan.unplaced.objects > 0;
            if failed.unreadable.is_empty() || !wanted || outcome.full {
                break;
            }
            failed.unreadable.into_iter().for_each(|row| unreadable.add(row));
        }
        let (files, bytes) = self.catalog.read().pending_total(Pending::Unknown)?;
        outcome.pending = Tally { objects: files, bytes: Bytes(bytes) };
        Ok(())
    }

    /// Compares the disk's stamp with what the catalog expects there (N5); tells whether it is in doubt.
    fn check_stamp(&mut self) -> Result<bool, OpError> {
        let (expected, pending) = (self.row.stamp, self.row.pending_stamp);
        let never_stamped = DiskStamp { counter: 0, random: 0 };
        let found = self.identity.stamp.unwrap_or(never_stamped);
        if self.row.unproven && found.counter > expected.counter {
            let text = "this disk was written by a newer catalog than the one that was recovered; \
                        dsb recover with this disk's folder takes that one instead";
            self.observer.event(Event::Note { text });
        }
        if self.row.unproven || found == expected || Some(found) == pending {
            return Ok(self.row.doubt.is_some());
        }
        if found.counter < expected.counter {
            let why = "its stamp is older than the catalog's: it was put back from an image, or is a clone";
            let disk = self.row.disk;
            self.catalog.write("record a doubt", |writer| writer.doubt_disk(disk, why))?;
            self.row.doubt = Some(why.to_owned());
            self.deletions_forbidden = true;
            return Ok(true);
        }
        let why = "it was written since by a newer catalog of this set than the one on this computer";
        Err(OpError::StampMismatch { name: self.row.name.clone(), why, catalog_is_old: true })
    }

    fn note_seen(&mut self) -> Result<(), OpError> {
        let (row, now_ns) = (&self.row, self.time.now_ns);
        self.catalog
            .write_aside("record that a disk was seen", |writer| writer.record_disk_seen(row, now_ns))?;
        Ok(())
    }

    /// To be called before the first write to the disk: commits the next stamp as pending, puts it on
    /// the disk, and confirms it (N5). A visit killed anywhere in between is no clone.
    pub(super) fn begin_writing(&mut self) -> Result<(), OpError> {
        if self.writing {
            return Ok(());
        }
        let found = self.identity.stamp.map_or(0, |stamp| stamp.counter);
        let counter = self.row.stamp.counter.max(found) + 1;
        let next = DiskStamp { counter, random: platform::random_bits() };
        let disk = self.row.disk;
        self.catalog
            .write_aside("record the begin of a visit", |writer| writer.record_visit_begin(disk, next))?;
        self.identity.stamp = Some(next);
        self.identity.set = Some(self.catalog.read().set_uuid()?);
        self.identity.name.clone_from(&self.row.name);
        self.disk.write_identity(&self.identity).map_err(OpError::disk(&self.row.name))?;
        self.catalog.write_aside("record the stamp", |writer| writer.record_stamp(disk, next))?;
        self.row.stamp = next;
        self.row.open_visit = true;
        self.writing = true;
        Ok(())
    }

    fn clear_leftovers(&mut self) -> Result<Bytes, OpError> {
        // It writes only if there is something to clear, so an idle visit stays one.
        match self.disk.clear_incoming() {
            Ok(bytes) => Ok(bytes),
            Err(DiskError::ReadOnly) => Ok(Bytes(0)),
            Err(error) => Err(OpError::disk(&self.row.name)(error)),
        }
    }

    /// Loads the set as it is now and plans what is left of the visit.
    fn plan(
        &self,
        options: &BackupOptions,
        outcome: &VisitOutcome,
        unreadable: &Unreadable,
    ) -> Result<(Loaded, VisitPlan, Ledger), OpError> {
        self.observer.event(Event::Begin { phase: Phase::Plan, files: 0, bytes: Bytes(0) });
        let planned = self.load_and_plan(options, outcome, unreadable);
        self.observer.event(Event::End);
        planned
    }

    fn load_and_plan(
        &self,
        options: &BackupOptions,
        outcome: &VisitOutcome,
        unreadable: &Unreadable,
    ) -> Result<(Loaded, VisitPlan, Ledger), OpError> {
        let reader = self.catalog.read();
        let mut scope = reader.scope(self.time, Some(&self.row), options.take_pending)?;
        scope.held_since = outcome.held.map(|held| held.accepted);
        let disk = scope.disks.iter().position(|known| known.number == Some(self.row.disk));
        let disk = disk.unwrap_or(0) as u16;
        let loaded = reader.load_plan(&scope, unreadable)?;
        let ledger = Ledger::new(loaded.room(disk));
        let mut plan = planner::plan_visit(
            &loaded.input,
            &planner::Options {
                disk,
                copies_max: options.copies_max,
                bytes_max: options.limit.map(|limit| limit - outcome.written),
                reserve: Bytes(self.row.capacity.0 / 100 * u64::from(options.reserve_percent)),
                away_days: planner::AWAY_DAYS,
                allow_history_loss: false,
            },
        );
        if self.deletions_forbidden {
            plan.clean.clear();
            plan.excess.clear();
        }
        Ok((loaded, plan, ledger))
    }

    /// All disks by number, this one as it is now.
    pub(super) fn disks(&self) -> Result<HashMap<DiskNo, DiskRow>, CatalogError> {
        let mut disks = shelf::by_number(&self.catalog.read())?;
        disks.insert(self.row.disk, self.row.clone());
        Ok(disks)
    }
}
