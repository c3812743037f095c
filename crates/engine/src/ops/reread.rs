//! Reading again what did not change: a source file can rot under its old size and times, and nothing but a reading tells
//! (S4).
//!
//! Files whose last reading is the longest ago come first. What was read is recorded in batches, so that the next run goes
//! on where this one ended. The stored content stays the truth: a rotten file is reported, never taken.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use distbackup_core::model::{Bytes, DirNo, LinkNo, SnapshotNo, VirtualPath};
use distbackup_core::plan::Tally;
use distbackup_core::rules::{ConfigTree, Policy};

use super::backup::sources::{NotAsKnown, open_unchanged};
use super::filesystems::Filesystems;
use super::mapping::Mapping;
use super::part::Draw;
use super::readers::in_parallel;
use super::sources::configuration;
use super::{OpError, Part, Problems, rot};
use crate::catalog::{Age, Catalog, CatalogError, SourceFileRow};
use crate::clock::Clock;
use crate::hash::{self, HashError, SourceFile};
use crate::platform;
use crate::progress::{Event, Observer, Phase};

/// Rows are fetched so many at a time.
const FETCH: u32 = 1024;
/// Files are handed to the readers so many, or so many bytes, at a time.
const FILES_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: u64 = 1 << 30;
/// What was read is recorded after so many files or so long: that much is read again after a crash.
const RECORD_FILES: usize = 4096;
const RECORD_AFTER: Duration = Duration::from_secs(5);

/// What to read again.
#[derive(Debug, Clone, Default)]
pub struct RereadOptions {
    /// How much of it.
    pub part: Part,
    /// Read locked files, too.
    pub ignore_locks: bool,
    /// What this snapshot brought was read a moment ago.
    pub fresh: Option<SnapshotNo>,
    /// Tell only how much it is.
    pub dry_run: bool,
}

/// What was read again.
#[derive(Debug, Clone, Default)]
pub struct RereadOutcome {
    /// What was to be read; of a sample, about.
    pub chosen: Tally,
    /// Read, and found to be what they should be. Names of one hard-link group count once.
    pub good: Tally,
    /// Changed or gone since the scan: the next update's business.
    pub changed: u64,
    /// Locked, and left alone.
    pub locked: u64,
    /// Rotten: the content differs, and nothing else tells (S4). Each with who has the good content.
    pub rotten: Problems,
    /// They could not be read.
    pub unreadable: Problems,
    /// Names of files that this run did not read.
    pub left: Tally,
    /// When the first of these was read, as catalog time; 0: not known.
    pub oldest_ns: Option<i64>,
    /// Time was up before everything chosen was read.
    pub out_of_time: bool,
    /// The user asked to stop.
    pub interrupted: bool,
    /// How long it took.
    pub took: Duration,
}

/// A file to read.
struct Job {
    row: SourceFileRow,
    path: PathBuf,
    vpath: VirtualPath,
}

/// What one file turned out to be.
enum Verdict {
    Good,
    Rotten,
    Changed,
    Unreadable(String),
    Stopped,
}

/// One run over the chosen files.
struct Pass<'a> {
    catalog: &'a mut Catalog,
    observer: &'a dyn Observer,
    mapping: Mapping,
    filesystems: Filesystems,
    /// What is locked, if anything is.
    locks: Option<ConfigTree>,
    draw: Draw,
    deadline: Option<Instant>,
    /// The time under which this run's readings are recorded: newer than all before.
    read_ns: i64,
    /// Hard-link groups that were read.
    links: HashSet<LinkNo>,
    /// The folder that was looked up last.
    folder: Option<(DirNo, VirtualPath)>,
    /// Read, but not recorded yet.
    waiting: Vec<(SourceFileRow, bool)>,
    recorded_at: Instant,
    outcome: RereadOutcome,
}

