//! A small world for tests through the command line: a computer, a source folder, and disks.
//!
//! The disks are ordinary folders: what a real filesystem adds to a hazard is tested elsewhere.

#![allow(dead_code, reason = "each test program uses its part of this module")]

pub mod frozen;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::{Dsb, NOBODY, Run, give_to, open_to_all};
use distbackup_testkit::{is_root, skipped};
use serde_json::Value;
use tempfile::TempDir;

/// A computer with one source, mapped as `/data`, and room for disks.
pub struct World {
    /// The program on that computer.
    pub dsb: Dsb,
    folder: TempDir,
    user: Option<u32>,
}

impl World {
    /// An empty computer: nothing is mapped, no disk has joined.
    pub fn empty() -> World {
        let world = World { dsb: program(), folder: TempDir::new().unwrap(), user: None };
        fs::create_dir(world.source()).unwrap();
        world
    }

    /// A computer with an empty source that is mapped as `/data`.
    pub fn new() -> World {
        let world = World::empty();
        world.map("/data", &world.source());
        world
    }

    /// The same for an ordinary user, to whom a locked door is locked. Needs root, to become one.
    pub fn of_ordinary_user() -> Option<World> {
        if !is_root() {
            skipped("needs root to become an ordinary user");
            return None;
        }
        let folder = TempDir::new().unwrap();
        open_to_all(folder.path());
        let world = World { dsb: program().as_user(NOBODY), folder, user: Some(NOBODY) };
        fs::create_dir(world.source()).unwrap();
        world.give_away();
        world.map("/data", &world.source());
        Some(world)
    }

    /// Lets the ordinary user own all that was made since; nothing in other worlds.
    pub fn give_away(&self) {
        if let Some(user) = self.user {
            for place in fs::read_dir(self.folder.path()).unwrap() {
                give_to(&place.unwrap().path(), user);
            }
        }
    }

    /// The folder of the source.
    pub fn source(&self) -> PathBuf {
        self.place("source")
    }

    /// A place in this world that nothing else uses.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Maps a folder.
    #[track_caller]
    pub fn map(&self, vpath: &str, folder: &Path) {
        self.dsb.run(["source".as_ref(), "map".as_ref(), vpath.as_ref(), folder.as_os_str()]).ok();
    }

