//! Disks join, change and leave the set.

use std::path::{Path, PathBuf};

use distbackup_core::model::{Bytes, DiskUuid, SizeRule};

use super::shelf::{self, Connected};
use super::{OpError, backup, carry};
use crate::catalog::{Catalog, CatalogError, DiskRow, NewDisk, Wants, WithoutDisk};
use crate::clock::Clock;
use crate::disk::{self, DiskError, FolderDisk, Identity};
use crate::platform;
use crate::progress::Observer;

/// A disk that joins.
#[derive(Debug, Clone)]
pub struct AddDisk<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its folder; made if only its last component is missing.
    pub folder: &'a Path,
    /// How its capacity is given.
    pub size: SizeRule,
    /// Where it is kept.
    pub location: Option<&'a str>,
}

/// How a disk joined.
#[derive(Debug)]
pub struct Added {
    /// The disk.
    pub connected: Connected,
    /// It was a disk of this set already and came back.
    pub adopted: bool,
    /// Its filesystem also holds this source: its death takes both.
    pub shares_source: Option<PathBuf>,
}

/// Names are letters, digits, `.`, `_` and `-` (INTERFACE), and no path.
pub fn check_name(name: &str) -> Result<(), OpError> {
    let bad = |why| Err(OpError::BadDiskName { name: name.to_owned(), why });
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > 64 {
        return bad("it is longer than 64 characters");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return bad("only letters, digits, '.', '_' and '-' are allowed");
    }
    if name.starts_with(['-', '.']) {
        return bad("it may not begin with '-' or '.'");
    }
    Ok(())
}

/// Adds a disk to the set, or takes one back that belongs to it; never overwrites another (D13).
pub fn add(catalog: &mut Catalog, clock: &dyn Clock, request: &AddDisk<'_>) -> Result<Added, OpError> {
    check_name(request.name)?;
    let now_ns =
        catalog.write_aside("note the time", |writer| writer.advance_time(clock.now_ns(), false))?.now_ns;
    make_folder(request.folder)?;
    let folder = std::fs::canonicalize(request.folder).map_err(OpError::io("open", request.folder))?;
    let set = catalog.read().set_uuid()?;
    let there = match disk::read_identity(&folder) {
        Ok(identity) => Some(identity),
        Err(DiskError::NotADisk { .. }) => None,
        Err(error) => return Err(OpError::disk(request.name)(error)),
    };
    let rows = catalog.read().disks()?;
    let legacy = match &there {
        None => disk::legacy::uuid_of(&folder).map_err(OpError::disk(request.name))?,
        Some(_) => None,
    };
    let (uuid, adopted) = match (&there, &legacy) {
        (Some(identity), _) => (take_back(&folder, identity, &set, &rows, request.name)?, true),
        (None, Some(uuid)) => (uuid.clone(), true),
        (None, None) => (DiskUuid(platform::new_uuid()), false),
    };
    if rows.iter().any(|row| row.name == request.name && row.uuid != uuid) {
        return Err(OpError::BadDiskName { name: request.name.to_owned(), why: "another disk has it" });
    }
    if there.is_none() {
        let identity = Identity::new(uuid.clone(), request.name, Some(set));
        if legacy.is_some() {
            disk::legacy::take_over(&folder).map_err(OpError::disk(request.name))?;
        }
        FolderDisk::create(&folder, &identity).map_err(OpError::disk(request.name))?;
    }
    let size_rule = request.size.to_string();
    let new = NewDisk {
        uuid: &uuid,
        name: request.name,
        size_rule: &size_rule,
        location: request.location,
        added_ns: now_ns,
        unproven: adopted,
    };
    // An imported catalog knows a disk of before 1.0 already, and what it holds.
    let known = rows.iter().any(|row| row.uuid == uuid);
    if !known {
        catalog.write("record a disk", |writer| writer.record_disk(&new))?;
    }
    let row = shelf::named(&catalog.read(), request.name)?;
    let connected = shelf::open_at(catalog, row, &folder)?;
    catalog.write_aside("record that a disk was seen", |writer| {
        writer.record_disk_seen(&connected.row, now_ns)
    })?;
    let shares_source = shares_source(catalog, &folder)?;
    Ok(Added { connected, adopted, shares_source })
}

/// `disk add` makes the folder, as 1.x did, but never a whole path: that is more likely a typing mistake.
fn make_folder(folder: &Path) -> Result<(), OpError> {
    match std::fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpError::io("make the folder", folder)(error)),
    }
}

/// Whether a folder that is a disk already may join: only a disk of this set that the catalog lost sight of.
fn take_back(
    folder: &Path,
    identity: &Identity,
    set: &distbackup_core::model::SetUuid,
    rows: &[DiskRow],
    name: &str,
) -> Result<DiskUuid, OpError> {
    let already = |why: String| OpError::AlreadyADisk { folder: folder.to_owned(), why };
    if carry::is_staging_folder(folder) {
        return Err(already("it is a staging folder, which holds no backup".to_owned()));
    }
    if let Some(row) = rows.iter().find(|row| row.uuid == identity.uuid) {
        return Err(already(format!("it is {} of this set", row.name)));
    }
    match &identity.set {
        Some(theirs) if theirs == set => Ok(identity.uuid.clone()),
        Some(theirs) => Err(already(format!("it is {} of another set ({theirs})", identity.name))),
        None => Err(already(format!(
            "it is {} of distbackup 1.x; it can join by importing that catalog, not as {name}",
            identity.name
        ))),
    }
}