/// Reads unchanged source files again, those first whose last reading is the longest ago.
pub fn reread(
    catalog: &mut Catalog,
    clock: &dyn Clock,
    options: &RereadOptions,
    observer: &dyn Observer,
) -> Result<RereadOutcome, OpError> {
    let began = Instant::now();
    let time = catalog.write_aside("note the time", |writer| writer.advance_time(clock.now_ns(), false))?;
    let reader = catalog.read();
    let (ages, rereads) = (reader.read_ages()?, reader.reread_times()?);
    let mut newest_ns = options.part.newest_ns(time.now_ns);
    if let Some(fresh) = options.fresh.map(|snapshot| reader.snapshot(snapshot)).transpose()?.flatten() {
        newest_ns = newest_ns.min(fresh.created_ns.saturating_sub(1));
    }
    let chosen = options.part.chosen(&ages, newest_ns);
    let mut outcome = RereadOutcome { chosen, ..RereadOutcome::default() };
    if options.dry_run {
        outcome.count_left(&ages, i64::MAX);
        return Ok(outcome);
    }
    let config = configuration(&reader, options.ignore_locks)?;
    let mut pass = Pass {
        mapping: Mapping::load(&reader)?,
        filesystems: Filesystems::load(&reader)?,
        locks: config.holds_lock().then_some(config),
        draw: Draw::new(&options.part),
        deadline: options.part.deadline(),
        // The clock may have been set back; what is read now is newer all the same.
        read_ns: time.now_ns.max(ages.last().map_or(0, |age| age.at_ns.saturating_add(1))),
        links: HashSet::new(),
        folder: None,
        waiting: Vec::new(),
        recorded_at: Instant::now(),
        outcome,
        catalog,
        observer,
    };
    observer.event(Event::Begin { phase: Phase::Reread, files: chosen.objects, bytes: chosen.bytes });
    let finished = pass.slices(&options.part, &ages, &rereads, newest_ns);
    observer.event(Event::End);
    let finished = pass.record().and(finished)?;
    let Pass { catalog, read_ns, mut outcome, .. } = pass;
    outcome.interrupted = observer.stop_requested();
    let ages = catalog.read().read_ages()?;
    outcome.count_left(&ages, read_ns);
    // Time may have been up with the last file.
    let unread = ages.iter().filter(|age| age.at_ns <= newest_ns && age.at_ns < read_ns);
    let unread: u64 = unread.map(|age| age.tally.objects).sum();
    outcome.out_of_time = !finished && !outcome.interrupted && unread > outcome.passed_over();
    outcome.took = began.elapsed();
    Ok(outcome)
}

impl RereadOutcome {
    /// Files of which it is not known whether they are good, although their turn has come.
    fn passed_over(&self) -> u64 {
        self.changed + self.locked + self.unreadable.count
    }

    /// Counts what was read before `read_ns` and not since.
    fn count_left(&mut self, ages: &[Age], read_ns: i64) {
        let before = || ages.iter().filter(|age| age.at_ns < read_ns);
        before().for_each(|age| self.left.merge(age.tally));
        self.oldest_ns = before().next().map(|age| age.at_ns);
    }
}

