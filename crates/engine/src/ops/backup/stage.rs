//! One batch of contents on its way to the disk, by several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use distbackup_core::model::{Bytes, ObjectId, ObjectNo, SnapshotNo, billed};

use super::early::Early;
use super::ledger::Ledger;
use super::origins::{Copies, Holder, Origin, RottenFile};
use super::sources::{Finder, Source};
use crate::catalog::{Captured, CatalogError, PendingKey, PlanRow, Reader, View};
use crate::content::{Content, LARGE_BYTES, Segment};
use crate::disk::{Disk, DiskError, StageError, Staged};
use crate::hash::{ATTEMPTS, Gather};
use crate::metadata;
use crate::ops::OpError;
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;
use crate::platform::{self, Accounts};
use crate::progress::{Event, Observer};

/// What is needed to find, read and write contents.
pub struct Tools<'t> {
    /// Sources by virtual path.
    pub mapping: &'t Mapping,
    /// Filesystems by identity.
    pub filesystems: &'t Filesystems,
    /// Names of users and groups.
    pub accounts: &'t Accounts,
    /// Room of the disk.
    pub ledger: &'t Ledger,
    /// Allocation unit of the disk.
    pub unit: u64,
    /// The disk.
    pub disk: &'t dyn Disk,
    /// Things that are no objects were seen among them: one may stand in the place of a copy (D15).
    pub odd_places: bool,
    /// Files are copied that were not hashed before: what they hold may be known, and on the disk.
    pub hashes: bool,
    /// Copies that may be read beside the sources; none in an ordinary visit.
    pub copies: &'t Copies<'t>,
    /// What was written is read back, by so many threads; `None`: it is not.
    pub read_back: Option<usize>,
    /// Large files that are written at the same time.
    pub large_streams: usize,
    /// Copies that are staged on the disk already.
    pub early: Option<&'t Early<'t>>,
    /// Who watches.
    pub observer: &'t dyn Observer,
}

/// One copy of a batch, resolved.
pub struct Task {
    /// What it stands for.
    pub what: PlanRow,
    /// Billed room, as planned.
    pub billed: Bytes,
    /// Copies that there were before.
    pub copies_before: u16,
    /// Rows that go for it.
    pub victims: Vec<u32>,
    /// Opened ahead, because victims go for it.
    pub source: Option<Source>,
}

/// A copy that was staged.
pub struct Copied {
    /// What lies in the disk's incoming folder.
    pub staged: Staged,
    /// Room that was taken for it.
    pub billed: Bytes,
    /// Copies that there were before.
    pub copies_before: u16,
    /// For a file that was not hashed before.
    pub provisional: Option<Box<Provisional>>,
    /// For an object: its row.
    pub object: Option<ObjectNo>,
}

/// A file that was not hashed before.
pub struct Provisional {
    /// Its place in the tree.
    pub key: PendingKey,
    /// Since when it stands there.
    pub born: SnapshotNo,
    /// What was captured while it was read.
    pub captured: Captured,
    /// It has several names.
    pub linked: bool,
}

/// Why one copy of a batch was not made.
pub enum Failure {
    /// The file is left out.
    File(Vec<u8>, String),
    /// The disk has no place for this one content, wherever it comes from.
    Unfit(Vec<u8>, String),
    /// There is no room in the ledger: nothing was tried.
    Displaced,
    /// The disk has no room, though the ledger has.
    Full,
    /// The catalog fails, and the visit with it.
    Visit(OpError),
    /// The disk fails, and the visit with it.
    Disk(DiskError),
    /// The user asked to stop.
    Stopped,
}

impl Failure {
    /// Whether it concerns more than the one file.
    fn ends_batch(&self) -> bool {
        !matches!(self, Failure::File(..) | Failure::Unfit(..) | Failure::Displaced)
    }
}

/// So many large files at a time keep a fast drive busy: each of them waits for it in turn.
const LARGE_STREAMS: usize = 16;

/// How many large files are written at the same time where `streams` small ones are: no more, if the disk does not take them
/// so, or a drive rotates that they may come from.
pub fn large_streams(disk: &dyn Disk, mapping: &Mapping, streams: usize) -> usize {
    let one_by_one =
        streams < 2 || !disk.takes_large_together() || mapping.folders().any(platform::is_rotational);
    if one_by_one { streams } else { streams.max(LARGE_STREAMS) }
}

