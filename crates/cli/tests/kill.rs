//! The program is killed at random moments, again and again, and each time the same command is run once more (D1).
//!
//! At every moment the catalog may claim only what is on the disks, and in the end everything must be as if nothing had
//! happened. The moments are spread over the time that an undisturbed run takes, and over what it has already put
//! on the disk; `DISTBACKUP_TEST_SEED` chooses others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "kill/set.rs"]
mod set;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{World, objects_on, under_way};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::{Dsb, Run, Running, Signal};
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::rng::Rng;
use distbackup_testkit::{or_skip, skipped, tree};
use set::{Set, State};

/// How often each command is killed: five commands, 50 times in all, and a few on a disk of its own.
const KILLS: u32 = 10;

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After so long.
    After(Duration),
    /// When this disk has so many more or fewer objects, or so many files come in; and so long after that.
    Moved(&'static str, usize, Duration),
}

/// How many names came or went on a disk since there were `before` objects.
fn moved(disk: &Path, before: usize) -> usize {
    under_way(disk).max(objects_on(disk).len().abs_diff(before))
}

fn run_and_kill(set: &Set, arguments: &[&str], moment: Moment) -> Run {
    let before = |disk| objects_on(&set.disk(disk)).len();
    match moment {
        Moment::After(delay) => set.world.dsb.start(arguments).kill_after(delay),
        Moment::Moved(disk, count, pause) => {
            let (folder, before, mut seen) = (set.disk(disk), before(disk), None);
            set.world.dsb.start(arguments).kill_when(|| {
                if seen.is_none() && moved(&folder, before) >= count {
                    seen = Some(Instant::now());
                }
                seen.is_some_and(|seen| seen.elapsed() >= pause)
            })
        }
    }
}

/// Kills a command `kills` times, each time from the same state on, and has it finish; `written` is the disk that
/// it writes to. `look` sees what else must hold, after a kill and after the end.
fn kill_often(
    set: &Set,
    kills: u32,
    from: State,
    arguments: &[&str],
    written: Option<&'static str>,
    look: impl Fn(&str, bool),
) {
    let mut rng = Rng::from_environment(7);
    set.put_back(from);
    let began = Instant::now();
    set.world.dsb.run(arguments).ok();
    let mut longest = began.elapsed();
    let expected = set.end();
    look("nothing", true);
    let mut killed = 0;
    for attempt in 0.. {
        assert!(attempt < kills * 4, "only {killed} kills of {arguments:?} came in time");
        let moment = match written {
            Some(disk) if attempt % 2 == 1 => {
                // Long enough for what follows the copying: durable, renamed, recorded.
                Moment::Moved(disk, rng.within(1..25) as usize, Duration::from_micros(rng.below(30_000)))
            }
            _ => Moment::After(longest.mul_f64(rng.below(1000) as f64 / 1000.0)),
        };
        let when = format!("{arguments:?} killed: {moment:?}");
        set.put_back(from);
        let began = Instant::now();
        let run = run_and_kill(set, arguments, moment);
        let took = began.elapsed();
        let late = !run.was_killed();
        set.check(from, &when);
        look(&when, false);
        if late {
            // It won the race. The moments are measured by what it takes now.
            run.ok();
            longest = took;
        }
        set.world.dsb.run(arguments).ok();
        set.check(from, &format!("after the run after {when}"));
        look(&when, true);
        set.end().is(&expected, &format!("of the run after {when}"));
        killed += u32::from(!late);
        if killed == kills {
            eprintln!("{arguments:?}: {killed} kills, {} came too late", attempt + 1 - killed);
            return;
        }
    }
}

fn nothing_else(_: &str, _: bool) {}

#[test]
fn d1_killed_updates_leave_a_whole_catalog_and_the_next_one_finishes() {
    let set = Set::new();
    kill_often(&set, KILLS, State::Changed, &["update", "--accept"], None, nothing_else);
    set.world.dsb.run(["backup", "blue"]).ok();
    set.restores();
}

#[test]
fn d1_killed_visits_of_a_full_disk_claim_nothing_that_is_not_there_and_lose_nothing() {
    visits_of_the_full_disk(&Set::of_equal_files(None), KILLS);
}

#[test]
fn d1_killed_visits_of_a_full_disk_with_a_filesystem_of_its_own() {
    let disk = or_skip!(LoopDisk::new(Filesystem::Ext4, 64 << 20));
    visits_of_the_full_disk(&Set::of_equal_files(Some(&disk.path())), KILLS / 2);
}

