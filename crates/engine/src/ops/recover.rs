//! Recover: the catalog comes back from a disk when this computer's is lost (C1, N11).

use std::path::{Path, PathBuf};

use super::tempdir::TempFolder;
use super::{OpError, shelf};
use crate::catalog::{Catalog, CatalogError, SnapshotRow, inspect};
use crate::disk::{Disk, FolderDisk, Identity};
use distbackup_core::model::VirtualPath;

/// What was recovered.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Name of the disk it came from.
    pub disk: String,
    /// The newest snapshot in it.
    pub snapshot: Option<SnapshotRow>,
    /// Newest time in it.
    pub newest_ns: i64,
    /// Disks of the set; each will be compared when it is connected next.
    pub disks: usize,
    /// Where the catalog that stood there before was kept, if there was any.
    pub saved: Option<PathBuf>,
    /// Other disks that are connected and carry a newer catalog of this set: name and folder.
    pub newer: Vec<(String, PathBuf)>,
    /// Sources of other computers, which nobody looks at here: virtual path, and whose it is.
    pub elsewhere: Vec<(VirtualPath, String)>,
}

/// Takes the catalog from the disk at `folder` and puts it at `to`. A catalog that is there, good or damaged,
/// is kept beside it. Every disk of the set is unproven from then on: it accepts any stamp once, with a
/// full comparison (N5).
///
/// With `share` the set is used by several computers from then on: each looks at its own sources only.
pub fn recover(folder: &Path, to: &Path, now_ns: i64, share: bool) -> Result<Recovered, OpError> {
    let name = folder.display().to_string();
    let disk = FolderDisk::open(folder).map_err(OpError::disk(&name))?;
    recover_from(&disk, folder, to, now_ns, share)
}

/// Why the catalog of this computer may not be replaced by that of a disk without a word: something would be lost by it.
/// `None`: the disk's goes on where this one ended, so it is all there.
pub fn would_lose(ours: &Catalog, folder: &Path) -> Result<Option<String>, OpError> {
    let name = folder.display().to_string();
    let disk = FolderDisk::open(folder).map_err(OpError::disk(&name))?;
    let private = TempFolder::new().map_err(OpError::io("make a folder in", std::env::temp_dir()))?;
    let local = private.path().join("theirs.sqlite");
    if !disk.fetch_catalog(&local).map_err(OpError::disk(&name))? {
        return Ok(Some("the disk carries no catalog".to_owned()));
    }
    let theirs = inspect(&local, false)?;
    let reader = ours.read();
    if theirs.set != reader.set_uuid()? {
        return Ok(Some("the catalog here is of another set".to_owned()));
    }
    let generation = reader.generation()?;
    let published = reader.disks()?.into_iter().filter_map(|row| row.copy_generation).max();
    if published.is_none_or(|published| published < generation) {
        let why = "the catalog here has changes that no disk has yet: visit a disk first (dsb backup)";
        return Ok(Some(why.to_owned()));
    }
    if theirs.generation < generation {
        return Ok(Some("the catalog here is newer than that of the disk".to_owned()));
    }
    if let Some(newest) = reader.newest_snapshot()? {
        let same = theirs.read().snapshot(newest.snapshot)?;
        if same.is_none_or(|row| row.created_ns != newest.created_ns) {
            let why = "both computers went on from the same state: one would lose what it did since";
            return Ok(Some(why.to_owned()));
        }
    }
    Ok(None)
}

/// The same from a disk that is open; `folder` says where it is, for messages.
pub fn recover_from(
    disk: &dyn Disk,
    folder: &Path,
    to: &Path,
    now_ns: i64,
    share: bool,
) -> Result<Recovered, OpError> {
    let name = folder.display().to_string();
    let identity = disk.identity().map_err(OpError::disk(&name))?;
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = TempFolder::inside(beside).map_err(OpError::io("make a folder in", beside))?;
    let local = private.path().join("recovered.sqlite");
    if !disk.fetch_catalog(&local).map_err(OpError::disk(&identity.name))? {
        let why = "it carries no catalog; another disk of the set may".to_owned();
        return Err(OpError::BadRequest { what: format!("disk {}", identity.name), why });
    }
    let copy = inspect(&local, true)?;
    copy.refuse_absurd_numbers(&local)?;
    if identity.set.as_ref().is_some_and(|set| *set != copy.set) {
        let why = "its catalog belongs to another set than the disk".to_owned();
        return Err(OpError::WrongDisk { folder: folder.to_owned(), why });
    }
    let (newest_ns, generation) = (copy.newest_ns, copy.generation);
    drop(copy);
    let mut catalog = Catalog::open(&local)?;
    catalog.write("mark the disks as unproven", |writer| -> Result<(), CatalogError> {
        if share {
            writer.share_sources()?;
        }
        writer.mark_all_unproven()
    })?;
    let elsewhere =
        catalog.read().sources()?.into_iter().filter_map(|source| Some((source.vpath, source.elsewhere?)));
    let elsewhere = elsewhere.collect();
    let snapshot = catalog.read().newest_snapshot()?;
    let disks = catalog.read().disks()?.len();
    let newer = newer_elsewhere(&catalog, &identity, generation, private.path());
    catalog.close()?;
    let saved = set_aside(to, "before-recover", now_ns)?;
    std::fs::rename(&local, to).map_err(OpError::io("put in place", to))?;
    crate::platform::sync_directory(beside).map_err(OpError::io("make durable", beside))?;
    Ok(Recovered { disk: identity.name, snapshot, newest_ns, disks, saved, newer, elsewhere })
}

/// The other connected disks whose catalog is of a later state than `generation` (C1). Trouble with one of them is no
/// reason not to recover from this one.
fn newer_elsewhere(
    catalog: &Catalog,
    this: &Identity,
    generation: i64,
    scratch: &Path,
) -> Vec<(String, PathBuf)> {
    let mut newer = Vec::new();
    for folder in shelf::connected_folders(&catalog.read()).unwrap_or_default().into_values() {
        let local = scratch.join("other.sqlite");
        let look = || -> Result<Option<String>, OpError> {
            let disk = FolderDisk::open(&folder).map_err(OpError::disk("another"))?;
            let identity = disk.identity().map_err(OpError::disk("another"))?;
            let other = identity.uuid != this.uuid && identity.set == this.set;
            if !other || !disk.fetch_catalog(&local).map_err(OpError::disk(&identity.name))? {
                return Ok(None);
            }
            Ok((inspect(&local, false)?.generation > generation).then_some(identity.name))
        };
        if let Ok(Some(name)) = look() {
            newer.push((name, folder.clone()));
        }
        let _ = std::fs::remove_file(&local);
    }
    newer.sort();
    newer
}

/// Keeps what stood in the catalog's place, with its journals: even a damaged catalog may hold something.
pub(super) fn set_aside(path: &Path, label: &str, now_ns: i64) -> Result<Option<PathBuf>, OpError> {
    let mut saved = None;
    for end in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(end);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".{label}-{}{end}", now_ns / 1_000_000_000));
        match std::fs::rename(&from, &to) {
            Ok(()) if end.is_empty() => saved = Some(PathBuf::from(to)),
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpError::io("set aside", PathBuf::from(from))(error)),
        }
    }
    Ok(saved)
}
