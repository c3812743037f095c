//! One visit that is stopped, what must hold at once, and the visit after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use distbackup_core::model::{Bytes, DiskNo, ObjectId};
use distbackup_engine::catalog::{Catalog, Pending, inspect};
use distbackup_engine::disk::Disk;
use distbackup_engine::disk::simulated::SimulatedDisk;
use distbackup_engine::ops::OpError;
use distbackup_engine::ops::backup::VisitOutcome;
use tempfile::TempDir;

use crate::world::{World, catalog_path, quick_folder, visit};

/// What a visit that nothing disturbed leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    claims: BTreeSet<ObjectId>,
    objects: BTreeSet<ObjectId>,
    pending: u64,
}

/// A copy of a world as it was before the visit: a catalog of its own and a clone of the disk.
pub struct Trial<'w> {
    world: &'w World,
    folder: TempDir,
    /// The catalog as it was when the process was killed.
    left: Option<TempDir>,
    catalog: Option<Catalog>,
    /// The disk that is visited.
    pub disk: SimulatedDisk,
}

/// Copies a catalog as a process that is killed now would leave it: with its log of changes, which the next one has to
/// take up.
fn copy_catalog(from: &Path, to: &Path) {
    for ending in ["", "-wal"] {
        let name = |folder| format!("{}{ending}", catalog_path(folder).display());
        if Path::new(&name(from)).exists() {
            fs::copy(name(from), name(to)).unwrap();
        }
    }
}

impl<'w> Trial<'w> {
    /// Nothing has happened yet.
    pub fn of(world: &'w World) -> Trial<'w> {
        let folder = quick_folder();
        copy_catalog(world.folder.path(), folder.path());
        let catalog = Some(Catalog::open(&catalog_path(folder.path())).unwrap());
        Trial { world, folder, left: None, catalog, disk: world.disk.cloned() }
    }

    /// The process will be killed when operation `look` begins, in truth: what it does to the catalog afterwards
    /// never happened. `crash` is the first operation that does not get to the disk.
    pub fn kill_at(&mut self, look: u64, crash: u64) {
        let left = quick_folder();
        let (from, to) = (self.folder.path().to_owned(), left.path().to_owned());
        self.disk.look_at(look, move || copy_catalog(&from, &to));
        self.disk.crash_at(crash);
        self.left = Some(left);
    }

    /// The visit.
    pub fn visit(&mut self) -> Result<VisitOutcome, OpError> {
        let World { row, day, options, .. } = self.world;
        visit(self.catalog.as_mut().unwrap(), &self.disk, *row, *day, options)
    }

    /// The process is gone; another one opens what it left.
    pub fn restart(&mut self) {
        let folder = self.left.take().unwrap_or_else(|| {
            let left = quick_folder();
            copy_catalog(self.folder.path(), left.path());
            left
        });
        self.catalog = Some(Catalog::open(&catalog_path(folder.path())).unwrap());
        self.folder = folder;
    }

    /// Objects in an answer of the catalog's file, asked as any other program would.
    fn ask(&self, sql: &str, disk: DiskNo) -> BTreeSet<ObjectId> {
        let file = rusqlite::Connection::open(catalog_path(self.folder.path())).unwrap();
        let mut statement = file.prepare(sql).unwrap();
        let rows = statement.query_map([disk.0], |row| row.get(0).map(ObjectId)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn claims(&self, disk: DiskNo) -> BTreeSet<ObjectId> {
        self.ask("SELECT sha256 FROM copy JOIN object ON object.id = copy.object WHERE disk = ?", disk)
    }

    /// What must hold at every moment.
    ///
    /// N1: what is claimed is durably there, with the right bytes. N2: what was released is claimed no more, whether
    /// the file is gone or not. And what an earlier visit had stored and the tree refers to has a copy somewhere.
    pub fn check(&self, when: &str) {
        let row = self.world.row;
        let here = self.claims(row);
        for id in &here {
            assert!(self.disk.holds_durably(*id), "N1: {id} is claimed but not on the disk, {when}");
        }
        let mut elsewhere = BTreeSet::new();
        for (number, disk) in &self.world.away {
            let claims = self.claims(*number);
            for id in &claims {
                assert!(disk.holds_durably(*id), "N1: {id} is claimed on a disk that is away, {when}");
            }
            elsewhere.extend(claims);
        }
        let reader = self.catalog.as_ref().unwrap().read();
        for id in &self.world.stored {
            let Some(object) = reader.object_by_id(id).unwrap() else { continue };
            if reader.is_referenced(object.object).unwrap() {
                assert!(here.contains(id) || elsewhere.contains(id), "{id} has no copy left, {when}");
            }
        }
        let released = self.ask("SELECT sha256 FROM removal WHERE disk = ?", row);
        assert!(released.is_disjoint(&here), "N2: something is claimed and released, {when}");
    }

    /// How things stand.
    pub fn end(&self) -> End {
        let pending = self.catalog.as_ref().unwrap().read().pending_total(Pending::All).unwrap();
        End {
            claims: self.claims(self.world.row),
            objects: self.disk.objects().into_iter().collect(),
            pending: pending.0,
        }
    }

    /// The next visit, with nothing in its way, ends as the undisturbed one; the disk carries a good catalog.
    pub fn resume(&mut self, expected: &End, when: &str) {
        let outcome = self.visit().unwrap_or_else(|error| panic!("the visit after {when}: {error}"));
        assert!(outcome.complete(), "the visit after {when}: {outcome:?}");
        assert!(outcome.reconciled.missing.is_empty(), "missing in the visit after {when}: {outcome:?}");
        assert_eq!(
            outcome.reconciled.merged_names, 0,
            "what was given up came back in the visit after {when}"
        );
        self.check(&format!("after the visit after {when}"));
        assert_eq!(&self.end(), expected, "the end of the visit after {when}");
        assert!(self.disk.is_clean(), "something is not durable after the visit after {when}");
        assert_eq!(self.disk.clear_incoming().unwrap(), Bytes(0), "left-overs of {when} are still there");
        let copy = self.folder.path().join("fetched.sqlite");
        assert!(self.disk.fetch_catalog(&copy).unwrap(), "no catalog on the disk after {when}");
        inspect(&copy, true).unwrap();
    }
}
