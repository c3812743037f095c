//! The filling walk: folders are made on the way down, files are handed to threads that write them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, bounded};
use distbackup_core::model::{Bytes, DeviceNumber, DiskNo, Kind, LinkNo, Metadata, ObjectId, VirtualPath};
use distbackup_core::plan::Tally;

use super::destination::Folder;
use super::entry::{self, WriteError};
use super::{Readable, RestoreOptions, RestoreOutcome};
use crate::browse::{Selection, Step, walk};
use crate::catalog::{EntryRow, Reader};
use crate::metadata::{self, Options, Unset};
use crate::ops::OpError;
use crate::platform::{self, Accounts};
use crate::progress::{Event, Observer};

/// Parcels of files on their way to the writing threads.
const JOBS_UNDER_WAY: usize = 16;
/// So many of them go together, or so many bytes: to hand over each one alone takes longer than a small one itself.
const JOBS_TOGETHER: usize = 16;
const BYTES_TOGETHER: u64 = 1 << 20;

/// A file to be written.
struct Job {
    folder: Arc<Folder>,
    path: VirtualPath,
    entry: EntryRow,
    metadata: Metadata,
    /// The content; `None`: an empty file.
    id: Option<ObjectId>,
    /// Indices of connected disks that hold it, best first.
    from: Vec<usize>,
    /// Disks that are not connected and hold it, too.
    elsewhere: Vec<DiskNo>,
}

/// Results that several threads add to.
pub struct Shared<'a> {
    accounts: Accounts,
    outcome: Mutex<&'a mut RestoreOutcome>,
    observer: &'a dyn Observer,
    /// Large files go past the memory of the system.
    straight: bool,
}

impl<'a> Shared<'a> {
    pub fn new(outcome: &'a mut RestoreOutcome, observer: &'a dyn Observer) -> Self {
        Shared { accounts: Accounts::new(), outcome: Mutex::new(outcome), observer, straight: false }
    }

