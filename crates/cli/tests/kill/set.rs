//! A computer with a source and two disks, which can be put back to an earlier state; and what must hold of it always.

#![allow(dead_code, reason = "each test program uses its part of this module")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use distbackup_core::model::{BLOCK, Bytes, billed};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::rng::Rng;
use distbackup_testkit::tree;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::common::{World, coming_in, noise, objects_on};

/// The disks: what the sources held before they changed fills red to the last block, and blue has room.
pub const DISKS: [&str; 2] = ["red", "blue"];

/// How far the set has come, as [`Set::put_back`] takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both disks hold everything; then files were added, changed, moved and deleted for good.
    Changed,
    /// The catalog knows of it.
    Updated,
    /// Both disks were visited again.
    BackedUp,
}

/// How things stand, apart from what no two runs have in common: a fact a line.
#[derive(Debug, PartialEq, Eq)]
pub struct End(BTreeSet<String>);

impl End {
    /// Expects the same; says only what differs.
    #[track_caller]
    pub fn is(&self, expected: &End, when: &str) {
        let only = |here: &End, there: &End| {
            here.0.difference(&there.0).map(String::as_str).collect::<Vec<_>>().join("\n")
        };
        let (new, missing) = (only(self, expected), only(expected, self));
        assert!(self == expected, "the end {when}\n--- only now\n{new}\n--- not any more\n{missing}");
    }
}

/// A computer with a source and two disks.
pub struct Set {
    /// The computer.
    pub world: World,
    /// Where the disks are.
    place: PathBuf,
    saved: TempDir,
    /// Size of all files, if they have one.
    size: Option<usize>,
    /// What the sources hold in the end.
    needed: BTreeSet<String>,
}

