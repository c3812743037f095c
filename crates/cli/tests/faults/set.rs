//! A computer with two small disks in memory, which can be put back to an earlier state; and the look of another
//! program at it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use distbackup_core::model::BLOCK;
use distbackup_testkit::dsb::{Dsb, Run};
use distbackup_testkit::faults::{Call, Fault, Injector};
use distbackup_testkit::rng::Rng;
use distbackup_testkit::skipped;
use serde_json::Value;
use tempfile::TempDir;

/// The program that looks: it shares nothing with ours.
const CHECK: &str = include_str!("check.py");
/// What lies on each disk for people without the program.
const RESTORE: &str = include_str!("../../../engine/recovery/restore.py");

/// Files at first, of which each disk has all: that fills red to its last block. Blue has room for more.
const FILES: usize = 14;
/// Bytes of a file; all have the same size, so that there is one best way to fill a disk.
const SIZE: usize = 5000;

/// How far the set has come, as [`Set::put_back`] takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The disks are added and the source is mapped, and that is all.
    New,
    /// Both disks hold everything; then files were added, changed, moved and deleted for good.
    Changed,
    /// The catalog knows of it: the visit of red is short of room.
    Updated,
    /// The same, but somebody deleted objects from red, which was noticed.
    Robbed,
}

/// What the other program has found.
#[derive(Debug)]
pub struct Look {
    /// What is not as it must be at any time, in sentences.
    wrong: Vec<String>,
    /// The disks held nothing before.
    began_with_nothing: bool,
    /// How things stand, apart from what no two runs have in common.
    state: BTreeSet<String>,
    /// Hash of each file that it got back from the disks.
    restored: BTreeMap<String, String>,
    /// Whether it could not get everything back.
    missing: bool,
    /// Hash of each file of the source.
    source: BTreeMap<String, String>,
}

fn names_and_hashes(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().unwrap().iter();
    pairs.map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned())).collect()
}

fn lines(value: &Value) -> impl Iterator<Item = String> + '_ {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned())
}

impl Look {
    /// Expects that nothing is wrong, and that all files that never changed come back from the disks, if they were there before.
    #[track_caller]
    pub fn nothing_is_lost(&self, when: &str) {
        assert!(self.wrong.is_empty(), "{}\n{when}", self.wrong.join("\n"));
        for number in (0..FILES).filter(|_| !self.began_with_nothing) {
            // The others were changed or removed from the source.
            if let Some(hash) = self.source.get(&name(number)).filter(|_| number >= 7) {
                let restored = self.restored.get(&name(number));
                assert_eq!(restored, Some(hash), "{} does not come back\n{when}", name(number));
            }
        }
    }

    /// Expects that all is as after the undisturbed run, and that the whole source comes back.
    #[track_caller]
    pub fn is(&self, expected: &Look, when: &str) {
        self.is_but_for(&[], expected, when);
    }

    /// The same, but something unfinished may lie about: what could not be unlinked is the next run's to clear.
    #[track_caller]
    pub fn is_but_for_leftovers(&self, expected: &Look, when: &str) {
        self.is_but_for(&["beside the catalog: ", "left over on "], expected, when);
    }

    #[track_caller]
    fn is_but_for(&self, leave_out: &[&str], expected: &Look, when: &str) {
        // A disk that has been visited twice has a previous catalog, and one whose first page failed has none: that is no loss.
        let first = self.began_with_nothing.then_some("the files of ");
        let counts = |line: &&str| !leave_out.iter().chain(&first).any(|start| line.starts_with(start));
        let only = |here: &Look, there: &Look| {
            let lines = here.state.difference(&there.state).map(String::as_str).filter(counts);
            lines.collect::<Vec<_>>().join("\n")
        };
        let (new, gone) = (only(self, expected), only(expected, self));
        assert!(new.is_empty() && gone.is_empty(), "--- only now\n{new}\n--- not any more\n{gone}\n{when}");
        assert_eq!(self.missing, expected.missing, "whether restore.py has everything\n{when}");
        assert_eq!(self.restored, expected.restored, "what restore.py brings back\n{when}");
    }