    /// How to apply metadata, as the user wants owners.
    pub fn apply_options(&self, options: &RestoreOptions) -> Options<'_> {
        Options { owner_by_name: (!options.numeric_ids).then_some(&self.accounts) }
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut RestoreOutcome) -> T) -> T {
        work(&mut self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    fn report(
        &self,
        path: &VirtualPath,
        reason: &str,
        list: fn(&mut RestoreOutcome) -> &mut crate::ops::Problems,
    ) {
        self.observer.event(Event::Skipped { path: path.as_bytes(), reason });
        self.with(|outcome| list(outcome).add(path.as_bytes(), reason));
    }

    pub fn problem(&self, path: &VirtualPath, reason: &str) {
        self.report(path, reason, |outcome| &mut outcome.problems);
    }

    pub fn conflict(&self, path: &VirtualPath, reason: &str) {
        self.report(path, reason, |outcome| &mut outcome.conflicts);
    }

    /// What could not be set is counted by kind, with its first reason (R6).
    pub fn unset(&self, unset: Vec<Unset>) {
        self.with(|outcome| {
            for Unset { what, reason } in unset {
                match outcome.unset.iter_mut().find(|(known, _, _)| *known == what) {
                    Some((_, count, _)) => *count += 1,
                    None => outcome.unset.push((what, 1, reason.to_string())),
                }
            }
        });
    }
}

/// One folder on the way down.
enum Place {
    /// Open at the destination.
    Open(Arc<Folder>),
    /// Not made yet: nothing in it was wanted so far.
    Later(Vec<u8>),
    /// Something is in its way: what is below cannot be restored.
    Blocked,
}

/// Makes folders and writes files; returns the destination.
#[allow(clippy::too_many_arguments)]
pub fn fill(
    reader: Reader<'_>,
    disks: &[Readable<'_>],
    options: &RestoreOptions,
    selection: &Selection,
    destination: Folder,
    observer: &dyn Observer,
    leaders: &mut HashMap<LinkNo, Vec<u8>>,
    outcome: &mut RestoreOutcome,
) -> Result<Arc<Folder>, OpError> {
    let destination = Arc::new(destination);
    let mut shared = Shared::new(outcome, observer);
    // A drive that rotates would stand still while the next part is read.
    shared.straight =
        platform::can_write_straight(destination.as_fd()) && !platform::is_rotational(&options.destination);
    let mut missing: HashMap<Vec<DiskNo>, Tally> = HashMap::new();
    let walked = std::thread::scope(|scope| {
        let (jobs, todo) = bounded::<Vec<Job>>(JOBS_UNDER_WAY);
        for _ in 0..options.streams.max(1) {
            let (todo, shared) = (todo.clone(), &shared);
            scope.spawn(move || work(&todo, disks, options, shared));
        }
        drop(todo);
        let mut filler = Filler {
            reader,
            disks,
            options,
            shared: &shared,
            places: Vec::new(),
            destination: &destination,
            leaders,
            missing: &mut missing,
        };
        let (mut parcel, mut bytes) = (Vec::new(), 0u64);
        let walked = walk::<OpError>(reader, options.at, selection, &mut |step| {
            if observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            if let Some(job) = filler.step(step)? {
                bytes = bytes.saturating_add(job.entry.stamp.size);
                parcel.push(job);
                if parcel.len() >= JOBS_TOGETHER || bytes >= BYTES_TOGETHER {
                    // Every writer lives as long as this scope; none gone means none has failed.
                    let _ = jobs.send(std::mem::take(&mut parcel));
                    bytes = 0;
                }
            }
            Ok(())
        });
        let _ = jobs.send(parcel);
        walked
    });
    match walked {
        Ok(()) | Err(OpError::Stopped) => {}
        Err(error) => return Err(error),
    }
    // Those that are there already were bad on the connected disks.
    for (disks, tally) in std::mem::take(&mut outcome.missing) {
        missing.entry(disks).or_default().merge(tally);
    }
    outcome.missing = missing.into_iter().collect();
    outcome.missing.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(destination)
}

struct Filler<'a> {
    reader: Reader<'a>,
    disks: &'a [Readable<'a>],
    options: &'a RestoreOptions,
    shared: &'a Shared<'a>,
    places: Vec<Place>,
    destination: &'a Arc<Folder>,
    leaders: &'a mut HashMap<LinkNo, Vec<u8>>,
    missing: &'a mut HashMap<Vec<DiskNo>, Tally>,
}

