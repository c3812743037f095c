//! Hashing: pending files are read, several at once, and recorded in batches.
//!
//! Work comes in the order of the tree and is recorded as it is done, so an interrupted update goes on
//! where it stopped. A file is taken only if it was the same before and after the reading (S8); what
//! was scanned as this name must be what was opened, by its inode.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use distbackup_core::model::{Bytes, DirNo, VirtualPath};

use super::UpdateOutcome;
use super::sidecar;
use super::walk::RealPaths;
use crate::catalog::{Captured, Catalog, Pending, PendingKey, PendingRow, Sidecar, partner_of};
use crate::hash::{ATTEMPTS, HashError, Hashed, SourceFile, read_stable};
use crate::metadata;
use crate::ops::OpError;
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;
use crate::ops::problems::SharedProblems;
use crate::platform::{Accounts, path_of_bytes};
use crate::progress::{Event, Observer, Phase};

/// Pending rows are fetched so many at a time.
const FETCH: u32 = 1024;

/// What was hashed is recorded after so many files or so long, whichever comes first: that much is
/// read again after a crash.
const RECORD_FILES: usize = 4096;
const RECORD_AFTER: Duration = Duration::from_secs(5);

struct Job {
    row: PendingRow,
    path: PathBuf,
    vpath: VirtualPath,
}

/// A file that was read.
struct Done {
    row: PendingRow,
    hashed: Hashed,
    captured: Captured,
    /// What it says of the file beside it.
    sidecar: Option<Sidecar>,
}

/// Reads and hashes pending files.
pub fn hash_pending(
    catalog: &mut Catalog,
    which: Pending,
    mapping: &Mapping,
    filesystems: &Filesystems,
    problems: &SharedProblems<'_>,
    observer: &dyn Observer,
    outcome: &mut UpdateOutcome,
) -> Result<(), OpError> {
    let (files, bytes) = catalog.read().pending_total(which)?;
    if files == 0 {
        return Ok(());
    }
    observer.event(Event::Begin { phase: Phase::Hash, files, bytes: Bytes(bytes) });
    let accounts = Accounts::new();
    let finished = std::thread::scope(|scope| {
        let (jobs, todo) = bounded::<Job>(2 * FETCH as usize);
        // Whoever reads goes on while a batch is recorded.
        let (results, done) = bounded(RECORD_FILES);
        for _ in 0..threads() {
            let (todo, results, accounts) = (todo.clone(), results.clone(), &accounts);
            scope.spawn(move || work(&todo, &results, filesystems, accounts, problems, observer));
        }
        drop((todo, results));
        feed_and_record(catalog, which, mapping, problems, observer, jobs, &done, outcome)
    });
    observer.event(Event::End);
    outcome.interrupted = observer.stop_requested();
    finished
}

/// Readers: one more than processors, so that a processor hashes while another file is waited for.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8))
}

/// Hands out pending rows and records results, until there are neither.
#[allow(clippy::too_many_arguments)]
fn feed_and_record(
    catalog: &mut Catalog,
    which: Pending,
    mapping: &Mapping,
    problems: &SharedProblems<'_>,
    observer: &dyn Observer,
    jobs: Sender<Job>,
    done: &Receiver<Done>,
    outcome: &mut UpdateOutcome,
) -> Result<(), OpError> {
    let mut jobs = Some(jobs);
    let mut after: Option<PendingKey> = None;
    let mut paths = RealPaths::default();
    let mut batch = Vec::new();
    let mut recorded_at = Instant::now();
    // Names of one inode: read once. Groups are recorded together, so only names of one fetch matter.
    let mut links = HashSet::new();
    let mut queue: std::vec::IntoIter<Job> = Vec::new().into_iter();
    let mut held: Option<Job> = None;
    loop {
        if observer.stop_requested() {
            jobs = None;
        }
        if let Some(sender) = &jobs {
            if held.is_none() {
                held = queue.next();
            }
            if held.is_none() {
                let rows = catalog.read().pending_after(which, after.as_ref(), FETCH)?;
                after = rows.last().map(|row| row.key.clone());
                if rows.is_empty() {
                    jobs = None;
                    continue;
                }
                links.clear();
                queue = locate(catalog, mapping, problems, &mut paths, &mut links, rows)?.into_iter();
                continue;
            }
            if let Some(job) = held.take()
                && let Err(error) = sender.try_send(job)
            {
                held = Some(error.into_inner());
            }
        }
        let received = if held.is_some() || jobs.is_none() {
            match done.recv_timeout(Duration::from_millis(100)) {
                Ok(result) => Some(result),
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => None,
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
            }
        } else {
            done.try_recv().ok()
        };
        if let Some(done) = received {
            outcome.hashed.add(done.hashed.size);
            batch.push(done);
        }
        if batch.len() >= RECORD_FILES || (!batch.is_empty() && recorded_at.elapsed() >= RECORD_AFTER) {
            record(catalog, problems, &mut batch)?;
            recorded_at = Instant::now();
        }
    }
    record(catalog, problems, &mut batch)
}

