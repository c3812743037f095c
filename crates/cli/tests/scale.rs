//! Memory does not grow with the set: a million entries, and a file that is larger than any memory.
//!
//! The million is generated (see `distbackup_testkit::generate`): a source of a million real files, and a disk of nearly
//! as many real objects, all of them holes. The first update of the CI only scans it; then contents are made up in the
//! catalog, and every fiftieth file gets a real one, so that the second update compares a million
//! files, and hashes twenty thousand. Files and objects lie in memory where there is enough (`/dev/shm`).
//!
//! With the environment variable `DSB_FULL_SCALE` the first update hashes the whole million, and
//! the large file has 200 GB. Both take minutes.
//! `--nocapture` shows what each command needed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use distbackup_testkit::dsb::{Dsb, Run};
use distbackup_testkit::generate::{Generated, Holds};
use distbackup_testkit::mounts::Tmpfs;
use distbackup_testkit::rng::Rng;
use distbackup_testkit::skipped;
use distbackup_testkit::{or_skip, tree};
use rustix::fs::statvfs;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the program may use for a million entries.
const MEMORY_MAX: u64 = 300_000_000;
/// What it may use for one file, whatever its size.
const MEMORY_MAX_FILE: u64 = 100_000_000;
/// Files of the large set.
const ENTRIES: u64 = 1_000_000;
/// Every file of this distance gets a real content.
const CHANGED_ONCE_IN: u64 = 50;
/// Sizes of the large file: in CI, where hashing it four times may have to do without the
/// processor's help, and in full.
const SPARSE_BYTES: u64 = 5_000_000_000;
const SPARSE_BYTES_FULL: u64 = 200_000_000_000;

/// Whether nobody waits for the result.
fn full_scale() -> bool {
    std::env::var_os("DSB_FULL_SCALE").is_some()
}

/// Runs the program, says what that took, and holds its memory against `memory_max`.
#[track_caller]
fn run<A: AsRef<OsStr>>(dsb: &Dsb, memory_max: u64, arguments: impl IntoIterator<Item = A>) -> Run {
    let begun = Instant::now();
    let run = dsb.run(arguments);
    let megabytes = run.memory_bytes_max() as f64 / 1e6;
    eprintln!("{megabytes:6.0} MB {:7.1} s  {}", begun.elapsed().as_secs_f64(), run.command());
    assert!(run.memory_bytes_max() < memory_max, "{megabytes} MB are too much\n{run}");
    run
}

/// The last line of type `kind` of an answer as JSON.
#[track_caller]
fn answer(run: &Run, kind: &str) -> Value {
    let mut lines = run.stdout().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.rfind(|line| line["type"] == kind).unwrap_or_else(|| panic!("no {kind}\n{run}"))
}

/// A folder in memory if so many files and bytes fit there well, else in the usual place.
fn roomy(files: u64, bytes: u64) -> TempDir {
    let memory = Path::new("/dev/shm");
    let mut named = tempfile::Builder::new();
    // What lies in memory says whose it is, should it be left there.
    named.prefix("dsb-scale-");
    let fits = |fs: rustix::fs::StatVfs| fs.f_favail > files && fs.f_bavail * fs.f_frsize > bytes;
    match statvfs(memory).is_ok_and(fits) {
        true => named.tempdir_in(memory).unwrap(),
        false => named.tempdir().unwrap(),
    }
}

/// A million, unless files are made so slowly here that the test would take a quarter of an hour: some containers.
fn entries(folder: &Path) -> u64 {
    const PROBES: u32 = 2000;
    const SLOW: std::time::Duration = std::time::Duration::from_micros(150);
    let begun = Instant::now();
    (0..PROBES).for_each(|probe| {
        let path = folder.join(probe.to_string());
        fs::write(&path, b"").unwrap();
        fs::remove_file(path).unwrap();
    });
    if begun.elapsed() < SLOW * PROBES || full_scale() {
        return ENTRIES;
    }
    skipped("files are made too slowly here for a million: a tenth of it");
    ENTRIES / 10
}