impl Filler<'_> {
    fn step(&mut self, step: Step<'_>) -> Result<Option<Job>, OpError> {
        match step {
            Step::Entry { path, entry } if entry.kind == Kind::Directory => {
                let place = if path.as_bytes() == b"/" {
                    Place::Open(Arc::clone(self.destination))
                } else {
                    match self.current(path) {
                        Some(parent) => self.make(&parent, path, entry),
                        None => Place::Blocked,
                    }
                };
                if matches!(place, Place::Open(_)) && path.as_bytes() != b"/" {
                    self.shared.with(|outcome| outcome.others += 1);
                }
                self.places.push(place);
                Ok(None)
            }
            Step::Passing { entry } => {
                self.places.push(Place::Later(entry.name.clone()));
                Ok(None)
            }
            Step::Leave { .. } => {
                self.places.pop();
                Ok(None)
            }
            Step::Entry { path, entry } => self.leaf(path, entry),
        }
    }

    /// The open folder for what comes next; folders that were only passed are made now.
    fn current(&mut self, path: &VirtualPath) -> Option<Arc<Folder>> {
        if self.places.is_empty() {
            return Some(Arc::clone(self.destination));
        }
        let mut parent = Arc::clone(self.destination);
        for at in 0..self.places.len() {
            match &self.places[at] {
                Place::Open(folder) => parent = Arc::clone(folder),
                Place::Blocked => return None,
                // The root is passed under its empty name.
                Place::Later(name) if name.is_empty() => self.places[at] = Place::Open(Arc::clone(&parent)),
                Place::Later(name) => match parent.make(name) {
                    Ok(folder) => {
                        parent = Arc::new(folder);
                        self.places[at] = Place::Open(Arc::clone(&parent));
                    }
                    Err(error) => {
                        self.shared.conflict(path, &in_the_way(&error));
                        self.places[at] = Place::Blocked;
                        return None;
                    }
                },
            }
        }
        Some(parent)
    }

    fn make(&self, parent: &Folder, path: &VirtualPath, entry: &EntryRow) -> Place {
        match parent.make(&entry.name) {
            Ok(folder) => Place::Open(Arc::new(folder)),
            Err(error) => {
                self.shared.conflict(path, &in_the_way(&error));
                Place::Blocked
            }
        }
    }

    /// A file or another entry that is no folder.
    fn leaf(&mut self, path: &VirtualPath, entry: &EntryRow) -> Result<Option<Job>, OpError> {
        if self.options.is_elsewhere(path, entry) {
            return Ok(None);
        }
        if let Some(link) = entry.link {
            if self.leaders.contains_key(&link) {
                return Ok(None); // becomes a link of the first name, when that is there
            }
            self.leaders.insert(link, path.as_bytes().to_vec());
        }
        let Some(folder) = self.current(path) else { return Ok(None) };
        let metadata = self.reader.metadata(entry.metadata)?;
        if entry.kind != Kind::File {
            self.other(&folder, path, entry, &metadata);
            return Ok(None);
        }
        let job = |id, from, elsewhere| {
            Ok(Some(Job {
                folder: Arc::clone(&folder),
                path: path.clone(),
                entry: entry.clone(),
                metadata,
                id,
                from,
                elsewhere,
            }))
        };
        let Some(object) = entry.object else {
            // An empty file needs no disk; one that was never captured was reported with the plan.
            return if entry.pending { Ok(None) } else { job(None, Vec::new(), Vec::new()) };
        };
        let mut holders = self.reader.holders(object)?;
        let all = holders.len();
        holders.retain(|disk| !self.options.done.contains(disk));
        // What a disk holds that was read before is done, unless it was bad there.
        if holders.len() < all && (holders.is_empty() || !self.options.again.contains(&object)) {
            return Ok(None);
        }
        let from: Vec<usize> =
            (0..self.disks.len()).filter(|&at| holders.contains(&self.disks[at].disk)).collect();
        let Some(row) = self.reader.object(object)? else {
            self.shared.problem(path, "the catalog has lost its content's name");
            return Ok(None);
        };
        if !from.is_empty() {
            let connected = |disk: &DiskNo| from.iter().any(|&at| self.disks[at].disk == *disk);
            let elsewhere = holders.into_iter().filter(|disk| !connected(disk)).collect();
            return job(Some(row.id), from, elsewhere);
        }
        // It may be there from an earlier run: then no disk is needed for it.
        if is_there(&folder, &entry.name, entry.stamp.size, &row.id, self.shared.observer) {
            return job(Some(row.id), from, Vec::new());
        }
        if holders.is_empty() {
            self.shared.with(|outcome| outcome.lost.add(path.as_bytes(), "no disk holds it any more"));
        } else {
            self.missing.entry(holders).or_default().add(Bytes(entry.stamp.size));
        }
        Ok(None)
    }

    /// A symlink, fifo or device.
    fn other(&self, folder: &Folder, path: &VirtualPath, entry: &EntryRow, metadata: &Metadata) {
        let made = make_other(folder, entry, self.options.overwrite);
        match made {
            Ok(()) => {
                self.shared.with(|outcome| outcome.others += 1);
                let options = self.shared.apply_options(self.options);
                let mtime_ns = entry.stamp.mtime_ns;
                let unset =
                    metadata::apply_at(folder.as_fd(), &entry.name, entry.kind, metadata, mtime_ns, options);
                self.shared.unset(unset);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.shared.conflict(path, "something else is there under this name");
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && entry.kind != Kind::Symlink => {
                self.shared
                    .unset(vec![Unset { what: format!("{} nodes", kind_word(entry.kind)), reason: error }]);
            }
            Err(error) => self.shared.problem(path, &format!("cannot make it: {error}")),
        }
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Fifo => "fifo",
        _ => "device",
    }
}