    /// Writes a file of the source, with its folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.source().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        self.give_away();
        file
    }

    /// A disk joins, of a size as `disk add --size` takes it, or of its own.
    #[track_caller]
    pub fn add_disk(&self, name: &str, size: Option<&str>) -> PathBuf {
        let folder = self.place(name);
        fs::create_dir(&folder).unwrap();
        self.give_away();
        let mut arguments = vec!["disk", "add", name, folder.to_str().unwrap()];
        arguments.extend(size.iter().flat_map(|size| ["--size", size]));
        self.dsb.run(arguments).ok();
        folder
    }

    /// Updates and visits a disk, and expects that all went well.
    #[track_caller]
    pub fn update_and_back_up(&self, disk: &str) {
        self.dsb.run(["update"]).ok();
        self.dsb.run(["backup", disk]).ok();
    }

    /// Expects that a restore of `/data` brings back the tree at `expected`.
    #[track_caller]
    pub fn restores(&self, expected: &Path, compare: Compare) {
        let to = self.restored(&[]);
        assert_same_trees(expected, &to.path().join("data"), compare);
    }

    /// Restores everything, with further arguments, into a folder that vanishes with the result.
    #[track_caller]
    pub fn restored(&self, arguments: &[&str]) -> TempDir {
        let to = TempDir::new().unwrap();
        if let Some(user) = self.user {
            give_to(to.path(), user);
        }
        let mut all = vec!["restore", "--to", to.path().to_str().unwrap()];
        all.extend(arguments);
        self.dsb.run(all).ok();
        to
    }

    /// The virtual paths of the current tree's files, in order.
    #[track_caller]
    pub fn files(&self) -> Vec<String> {
        let run = self.dsb.run(["--json", "ls"]).ok();
        let items = objects(&run).into_iter().filter(|item| item["type"] == "item" && item["kind"] == "f");
        items.map(|item| item["path"].as_str().unwrap().to_owned()).collect()
    }

    /// What `where` says of one virtual path.
    #[track_caller]
    pub fn whereabouts(&self, vpath: &str) -> Value {
        object(&self.dsb.run(["--json", "where", vpath]).ok(), "where")
    }

    /// Names of the disks that hold the file at a virtual path, in order.
    #[track_caller]
    pub fn holders(&self, vpath: &str) -> Vec<String> {
        let known = self.whereabouts(vpath);
        let copies = known["copies"].as_array().unwrap().iter();
        let mut names: Vec<String> = copies.map(|copy| copy["disk"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    /// What `status` says.
    #[track_caller]
    pub fn status(&self) -> Value {
        object(&self.dsb.run(["--json", "status"]).ok(), "status")
    }
}

/// The program under test in a home of its own.
pub fn program() -> Dsb {
    Dsb::new(env!("CARGO_BIN_EXE_dsb"))
}

/// The objects of a JSON answer, of which the last is the summary with the exit code.
#[track_caller]
pub fn objects(run: &Run) -> Vec<Value> {
    let parse = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(value) if value["type"].is_string() && value["v"] == 1 => value,
        other => panic!("{line:?} is no object of version 1 with a type: {other:?}\n{run}"),
    };
    let all: Vec<Value> = run.stdout().lines().map(parse).collect();
    let summaries = all.iter().filter(|object| object["type"] == "summary").count();
    let last = all.last().unwrap_or_else(|| panic!("no summary\n{run}"));
    assert!(summaries == 1 && last["type"] == "summary", "one summary, at the end\n{run}");
    assert_eq!(last["exit"].as_i64(), run.exit_code().map(i64::from), "the summary's exit code\n{run}");
    all
}

/// The only object of a type in a JSON answer.
#[track_caller]
pub fn object(run: &Run, kind: &str) -> Value {
    let mut found: Vec<Value> = objects(run).into_iter().filter(|object| object["type"] == kind).collect();
    assert_eq!(found.len(), 1, "one {kind:?} is expected\n{run}");
    found.remove(0)
}

/// The files below a disk's objects folder, which are the objects, in order.
pub fn objects_on(disk: &Path) -> Vec<PathBuf> {
    // The folder is made with the first object.
    let all = distbackup_testkit::tree::paths(&disk.join("distbackup-objects")).unwrap_or_default();
    all.into_iter().filter(|path| path.is_file()).collect()
}

/// What lies in a disk's folder of what comes in, files and folders; 0 if there is none. Files may go meanwhile.
pub fn coming_in(disk: &Path) -> usize {
    fn below(folder: &Path) -> usize {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names.map(|name| 1 + below(&name.path())).sum()
    }
    below(&disk.join("distbackup-incoming"))
}

/// The copies that are on their way to a disk: what lies in its folder of what comes in, and the files without a name that
/// a running `dsb` holds open there.
pub fn under_way(disk: &Path) -> usize {
    let names = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let disk = fs::canonicalize(disk).unwrap_or_default();
    let unnamed = format!("{}/distbackup-incoming/#", disk.display());
    let is_dsb = |process: &Path| fs::read(process.join("comm")).is_ok_and(|name| name == b"dsb\n");
    let held = |process: &Path| {
        let files = names(&process.join("fd")).filter_map(|file| fs::read_link(file.path()).ok());
        files.filter(|file| file.to_string_lossy().starts_with(&unnamed)).count()
    };
    let running = names(Path::new("/proc")).map(|process| process.path()).filter(|process| is_dsb(process));
    coming_in(&disk) + running.map(|process| held(&process)).sum::<usize>()
}

/// Changes the mode of a file or folder.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// `len` bytes that no other seed gives.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    distbackup_testkit::rng::Rng::new(seed).bytes(len)
}
