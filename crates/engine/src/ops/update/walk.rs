//! The walking side of a scan: several threads, each with one folder at a time.
//!
//! Folders to do lie on a stack, so the walk goes deep before it goes wide and the stack stays short.
//! An open folder is kept as long as one of its children is to be done, and children are opened
//! relative to it: no path is ever too long, and no symlink on the way is followed (S14).

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crossbeam_channel::{Sender, bounded};
use distbackup_core::model::{Bytes, DirNo, FilesystemNo, LinkNo, RunNo, VirtualPath};
use distbackup_core::rules::ConfigTree;

use super::first::{FirstReading, Gathered, Taker};
use super::folder;
use super::parcel::Parcel;
use super::place::Place;
use super::record::{Difference, MovedFolders, Recorder};
use super::{Kept, UpdateOptions, UpdateOutcome};
use crate::catalog::{At, Catalog, CatalogError, CatalogTime, SourceRow, View};
use crate::ops::OpError;
use crate::ops::filesystems::{Filesystem, Filesystems};
use crate::ops::mapping::Mapping;
use crate::ops::problems::SharedProblems;
use crate::platform::Accounts;
use crate::progress::Observer;
use crate::scan::Folder;

/// Batches of differences on their way to the recording thread.
const BATCHES_UNDER_WAY: usize = 64;

/// A folder of a source that is open.
#[derive(Debug)]
pub struct OpenFolder {
    pub folder: Folder,
    pub filesystem: Filesystem,
    /// Device number, as this boot has it.
    pub device: u64,
    parent: Option<Arc<OpenFolder>>,
    /// Name below the parent, or the virtual path of a source's root.
    name: Vec<u8>,
}

impl OpenFolder {
    /// Opens the root of a source. Symlinks in the path that the user gave are followed, here and only here.
    pub fn root(source: &SourceRow, filesystems: &Filesystems) -> io::Result<Self> {
        let folder = Folder::open(&std::fs::canonicalize(&source.path)?)?;
        Self::of(folder, filesystems, None, source.vpath.as_bytes().to_vec())
    }

    fn of(
        folder: Folder,
        filesystems: &Filesystems,
        parent: Option<Arc<OpenFolder>>,
        name: Vec<u8>,
    ) -> io::Result<Self> {
        let device = folder.stat_self()?.device;
        let filesystem = filesystems.of_device(device, folder.as_fd())?;
        Ok(OpenFolder { folder, filesystem, device, parent, name })
    }

    /// The folder it stands in; none for the root of a source.
    pub fn parent(&self) -> Option<&OpenFolder> {
        self.parent.as_deref()
    }

    /// Whether it is the root of a source.
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Its virtual path.
    pub fn vpath(&self) -> VirtualPath {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(at.name.as_slice());
            at = parent;
        }
        let root = VirtualPath::parse(&at.name).unwrap_or_else(|_| VirtualPath::root());
        names.iter().rev().fold(root, |path, name| path.join(name))
    }
}

/// Opens a folder below another one.
pub fn open(parent: &Arc<OpenFolder>, name: &[u8], filesystems: &Filesystems) -> io::Result<OpenFolder> {
    let folder = Folder::open_at(&parent.folder, name)?;
    OpenFolder::of(folder, filesystems, Some(Arc::clone(parent)), name.to_vec())
}

/// Opens a folder at a real path that stands in another one by a link that is followed.
pub fn open_target(
    parent: &Arc<OpenFolder>,
    name: &[u8],
    path: &Path,
    filesystems: &Filesystems,
) -> io::Result<OpenFolder> {
    let folder = Folder::open(path)?;
    OpenFolder::of(folder, filesystems, Some(Arc::clone(parent)), name.to_vec())
}

/// Where a folder to do is found.
#[derive(Debug)]
pub enum Where {
    /// Below an open folder.
    Below(Arc<OpenFolder>, Vec<u8>),
    /// At a real path, by a link below an open folder that is followed.
    Target(Arc<OpenFolder>, Vec<u8>, PathBuf),
    /// Open already: the root of a source.
    Open(OpenFolder),
    /// Nowhere: a folder that only leads to mappings.
    Virtual(VirtualPath),
}

/// A folder to do.
#[derive(Debug)]
pub struct Job<'m> {
    pub place: Where,
    pub node: DirNo,
    /// The catalog has no rows for it.
    pub fresh: bool,
    /// What is mapped and configured there.
    pub below: Place<'m>,
}

