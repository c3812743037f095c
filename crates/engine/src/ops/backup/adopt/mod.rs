//! Adoption: ordinary files that lie on a disk already become objects there.
//!
//! A drive that is full of files often holds a part of what the set has. They are found by size, read, and those that
//! the disk could use are moved, linked, cloned or copied among its objects. It is a visit with another plan, as a
//! delivery: stamp, room, batches, claims and the catalog copy are those of a backup (DESIGN 6). Nothing is removed for it.

mod survey;
mod take;

use std::path::{Path, PathBuf};

use distbackup_core::model::RunNo;
use distbackup_core::plan::Tally;

use self::survey::Needs;
pub use self::survey::Survey;
use super::{Visit, VisitOutcome, publish};
use crate::catalog::{Catalog, DiskRow, Pending, Reader, Unreadable};
use crate::disk::{Disk, DiskError, layout};
use crate::ops::shelf::{self, Connected};
use crate::ops::{OpError, Problems};
use crate::platform;
use crate::progress::Observer;
use crate::scan::Folder;

/// How an ordinary file becomes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is moved: the file has the object's name instead of its own.
    Move,
    /// The object shares its content until one of the two is changed, where the filesystem can do that.
    Reflink,
    /// The object is a second name of the same file, which becomes read-only.
    Link,
    /// It is copied.
    Copy,
}

impl How {
    /// Whether the user's own file is changed by it.
    pub fn changes_files(self) -> bool {
        matches!(self, How::Move | How::Link)
    }
}

/// What to adopt, and how.
pub struct Adoption<'a> {
    /// The folder whose files may become objects.
    pub folder: &'a Path,
    /// How; `None`: cloned where the filesystem can, else copied.
    pub how: Option<How>,
    /// Files that are read at the same time; 1 for a rotating disk.
    pub streams: usize,
    /// Look and count only; the catalog given is a private copy.
    pub dry_run: bool,
    /// Told what was found and how it would be taken, before anything is read or written; `false` ends it there.
    pub consent: &'a dyn Fn(&Survey, How) -> bool,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Adopted {
    /// The visit: what was taken in is what it copied, and what could not be is its problems.
    pub visit: VisitOutcome,
    /// What lies below the folder.
    pub survey: Survey,
    /// How files became objects.
    pub how: How,
    /// Files that were read, and are nothing that the disk could use.
    pub not_needed: Tally,
    /// Files with the same content as one that was taken in.
    pub twice: Tally,
    /// Copies that found no room.
    pub no_room: Tally,
    /// Files that were read and stay as they are, with the reason.
    pub left: Problems,
    /// The user did not want it.
    pub declined: bool,
}

/// The disk whose filesystem holds a folder; with a name, that one.
///
/// Where several disks share a filesystem, the one whose own folder is nearest above is meant; it must be one.
pub fn disk_of(catalog: &Catalog, folder: &Path, wanted: Option<&str>) -> Result<Connected, OpError> {
    if wanted.is_some() {
        return shelf::open(catalog, wanted);
    }
    let look = |path: &Path| platform::stat_path(path).map_err(OpError::io("look at", path));
    let device = look(folder)?.device;
    let reader = catalog.read();
    let mut here = Vec::new();
    for (disk, place) in shelf::connected_folders(&reader)? {
        if look(&place)?.device == device {
            here.push((disk, place));
        }
    }
    let nearest = here
        .iter()
        .filter(|(_, place)| folder.starts_with(place))
        .max_by_key(|(_, place)| place.as_os_str().len());
    let disk = match (nearest, &here[..]) {
        (Some((disk, _)), _) | (None, [(disk, _)]) => *disk,
        (None, []) => return Err(OpError::NoDiskBeside { folder: folder.to_owned() }),
        (None, _) => {
            let names =
                |row: &DiskRow| here.iter().any(|(disk, _)| *disk == row.disk).then(|| row.name.clone());
            return Err(OpError::WhichDisk { connected: reader.disks()?.iter().filter_map(names).collect() });
        }
    };
    let row = reader.disks()?.into_iter().find(|row| row.disk == disk);
    let name = row.map_or_else(String::new, |row| row.name);
    shelf::open(catalog, Some(&name))
}

