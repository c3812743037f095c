//! Recover: the catalog comes back from a disk when this computer's is lost (C1, N11).

use std::path::{Path, PathBuf};

use super::OpError;
use super::tempdir::TempFolder;
use crate::catalog::{Catalog, SnapshotRow, inspect};
use crate::disk::{Disk, FolderDisk};

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
}

/// Takes the catalog from the disk at `folder` and puts it at `to`. A catalog that is there, good or damaged,
/// is kept beside it. Every disk of the set is unproven from then on: it accepts any stamp once, with a
/// full comparison (N5).
pub fn recover(folder: &Path, to: &Path, now_ns: i64) -> Result<Recovered, OpError> {
    let name = folder.display().to_string();
    let disk = FolderDisk::open(folder).map_err(OpError::disk(&name))?;
    let identity = disk.identity().map_err(OpError::disk(&name))?;
    let beside = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = TempFolder::inside(beside).map_err(OpError::io("make a folder in", beside))?;
    let local = private.path().join("recovered.sqlite");
    if !disk.fetch_catalog(&local).map_err(OpError::disk(&identity.name))? {
        let why = "it carries no catalog; another disk of the set may".to_owned();
        return Err(OpError::BadRequest { what: format!("disk {}", identity.name), why });
    }
    let copy = inspect(&local, true)?;
    if identity.set.as_ref().is_some_and(|set| *set != copy.set) {
        let why = "its catalog belongs to another set than the disk".to_owned();
        return Err(OpError::WrongDisk { folder: folder.to_owned(), why });
    }
    let newest_ns = copy.newest_ns;
    drop(copy);
    let mut catalog = Catalog::open(&local)?;
    catalog.write("mark the disks as unproven", |writer| writer.mark_all_unproven())?;
    let snapshot = catalog.read().newest_snapshot()?;
    let disks = catalog.read().disks()?.len();
    catalog.close()?;
    let saved = set_aside(to, now_ns)?;
    std::fs::rename(&local, to).map_err(OpError::io("put in place", to))?;
    crate::platform::sync_directory(beside).map_err(OpError::io("make durable", beside))?;
    Ok(Recovered { disk: identity.name, snapshot, newest_ns, disks, saved })
}

/// Keeps what stood in the catalog's place, with its journals: even a damaged catalog may hold something.
fn set_aside(path: &Path, now_ns: i64) -> Result<Option<PathBuf>, OpError> {
    let mut saved = None;
    for end in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(end);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".before-recover-{}{end}", now_ns / 1_000_000_000));
        match std::fs::rename(&from, &to) {
            Ok(()) if end.is_empty() => saved = Some(PathBuf::from(to)),
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpError::io("set aside", PathBuf::from(from))(error)),
        }
    }
    Ok(saved)
}