/// Real paths for fetched rows; one row for each inode.
fn locate(
    catalog: &Catalog,
    mapping: &Mapping,
    problems: &SharedProblems<'_>,
    paths: &mut RealPaths,
    links: &mut HashSet<i64>,
    rows: Vec<PendingRow>,
) -> Result<Vec<Job>, OpError> {
    let reader = catalog.read();
    let mut jobs = Vec::with_capacity(rows.len());
    // Rows come folder by folder: its path is asked for once.
    let mut last: Option<(DirNo, VirtualPath)> = None;
    for row in rows {
        if row.link.is_some_and(|link| !links.insert(link.0)) {
            continue;
        }
        let above = match last.take() {
            Some((directory, path)) if directory == row.key.directory => path,
            _ => reader.path_of(row.key.directory)?,
        };
        let vpath = above.join(&row.key.name);
        last = Some((row.key.directory, above));
        match paths.of(reader, mapping, row.key.directory)? {
            Some(folder) => {
                let path = match mapping.real_path(&vpath) {
                    // A single file cannot be a mapping; the folder's path and the name are the same way.
                    Some(path) => path,
                    None => folder.join(path_of_bytes(&row.key.name)),
                };
                jobs.push(Job { row, path, vpath });
            }
            None => problems.add(vpath.as_bytes(), "its source is not mapped any more"),
        }
    }
    Ok(jobs)
}

fn record(
    catalog: &mut Catalog,
    problems: &SharedProblems<'_>,
    batch: &mut Vec<Done>,
) -> Result<(), OpError> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut keys = Vec::with_capacity(batch.len());
    catalog.write("record hashed files", |writer| -> Result<(), OpError> {
        for Done { row, hashed, mut captured, sidecar } in batch.drain(..) {
            if hashed.size > Bytes(0) {
                let object = writer.intern_object(&hashed.id, hashed.size)?;
                captured.object = Some(object);
                if let Some(sidecar) = sidecar {
                    writer.record_sidecar(object, &sidecar)?;
                }
            }
            writer.capture(&row.key, row.born, row.link, &captured)?;
            keys.push(row.key);
        }
        writer.advance_generation()?;
        Ok(())
    })?;
    compare_with_sidecars(catalog, problems, &keys)
}

/// Names the files that are not what their sidecars say: the hash there is a hint, and what was read counts.
fn compare_with_sidecars(
    catalog: &Catalog,
    problems: &SharedProblems<'_>,
    keys: &[PendingKey],
) -> Result<(), OpError> {
    let reader = catalog.read();
    if !reader.knows_sidecars()? {
        return Ok(());
    }
    // Whichever of the two was read last finds the other one in the catalog.
    let files: BTreeSet<_> =
        keys.iter().map(|key| (key.directory, partner_of(&key.name).unwrap_or(&key.name))).collect();
    for (directory, name) in files {
        if let Some(id) = reader.contradicted_by_sidecar(directory, name)? {
            let path = reader.path_of(directory)?.join(name);
            let why = format!(
                "its content is not the one that its .meta-inf file names ({}…); it is backed up as it is",
                &id.hex()[..16]
            );
            problems.add(path.as_bytes(), &why);
        }
    }
    Ok(())
}

fn work(
    todo: &Receiver<Job>,
    results: &Sender<Done>,
    filesystems: &Filesystems,
    accounts: &Accounts,
    problems: &SharedProblems<'_>,
    observer: &dyn Observer,
) {
    for job in todo {
        if observer.stop_requested() {
            continue; // leave it pending
        }
        observer.event(Event::Working { path: job.vpath.as_bytes() });
        match capture(&job, filesystems, accounts, observer) {
            Ok((hashed, captured)) => {
                observer.event(Event::Done { files: 1, bytes: Bytes(0) });
                let said = sidecar::read(&job.row.key.name, &job.path, &hashed).transpose();
                let sidecar = said.unwrap_or_else(|why| {
                    problems.add(job.vpath.as_bytes(), &why);
                    None
                });
                if results.send(Done { row: job.row, hashed, captured, sidecar }).is_err() {
                    return;
                }
            }
            Err(Left::Stopped) => {}
            Err(Left::Because(reason)) => problems.add(job.vpath.as_bytes(), &reason),
        }
    }
}

/// Why a file was left pending.
enum Left {
    Stopped,
    Because(String),
}

fn capture(
    job: &Job,
    filesystems: &Filesystems,
    accounts: &Accounts,
    observer: &dyn Observer,
) -> Result<(Hashed, Captured), Left> {
    let because = |reason: &str| Left::Because(reason.to_owned());
    let mut each = |bytes: u64| observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    let stop = || observer.stop_requested();
    let hashed = read_stable(|| SourceFile::open(&job.path), ATTEMPTS, &mut each, &stop).map_err(
        |error| match error {
            HashError::Stopped => Left::Stopped,
            HashError::Unstable => because("it changes while it is read; it will be tried again next time"),
            HashError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                because("it has gone since it was scanned; the next update will see what became of it")
            }
            HashError::Io(error) => Left::Because(format!("cannot read it: {error}")),
        },
    )?;
    let Some(filesystem) = filesystems.known_device(hashed.stat.device) else {
        return Err(because("it is on another filesystem now; the next update will see what became of it"));
    };
    let stamp = filesystem.stamp(&hashed.stat, hashed.size.0);
    let scanned = &job.row.stamp;
    if (stamp.filesystem, stamp.inode) != (scanned.filesystem, scanned.inode) {
        return Err(because("another file stands there since it was scanned; the next update will take it"));
    }
    let metadata = if stamp.ctime_ns == scanned.ctime_ns {
        None
    } else if hashed.stat.nlink > 1 || job.row.link.is_some() {
        return Err(because("its links changed since it was scanned; the next update will take it"));
    } else {
        // Mode or attributes may have changed with it, and the next scan will not look again.
        let captured = metadata::capture_path(&job.path, &hashed.stat, accounts);
        Some(captured.map_err(|error| Left::Because(format!("cannot read its attributes: {error}")))?)
    };
    let holes = hashed.holes.clone();
    Ok((hashed, Captured { object: None, stamp, holes, metadata }))
}
