//! A catalog of distbackup 1.x is taken over: sources, configuration, tree, links, objects, disks, and which disk holds what.
//!
//! What it says of copies is taken as claims without evidence: nothing is removed because of them before each disk was
//! compared and what is on it was read or written (N3). What it says of files is presumed until the next update has read
//! them. Objects and disks are not touched; each disk is adopted where it lies by its next visit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use distbackup_core::model::{
    Bytes, DirNo, DiskNo, DiskUuid, Kind, ObjectId, ObjectNo, SizeRule, SnapshotNo, VirtualPath,
};
use distbackup_core::plan::Tally;
use distbackup_core::rules::Configured;

use super::config_file::PathSettings;
use super::tempdir::TempFolder;
use super::{OpError, Problems, disks, recover};
use crate::catalog::{
    Catalog, CatalogError, NewDisk, ProofKind, TakenOver, Version1, Version1Disk, Version1File,
    Version1Object, Writer,
};
use crate::platform::path_of_bytes;
use crate::progress::{Event, Observer, Phase};

/// Folder of the first snapshot that shows what 1.x had deleted from its tree, but not yet from the disks.
const DELETED: &[u8] = b"deleted-in-distbackup-1";
/// How often the progress is told: each so many rows.
const TELL_EVERY: u64 = 1000;
/// Room for objects that 1.x assumed where no size was given is found out at the next visit.
const SIZE_UNKNOWN: u64 = 0;

/// What an import does, or did.
#[derive(Debug, Clone, Default)]
pub struct ImportedV1 {
    /// Schema of the old catalog.
    pub schema: i32,
    /// Sources: virtual path and real path.
    pub sources: Vec<(VirtualPath, PathBuf)>,
    /// Configured paths.
    pub configured: u64,
    /// Files of the tree.
    pub files: Tally,
    /// Of these, files that 1.x had not hashed.
    pub unhashed: u64,
    /// Symlinks.
    pub links: u64,
    /// Disks by name, with the copies claimed there.
    pub disks: Vec<(String, Tally)>,
    /// Objects that left the tree and still lie on disks: kept as history.
    pub deleted: Tally,
    /// What could not be taken over.
    pub problems: Problems,
    /// Where the old catalog was put, if the new one took its place.
    pub saved: Option<PathBuf>,
}

/// Imports the catalog at `from` as a new catalog at `to`, which must not exist unless it is the same file: then the old one is
/// kept beside it. With `dry_run` nothing is written there.
///
/// Everything is built in a private folder, and put in place at the end: an interruption leaves all as it was.
pub fn import(
    from: &Path,
    to: &Path,
    now_ns: i64,
    dry_run: bool,
    observer: &dyn Observer,
) -> Result<ImportedV1, OpError> {
    let same = std::fs::canonicalize(from).ok() == std::fs::canonicalize(to).ok() && to.exists();
    if to.exists() && !same {
        let why = "there is a catalog already; name another folder for the new one with -d".to_owned();
        return Err(OpError::BadRequest { what: to.display().to_string(), why });
    }
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = match dry_run {
        true => TempFolder::new().map_err(OpError::io("make a folder in", std::env::temp_dir()))?,
        false => TempFolder::inside(beside).map_err(OpError::io("make a folder in", beside))?,
    };
    let old = private_copy(from, private.path())?;
    let new = private.path().join("new.sqlite");
    let mut catalog = Catalog::create(&new, now_ns)?;
    let mut import =
        Import { now_ns, observer, outcome: ImportedV1 { schema: old.schema, ..ImportedV1::default() } };
    let (files, links, objects) = old.totals()?;
    observer.event(Event::Begin { phase: Phase::Import, files: files + links + objects, bytes: Bytes(0) });
    let done = catalog.write("import a catalog of distbackup 1.x", |writer| import.run(&old, writer));
    observer.event(Event::End);
    done?;
    let mut outcome = import.outcome;
    catalog.close()?;
    drop(old);
    if dry_run {
        return Ok(outcome);
    }
    if same {
        outcome.saved = recover::set_aside(to, "before-import", now_ns)?;
        if let Some(saved) = &outcome.saved {
            crate::platform::make_private(saved).map_err(OpError::io("protect", saved))?;
        }
    }
    std::fs::rename(&new, to).map_err(OpError::io("put in place", to))?;
    crate::platform::sync_directory(beside).map_err(OpError::io("make durable", beside))?;
    Ok(outcome)
}