    /// Expects that restore.py brings back all of the source, as it is.
    #[track_caller]
    pub fn restores_everything(&self, when: &str) {
        assert!(!self.missing, "restore.py misses something\n{when}");
        assert_eq!(self.restored, self.source, "what restore.py brings back\n{when}");
    }
}

/// A computer with a source and the disks red and blue.
pub struct Set {
    /// The program.
    pub dsb: Dsb,
    folder: TempDir,
}

fn name(number: usize) -> String {
    format!("folder {}/file {number}", number % 3)
}

/// Copies a folder with everything that belongs to it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "cp: {}", String::from_utf8_lossy(&copied.stderr));
}

/// A folder in memory if there is one, else in the usual place: thousands of runs would wait for their syncs.
fn quick_folder() -> TempDir {
    let mut named = tempfile::Builder::new();
    // What lies in memory says whose it is, should it be left there.
    named.prefix("dsb-faults-");
    named.tempdir_in("/dev/shm").or_else(|_| named.tempdir()).unwrap()
}

impl Set {
    /// A set with each [`State`] saved; `None`, with a loud line, without a Python that can look at it.
    pub fn new() -> Option<Set> {
        let python = Command::new("python3").args(["-c", "import sqlite3"]).output();
        if !python.is_ok_and(|python| python.status.success()) {
            skipped("needs python3 with SQLite for the second opinion");
            return None;
        }
        let set = Set { dsb: Dsb::new(program()), folder: quick_folder() };
        for folder in [
            "source",
            "source/empty",
            "red",
            "blue",
            "temporary",
            "saved",
            "saved/New",
            "saved/Changed",
            "saved/Updated",
            "saved/Robbed",
        ] {
            fs::create_dir(set.place(folder)).unwrap();
        }
        fs::write(set.place("check.py"), CHECK).unwrap();
        fs::write(set.place("restore.py"), RESTORE).unwrap();
        set.prepare();
        Some(set)
    }

    fn prepare(&self) {
        (0..FILES).for_each(|number| self.write(&name(number), number as u64));
        self.run(&["source", "map", "/data", self.place("source").to_str().unwrap()]);
        self.run(&["config", "set", "keep-deleted", "0"]);
        let room = FILES as u64 * (SIZE as u64).next_multiple_of(BLOCK);
        let disks = [("red", room.to_string()), ("blue", "1G".to_owned())];
        for (disk, size) in &disks {
            self.run(&["disk", "add", disk, self.place(disk).to_str().unwrap(), "--size", size]);
        }
        self.save(State::New);
        self.run(&["update"]);
        disks.iter().for_each(|(disk, _)| drop(self.run(&["backup", disk])));
        let source = self.place("source");
        (0..3).for_each(|number| fs::remove_file(source.join(name(number))).unwrap());
        (3..5).for_each(|number| self.write(&name(number), 100 + number as u64));
        (0..6).for_each(|number| self.write(&format!("new/scan {number}"), 200 + number));
        (5..7).for_each(|number| {
            fs::rename(source.join(name(number)), source.join(format!("moved {number}"))).unwrap();
        });
        self.save(State::Changed);
        self.run(&["update", "--accept"]);
        self.save(State::Updated);
        // Blue has all of them as well.
        self.objects("red").iter().skip(1).step_by(2).for_each(|object| fs::remove_file(object).unwrap());
        self.dsb.start_prepared(self.command(&["disk", "refresh", "red"])).wait().code(4);
        self.save(State::Robbed);
    }

    /// The objects of a disk, in order.
    fn objects(&self, disk: &str) -> Vec<PathBuf> {
        let folder = self.place(disk).join("distbackup-objects");
        let all = distbackup_testkit::tree::paths(&folder).unwrap();
        all.into_iter().filter(|path| path.is_file()).collect()
    }