/// Refuses a folder whose files belong to somebody: to a source, whose files come by `backup`, or to the disk itself.
pub fn check_folder(reader: &Reader<'_>, disk: &Path, folder: &Path) -> Result<(), OpError> {
    let refused = |why: String| OpError::BadRequest { what: folder.display().to_string(), why };
    for source in reader.sources()?.into_iter().filter(|source| source.elsewhere.is_none()) {
        let path = std::fs::canonicalize(&source.path).unwrap_or(source.path);
        if folder.starts_with(&path) || path.starts_with(folder) {
            let how = if folder == path {
                "it is"
            } else if folder.starts_with(&path) {
                "it lies in"
            } else {
                "it contains"
            };
            return Err(refused(format!(
                "{how} the source {}, whose files dsb backup copies; name a folder beside it",
                path.display()
            )));
        }
    }
    for own in [layout::OBJECTS, layout::INCOMING, layout::BAD_OBJECTS, layout::PAGE_DATA] {
        if folder.starts_with(disk.join(own)) {
            return Err(refused(
                "it belongs to the disk itself; dsb backup compares it with the catalog".into(),
            ));
        }
    }
    Ok(())
}

/// Makes objects of the files below a folder that the disk could use. `row` is what the catalog knows of the disk, with its
/// place and room as they are now.
pub fn adopt(
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: DiskRow,
    clock_ns: i64,
    run: Option<RunNo>,
    adoption: &Adoption<'_>,
    observer: &dyn Observer,
) -> Result<Adopted, OpError> {
    let bad = |why: String| OpError::BadRequest { what: adoption.folder.display().to_string(), why };
    let name = row.name.clone();
    if row.retiring {
        return Err(bad(format!("{name} is to leave the set; to keep it: dsb disk retire --cancel {name}")));
    }
    let clones = disk.clones().map_err(OpError::disk(&name))?;
    let how = match adoption.how {
        Some(How::Reflink) if !clones => {
            return Err(bad(format!(
                "files on {name} cannot share contents; its filesystem is none that can"
            )));
        }
        Some(how) => how,
        None if clones => How::Reflink,
        None => How::Copy,
    };
    // A drive that is full to the brim: files would be moved there, and the catalog that knows of it would not fit.
    let (needed, free) = (catalog.size(), disk.space().map_err(OpError::disk(&name))?.free);
    if free < needed {
        return Err(OpError::disk(&name)(DiskError::Full { needed }));
    }
    let (mut visit, outcome) = Visit::begin(catalog, disk, row, clock_ns, run, observer)?;
    let mut adopted = Adopted {
        visit: outcome,
        survey: Survey::default(),
        how,
        not_needed: Tally::default(),
        twice: Tally::default(),
        no_room: Tally::default(),
        left: Problems::default(),
        declined: false,
    };
    let worked = visit
        .look_first(adoption.dry_run, adoption.streams, &mut adopted.visit)
        .and_then(|()| work(&mut visit, adoption, &mut adopted));
    match worked {
        Err(OpError::Stopped) => adopted.visit.interrupted = true,
        other => other?,
    }
    // Before everything was compared, the catalog there may be the only one that knows some names (C1).
    if !adoption.dry_run && visit.compared {
        adopted.visit.published = publish::publish(&mut visit, adopted.visit.interrupted)?;
    }
    Ok(adopted)
}

fn work(visit: &mut Visit<'_>, adoption: &Adoption<'_>, adopted: &mut Adopted) -> Result<(), OpError> {
    let folder = Folder::open(adoption.folder).map_err(OpError::io("open", adoption.folder))?;
    let device = folder.stat_self().map_err(OpError::io("look at", adoption.folder))?.device;
    let needs = load_needs(visit, adopted.how)?;
    let (files, bytes) = visit.catalog.read().pending_total(Pending::Unknown)?;
    adopted.visit.pending = Tally { objects: files, bytes: distbackup_core::model::Bytes(bytes) };
    let (survey, found) = survey::survey((&folder, adoption.folder), device, &needs, visit.observer)?;
    adopted.survey = survey;
    if !(adoption.consent)(&adopted.survey, adopted.how) {
        adopted.declined = true;
        return Ok(());
    }
    if adoption.dry_run || found.candidates.is_empty() {
        return Ok(());
    }
    take::take_all(visit, adoption, &folder, needs, &found, adopted)
}

/// What the disk could use.
fn load_needs(visit: &Visit<'_>, how: How) -> Result<Needs, OpError> {
    let reader = visit.catalog.read();
    let scope = reader.scope(visit.time, Some(&visit.row), false)?;
    let loaded = reader.load_plan(&scope, &Unreadable::default())?;
    Ok(Needs::new(&loaded, visit.row.disk, how == How::Copy))
}

/// The folder as the system knows it, without links on the way.
pub fn resolve(folder: &Path) -> Result<PathBuf, OpError> {
    let resolved = std::fs::canonicalize(folder).map_err(OpError::io("open", folder))?;
    if !resolved.is_dir() {
        let why = "it is no folder".to_owned();
        return Err(OpError::BadRequest { what: folder.display().to_string(), why });
    }
    Ok(resolved)
}