/// A million files, a connected disk that holds most of them, and two on the shelf.
struct Million {
    dsb: Dsb,
    folder: TempDir,
    set: Generated,
}

const RED: Holds = Holds { disk: "red", percent: 80, history: true };
const BLUE: Holds = Holds { disk: "blue", percent: 60, history: false };
const GREEN: Holds = Holds { disk: "green", percent: 30, history: false };

impl Million {
    fn new() -> Million {
        let folder = roomy(ENTRIES * 2, ENTRIES * 4096);
        let set = Generated { files: entries(folder.path()) };
        let million = Million { dsb: Dsb::new(env!("CARGO_BIN_EXE_dsb")), folder, set };
        let source = million.path("source");
        fs::create_dir(&source).unwrap();
        set.source(&source).unwrap();
        million.dsb.run([OsStr::new("source"), "map".as_ref(), "/all".as_ref(), source.as_ref()]).ok();
        for Holds { disk, .. } in [RED, BLUE, GREEN] {
            fs::create_dir(million.path(disk)).unwrap();
            million
                .dsb
                .run(["disk".as_ref(), "add".as_ref(), OsStr::new(disk), million.path(disk).as_ref()])
                .ok();
        }
        million
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A million files have been seen; now all have contents, copies and an earlier version here and there.
    fn fill(&self) {
        self.set.fill(&self.dsb.catalog().join("distbackup.sqlite"), &[RED, BLUE, GREEN]).unwrap();
        self.set.objects(&self.path(RED.disk), RED).unwrap();
        for Holds { disk, .. } in [BLUE, GREEN] {
            fs::remove_dir_all(self.path(disk)).unwrap();
        }
    }

    /// Gives some files a real content, and one folder another name. Returns how many files changed.
    fn change(&self) -> u64 {
        let changed = (0..self.set.files).step_by(CHANGED_ONCE_IN as usize);
        for file in changed.clone() {
            fs::write(self.set.file(&self.path("source"), file), file.to_le_bytes()).unwrap();
        }
        fs::rename(self.path("source/folder-00000"), self.path("source/moved")).unwrap();
        changed.count() as u64
    }

    fn run(&self, words: &str) -> Run {
        run(&self.dsb, MEMORY_MAX, words.split(' '))
    }
}

#[test]
fn a_million_entries_need_no_more_than_300_mb() {
    let million = Million::new();
    // The first update, and the plan of a first backup that does not know the contents yet.
    match full_scale() {
        true => million.run("update").ok().says("1,010,001 added"),
        false => million.run("backup red --update --limit 0").code(3).warns("not hashed yet"),
    };
    million.fill();
    let changed = million.change();

    let updated = answer(&million.run("--json update").ok(), "update");
    assert_eq!(updated["files"], million.set.files);
    // The folder that was moved costs two names, not a hundred, and its new name one change of its parent.
    assert_eq!((&updated["added"], &updated["removed"]), (&json!(1), &json!(1)));
    assert_eq!((&updated["changed"], &updated["hashed_files"]), (&json!(changed + 1), &json!(changed)));

    let missing = million.set.files * (100 - RED.percent) / 100;
    let planned = answer(&million.run("--json backup red --dry-run").ok(), "visit");
    let copies = planned["planned_copies"]["objects"].as_u64().unwrap();
    assert!((missing..missing + 2 * changed).contains(&copies), "{planned}");

    // Nothing to copy: the visit compares the disk with the catalog, plans, and leaves the catalog there.
    let visit = answer(&million.run("--json backup red --limit 0").ok(), "visit");
    assert_eq!((&visit["missing"], &visit["wrong_size"]), (&json!(0), &json!(0)));
    assert_eq!(visit["orphans"]["objects"], 0);

    let page = million.path("page");
    let written = answer(&million.run(&format!("--json export html {}", page.display())).ok(), "page");
    assert_eq!(written["files"], million.set.files);
    // A visit keeps a sixth of the catalog's size free for the page.
    let catalog = fs::metadata(million.dsb.catalog().join("distbackup.sqlite")).unwrap().len();
    assert!(written["bytes"].as_u64().unwrap() < catalog / 6, "{written}, catalog of {catalog}");
    fs::remove_dir_all(page).unwrap();

    let needed = million.run("restore --dry-run --to everything").ok();
    needed.says("3 disks needed");

    let pc = million.dsb.another_pc();
    let red = million.path(RED.disk);
    run(&pc, MEMORY_MAX, ["recover".as_ref(), red.as_os_str()]).ok().says("3 disks");
    let known = answer(&run(&pc, MEMORY_MAX, ["--json", "status"]).ok(), "status");
    let files = known["levels"].as_array().unwrap().iter().map(|level| level["files"].as_u64().unwrap());
    assert_eq!(files.sum::<u64>(), million.set.files);
}

/// Length of each island of data in the large file.
const ISLAND: usize = 100_000;

/// A file of `bytes` with three islands of data.
fn film(path: &Path, bytes: u64) {
    let file = File::create(path).unwrap();
    file.set_len(bytes).unwrap();
    for offset in islands(bytes) {
        file.write_all_at(&island(offset), offset).unwrap();
    }
}

/// Where the islands begin: at both ends, and in the middle.
fn islands(bytes: u64) -> [u64; 3] {
    [0, bytes / 2, bytes - ISLAND as u64]
}

/// The data that belongs at `offset`.
fn island(offset: u64) -> Vec<u8> {
    Rng::new(offset).bytes(ISLAND)
}

/// Expects that the file at `path` is the film, and takes hardly any room.
#[track_caller]
fn is_film(path: &Path, bytes: u64) {
    let file = File::open(path).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(metadata.len(), bytes);
    assert!(metadata.blocks() * 512 < 10_000_000, "{} takes {} blocks", path.display(), metadata.blocks());
    for offset in islands(bytes) {
        let mut found = vec![0; ISLAND];
        file.read_exact_at(&mut found, offset).unwrap();
        assert!(found == island(offset), "other data at {offset} of {}", path.display());
    }
}

#[test]
fn r6_a_huge_sparse_file_costs_neither_its_size_in_memory_nor_on_the_disk() {
    let bytes = if full_scale() { SPARSE_BYTES_FULL } else { SPARSE_BYTES };
    // Plans go by sizes, so the disk must have the room, though it will not be used.
    let huge = if full_scale() { Some(or_skip!(Tmpfs::new(bytes * 3))) } else { None };
    let usual = roomy(10, bytes + bytes / 10);
    let root = huge.as_ref().map_or(usual.path(), Tmpfs::path);
    let [source, disk, restored] = ["source", "disk", "restored"].map(|name| root.join(name));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&disk).unwrap();
    film(&source.join("film"), bytes);

    let dsb = Dsb::new(env!("CARGO_BIN_EXE_dsb")).with_patience(Duration::from_secs(3600));
    let dsb_ok = |words: &str, path: Option<&Path>| {
        let words = words.split(' ').map(OsStr::new);
        run(&dsb, MEMORY_MAX_FILE, words.chain(path.map(Path::as_os_str))).ok()
    };
    dsb_ok("source map /all", Some(&source));
    dsb_ok("disk add red", Some(&disk));
    dsb_ok("update", None);
    dsb_ok("backup red", None);
    let object = tree::paths(&disk.join("distbackup-objects")).unwrap().pop().unwrap();
    is_film(&object, bytes);
    dsb_ok("verify red", None);
    dsb_ok("restore --to", Some(&restored));
    is_film(&restored.join("all/film"), bytes);
}
