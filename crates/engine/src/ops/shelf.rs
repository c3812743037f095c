//! The shelf: which disks of the set are connected, and which one is meant.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use distbackup_core::evidence::Evidence;
use distbackup_core::model::{Bytes, DiskNo, ObjectNo, SizeRule};

use super::{OpError, page};
use crate::catalog::{Catalog, CatalogError, CatalogTime, DiskRow, Reader};
use crate::disk::{self, Disk, DiskError, FolderDisk, Identity, Space, locate};
use crate::platform;
use distbackup_core::model::DAY_NS;

/// A disk of the set that is connected, opened and recognised.
#[derive(Debug)]
pub struct Connected {
    /// What the catalog knows of it, with place and room as they are now.
    pub row: DiskRow,
    /// Its folder.
    pub folder: PathBuf,
    /// What its identity file says.
    pub identity: Identity,
    /// The open disk.
    pub disk: FolderDisk,
    /// Its filesystem has no identity of its own: it is found by its path alone.
    pub unnamed_filesystem: bool,
}

/// The folders where disks of the set are connected now, by disk. Two folders for one disk are an error (N5).
pub fn connected_folders(reader: &Reader<'_>) -> Result<HashMap<DiskNo, PathBuf>, OpError> {
    let rows = reader.disks()?;
    let mounts = platform::Mounts::read().map_err(OpError::io("read", "/proc/self/mountinfo"))?;
    let known: Vec<locate::KnownDisk> = rows
        .iter()
        .map(|row| locate::KnownDisk {
            uuid: row.uuid.clone(),
            filesystem: row.filesystem.clone(),
            path: row.relative_path.clone(),
        })
        .collect();
    let places: Vec<locate::Mount> = mounts
        .all()
        .iter()
        .map(|mount| locate::Mount {
            point: mount.point.clone(),
            root: mount.root.clone(),
            kind: mount.fstype.clone(),
            filesystem: None,
        })
        .collect();
    let located = locate::locate(&places, &known);
    if let Some((uuid, folders)) = located.ambiguous.into_iter().next() {
        let name =
            rows.iter().find(|row| row.uuid == uuid).map_or_else(|| uuid.0.clone(), |row| row.name.clone());
        return Err(twins(&name, &folders));
    }
    let number: HashMap<_, _> = rows.iter().map(|row| (&row.uuid, row.disk)).collect();
    Ok(located.found.iter().filter_map(|(uuid, folder)| Some((*number.get(uuid)?, folder.clone()))).collect())
}

/// The disk that a user means by a name, a UUID or a path; a `/` means a path (PARITY).
pub fn named(reader: &Reader<'_>, wanted: &str) -> Result<DiskRow, OpError> {
    let rows = reader.disks()?;
    if wanted.contains('/') {
        let folder = Path::new(wanted);
        let identity = disk::read_identity(folder).map_err(OpError::disk(wanted))?;
        return match rows.into_iter().find(|row| row.uuid == identity.uuid) {
            Some(row) => Ok(row),
            None => {
                let why = format!("it is {} ({}), which is not in this set", identity.name, identity.uuid);
                Err(OpError::WrongDisk { folder: folder.to_owned(), why })
            }
        };
    }
    let found = rows.iter().find(|row| row.name == wanted || row.uuid.0 == wanted);
    found.cloned().ok_or_else(|| {
        let close = |name: &&String| distance(name, wanted) <= 2 || name.starts_with(wanted);
        let similar = rows.iter().map(|row| &row.name).filter(close).cloned().collect();
        OpError::NoSuchDisk { wanted: wanted.to_owned(), similar }
    })
}

