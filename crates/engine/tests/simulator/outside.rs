//! What stands in a catalog's file, asked as any other program would; and copies of it as a dead process leaves it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use distbackup_core::model::ObjectId;
use rusqlite::Connection;

/// One file of the current tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    pub object: Option<ObjectId>,
    pub pending: bool,
    pub size: u64,
}

/// A catalog, seen from outside.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// By number of disk.
    pub claims: BTreeMap<i64, BTreeSet<ObjectId>>,
    /// Removals that are recorded and not known to be done, by number of disk.
    pub removals: BTreeMap<i64, BTreeSet<ObjectId>>,
    /// Objects that could not be read, or were found rotten, by number of disk.
    pub damaged: BTreeMap<i64, BTreeSet<ObjectId>>,
    /// Files of the current tree, by path.
    pub live: BTreeMap<String, LiveFile>,
    /// Contents that any name refers to, now or in history.
    pub referenced: BTreeSet<ObjectId>,
    /// Disks with a visit that has not ended in order since they were last compared.
    pub open: BTreeSet<i64>,
    /// Counters of the stamps that are confirmed, by number of disk.
    pub stamps: BTreeMap<i64, u64>,
    /// Number of the newest snapshot of an update.
    pub snapshot: i64,
}

/// Where the catalog stands in its folder.
pub fn catalog_path(folder: &Path) -> PathBuf {
    folder.join("distbackup.sqlite")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("distbackup.sqlite-wal")
}

/// Copies a catalog as a process that is killed now would leave it: with its log of changes.
///
/// It may be in use: the file is read again afterwards, in case it was changed under our hands.
pub fn copy_catalog(from: &Path, to: &Path) {
    loop {
        let file = fs::read(catalog_path(from)).unwrap();
        let log = fs::read(log_path(from)).ok();
        if fs::read(catalog_path(from)).unwrap() != file {
            continue;
        }
        fs::create_dir_all(to).unwrap();
        fs::write(catalog_path(to), file).unwrap();
        if let Some(log) = log {
            fs::write(log_path(to), log).unwrap();
        }
        return;
    }
}

fn by_disk(file: &Connection, sql: &str) -> BTreeMap<i64, BTreeSet<ObjectId>> {
    let mut statement = file.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, ObjectId(row.get(1)?)))).unwrap();
    let mut found: BTreeMap<i64, BTreeSet<ObjectId>> = BTreeMap::new();
    for row in rows {
        let (disk, id) = row.unwrap();
        found.entry(disk).or_default().insert(id);
    }
    found
}

/// All files of the current tree, by path.
fn live(file: &Connection) -> BTreeMap<String, LiveFile> {
    let sql = "SELECT directory, name, node, kind, sha256, pending, entry.size
                 FROM entry LEFT JOIN object ON object.id = entry.object WHERE died IS NULL";
    let mut statement = file.prepare(sql).unwrap();
    let mut folders: BTreeMap<i64, (i64, String)> = BTreeMap::new();
    let mut files = Vec::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let place = (row.get(0).unwrap(), String::from_utf8(row.get(1).unwrap()).unwrap());
        match row.get::<_, Option<i64>>(2).unwrap() {
            Some(node) => drop(folders.insert(node, place)),
            None => {
                let object = row.get::<_, Option<[u8; 32]>>(4).unwrap().map(ObjectId);
                let size = row.get::<_, i64>(6).unwrap() as u64;
                files.push((place, LiveFile { object, pending: row.get(5).unwrap(), size }));
            }
        }
    }
    let path = |(mut at, name): (i64, String)| {
        let mut path = name;
        while let Some((parent, name)) = folders.get(&at) {
            path = format!("{name}/{path}");
            at = *parent;
        }
        path
    };
    files.into_iter().map(|(place, file)| (path(place), file)).collect()
}

impl Outside {
    pub fn look(folder: &Path) -> Outside {
        let file = Connection::open(catalog_path(folder)).unwrap();
        let mut names =
            file.prepare("SELECT DISTINCT sha256 FROM entry JOIN object ON object.id = entry.object");
        let names = names.as_mut().unwrap();
        let referenced = names.query_map([], |row| row.get(0).map(ObjectId)).unwrap();
        let mut stamps = file.prepare("SELECT id, stamp_counter FROM disk").unwrap();
        let stamps = stamps.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))).unwrap();
        let mut open = file.prepare("SELECT id FROM disk WHERE open_visit = 1").unwrap();
        let open = open.query_map([], |row| row.get(0)).unwrap();
        Outside {
            open: open.collect::<Result<_, _>>().unwrap(),
            stamps: stamps.collect::<Result<_, _>>().unwrap(),
            claims: by_disk(&file, "SELECT disk, sha256 FROM copy JOIN object ON object.id = copy.object"),
            removals: by_disk(&file, "SELECT disk, sha256 FROM removal"),
            damaged: by_disk(&file, "SELECT disk, sha256 FROM orphan WHERE damaged = 1"),
            live: live(&file),
            referenced: referenced.collect::<Result<_, _>>().unwrap(),
            snapshot: file
                .query_row("SELECT coalesce(max(id), 0) FROM snapshot WHERE pinned = 0", [], |row| row.get(0))
                .unwrap(),
        }
    }

    /// Claims of one disk.
    pub fn claimed(&self, disk: i64) -> BTreeSet<ObjectId> {
        self.claims.get(&disk).cloned().unwrap_or_default()
    }

    /// Whether a disk claims an object.
    pub fn claims(&self, disk: i64, id: &ObjectId) -> bool {
        self.claims.get(&disk).is_some_and(|ids| ids.contains(id))
    }
}