impl Pass<'_> {
    /// Tells whether everything chosen was read.
    fn slices(
        &mut self,
        part: &Part,
        ages: &[Age],
        rereads: &BTreeSet<i64>,
        newest_ns: i64,
    ) -> Result<bool, OpError> {
        // What one run has read again stays apart from all else: a run that is cut short, and reads in the order of the
        // tree, would begin with it again.
        let together = |end: i64, at: i64| !rereads.contains(&end) && !rereads.contains(&at);
        for times in part.slices_where(ages, newest_ns, &together) {
            let mut after = None;
            loop {
                let rows = self.catalog.read().source_files_after(after.as_ref(), &times, FETCH)?;
                let Some(last) = rows.last() else { break };
                after = Some(last.key.clone());
                let mut jobs = Vec::new();
                let mut bytes = 0;
                for row in rows {
                    let Some(job) = self.locate(row)? else { continue };
                    bytes += job.row.stamp.size;
                    jobs.push(job);
                    let enough = jobs.len() >= FILES_AT_ONCE || bytes >= BYTES_AT_ONCE;
                    if enough && !self.read(std::mem::take(&mut jobs))? {
                        return Ok(false);
                    }
                    bytes = if enough { 0 } else { bytes };
                }
                if !self.read(jobs)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Where a file is, if it is to be read.
    fn locate(&mut self, row: SourceFileRow) -> Result<Option<Job>, CatalogError> {
        let mut key = row.key.directory.0.to_le_bytes().to_vec();
        key.extend_from_slice(&row.key.name);
        // All names of a hard-link group are one file, read once.
        if !self.draw.takes(&key) || row.link.is_some_and(|link| !self.links.insert(link)) {
            return Ok(None);
        }
        let folder = match &self.folder {
            Some((directory, path)) if *directory == row.key.directory => path,
            _ => {
                let path = self.catalog.read().path_of(row.key.directory)?;
                &self.folder.insert((row.key.directory, path)).1
            }
        };
        let vpath = folder.join(&row.key.name);
        if self.locks.as_ref().is_some_and(|locks| is_locked(locks, &vpath)) {
            self.outcome.locked += 1;
            return Ok(None);
        }
        match self.mapping.real_path(&vpath) {
            Some(path) => Ok(Some(Job { row, path, vpath })),
            None => {
                self.outcome.changed += 1;
                Ok(None)
            }
        }
    }

    /// Reads files, several at a time; `false` if it is time to end.
    fn read(&mut self, jobs: Vec<Job>) -> Result<bool, OpError> {
        let (observer, filesystems, deadline) = (self.observer, &self.filesystems, self.deadline);
        let in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
        let more = || !observer.stop_requested() && in_time();
        let verdicts = in_parallel(threads(), &jobs, &more, &|job: &Job| {
            observer.event(Event::Working { path: job.vpath.as_bytes() });
            let verdict = read_one(job, filesystems, observer);
            observer.event(Event::Done { files: 1, bytes: Bytes(0) });
            verdict
        });
        let mut going_on = true;
        for (job, verdict) in jobs.into_iter().zip(verdicts) {
            match verdict.unwrap_or(Verdict::Stopped) {
                Verdict::Good => {
                    self.outcome.good.add(Bytes(job.row.stamp.size));
                    self.waiting.push((job.row, true));
                }
                Verdict::Rotten => self.note_rotten(job)?,
                Verdict::Changed => self.outcome.changed += 1,
                Verdict::Unreadable(why) => {
                    observer.event(Event::Skipped { path: job.vpath.as_bytes(), reason: &why });
                    self.outcome.unreadable.add(job.vpath.as_bytes(), why);
                }
                Verdict::Stopped => going_on = false,
            }
        }
        if self.waiting.len() >= RECORD_FILES || self.recorded_at.elapsed() >= RECORD_AFTER {
            self.record()?;
        }
        Ok(going_on && more())
    }

    fn note_rotten(&mut self, job: Job) -> Result<(), CatalogError> {
        let disks = rot::holders(&self.catalog.read(), job.row.object)?;
        let who = match disks.is_empty() {
            true => "no disk has what it was".to_owned(),
            false => format!("good on {}", disks.join(", ")),
        };
        let why = format!("its content is not what it was, under the same size and times; {who}");
        self.observer.event(Event::Skipped { path: job.vpath.as_bytes(), reason: &why });
        self.outcome.rotten.add(job.vpath.as_bytes(), why);
        self.waiting.push((job.row, false));
        Ok(())
    }

    /// Records what was read since the last time.
    fn record(&mut self) -> Result<(), OpError> {
        self.recorded_at = Instant::now();
        let (read_ns, waiting) = (self.read_ns, std::mem::take(&mut self.waiting));
        if waiting.is_empty() {
            return Ok(());
        }
        self.catalog.write("record what was read again", |writer| -> Result<(), CatalogError> {
            for (row, good) in &waiting {
                if *good {
                    writer.record_source_read(&row.key, row.link, read_ns)?;
                } else {
                    writer.record_source_rot(&row.key, row.object, row.stamp.ctime_ns, read_ns)?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// Readers: one more than processors, so that a processor hashes while another file is waited for.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| (cores.get() + 1).clamp(2, 8))
}

fn is_locked(locks: &ConfigTree, path: &VirtualPath) -> bool {
    let mut at = Some(locks);
    let mut policy = Policy::default().below(locks.own());
    for name in path.components() {
        at = at.and_then(|config| config.child(name));
        policy = policy.below(at.and_then(ConfigTree::own));
    }
    policy.locked()
}

fn read_one(job: &Job, filesystems: &Filesystems, observer: &dyn Observer) -> Verdict {
    let file = match open_unchanged(&job.path, &job.row.stamp, filesystems) {
        Ok(file) => file,
        Err(NotAsKnown::Changed | NotAsKnown::Gone(_)) => return Verdict::Changed,
        Err(NotAsKnown::Unreadable(why)) => return Verdict::Unreadable(why),
    };
    // What memory remembers of the file says nothing of its medium.
    platform::forget_cached(std::os::fd::AsFd::as_fd(&file));
    compare(file, job, observer)
}

fn compare(mut file: SourceFile, job: &Job, observer: &dyn Observer) -> Verdict {
    let mut each = |bytes: u64| observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    let found = match hash::hash_content(&mut file, &mut each, &|| observer.stop_requested()) {
        Ok((found, _)) => found,
        Err(HashError::Stopped) => return Verdict::Stopped,
        Err(error) => return Verdict::Unreadable(format!("cannot read it: {error}")),
    };
    match file.finish() {
        Ok(reading) if !reading.stable() => Verdict::Changed,
        Ok(_) if found == job.row.id => Verdict::Good,
        Ok(_) => Verdict::Rotten,
        Err(error) => Verdict::Unreadable(format!("cannot look at it again: {error}")),
    }
}