/// Edits that lead from one name to another, for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &d) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(c != d)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Opens the disk that is meant; with no name, the one of the set that is connected.
pub fn open(catalog: &Catalog, wanted: Option<&str>) -> Result<Connected, OpError> {
    let reader = catalog.read();
    if let Some(path) = wanted.filter(|wanted| wanted.contains('/')) {
        let row = named(&reader, path)?;
        let connected = open_at(catalog, row, Path::new(path))?;
        refuse_twin(&connected, connected_folders(&reader)?.get(&connected.row.disk))?;
        return Ok(connected);
    }
    let folders = connected_folders(&reader)?;
    let rows = reader.disks()?;
    let names = || -> Vec<String> {
        rows.iter().filter(|row| folders.contains_key(&row.disk)).map(|row| row.name.clone()).collect()
    };
    let row = match wanted {
        Some(wanted) => named(&reader, wanted)?,
        None => {
            let mut here = rows.iter().filter(|row| folders.contains_key(&row.disk));
            match (here.next(), here.next()) {
                (Some(row), None) => row.clone(),
                _ => return Err(OpError::WhichDisk { connected: names() }),
            }
        }
    };
    match folders.get(&row.disk) {
        Some(folder) => open_at(catalog, row, folder),
        None => Err(OpError::NotConnected {
            seen_ns: row.seen_ns,
            location: row.location.clone(),
            connected: names(),
            name: row.name,
        }),
    }
}

/// Refuses a disk that was named by its path if the set knows it at another place, and it is there as well (N5).
fn refuse_twin(connected: &Connected, known: Option<&PathBuf>) -> Result<(), OpError> {
    let Some(known) = known else { return Ok(()) };
    let look = |path: &Path| platform::stat_path(path).map_err(OpError::io("look at", path));
    let (here, there) = (look(&connected.folder)?, look(known)?);
    if (here.device, here.inode) == (there.device, there.inode) {
        return Ok(());
    }
    let places = [known.clone(), connected.folder.clone()];
    Err(twins(&connected.row.name, &places))
}

/// Two connected disks with one identity.
fn twins(name: &str, folders: &[PathBuf]) -> OpError {
    let list: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let why =
        format!("two connected disks are {name}: {}; one is a clone, unmount it first", list.join(" and "));
    OpError::WrongDisk { folder: folders.first().cloned().unwrap_or_default(), why }
}

/// Opens a disk at a folder and checks that it is this one (D10, D11).
pub fn open_at(catalog: &Catalog, mut row: DiskRow, folder: &Path) -> Result<Connected, OpError> {
    let reader = catalog.read();
    let folder = std::fs::canonicalize(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            OpError::disk(&row.name)(DiskError::NotADisk { folder: folder.to_owned() })
        }
        _ => OpError::io("open", folder)(error),
    })?;
    let disk = FolderDisk::open(&folder).map_err(OpError::disk(&row.name))?;
    let identity = disk.identity().map_err(OpError::disk(&row.name))?;
    let set = reader.set_uuid()?;
    if identity.uuid != row.uuid {
        let why = format!("{} was expected, {} is there", row.name, identity.name);
        return Err(OpError::WrongDisk { folder, why });
    }
    if identity.set.as_ref().is_some_and(|theirs| *theirs != set) {
        let why =
            format!("it says that it belongs to the set {}", identity.set.map_or(String::new(), |set| set.0));
        return Err(OpError::WrongDisk { folder, why });
    }
    let space = disk.space().map_err(OpError::disk(&row.name))?;
    let unnamed_filesystem = place(&mut row, &folder)?;
    let own = reader.held_billed(row.disk, space.unit)? + reader.orphans_billed(row.disk, space.unit)?;
    take_space(&mut row, space, own, for_itself(catalog)?)?;
    Ok(Connected { row, folder, identity, disk, unnamed_filesystem })
}

/// What the catalog knows by now of a disk that is open, with its room as it would be without what is staged there: `staged`
/// billed bytes.
pub fn look_again(catalog: &Catalog, connected: &Connected, staged: Bytes) -> Result<DiskRow, OpError> {
    let name = &connected.row.name;
    let mut space = connected.disk.space().map_err(OpError::disk(name))?;
    // Not all filesystems count at once what was written: there is no more room than before.
    space.free = (space.free + staged).min(connected.row.free);
    let reader = catalog.read();
    let mut row = named(&reader, name)?;
    place(&mut row, &connected.folder)?;
    let own = reader.held_billed(row.disk, space.unit)? + reader.orphans_billed(row.disk, space.unit)?;
    take_space(&mut row, space, own, for_itself(catalog)?)?;
    Ok(row)
}