/// Copies the old catalog, with its journal, to where nobody else writes to it, and opens the copy.
fn private_copy(from: &Path, folder: &Path) -> Result<Version1, OpError> {
    let copy = folder.join("old.sqlite");
    for end in ["", "-wal"] {
        let with_end = |path: &Path| {
            let mut path = path.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        match std::fs::copy(with_end(from), with_end(&copy)) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !end.is_empty() => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CatalogError::Missing { path: from.to_owned() }.into());
            }
            Err(error) => return Err(OpError::io("copy", with_end(from))(error)),
        }
    }
    // What is said of the copy is meant of the original.
    Version1::open(&copy).map_err(|error| error.of_file(from).into())
}

struct Import<'i> {
    now_ns: i64,
    observer: &'i dyn Observer,
    outcome: ImportedV1,
}

/// A tree of folders that is being filled, for one range of snapshots.
struct Tree {
    folders: HashMap<Vec<u8>, DirNo>,
    top: DirNo,
    born: SnapshotNo,
    died: Option<SnapshotNo>,
}

impl Import<'_> {
    fn run(&mut self, old: &Version1, writer: &Writer<'_>) -> Result<(), OpError> {
        self.configuration(old, writer)?;
        let disks = self.disks(old, writer)?;
        let first = writer.record_snapshot(None, self.now_ns, false, Some("deleted in distbackup 1.x"))?;
        let now = writer.record_snapshot(None, self.now_ns, false, Some("taken over from distbackup 1.x"))?;
        let mut next = writer.next_numbers()?.0;
        self.tree(old, writer, now, &mut next)?;
        self.objects(old, writer, &disks, (first, now), &mut next)?;
        writer.mark_all_unproven()?;
        Ok(())
    }

    fn told(&self, rows: &mut u64) -> Result<(), CatalogError> {
        *rows += 1;
        if rows.is_multiple_of(TELL_EVERY) {
            self.observer.event(Event::Done { files: TELL_EVERY, bytes: Bytes(0) });
            if self.observer.stop_requested() {
                return Err(CatalogError::Stopped);
            }
        }
        Ok(())
    }

    fn configuration(&mut self, old: &Version1, writer: &Writer<'_>) -> Result<(), OpError> {
        for (vpath, real) in old.sources()? {
            match VirtualPath::parse(&vpath) {
                Ok(path) => {
                    let real = path_of_bytes(&real);
                    writer.record_source(&path, &real)?;
                    self.outcome.sources.push((path, real));
                }
                Err(error) => self.outcome.problems.add(&vpath, format!("the mapping: {error}")),
            }
        }
        for (vpath, json) in old.configs()? {
            let config = VirtualPath::parse(&vpath).map_err(|error| error.to_string()).and_then(|path| {
                let settings: PathSettings =
                    serde_json::from_str(&json).map_err(|error| error.to_string())?;
                let config = Configured::new((&settings).into()).map_err(|error| error.to_string())?;
                Ok((path, config))
            });
            match config {
                Ok((path, config)) => {
                    writer.record_path_config(&path, &config.config)?;
                    self.outcome.configured += 1;
                }
                Err(why) => self.outcome.problems.add(&vpath, format!("its configuration: {why}")),
            }
        }
        Ok(())
    }

    /// Records the disks; returns their numbers by their index in the old catalog.
    fn disks(
        &mut self,
        old: &Version1,
        writer: &Writer<'_>,
    ) -> Result<HashMap<usize, (DiskNo, usize)>, OpError> {
        let mut numbers = HashMap::new();
        for Version1Disk { uuid, name, index, relative_path, size } in old.disks()? {
            if let Err(error) = disks::check_name(&name) {
                // A name that would be an option or a path; the disk is worth more than it.
                self.outcome.problems.add(name.as_bytes(), error.to_string());
            }
            let rule = if size == SIZE_UNKNOWN { SizeRule::Automatic } else { SizeRule::Fixed(Bytes(size)) };
            let disk = writer.record_disk(&NewDisk {
                uuid: &DiskUuid(uuid),
                name: &name,
                size_rule: &rule.to_string(),
                location: None,
                added_ns: self.now_ns,
                unproven: true,
            })?;
            writer.record_disk_place(disk, Bytes(size), &relative_path)?;
            numbers.insert(index, (disk, self.outcome.disks.len()));
            self.outcome.disks.push((name, Tally::default()));
        }
        Ok(numbers)
    }

    fn tree(
        &mut self,
        old: &Version1,
        writer: &Writer<'_>,
        now: SnapshotNo,
        next: &mut DirNo,
    ) -> Result<(), OpError> {
        let mut tree = Tree { folders: HashMap::new(), top: DirNo::ROOT, born: now, died: None };
        let mut rows = 0;
        old.each_file(|file| {
            self.told(&mut rows)?;
            self.file(writer, &mut tree, next, &file)
        })?;
        old.each_link(|path, target| {
            self.told(&mut rows)?;
            let Some((directory, name)) = self.place(writer, &mut tree, next, &path)? else { return Ok(()) };
            let entry = TakenOver {
                directory,
                name: &name,
                kind: Kind::Symlink,
                node: None,
                object: None,
                pending: false,
                size: 0,
                mtime_ns: 0,
                target: Some(&target),
            };
            match writer.take_over_entry(&entry, tree.born, tree.died)? {
                true => self.outcome.links += 1,
                false => self.outcome.problems.add(&path, "something else has this name"),
            }
            Ok(())
        })?;
        Ok(())
    }

    fn file(
        &mut self,
        writer: &Writer<'_>,
        tree: &mut Tree,
        next: &mut DirNo,
        file: &Version1File,
    ) -> Result<(), CatalogError> {
        let size = u64::try_from(file.size).unwrap_or(0);
        let id = file.hash.as_deref().filter(|_| size > 0).and_then(ObjectId::from_name);
        let object = id.map(|id| writer.intern_object(&id, Bytes(size))).transpose()?;
        let Some((directory, name)) = self.place(writer, tree, next, &file.path)? else { return Ok(()) };
        let entry = TakenOver {
            directory,
            name: &name,
            kind: Kind::File,
            node: None,
            object,
            pending: size > 0,
            size,
            mtime_ns: file.modified_ms.saturating_mul(1_000_000),
            target: None,
        };
        if !writer.take_over_entry(&entry, tree.born, tree.died)? {
            self.outcome.problems.add(&file.path, "something else has this name");
            return Ok(());
        }
        self.outcome.files.add(Bytes(size));
        self.outcome.unhashed += u64::from(size > 0 && object.is_none());
        Ok(())
    }

    fn objects(
        &mut self,
        old: &Version1,
        writer: &Writer<'_>,
        disks: &HashMap<usize, (DiskNo, usize)>,
        (first, now): (SnapshotNo, SnapshotNo),
        next: &mut DirNo,
    ) -> Result<(), OpError> {
        let proof = writer.record_proof(None, self.now_ns, ProofKind::Imported)?;
        let mut tree = Tree { folders: HashMap::new(), top: DirNo::ROOT, born: first, died: Some(now) };
        let mut rows = 0;
        old.each_object(|object: Version1Object| {
            self.told(&mut rows)?;
            let (Some(id), Ok(size)) = (ObjectId::from_name(&object.hash), u64::try_from(object.size)) else {
                self.outcome.problems.add(&object.hash, "it is no hash of a content");
                return Ok(());
            };
            let holders = object.disks.iter().enumerate().filter(|(_, there)| **there == b'1');
            let holders: Vec<(DiskNo, usize)> =
                holders.filter_map(|(at, _)| disks.get(&at).copied()).collect();
            if size == 0 || holders.is_empty() {
                return Ok(());
            }
            let number = writer.intern_object(&id, Bytes(size))?;
            if !writer.is_referenced(number)?
                && !self.keep_deleted(writer, &mut tree, next, &object, number)?
            {
                return Ok(());
            }
            for (disk, at) in holders {
                writer.claim_copy(number, disk, proof)?;
                self.outcome.disks[at].1.add(Bytes(size));
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Keeps an object that no file has any more under the name that it had last; `false` if that cannot be.
    fn keep_deleted(
        &mut self,
        writer: &Writer<'_>,
        tree: &mut Tree,
        next: &mut DirNo,
        object: &Version1Object,
        number: ObjectNo,
    ) -> Result<bool, CatalogError> {
        if tree.top == DirNo::ROOT {
            tree.top = folder(writer, tree, next, DirNo::ROOT, DELETED)?.unwrap_or(DirNo::ROOT);
        }
        let path = if object.last_path.is_empty() { &object.hash } else { &object.last_path };
        let Some((directory, name)) = self.place(writer, tree, next, path)? else { return Ok(false) };
        let size = u64::try_from(object.size).unwrap_or(0);
        // Several contents may have had one name.
        let versioned =
            [&name[..name.len().min(180)], b"~", &object.hash[..16.min(object.hash.len())]].concat();
        for name in [&name, &versioned] {
            let entry = TakenOver {
                directory,
                name,
                kind: Kind::File,
                node: None,
                object: Some(number),
                pending: false,
                size,
                mtime_ns: object.last_modified_ms.saturating_mul(1_000_000),
                target: None,
            };
            if writer.take_over_entry(&entry, tree.born, tree.died)? {
                self.outcome.deleted.add(Bytes(size));
                return Ok(true);
            }
        }
        self.outcome.problems.add(path, "a deleted file whose name is taken");
        Ok(false)
    }

    /// The folder of a path, made with its parents, and the name in it; `None`, as a problem, if it is no path.
    fn place(
        &mut self,
        writer: &Writer<'_>,
        tree: &mut Tree,
        next: &mut DirNo,
        path: &[u8],
    ) -> Result<Option<(DirNo, Vec<u8>)>, CatalogError> {
        let parsed = match VirtualPath::parse(path) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.outcome.problems.add(path, error.to_string());
                return Ok(None);
            }
        };
        let names: Vec<Vec<u8>> = parsed.components().map(<[u8]>::to_vec).collect();
        let Some((name, folders)) = names.split_last() else {
            self.outcome.problems.add(path, "it names no file");
            return Ok(None);
        };
        let (mut at, mut way) = (tree.top, Vec::new());
        for component in folders {
            way.push(b'/');
            way.extend_from_slice(component);
            at = match tree.folders.get(&way) {
                Some(known) => *known,
                None => {
                    let Some(made) = folder(writer, tree, next, at, component)? else {
                        self.outcome.problems.add(path, "one of its folders is a file as well");
                        return Ok(None);
                    };
                    tree.folders.insert(way.clone(), made);
                    made
                }
            };
        }
        Ok(Some((at, name.clone())))
    }
}

/// Makes a folder; `None` if something else has its name.
fn folder(
    writer: &Writer<'_>,
    tree: &Tree,
    next: &mut DirNo,
    parent: DirNo,
    name: &[u8],
) -> Result<Option<DirNo>, CatalogError> {
    let node = *next;
    let entry = TakenOver {
        directory: parent,
        name,
        kind: Kind::Directory,
        node: Some(node),
        object: None,
        pending: false,
        size: 0,
        mtime_ns: 0,
        target: None,
    };
    if !writer.take_over_entry(&entry, tree.born, tree.died)? {
        return Ok(None);
    }
    next.0 += 1;
    Ok(Some(node))
}