fn in_the_way(error: &io::Error) -> String {
    format!("cannot enter or make the folder, something may be in its way: {error}")
}

/// Makes a symlink, fifo or device, or finds it there as it should be.
fn make_other(folder: &Folder, entry: &EntryRow, overwrite: bool) -> io::Result<()> {
    if let Some(stat) = folder.stat(&entry.name)? {
        let same_kind = stat.kind.to_kind() == Some(entry.kind);
        let same = match entry.kind {
            Kind::Symlink => {
                same_kind
                    && std::fs::read_link(folder.path(&entry.name))
                        .is_ok_and(|target| Some(platform::bytes_of_path(&target)) == entry.target)
            }
            Kind::CharDevice | Kind::BlockDevice => same_kind && Some(stat.rdev) == device(entry),
            _ => same_kind,
        };
        if same {
            return Ok(());
        }
        if !overwrite || stat.kind.to_kind() == Some(Kind::Directory) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        folder.remove(&entry.name)?;
    }
    match entry.kind {
        Kind::Symlink => folder.symlink(&entry.name, entry.target.as_deref().unwrap_or_default()),
        kind => {
            let device = device(entry).unwrap_or(DeviceNumber { major: 0, minor: 0 });
            folder.make_node(&entry.name, kind, device)
        }
    }
}