fn visits_of_the_full_disk(set: &Set, kills: u32) {
    let arguments = ["backup", "--accept", "red"];
    set.put_back(State::Updated);
    let run = set.world.dsb.run([&["--json"], arguments.as_slice()].concat()).ok();
    let visit = common::object(&run, "visit");
    for what in ["removed", "evicted"] {
        assert!(visit[what]["objects"].as_u64().unwrap() > 0, "nothing {what}: {visit}");
    }
    kill_often(set, kills, State::Updated, &arguments, Some("red"), nothing_else);
    set.world.dsb.run(["backup", "blue"]).ok();
    set.restores();
}

#[test]
fn d1_killed_visits_that_hash_while_they_copy() {
    let set = Set::new();
    let arguments = ["backup", "--update", "--accept", "blue"];
    // Blue has room for all, so everything comes back from it.
    let look = |_: &str, ended: bool| {
        if ended {
            set.restores();
        }
    };
    kill_often(&set, KILLS, State::Changed, &arguments, Some("blue"), look);
}

#[test]
fn d1_killed_verifies_cost_no_claim_and_the_next_one_finishes() {
    let set = Set::new();
    kill_often(&set, KILLS, State::BackedUp, &["verify", "blue"], None, nothing_else);
    set.restores();
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().unwrap().to_string_lossy().starts_with(".dsb-restore-")
}

#[test]
fn r4_killed_restores_leave_nothing_half_done_under_a_files_name_and_go_on() {
    let set = Set::new();
    let (source, to) = (set.world.source(), set.world.place("restored"));
    let restored = to.join("data");
    let look = |when: &str, ended: bool| {
        if ended {
            assert_same_trees(&source, &restored, Compare::as_far_as_possible());
            fs::remove_dir_all(&to).unwrap();
            return;
        }
        // Unfinished files stay behind under names of their own; people are told to delete them before they go on.
        let there = tree::paths(&to).unwrap_or_default().into_iter();
        there.filter(|path| is_unfinished(path)).for_each(|path| fs::remove_file(path).unwrap());
        for file in tree::paths(&source).unwrap().into_iter().filter(|path| path.is_file()) {
            let there = restored.join(file.strip_prefix(&source).unwrap());
            if there.exists() {
                let whole = fs::read(&file).unwrap() == fs::read(&there).unwrap();
                assert!(whole, "{} is not what it should be, {when}", there.display());
            }
        }
    };
    kill_often(&set, KILLS, State::BackedUp, &["restore", "--to", to.to_str().unwrap()], None, look);
}

/// Whether a process has a file below a folder open; none if the system does not tell.
fn has_open_below(process: u32, folder: &Path) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let mut files = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    files.any(|file| file.starts_with(folder) && file.is_file())
}

/// Runs a command until it reads or writes a file below `folder`, and presses Ctrl-C.
fn interrupted(dsb: &Dsb, arguments: &[&str], folder: &Path) -> Run {
    let mut running: Running = dsb.start(arguments);
    let process = running.pid();
    assert!(running.wait_until(|| has_open_below(process, folder)), "{arguments:?} was too quick");
    // It stands still while the signal arrives, so that it cannot win the race to its end.
    running.signal(Signal::STOP);
    running.interrupt();
    running.signal(Signal::CONT);
    running.wait()
}

#[test]
fn ctrl_c_ends_whatever_runs_in_order_and_the_next_run_finishes() {
    if !Path::new("/proc/self/fd").exists() {
        skipped("needs /proc to see what the program is doing");
        return;
    }
    let world = World::new();
    tree::large(&world.source(), 120, 2 << 20, 1).unwrap();
    let (blue, to) = (world.add_disk("blue", None), world.place("restored"));
    fs::create_dir(&to).unwrap();
    let lines: [(&[&str], PathBuf); 4] = [
        (&["update"], world.source()),
        (&["backup", "blue"], blue.clone()),
        (&["verify", "blue"], blue.join("distbackup-objects")),
        (&["restore", "--to", to.to_str().unwrap()], to.clone()),
    ];
    for (arguments, folder) in lines {
        interrupted(&world.dsb, arguments, &folder).code(130);
        world.dsb.run(["log"]).ok().says("130");
        world.dsb.run(arguments).ok();
    }
    assert_eq!(objects_on(&blue).len(), 120);
    assert_same_trees(&world.source(), &to.join("data"), Compare::as_far_as_possible());
}