/// A source on the same filesystem, if there is one: then one disk's death takes source and backup.
fn shares_source(catalog: &Catalog, folder: &Path) -> Result<Option<PathBuf>, OpError> {
    let device = platform::stat_path(folder).map_err(OpError::io("look at", folder))?.device;
    for source in catalog.read().sources()? {
        let there = std::fs::canonicalize(&source.path).and_then(|path| platform::stat_path(&path));
        if there.is_ok_and(|stat| stat.device == device) {
            return Ok(Some(source.path));
        }
    }
    Ok(None)
}

/// What `disk set` changes; `None`: stays.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How its capacity is given.
    pub size: Option<SizeRule>,
    /// Where it is kept; empty: not said.
    pub location: Option<String>,
    /// The owner's note; empty: none.
    pub note: Option<String>,
    /// Its folder, where it was moved.
    pub path: Option<PathBuf>,
    /// Its folder below whatever mount point it has.
    pub relative_path: Option<Vec<u8>>,
}

/// Changes what the owner says of a disk; returns it before and after.
pub fn set(
    catalog: &mut Catalog,
    clock: &dyn Clock,
    name: &str,
    settings: &Settings,
) -> Result<(DiskRow, DiskRow), OpError> {
    let before = shelf::named(&catalog.read(), name)?;
    let mut after = before.clone();
    if let Some(size) = settings.size {
        after.size_rule = size.to_string();
        if let SizeRule::Fixed(bytes) = size {
            after.capacity = bytes;
        }
    }
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    if let Some(location) = &settings.location {
        after.location = given(location);
    }
    if let Some(note) = &settings.note {
        after.note = given(note);
    }
    if let Some(path) = &settings.path {
        after = shelf::open_at(catalog, after, path)?.row;
    }
    if let Some(relative) = &settings.relative_path {
        after.relative_path.clone_from(relative);
    }
    let now_ns = clock.now_ns();
    catalog.write("record the settings of a disk", |writer| -> Result<(), CatalogError> {
        let seen = if settings.path.is_some() { Some(now_ns) } else { after.seen_ns };
        if let Some(seen) = seen {
            writer.record_disk_seen(&after, seen)?;
        }
        writer.record_disk_settings(&after)
    })?;
    Ok((before, after))
}

/// Gives a disk another name. On the disk itself it changes at the next visit that writes.
pub fn rename(catalog: &mut Catalog, name: &str, new_name: &str) -> Result<DiskRow, OpError> {
    check_name(new_name)?;
    let mut row = shelf::named(&catalog.read(), name)?;
    if catalog.read().disks()?.iter().any(|other| other.name == new_name && other.disk != row.disk) {
        return Err(OpError::BadDiskName { name: new_name.to_owned(), why: "another disk has it" });
    }
    row.name = new_name.to_owned();
    catalog.write("rename a disk", |writer| writer.record_disk_settings(&row))?;
    Ok(row)
}

/// What the set would be without a disk.
pub fn without(catalog: &Catalog, name: &str) -> Result<(DiskRow, WithoutDisk), OpError> {
    let row = shelf::named(&catalog.read(), name)?;
    let counted = catalog.read().without_disk(row.disk)?;
    Ok((row, counted))
}

/// Forgets everything that a disk was claimed to hold: it is lost or broken (`disk drop`).
pub fn drop_copies(catalog: &mut Catalog, name: &str) -> Result<(DiskRow, u64), OpError> {
    let row = shelf::named(&catalog.read(), name)?;
    let disk = row.disk;
    let copies = catalog.write("forget what a disk holds", |writer| writer.forget_copies(disk))?;
    Ok((row, copies))
}

/// Takes a disk out of the set: one that is claimed to hold nothing, or that was retired and holds nothing that other
/// disks do not hold as well. What lies on it stays there.
pub fn delete(catalog: &mut Catalog, name: &str) -> Result<DiskRow, OpError> {
    let row = shelf::named(&catalog.read(), name)?;
    let (objects, bytes) = catalog.read().held_total(row.disk)?;
    let alone = catalog.read().wanted_total(Wants::OnlyOn(row.disk))?;
    if row.retiring && alone.objects > 0 {
        let what = format!(
            "disk {} holds {} objects ({}) that no other disk holds for certain",
            row.name, alone.objects, alone.bytes
        );
        return Err(OpError::NeedsConsent { what });
    }
    if objects > 0 && !row.retiring {
        let what = format!("disk {} still holds {objects} objects ({bytes})", row.name);
        return Err(OpError::NeedsConsent { what });
    }
    let disk = row.disk;
    catalog.write("forget a disk", |writer| writer.remove_disk(disk))?;
    Ok(row)
}

/// Compares a disk with the catalog, takes over what is there, and copies the catalog to it (`disk refresh`). A
/// dry run only compares; the catalog given is a private copy then.
pub fn refresh(
    catalog: &mut Catalog,
    connected: &Connected,
    clock: &dyn Clock,
    run: Option<distbackup_core::model::RunNo>,
    dry_run: bool,
    observer: &dyn Observer,
) -> Result<backup::VisitOutcome, OpError> {
    let options = backup::BackupOptions { limit: Some(Bytes(0)), dry_run, streams: 1, ..Default::default() };
    backup::visit(catalog, &connected.disk, connected.row.clone(), clock.now_ns(), run, &options, observer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_or_options_are_refused() {
        for good in ["red", "A-blue", "disk_2.old"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "-n", "..", "naïve", "two words", "a\nb"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