/// The hash of a file, as on the disk.
fn sha256(path: &Path) -> String {
    let content = fs::read(path).unwrap();
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name_of(object: &Path) -> String {
    object.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The names of the objects on a disk.
fn names(disk: &Path) -> BTreeSet<String> {
    objects_on(disk).iter().map(|path| name_of(path)).collect()
}

/// Copies a folder with everything that belongs to it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "cp: {}", String::from_utf8_lossy(&copied.stderr));
}

fn copy_if_there(from: &Path, to: &Path) {
    if from.exists() {
        copy(from, to);
    }
}

impl Set {
    /// A set with its disks beside its sources, with each [`State`] saved.
    pub fn new() -> Set {
        Set::of_size(None, None)
    }

    /// The same with disks below `place`, or beside the sources, and with files of the same size: then there is one
    /// best way to fill a disk. Else what an interrupted visit has left decides which second copies fit best.
    pub fn of_equal_files(place: Option<&Path>) -> Set {
        Set::of_size(place, Some(25_000))
    }

    fn of_size(place: Option<&Path>, size: Option<usize>) -> Set {
        let world = World::empty();
        let place = place.map_or_else(|| world.place("disks"), |place| place.join("disks"));
        let mut set = Set { world, place, saved: TempDir::new().unwrap(), size, needed: BTreeSet::new() };
        fs::create_dir(&set.place).unwrap();
        set.fill_source();
        let room: Bytes = set.contents().values().map(|size| billed(Bytes(*size), BLOCK)).sum();
        set.world.map("/data", &set.world.source());
        let dsb = &set.world.dsb;
        dsb.run(["config", "set", "keep-deleted", "0"]).ok();
        dsb.run(["update"]).ok();
        for (disk, size) in DISKS.iter().zip([room.0.to_string(), "1G".to_owned()]) {
            fs::create_dir(set.disk(disk)).unwrap();
            dsb.run(["disk", "add", disk, set.disk(disk).to_str().unwrap(), "--size", &size]).ok();
            dsb.run(["backup", disk]).ok();
        }
        set.change_source();
        set.save(State::Changed);
        dsb.run(["update", "--accept"]).ok();
        set.save(State::Updated);
        DISKS.iter().for_each(|disk| drop(dsb.run(["backup", "--accept", disk]).ok()));
        set.save(State::BackedUp);
        set.needed = set.contents().into_keys().collect();
        set
    }

    /// The folder of a disk.
    pub fn disk(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Writes a file of new content.
    fn write(&self, name: &str, size: usize, seed: u64) {
        self.world.write(name, noise(self.size.unwrap_or(size), seed));
    }

    fn fill_source(&self) {
        let mut sizes = Rng::new(1);
        for number in 0..90 {
            let name = format!("folder {}/photo {number}", number % 7);
            self.write(&name, sizes.within(1..40_000) as usize, number);
        }
        (0..4).for_each(|number| {
            drop(self.world.write(&format!("film {number}"), noise(500_000, 100 + number)))
        });
        self.world.write("empty", "");
        let source = self.world.source();
        fs::create_dir(source.join("empty folder")).unwrap();
        fs::hard_link(source.join("film 0"), source.join("film 0, linked")).unwrap();
        fs::copy(source.join("film 1"), source.join("film 1, copied")).unwrap();
        std::os::unix::fs::symlink("film 0", source.join("link")).unwrap();
    }

    fn change_source(&self) {
        let source = self.world.source();
        (0..14).for_each(|number| {
            fs::remove_file(source.join(format!("folder {}/photo {number}", number % 7))).unwrap();
        });
        (14..20).for_each(|number| {
            let name = format!("folder {}/photo {number}", number % 7);
            self.write(&name, 20_000, 200 + number);
        });
        (0..30).for_each(|number| {
            self.write(&format!("new/scan {number}"), 25_000, 300 + number);
        });
        self.write("new/film", 700_000, 400);
        fs::rename(source.join("folder 6"), source.join("moved")).unwrap();
    }

    /// The distinct contents of the source's files, with their sizes.
    fn contents(&self) -> BTreeMap<String, u64> {
        sized_contents(&self.world.source())
    }

    fn save(&self, state: State) {
        let saved = self.saved.path().join(format!("{state:?}"));
        fs::create_dir(&saved).unwrap();
        copy(self.world.dsb.catalog(), &saved.join("catalog"));
        DISKS.iter().for_each(|disk| copy(&self.disk(disk), &saved.join(disk)));
    }

    /// Puts catalog and disks back to what they were.
    pub fn put_back(&self, state: State) {
        let saved = self.saved.path().join(format!("{state:?}"));
        let catalog = self.world.dsb.catalog();
        for (from, to) in
            [("catalog", catalog.to_owned()), ("red", self.disk("red")), ("blue", self.disk("blue"))]
        {
            fs::remove_dir_all(&to).unwrap();
            copy(&saved.join(from), &to);
        }
    }

    fn catalog(&self) -> (TempDir, rusqlite::Connection) {
        open_catalog(self.world.dsb.catalog())
    }

    /// What must hold whatever happened.
    ///
    /// N1: what the catalog claims is on that disk, and its content is what its name says. N2: what was released is
    /// not claimed. And nothing that the sources have and any disk had in `before` is on no disk now.
    #[track_caller]
    pub fn check(&self, before: State, when: &str) {
        let (_folder, catalog) = self.catalog();
        let sound: String = catalog.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok", "the catalog, {when}");
        let mut anywhere = BTreeSet::new();
        for disk in DISKS {
            let objects = objects_on(&self.disk(disk)).into_iter();
            let hashes: BTreeMap<String, String> =
                objects.map(|path| (name_of(&path), sha256(&path))).collect();
            for id in claims(&catalog, disk) {
                assert_eq!(hashes.get(&id), Some(&id), "N1: claimed on {disk}, {when}");
            }
            for (name, hash) in hashes {
                assert_eq!(name, hash, "unfinished under its final name on {disk}, {when}");
                anywhere.insert(hash);
            }
        }
        let both = "SELECT count(*) FROM removal JOIN object USING (sha256) JOIN copy \
                    ON copy.object = object.id AND copy.disk = removal.disk";
        let both: i64 = catalog.query_row(both, [], |row| row.get(0)).unwrap();
        assert_eq!(both, 0, "N2: claimed and released, {when}");
        let saved = self.saved.path().join(format!("{before:?}"));
        for disk in DISKS {
            for id in names(&saved.join(disk)).intersection(&self.needed) {
                assert!(anywhere.contains(id), "{id} of {disk} is on no disk any more, {when}");
            }
        }
    }

    /// How things stand.
    #[track_caller]
    pub fn end(&self) -> End {
        let (_folder, catalog) = self.catalog();
        let tree = "SELECT name, entry.size, lower(hex(sha256)), pending FROM entry \
                    LEFT JOIN object ON object.id = entry.object WHERE died IS NULL";
        let mut tree = catalog.prepare(tree).unwrap();
        let entries = tree.query_map([], |row| {
            let (name, object): (Vec<u8>, Option<String>) = (row.get(0)?, row.get(2)?);
            let (size, pending): (i64, bool) = (row.get(1)?, row.get(3)?);
            Ok(format!("{}: {size} bytes {object:?}, pending: {pending}", name.escape_ascii()))
        });
        let mut facts: BTreeSet<String> = entries.unwrap().collect::<Result<_, _>>().unwrap();
        for disk in DISKS {
            assert_eq!(coming_in(&self.disk(disk)), 0, "left-overs on {disk}");
            facts.extend(claims(&catalog, disk).iter().map(|id| format!("{disk} is to have {id}")));
            facts.extend(objects_on(&self.disk(disk)).iter().map(|path| {
                let size = path.metadata().unwrap().len();
                format!("{disk} has {} of {size} bytes", name_of(path))
            }));
        }
        End(facts)
    }

    /// Expects that everything is on the disks and comes back as it is.
    #[track_caller]
    pub fn restores(&self) {
        self.world.restores(&self.world.source(), Compare::as_far_as_possible());
    }
}

/// The distinct contents of the files below a folder, with their sizes.
fn sized_contents(folder: &Path) -> BTreeMap<String, u64> {
    let files = tree::paths(folder).unwrap().into_iter();
    let files = files.filter(|path| path.is_file() && !path.is_symlink());
    let sized = files.map(|path| (sha256(&path), path.metadata().unwrap().len()));
    sized.filter(|(_, size)| *size > 0).collect()
}

/// The distinct contents of the files below a folder.
pub fn contents_of(folder: &Path) -> BTreeSet<String> {
    sized_contents(folder).into_keys().collect()
}

/// The objects on a disk whose content is what their name says.
pub fn whole_objects(disk: &Path) -> BTreeSet<String> {
    let objects = objects_on(disk).into_iter();
    objects.filter(|path| name_of(path) == sha256(path)).map(|path| name_of(&path)).collect()
}

/// The catalog of a folder as the last process left it, opened by another program, which changes nothing about it.
pub fn open_catalog(catalog: &Path) -> (TempDir, rusqlite::Connection) {
    let folder = TempDir::new().unwrap();
    for name in ["distbackup.sqlite", "distbackup.sqlite-wal"] {
        copy_if_there(&catalog.join(name), &folder.path().join(name));
    }
    let connection = rusqlite::Connection::open(folder.path().join("distbackup.sqlite")).unwrap();
    (folder, connection)
}

/// The objects that the catalog claims on a disk.
pub fn claims(catalog: &rusqlite::Connection, disk: &str) -> BTreeSet<String> {
    let sql = "SELECT lower(hex(sha256)) FROM copy JOIN object ON object.id = copy.object \
               JOIN disk ON disk.id = copy.disk WHERE disk.name = ?";
    let mut statement = catalog.prepare(sql).unwrap();
    let rows = statement.query_map([disk], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}