    /// Writes a file of the source.
    fn write(&self, name: &str, seed: u64) {
        let file = self.place("source").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, Rng::new(seed).bytes(SIZE)).unwrap();
    }

    /// A place of this set.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folders of catalogs and disks, which are saved and put back.
    const KEPT: [&str; 3] = ["catalog", "red", "blue"];

    fn save(&self, state: State) {
        let saved = self.place("saved").join(format!("{state:?}"));
        Set::KEPT.iter().for_each(|kept| copy(&self.place(kept), &saved.join(kept)));
    }

    /// Puts catalog and disks back to what they were.
    pub fn put_back(&self, state: State) {
        let saved = self.place("saved").join(format!("{state:?}"));
        for kept in Set::KEPT {
            fs::remove_dir_all(self.place(kept)).unwrap();
            copy(&saved.join(kept), &self.place(kept));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.dsb.command(arguments);
        // Beside the disks, and what SQLite puts elsewhere too.
        command.env("DISTBACKUP_PATH", self.place("catalog")).env("SQLITE_TMPDIR", self.place("temporary"));
        command
    }

    /// Runs the program undisturbed and expects that all goes well.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.dsb.start_prepared(self.command(arguments)).wait().ok()
    }

    /// The folders whose calls count.
    fn watched(&self) -> [PathBuf; 4] {
        ["catalog", "temporary", "red", "blue"].map(|name| self.place(name))
    }

    /// Runs the program with its calls counted, and a fault at one of them; returns them all.
    pub fn run_with(
        &self,
        injector: &Injector,
        arguments: &[&str],
        fault: Option<(u64, Fault)>,
    ) -> (Run, Vec<Call>) {
        let mut command = self.command(arguments);
        let watched = self.watched();
        injector.arm(&mut command, &watched.each_ref().map(PathBuf::as_path), fault);
        (self.dsb.start_prepared(command).wait(), injector.calls())
    }

    /// Runs the program with the calls that the system sees of it written to a file; `None`, with a loud line, where that cannot be.
    pub fn traced(&self, arguments: &[&str], calls: &str) -> Option<String> {
        let (command, log) = (self.command(arguments), self.place("trace"));
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-y", "-s", "0", "-e", &format!("trace={calls}"), "-o"]).arg(&log);
        traced.arg(command.get_program()).args(command.get_args()).env_clear();
        traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        match traced.output() {
            Ok(done) if done.status.success() => Some(fs::read_to_string(log).unwrap()),
            failed => {
                skipped(&format!("needs strace to see whether any call goes past the count: {failed:?}"));
                None
            }
        }
    }

    /// Whether a line of a trace is about what is counted.
    pub fn concerns_watched(&self, line: &str) -> bool {
        self.watched().iter().any(|folder| line.contains(folder.to_str().unwrap()))
    }

    /// Has the other program look at everything; `before` is what the disks held at first.
    #[track_caller]
    pub fn look(&self, before: State) -> Look {
        let work = TempDir::new_in(self.folder.path()).unwrap();
        let saved = self.place("saved").join(format!("{before:?}"));
        let mut check = Command::new("python3");
        check.arg("-B").arg(self.place("check.py")).arg(work.path());
        check.args(["catalog", "source", "restore.py"].map(|name| self.place(name)));
        // At first there is only one visit to look at.
        let new = before == State::New;
        for disk in if new { &["blue"][..] } else { &["red", "blue"] } {
            let (now, before) = (self.place(disk), saved.join(disk));
            check.arg(format!("{disk}={}={}", now.display(), before.display()));
        }
        let output = check.output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Look {
            // A disk without a catalog is what it was before, and nothing comes back from it.
            wrong: lines(&answer["wrong"])
                .filter(|line| {
                    !new || !["blue has no catalog", "restore.py ends with"]
                        .iter()
                        .any(|start| line.starts_with(start))
                })
                .collect(),
            began_with_nothing: new,
            state: lines(&answer["state"]).collect(),
            restored: names_and_hashes(&answer["restored"]),
            missing: answer["missing"].as_bool().unwrap(),
            source: names_and_hashes(&answer["source"]),
        }
    }
}

/// The program under test: the one just built, or another one, such as a release build.
fn program() -> PathBuf {
    std::env::var_os("DSB_FAULTS_BIN").map_or_else(|| env!("CARGO_BIN_EXE_dsb").into(), PathBuf::from)
}