/// Takes over where a disk was found; tells whether its filesystem has no identity of its own.
pub fn place(row: &mut DiskRow, folder: &Path) -> Result<bool, OpError> {
    let mounts = platform::Mounts::read().map_err(OpError::io("read", "/proc/self/mountinfo"))?;
    let relative = mounts.mount_of(folder).and_then(|mount| folder.strip_prefix(&mount.point).ok());
    row.relative_path = platform::bytes_of_path(relative.unwrap_or(folder));
    row.last_path = Some(folder.to_owned());
    let id = platform::identify_path(folder).map_err(OpError::io("identify the filesystem of", folder))?;
    row.filesystem = id.has_uuid.then_some(id.identity);
    Ok(!id.has_uuid)
}

/// Kept free on a disk whose size was not given: enough that its filesystem stays healthy (as 1.x: 5 %, at most 10 GB).
fn reserve(total: Bytes) -> Bytes {
    Bytes((total.0 / 20).min(10_000_000_000))
}

/// What a visit leaves on the disk beside objects: a copy of the catalog, and the page.
pub fn for_itself(catalog: &Catalog) -> Result<Bytes, CatalogError> {
    Ok(catalog.size() + page::room(&catalog.read(), catalog.size())?)
}

/// Takes over the room of a disk. `own` is the billed size of all objects on it, orphans included, `for_itself` what a
/// visit is going to leave there of its own (PLACEMENT I4).
pub fn take_space(row: &mut DiskRow, space: Space, own: Bytes, for_itself: Bytes) -> Result<(), OpError> {
    let rule = SizeRule::parse(&row.size_rule).map_err(|error| OpError::BadRequest {
        what: format!("size of disk {}", row.name),
        why: error.to_string(),
    })?;
    // Twice what is written next, the recovery files, and a tenth more, as long as nothing is there yet: the old one goes
    // only when the new one is there.
    let copies = if row.copy_generation.is_some() { 1 } else { 2 };
    let for_itself = Bytes((for_itself.0 * copies + 200_000) / 10 * 11);
    let really = (space.free + own) - for_itself;
    let configured = match rule {
        SizeRule::Automatic => really - reserve(space.total),
        SizeRule::Fixed(bytes) => bytes,
        SizeRule::PerMille(share) => Bytes((u128::from(space.total.0) * u128::from(share) / 1000) as u64),
        SizeRule::LeaveFree(bytes) => space.total - bytes,
    };
    row.capacity = configured.min(really);
    row.total = space.total;
    row.free = space.free;
    row.unit = space.unit;
    row.file_max = space.file_max;
    Ok(())
}

/// What stands behind each copy of an object (N3).
pub fn evidence(
    reader: &Reader<'_>,
    disks: &HashMap<DiskNo, DiskRow>,
    object: ObjectNo,
    time: CatalogTime,
) -> Result<Vec<Evidence>, CatalogError> {
    let copies = reader.copies(object)?;
    Ok(copies
        .into_iter()
        .filter_map(|copy| {
            let disk = disks.get(&copy.disk)?;
            let proven = matches!(copy.how.as_str(), "written" | "read");
            let age = time.now_ns.saturating_sub(copy.proven_ns).max(0) / DAY_NS;
            Some(Evidence {
                disk: copy.disk,
                proven_days_ago: proven.then(|| u32::try_from(age).unwrap_or(u32::MAX)),
                // A copy that is to leave the set is nothing to rely on when another one is given up.
                in_doubt: copy.doubt.is_some() || disk.doubt.is_some() || disk.retiring,
                settled: !disk.open_visit,
            })
        })
        .collect())
}

/// All disks by number.
pub fn by_number(reader: &Reader<'_>) -> Result<HashMap<DiskNo, DiskRow>, CatalogError> {
    Ok(reader.disks()?.into_iter().map(|row| (row.disk, row)).collect())
}