fn device(entry: &EntryRow) -> Option<DeviceNumber> {
    let text = std::str::from_utf8(entry.target.as_deref()?).ok()?;
    let (major, minor) = text.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// Opens what is there for comparing; `None` if it is no regular file.
fn open_there(folder: &Folder, name: &[u8]) -> io::Result<Option<File>> {
    match platform::open_source_at(folder.as_fd(), name) {
        Ok((file, _)) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_there(folder: &Folder, name: &[u8], size: u64, id: &ObjectId, observer: &dyn Observer) -> bool {
    let stat = folder.stat(name).ok().flatten();
    stat.is_some_and(|stat| stat.kind.to_kind() == Some(Kind::File) && stat.size == size)
        && open_there(folder, name)
            .ok()
            .flatten()
            .is_some_and(|file| entry::is_equal(file, id, &|| observer.stop_requested()).unwrap_or(false))
}

fn work(todo: &Receiver<Vec<Job>>, disks: &[Readable<'_>], options: &RestoreOptions, shared: &Shared<'_>) {
    for job in todo.iter().flatten() {
        if shared.observer.stop_requested() {
            continue;
        }
        shared.observer.event(Event::Working { path: job.path.as_bytes() });
        file(&job, disks, options, shared);
        shared.observer.event(Event::Done { files: 1, bytes: Bytes(0) });
    }
}

/// Restores one file.
fn file(job: &Job, disks: &[Readable<'_>], options: &RestoreOptions, shared: &Shared<'_>) {
    let name = &job.entry.name;
    let there = match job.folder.stat(name) {
        Ok(there) => there,
        Err(error) => return shared.problem(&job.path, &format!("cannot look at the destination: {error}")),
    };
    if let Some(stat) = &there {
        let regular = stat.kind.to_kind() == Some(Kind::File);
        let equal = regular
            && stat.size == job.entry.stamp.size
            && match &job.id {
                None => true,
                Some(id) => is_there(&job.folder, name, stat.size, id, shared.observer),
            };
        if equal {
            shared.with(|outcome| outcome.present.add(Bytes(stat.size)));
            shared.observer.event(Event::Done { files: 0, bytes: Bytes(stat.size) });
            return apply(job, options, shared, name);
        }
        if !options.overwrite || stat.kind.to_kind() == Some(Kind::Directory) {
            return shared.conflict(&job.path, "a file with other content is there; --overwrite replaces it");
        }
    }
    // Held until it has its name: while it is locked, nobody takes it for a left-over.
    let (held, temporary) = match write(job, disks, shared) {
        Ok(Some(written)) => written,
        Ok(None) => return,
        Err(error) => return shared.problem(&job.path, &format!("cannot write it: {error}")),
    };
    // Metadata first: whoever sees the final name sees the whole file.
    let mtime_ns = job.entry.stamp.mtime_ns;
    let how = shared.apply_options(options);
    shared.unset(metadata::apply_to(&held, job.folder.as_fd(), &temporary, &job.metadata, mtime_ns, how));
    let renamed = if options.overwrite {
        job.folder.rename(&temporary, name)
    } else {
        job.folder.rename_new(&temporary, name)
    };
    match renamed {
        Ok(()) => shared.with(|outcome| outcome.restored.add(Bytes(job.entry.stamp.size))),
        Err(error) => {
            drop_temporary(job, &temporary, shared);
            shared.problem(&job.path, &format!("cannot give it its name: {error}"));
        }
    }
}

fn apply(job: &Job, options: &RestoreOptions, shared: &Shared<'_>, name: &[u8]) {
    let options = shared.apply_options(options);
    let mtime_ns = job.entry.stamp.mtime_ns;
    shared.unset(metadata::apply_at(job.folder.as_fd(), name, Kind::File, &job.metadata, mtime_ns, options));
}

fn drop_temporary(job: &Job, temporary: &[u8], shared: &Shared<'_>) {
    if let Err(error) = job.folder.remove(temporary) {
        shared.problem(&job.path, &format!("cannot remove the unfinished file: {error}"));
    }
}

/// Writes the content under a temporary name, from the first disk that has it whole (R1).
fn write(job: &Job, disks: &[Readable<'_>], shared: &Shared<'_>) -> io::Result<Option<(File, Vec<u8>)>> {
    let (out, temporary) = job.folder.create_temporary()?;
    let Some(id) = job.id else { return Ok(Some((out, temporary))) };
    let mut trouble = Vec::new();
    for &from in &job.from {
        let disk = &disks[from];
        let mut content = match disk.port.open(id) {
            Ok(content) => content,
            Err(error) => {
                trouble.push(format!("{}: {error}", disk.name));
                continue;
            }
        };
        let mut each = |bytes: u64| shared.observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
        let stop = || shared.observer.stop_requested();
        match entry::write(content.as_mut(), &out, shared.straight, &job.entry.holes, &mut each, &stop) {
            Ok(found) if found == id => {
                if !trouble.is_empty() {
                    let reason = format!("object {id}: {}; taken from {}", trouble.join("; "), disk.name);
                    shared.report(&job.path, &reason, |outcome| &mut outcome.rescued);
                }
                return Ok(Some((out, temporary)));
            }
            Ok(_) => trouble.push(format!("{}: its content there is damaged", disk.name)),
            Err(WriteError::Read(error)) => trouble.push(format!("{}: {error}", disk.name)),
            Err(WriteError::Write(error)) => {
                drop_temporary(job, &temporary, shared);
                return Err(error);
            }
            Err(WriteError::Stopped) => {
                drop_temporary(job, &temporary, shared);
                return Ok(None);
            }
        }
        out.set_len(0)?;
    }
    drop_temporary(job, &temporary, shared);
    let reason = format!("object {id}: {}", trouble.join("; "));
    shared.report(&job.path, &reason, |outcome| &mut outcome.bad);
    if let (Some(object), false) = (job.entry.object, job.elsewhere.is_empty()) {
        shared.with(|outcome| {
            outcome.again.insert(object);
            outcome.add_missing(&job.elsewhere, Bytes(job.entry.stamp.size));
        });
    }
    Ok(None)
}