/// The tasks of a batch: those that keep a processor busy, and those that wait for disks.
pub struct Tasks {
    small: Vec<Task>,
    large: Vec<Task>,
    /// Threads that take small ones.
    streams: usize,
    /// Threads with something to do.
    pub threads: usize,
}

impl Tasks {
    /// Sorts them. Where large files come one by one as well, they stay together and in their order.
    pub fn new(tasks: Vec<Task>, tools: &Tools<'_>, streams: usize) -> Self {
        let apart = tools.large_streams > streams;
        let (large, small): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| apart && task.billed.0 >= LARGE_BYTES);
        let streams = small.len().min(streams.max(1));
        let threads = streams + large.len().min(tools.large_streams.saturating_sub(streams));
        Tasks { small, large, streams, threads }
    }
}

/// Stages the contents of a batch; each thread has a view of the catalog.
///
/// After an error that concerns more than one file no further one begins, nor when `halt` is set from outside.
pub fn stage_all(
    tools: &Tools<'_>,
    views: Vec<View>,
    tasks: Tasks,
    halt: &AtomicBool,
) -> Vec<Result<Copied, (PlanRow, Failure)>> {
    let (small, large) = (Mutex::new(tasks.small.into_iter()), Mutex::new(tasks.large.into_iter()));
    let results: Vec<Vec<_>> = std::thread::scope(|scope| {
        let workers: Vec<_> = views
            .into_iter()
            .enumerate()
            .map(|(number, view)| {
                let small = (number < tasks.streams).then_some(&small);
                let large = &large;
                scope.spawn(move || {
                    let reader = view.read();
                    let finder = Finder::new(&reader, tools.mapping, tools.filesystems);
                    let stager = Stager { reader: &reader, finder, tools };
                    let mut results = Vec::new();
                    let mut gathered = Gathered::default();
                    let mut note = |task: Task, result: Result<Copied, Failure>| {
                        if result.as_ref().is_err_and(Failure::ends_batch) {
                            halt.store(true, Ordering::Relaxed);
                        }
                        results.push(result.map_err(|failure| (task.what, failure)));
                    };
                    let mut in_hand = Vec::new().into_iter();
                    let mut next =
                        || small.and_then(|small| next(small, &mut in_hand)).or_else(|| lock(large).next());
                    while let Some(task) = next().filter(|_| !halt.load(Ordering::Relaxed)) {
                        if let Some(result) = stager.take_early(&task) {
                            note(task, result);
                        } else if let Some(mut task) = stager.gather(task, &mut gathered) {
                            let result = stager.stage(&mut task);
                            note(task, result);
                        }
                        if gathered.is_full() {
                            stager.stage_gathered(&mut gathered, halt, &mut note);
                        }
                    }
                    stager.stage_gathered(&mut gathered, halt, &mut note);
                    results
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.into_iter().flatten().collect()
}

/// The next task of a thread: of those in hand, or of some more from the queue. Small neighbours go to one thread, which finds
/// them together.
fn next(queue: &Mutex<impl Iterator<Item = Task>>, in_hand: &mut std::vec::IntoIter<Task>) -> Option<Task> {
    const TASKS_MAX: usize = 32;
    const BYTES_MAX: u64 = 1 << 20;
    if let Some(task) = in_hand.next() {
        return Some(task);
    }
    let mut queue = lock(queue);
    let (mut tasks, mut bytes) = (Vec::new(), 0);
    while tasks.len() < TASKS_MAX && bytes < BYTES_MAX {
        let Some(task) = queue.next() else { break };
        bytes += task.billed.0;
        tasks.push(task);
    }
    *in_hand = tasks.into_iter();
    in_hand.next()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left the tasks that nobody has.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Small contents that one thread has read, each with its task, the path it was read from, and what it should be.
type Gathered = Gather<(Task, Vec<u8>, ObjectId)>;

/// What became of one attempt to copy a content.
enum Settled {
    Good(Box<Copied>),
    /// The file changed while it was read.
    Unstable(Vec<u8>),
    /// Same stamp, other content (S4).
    Differs(Vec<u8>),
}

/// One thread that stages.
struct Stager<'s> {
    reader: &'s Reader<'s>,
    finder: Finder<'s>,
    tools: &'s Tools<'s>,
}

impl Stager<'_> {
    /// Reads a small content that is known, to be hashed together with others before it is written. Gives the task back if
    /// this is none, or anything is the matter with it: then it goes the way of all others, which tells of it.
    fn gather(&self, task: Task, gathered: &mut Gathered) -> Option<Task> {
        let PlanRow::Known(object) = task.what else { return Some(task) };
        let small = task.billed.0 <= Gathered::CONTENT_MAX;
        if !small || task.source.is_some() || self.tools.odd_places || self.tools.observer.stop_requested() {
            return Some(task);
        }
        let Ok(Ok(Source { mut file, vpath, expected: Some(id), .. })) = self.finder.open_known(object)
        else {
            return Some(task);
        };
        let whole = gathered.read(&mut file).is_ok_and(|whole| whole);
        // In memory a hole is filled; on the disk it shall be one.
        let good = whole && file.finish().is_ok_and(|read| read.stable() && read.holes.0.is_empty());
        if !good {
            return Some(task);
        }
        gathered.keep((task, vpath, id));
        None
    }

    /// Takes a copy that is staged already; `None`: there is none.
    fn take_early(&self, task: &Task) -> Option<Result<Copied, Failure>> {
        let PlanRow::Known(object) = task.what else { return None };
        let early = self.tools.early.filter(|_| !self.tools.odd_places && task.source.is_none())?;
        let id = match self.reader.object(object) {
            Ok(row) => row?.id,
            Err(error) => return Some(Err(Failure::Visit(error.into()))),
        };
        let staged = early.claim(id)?;
        if !self.tools.ledger.take(task.billed) {
            let dropped = self.tools.disk.discard(staged);
            return Some(Err(dropped.map_or_else(Failure::Disk, |()| Failure::Displaced)));
        }
        self.tools.observer.event(Event::Done { files: 1, bytes: staged.size });
        let (billed, copies_before) = (task.billed, task.copies_before);
        Some(Ok(Copied { staged, billed, copies_before, provisional: None, object: Some(object) }))
    }

    /// Hashes what was gathered, and writes it.
    fn stage_gathered(
        &self,
        gathered: &mut Gathered,
        halt: &AtomicBool,
        note: &mut impl FnMut(Task, Result<Copied, Failure>),
    ) {
        gathered.hash(|id, content, (mut task, path, expected)| {
            if halt.load(Ordering::Relaxed) {
                return;
            }
            let result = match id == expected {
                true => self.stage_hashed(&task, path, id, content),
                // Same stamp, other content (S4): it is read once more, to be sure.
                false => self.stage(&mut task),
            };
            note(task, result);
        });
    }

    fn stage_hashed(
        &self,
        task: &Task,
        path: Vec<u8>,
        id: ObjectId,
        content: &[u8],
    ) -> Result<Copied, Failure> {
        let (observer, billed) = (self.tools.observer, task.billed);
        if observer.stop_requested() {
            return Err(Failure::Stopped);
        }
        if !self.tools.ledger.take(billed) {
            return Err(Failure::Displaced);
        }
        observer.event(Event::Working { path: &path });
        let staged = self.tools.disk.stage_hashed(id, content).map_err(|error| {
            self.tools.ledger.give(billed);
            self.not_staged(path, error)
        })?;
        observer.event(Event::Done { files: 1, bytes: Bytes(content.len() as u64) });
        let object = match task.what {
            PlanRow::Known(object) => Some(object),
            PlanRow::Pending(..) => None,
        };
        Ok(Copied { staged, billed, copies_before: task.copies_before, provisional: None, object })
    }

    /// Copies one content from wherever it may come.
    fn stage(&self, task: &mut Task) -> Result<Copied, Failure> {
        let PlanRow::Known(object) = task.what else { return self.read_sources(task) };
        match self.read_sources(task) {
            Err(Failure::File(path, why)) => self.read_copies(task, object)?.ok_or(Failure::File(path, why)),
            other => other,
        }
    }

    /// Copies one content from the first holder that has it whole; `None`: there is none.
    fn read_copies(&self, task: &Task, object: ObjectNo) -> Result<Option<Copied>, Failure> {
        for holder in self.tools.copies.holders {
            if let Some(copied) = self.read_copy(task, object, holder)? {
                return Ok(Some(copied));
            }
        }
        Ok(None)
    }

    fn read_copy(
        &self,
        task: &Task,
        object: ObjectNo,
        holder: &Holder<'_>,
    ) -> Result<Option<Copied>, Failure> {
        let catalog = |error: CatalogError| Failure::Visit(error.into());
        if !holder.may_have(self.reader, object).map_err(catalog)? {
            return Ok(None);
        }
        let why = match Origin::copy(self.reader, holder, object).map_err(catalog)? {
            Err(error) => error.to_string(),
            Ok(origin) => match self.attempt(task, origin) {
                Ok(Settled::Good(copied)) => return Ok(Some(*copied)),
                Ok(Settled::Unstable(_) | Settled::Differs(_)) => "damaged".to_owned(),
                Err(Failure::File(_, why)) => why,
                Err(failure) => return Err(failure),
            },
        };
        self.tools.copies.note_bad(holder, object, why);
        Ok(None)
    }

    /// Copies one content from the sources; a file that is not hashed yet is read again if it changes meanwhile.
    fn read_sources(&self, task: &mut Task) -> Result<Copied, Failure> {
        let mut again = match task.what {
            PlanRow::Known(_) => 1,
            PlanRow::Pending(..) => ATTEMPTS,
        };
        loop {
            // A source that was opened ahead is used once: what it was checked for has gone already.
            let source = match task.source.take() {
                Some(source) => source,
                None => self.open(task)?,
            };
            again -= 1;
            match self.attempt(task, Origin::Source(Box::new(source)))? {
                Settled::Good(copied) => return Ok(*copied),
                Settled::Unstable(_) if again > 0 => {}
                Settled::Unstable(path) => {
                    let why = "it changes while it is read; it will be tried again next time";
                    return Err(self.left_out(path, why.to_owned()));
                }
                Settled::Differs(path) => {
                    let why = "its content differs from what was hashed, with the same size and times: \
                               the source may be damaged. It is not stored; dsb restore brings back the content as it was";
                    return Err(self.left_out(path, why.to_owned()));
                }
            }
        }
    }

    fn open(&self, task: &Task) -> Result<Source, Failure> {
        let opened = match &task.what {
            PlanRow::Known(object) => self.finder.open_known(*object),
            PlanRow::Pending(key, _) => self.finder.open_entry(key),
        };
        match opened {
            Ok(Ok(source)) => Ok(source),
            Ok(Err((path, why))) => Err(self.left_out(path, why)),
            Err(error) => Err(Failure::Visit(error.into())),
        }
    }

    fn left_out(&self, path: Vec<u8>, reason: String) -> Failure {
        // Where copies can stand in, it is for the caller to say what could not be had at all.
        if self.tools.copies.holders.is_empty() {
            self.tools.observer.event(Event::Skipped { path: &path, reason: &reason });
        }
        Failure::File(path, reason)
    }

    fn unfit(&self, path: Vec<u8>, reason: String) -> Failure {
        self.tools.observer.event(Event::Skipped { path: &path, reason: &reason });
        Failure::Unfit(path, reason)
    }

    /// Takes room for an opened content, writes and judges it; room that was not used is given back.
    fn attempt(&self, task: &Task, origin: Origin<'_>) -> Result<Settled, Failure> {
        // A pending file may have another size by now than it was planned with.
        let room = match (&task.what, &origin) {
            (PlanRow::Pending(..), Origin::Source(source)) => {
                billed(Bytes(source.stamp.size), self.tools.unit)
            }
            _ => task.billed,
        };
        if !self.tools.ledger.take(room) {
            return Err(Failure::Displaced);
        }
        let settled = self.attempt_in(task, origin, room);
        if !matches!(settled, Ok(Settled::Good(_))) {
            self.tools.ledger.give(room);
        }
        settled
    }

    fn attempt_in(&self, task: &Task, mut origin: Origin<'_>, billed: Bytes) -> Result<Settled, Failure> {
        let disk = self.tools.disk;
        self.tools.observer.event(Event::Working { path: origin.name() });
        let name = origin.name().to_vec();
        let staged = self.write(&mut origin)?;
        if self.tools.odd_places
            && let Err(error @ DiskError::Foreign { .. }) = disk.open(staged.id)
        {
            disk.discard(staged).map_err(Failure::Disk)?;
            return Err(self.unfit(name, format!("no place for it on the disk: {error}")));
        }
        let judged = judge(self.reader, self.tools, task, origin, &staged);
        let dropped = match judged {
            Ok(Judged::Good { provisional, object }) => {
                let copies_before = task.copies_before;
                let copied = Copied { staged, billed, copies_before, provisional, object };
                return Ok(Settled::Good(Box::new(copied)));
            }
            Ok(Judged::Unstable(path)) => Ok(Settled::Unstable(path)),
            Ok(Judged::Differs(path)) => Ok(Settled::Differs(path)),
            Err(error) => Err(Failure::Visit(error.into())),
        };
        disk.discard(staged).map_err(Failure::Disk)?;
        dropped
    }

    fn write(&self, origin: &mut Origin<'_>) -> Result<Staged, Failure> {
        let name = origin.name().to_vec();
        let observer = self.tools.observer;
        let staged = self.tools.disk.stage(&mut Watched { content: origin, observer });
        staged.map_err(|error| self.not_staged(name, error))
    }

    fn not_staged(&self, name: Vec<u8>, error: StageError) -> Failure {
        match error {
            StageError::Source(error) if error.kind() == std::io::ErrorKind::Interrupted => Failure::Stopped,
            StageError::Source(error) => self.left_out(name, format!("cannot read it: {error}")),
            StageError::Disk(DiskError::Full { .. }) => Failure::Full,
            StageError::Disk(error @ DiskError::TooLarge { .. }) => self.unfit(name, error.to_string()),
            StageError::Disk(error) => Failure::Disk(error),
        }
    }
}

/// What a staged content is worth.
enum Judged {
    Good { provisional: Option<Box<Provisional>>, object: Option<ObjectNo> },
    Unstable(Vec<u8>),
    Differs(Vec<u8>),
}

/// Judges what was staged against what was expected.
fn judge(
    reader: &Reader<'_>,
    tools: &Tools<'_>,
    task: &Task,
    origin: Origin<'_>,
    staged: &Staged,
) -> Result<Judged, CatalogError> {
    let Source { key, file, path, vpath, stamp, expected } = match origin {
        Origin::Source(source) => *source,
        Origin::Copy { name, .. } => return judge_copy(reader, task, name, staged),
    };
    let Ok(reading) = file.finish() else { return Ok(Judged::Unstable(vpath)) };
    if !reading.stable() {
        return Ok(Judged::Unstable(vpath));
    }
    match &task.what {
        PlanRow::Known(object) => {
            if expected != Some(staged.id) {
                let (object, ctime_ns, path) = (*object, stamp.ctime_ns, vpath.clone());
                tools.copies.note_rotten(RottenFile { object, key, ctime_ns, path });
                return Ok(Judged::Differs(vpath));
            }
            Ok(Judged::Good { provisional: None, object: Some(*object) })
        }
        PlanRow::Pending(key, born) => {
            let metadata = match stamp.ctime_ns == reading.after.ctime_ns {
                true => None,
                false => metadata::capture_path(&path, &reading.after, tools.accounts).ok(),
            };
            let captured = Captured { object: None, stamp, holes: reading.holes, metadata };
            let (key, born, linked) = (key.clone(), *born, reading.after.nlink > 1);
            let provisional = Some(Box::new(Provisional { key, born, captured, linked }));
            Ok(Judged::Good { provisional, object: None })
        }
    }
}

/// A copy of a known object is good if it has the object's name.
fn judge_copy(
    reader: &Reader<'_>,
    task: &Task,
    name: Vec<u8>,
    staged: &Staged,
) -> Result<Judged, CatalogError> {
    let PlanRow::Known(object) = task.what else { return Ok(Judged::Differs(name)) };
    Ok(match reader.object(object)?.map(|row| row.id) == Some(staged.id) {
        true => Judged::Good { provisional: None, object: Some(object) },
        false => Judged::Differs(name),
    })
}

/// A content on its way, watched.
pub struct Watched<'a> {
    /// What is read.
    pub content: &'a mut dyn Content,
    /// Who watches, and may ask to stop.
    pub observer: &'a dyn Observer,
}

impl Content for Watched<'_> {
    fn next_segment(&mut self) -> std::io::Result<Option<Segment<'_>>> {
        if self.observer.stop_requested() {
            return Err(std::io::Error::from(std::io::ErrorKind::Interrupted));
        }
        let segment = self.content.next_segment()?;
        let bytes = match &segment {
            Some(Segment::Data(data)) => data.len() as u64,
            Some(Segment::Zeros(length)) => *length,
            None => 0,
        };
        self.observer.event(Event::Done { files: u64::from(segment.is_none()), bytes: Bytes(bytes) });
        Ok(segment)
    }

    fn probable_bytes(&self) -> u64 {
        self.content.probable_bytes()
    }
}