/// The stack of folders to do.
#[derive(Debug, Default)]
struct Stack<'m> {
    jobs: Vec<Job<'m>>,
    /// Folders that some thread is working on.
    busy: usize,
    stopped: bool,
}

/// What all scanning threads share.
pub struct Walk<'m, 'p> {
    stack: Mutex<Stack<'m>>,
    wake: Condvar,
    pub mapping: &'m Mapping,
    pub config: &'m ConfigTree,
    pub filesystems: &'p Filesystems,
    pub accounts: Accounts,
    pub problems: &'p SharedProblems<'p>,
    pub observer: &'p dyn Observer,
    pub moved: MovedFolders,
    pub accept: bool,
    /// Set while files are read where they are found.
    pub first_reading: Option<FirstReading<'p>>,
    kept: Mutex<Vec<Kept>>,
    next_node: AtomicI64,
    pub counts: Counts,
    stop: AtomicBool,
}

/// What was seen, for the outcome.
#[derive(Debug, Default)]
pub struct Counts {
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    pub others: AtomicU64,
    pub sockets: AtomicU64,
    /// Locked places that nobody looked at.
    pub locked: AtomicU64,
}

impl<'m> Walk<'m, '_> {
    /// A number for a directory that is new.
    pub fn new_node(&self) -> DirNo {
        DirNo(self.next_node.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds a folder to do.
    pub fn push(&self, job: Job<'m>) {
        self.lock().jobs.push(job);
        self.wake.notify_one();
    }

    /// Reports a place whose entries are kept unseen.
    pub fn keep(&self, path: &VirtualPath, reason: impl Into<String>) {
        let kept = Kept { path: path.as_bytes().to_vec(), reason: reason.into() };
        self.observer.event(crate::progress::Event::Skipped { path: &kept.path, reason: &kept.reason });
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(kept);
    }

    /// Whether the scan is to end early.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.observer.stop_requested()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Stack<'m>> {
        self.stack.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The next folder; `None` when all are done or the scan ends early.
    fn next(&self) -> Option<Job<'m>> {
        let mut stack = self.lock();
        loop {
            if stack.stopped {
                return None;
            }
            if let Some(job) = stack.jobs.pop() {
                stack.busy += 1;
                return Some(job);
            }
            if stack.busy == 0 {
                return None;
            }
            stack = self.wake.wait(stack).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn done(&self) {
        let mut stack = self.lock();
        stack.busy -= 1;
        if stack.busy == 0 && stack.jobs.is_empty() {
            self.wake.notify_all();
        }
    }

    fn abandon(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lock().stopped = true;
        self.wake.notify_all();
    }

    /// Takes folders from the stack until there are none.
    fn work(&self, view: &View, out: &Sender<Vec<Difference>>) -> Result<(), CatalogError> {
        let reader = view.read();
        let mut entries = reader.entries(At::Now)?;
        let mut metadata = folder::MetadataCache::new(reader);
        let mut gathered = Gathered::default();
        while let Some(job) = self.next() {
            let outcome = if self.stopping() {
                self.abandon();
                Ok(())
            } else {
                folder::compare(self, reader, &mut entries, &mut metadata, &mut gathered, job, out)
            };
            self.done();
            if outcome.is_err() {
                self.abandon();
                return outcome;
            }
        }
        if let Some(first) = self.first_reading.as_ref().filter(|_| !self.stopping()) {
            let mut parcel = Parcel::to(out);
            first.hash(&mut gathered, |entry, id| parcel.push(Difference::Read(entry, id)));
            parcel.send();
        }
        Ok(())
    }
}

/// Threads that scan. Each waits mostly for the system, so a few more than processors do no harm.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8))
}

/// Scans all sources in one transaction.
#[allow(clippy::too_many_arguments)]
pub fn scan(
    catalog: &mut Catalog,
    time: CatalogTime,
    run: Option<RunNo>,
    mapping: &Mapping,
    config: &ConfigTree,
    filesystems: &Filesystems,
    problems: &SharedProblems<'_>,
    options: &UpdateOptions,
    taker: Option<&dyn Taker>,
    observer: &dyn Observer,
    outcome: &mut UpdateOutcome,
) -> Result<(), OpError> {
    let (next_node, next_link): (DirNo, LinkNo) = catalog.read().next_numbers()?;
    let first_reading = match (catalog.read().has_entries(DirNo::ROOT)?, taker) {
        (true, _) => None,
        (false, _) if !options.scan_only => Some(FirstReading::begin()),
        (false, Some(taker)) => Some(FirstReading::for_taker(taker)),
        (false, None) => options.small_at_first.then(FirstReading::for_backup),
    };
    let walk = Walk {
        stack: Mutex::default(),
        wake: Condvar::new(),
        mapping,
        config,
        filesystems,
        accounts: Accounts::new(),
        problems,
        observer,
        moved: MovedFolders::default(),
        accept: options.accept,
        first_reading,
        kept: Mutex::default(),
        next_node: AtomicI64::new(next_node.0),
        counts: Counts::default(),
        stop: AtomicBool::new(false),
    };
    let views = (0..threads()).map(|_| catalog.view()).collect::<Result<Vec<_>, _>>()?;
    let recorded = catalog.write("record a scan", |writer| -> Result<_, OpError> {
        let mut recorder = Recorder::new(writer, time, run)?;
        let outcome: Result<(), OpError> = std::thread::scope(|scope| {
            let (sender, receiver) = bounded::<Vec<Difference>>(BATCHES_UNDER_WAY);
            let walk = &walk;
            // The root is compared here, before the threads start: it seeds their stack.
            let seed = views.first().map(|view| folder::begin(walk, view.read()));
            let first = seed.transpose()?.unwrap_or_default();
            let workers: Vec<_> = views
                .into_iter()
                .map(|view| {
                    let sender = sender.clone();
                    scope.spawn(move || walk.work(&view, &sender))
                })
                .collect();
            drop(sender);
            let mut failed = None;
            for batch in std::iter::once(first).chain(receiver) {
                // After a failure the channel is only drained, so that no thread waits for ever.
                if failed.is_some() {
                    continue;
                }
                let outcome = batch.into_iter().try_for_each(|difference| recorder.record(difference));
                if let Err(error) = outcome {
                    walk.abandon();
                    failed = Some(error);
                }
            }
            // All threads have ended: the channel is closed.
            taker.inspect(|taker| taker.no_more());
            for worker in workers {
                match worker.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => failed = failed.or(Some(error)),
                    // Our own mistake in a thread: let it be seen as one.
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            failed.map_or(Ok(()), |error| Err(error.into()))
        });
        outcome?;
        if walk.stopping() {
            return Err(OpError::Stopped);
        }
        filesystems.record(writer)?;
        let recorded = recorder.finish(&walk.moved, next_link)?;
        if recorded.snapshot.is_none() {
            writer.leaves_answers();
        }
        Ok(recorded)
    })?;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    outcome.files.objects = count(&walk.counts.files);
    outcome.files.bytes = Bytes(count(&walk.counts.bytes));
    outcome.others = count(&walk.counts.others);
    outcome.locked = count(&walk.counts.locked);
    outcome.sockets = count(&walk.counts.sockets);
    outcome.snapshot = recorded.snapshot;
    outcome.added = recorded.added;
    outcome.changed = recorded.changed;
    outcome.removed = recorded.removed;
    outcome.moved = recorded.moved;
    if !options.scan_only {
        outcome.hashed = recorded.hashed;
    }
    outcome.kept.extend(walk.kept.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()));
    outcome.kept.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

/// Real paths of directories met lately, for looking at the old place of something that moved.
#[derive(Debug, Default)]
pub struct RealPaths(HashMap<DirNo, Option<PathBuf>>);

impl RealPaths {
    /// The real path of a directory, as the catalog knows it.
    pub fn of(
        &mut self,
        reader: crate::catalog::Reader<'_>,
        mapping: &Mapping,
        node: DirNo,
    ) -> Result<Option<PathBuf>, CatalogError> {
        /// Bounds the memory of the cache.
        const KEPT_MAX: usize = 4096;
        if let Some(path) = self.0.get(&node) {
            return Ok(path.clone());
        }
        let path = mapping.real_path(&reader.path_of(node)?);
        if self.0.len() >= KEPT_MAX {
            self.0.clear();
        }
        self.0.insert(node, path.clone());
        Ok(path)
    }
}

/// A directory of the virtual tree that no source provides lies on this filesystem.
pub const NO_FILESYSTEM: FilesystemNo = FilesystemNo(0);
