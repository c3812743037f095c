//! Disks that lose their power, turn read-only or vanish while the program writes to them; real filesystems, mounted from
//! images.
//!
//! The power goes by the filesystem's own shutdown call: nothing more is written, and what was in memory alone is lost.
//! The moments are spread over the visit; `DISTBACKUP_TEST_SEED` chooses others, and `DSB_TEST_SCALE=N` tries N times as
//! many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "kill/set.rs"]
mod set;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{World, coming_in, noise, object, objects_on, under_way};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::{Dsb, Run, Running};
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::or_skip;
use distbackup_testkit::rng::Rng;
use set::{Set, State};

/// Power cuts of each filesystem, unless `DSB_TEST_SCALE` asks for more.
const CUTS: u32 = 8;
/// Room for a small set.
const DISK_BYTES: u64 = 64 << 20;

fn scaled(count: u32) -> u32 {
    let scale = std::env::var("DSB_TEST_SCALE").ok();
    count * scale.map_or(1, |scale| scale.parse::<u32>().unwrap_or_else(|_| panic!("DSB_TEST_SCALE={scale}")))
}

/// Names that came in or went on a disk since it had `before` objects.
fn moved(disk: &Path, before: usize) -> usize {
    under_way(disk).max(objects_on(disk).len().abs_diff(before))
}

/// Waits for a random moment of a visit that takes `longest` undisturbed; every other one is soon after `disk` was seen
/// to change, where it matters most. Tells which.
fn wait_for_a_moment(running: &mut Running, rng: &mut Rng, disk: &Path, longest: Duration) -> String {
    let (before, began, mut seen) = (objects_on(disk).len(), Instant::now(), None);
    if rng.once_in(2) {
        let delay = longest.mul_f64(rng.below(1000) as f64 / 1000.0);
        running.wait_until(|| began.elapsed() >= delay);
        return format!("after {delay:?}");
    }
    let (count, pause) = (rng.within(1..25) as usize, Duration::from_micros(rng.below(30_000)));
    running.wait_until(|| {
        if seen.is_none() && moved(disk, before) >= count {
            seen = Some(Instant::now());
        }
        seen.is_some_and(|seen| seen.elapsed() >= pause)
    });
    format!("{pause:?} after {count} names had moved")
}

/// A run whose disk was taken away either was quicker, or failed with a message and a hint.
#[track_caller]
fn failed_in_order(run: &Run, when: &str) {
    if run.exit_code() != Some(0) {
        let code = run.exit_code().unwrap_or_else(|| panic!("it died, {when}\n{run}"));
        assert!([1, 3, 4, 12, 13].contains(&code), "exit code, {when}\n{run}");
        assert!(
            code != 1 || run.stderr().contains("error: ") && run.stderr().contains("hint: "),
            "{when}\n{run}"
        );
    }
}

/// Visits of a disk that is full, whose power goes at random moments, each time from the same state on.
fn cut_often(filesystem: Filesystem) {
    let mut disk = or_skip!(LoopDisk::new(filesystem, DISK_BYTES));
    let set = Set::of_equal_files(Some(&disk.path()));
    let (arguments, red) = (["backup", "--accept", "red"], set.disk("red"));
    let mut rng = Rng::from_environment(3);
    set.put_back(State::Updated);
    let began = Instant::now();
    set.world.dsb.run(arguments).ok();
    let (longest, expected, mut late) = (began.elapsed(), set.end(), 0);
    let cuts = scaled(CUTS);
    for _ in 0..cuts {
        set.put_back(State::Updated);
        disk.sync();
        let mut running = set.world.dsb.start(arguments);
        let moment = wait_for_a_moment(&mut running, &mut rng, &red, longest);
        if !disk.shut_down() {
            return;
        }
        let run = running.wait();
        let when = format!("power cut {moment}\n{run}");
        failed_in_order(&run, &when);
        late += u32::from(run.exit_code() == Some(0));
        disk.unmount();
        disk.mount();
        set.check(State::Updated, &when);
        set.world.dsb.run(arguments).ok();
        set.check(State::Updated, &format!("after the visit after a {when}"));
        set.end().is(&expected, &format!("of the visit after a {when}"));
        set.world.dsb.run(["verify", "red"]).ok();
    }
    eprintln!("{}: {cuts} power cuts, {late} of them after the end", filesystem.name());
}

#[test]
fn d3_power_cuts_of_a_full_ext4_in_mid_visit_cost_no_claim_and_nothing_else() {
    cut_often(Filesystem::Ext4);
}

#[test]
fn d3_power_cuts_of_a_full_xfs_in_mid_visit_cost_no_claim_and_nothing_else() {
    cut_often(Filesystem::Xfs);
}

/// Changes the source a little: each visit has something to copy and something to remove.
fn change(world: &World, round: u64) {
    (0..10)
        .for_each(|number| drop(world.write(&format!("file {number}"), noise(9000, round * 100 + number))));
    (10..14).for_each(|number| {
        drop(world.write(&format!("file {round} {number}"), noise(9000, round * 100 + number)))
    });
}

/// Expects that the disk has all that its sources have, as another program without a catalog sees it, and that all of it
/// comes back.
#[track_caller]
fn all_is_there(world: &World, disk: &Path, when: &str) {
    let whole = set::whole_objects(disk);
    let needed = set::contents_of(&world.source());
    let missing: BTreeSet<_> = needed.difference(&whole).collect();
    assert!(missing.is_empty(), "{missing:?} are not on the disk, {when}");
    // Another computer, which has nothing but the disk.
    let elsewhere = world.dsb.another_pc();
    elsewhere.run(["recover", disk.to_str().unwrap()]).ok();
    let to = tempfile::TempDir::new().unwrap();
    elsewhere.run(["restore", "--to", to.path().to_str().unwrap()]).ok();
    assert_same_trees(&world.source(), &to.path().join("data"), Compare::as_far_as_possible());
}

#[test]
fn d2_what_a_visit_has_reported_as_done_survives_a_power_cut_at_once() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let Some(mut disk) = LoopDisk::new(filesystem, DISK_BYTES) else { continue };
        let world = World::new();
        world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
        world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
        for round in 0..u64::from(scaled(3)) {
            change(&world, round);
            let done =
                world.dsb.run(["backup", "--update", "--accept", "red"]).ok().says("written and flushed");
            if !disk.power_cut() {
                break;
            }
            let when = format!("round {round} on {}\n{done}", filesystem.name());
            all_is_there(&world, &disk.path(), &when);
            world.dsb.run(["backup", "red"]).ok().says("nothing was written to it");
            world.dsb.run(["verify", "red"]).ok();
        }
    }
}

#[test]
fn d3_a_computer_that_loses_its_power_with_catalog_and_disk_finishes_the_visit_later() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let Some(mut disk) = LoopDisk::new(filesystem, DISK_BYTES) else { continue };
        let (catalog, red) = (disk.path().join("catalog"), disk.path().join("red"));
        fs::create_dir(&red).unwrap();
        let mut world = World::empty();
        world.dsb = world.dsb.with_env("DISTBACKUP_PATH", &catalog);
        world.map("/data", &world.source());
        world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
        world.dsb.run(["disk", "add", "red", red.to_str().unwrap()]).ok();
        let (mut rng, mut longest) = (Rng::from_environment(5), Duration::ZERO);
        for round in 0..u64::from(scaled(6)) {
            change(&world, round);
            let began = Instant::now();
            let mut running = world.dsb.start(["backup", "--update", "--accept", "red"]);
            if round == 0 {
                running.wait().ok();
                longest = began.elapsed();
                continue;
            }
            let moment = wait_for_a_moment(&mut running, &mut rng, &red, longest);
            if !disk.shut_down() {
                break;
            }
            // Without power nothing runs.
            let run = running.kill();
            let when = format!("power cut {moment} on {}\n{run}", filesystem.name());
            disk.unmount();
            disk.mount();
            let (_copy, connection) = set::open_catalog(&catalog);
            let (claimed, whole) = (set::claims(&connection, "red"), set::whole_objects(&red));
            let missing: Vec<_> = claimed.difference(&whole).collect();
            assert!(missing.is_empty(), "N1: claimed and not there: {missing:?}, {when}");
            world.dsb.run(["backup", "--update", "--accept", "red"]).ok();
            all_is_there(&world, &red, &when);
            world.dsb.run(["verify", "red"]).ok();
        }
    }
}

/// A computer with 40 large files to copy to a disk that is all of `disk`.
fn with_much_to_copy(disk: &LoopDisk) -> World {
    let world = World::new();
    distbackup_testkit::tree::large(&world.source(), 40, 512 << 10, 9).unwrap();
    world.write("first", "first");
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    world.dsb.run(["update"]).ok();
    world
}

/// Starts a visit and holds it while it copies.
#[track_caller]
fn held_in_the_middle(dsb: &Dsb, disk: &Path) -> Running {
    let mut running = dsb.start(["backup", "red"]);
    let begun = || under_way(disk) >= 3;
    assert!(running.wait_until(begun), "the visit ended too early");
    running.signal(distbackup_testkit::dsb::Signal::STOP);
    running
}

/// Expects that the catalog claims nothing but what a full reading finds, that a visit finishes, and that all comes back.
#[track_caller]
fn goes_on(world: &World, disk: &Path) {
    let verify = object(&world.dsb.run(["--json", "verify", "red"]).ok(), "verify");
    let claimed = world.status()["disks"][0]["objects"].as_u64().unwrap();
    assert_eq!(verify["good"].as_u64(), Some(claimed), "{verify}");
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(objects_on(disk).len(), 41);
    assert_eq!(coming_in(disk), 0, "left-overs");
    world.dsb.run(["verify", "red"]).ok();
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn d9_a_disk_that_turns_read_only_in_mid_visit_ends_it_clearly_and_can_still_be_read() {
    let mut disk = or_skip!(LoopDisk::new(Filesystem::Ext4, DISK_BYTES));
    let world = with_much_to_copy(&disk);
    let visit = held_in_the_middle(&world.dsb, &disk.path());
    if !disk.abort() {
        return;
    }
    visit.signal(distbackup_testkit::dsb::Signal::CONT);
    visit.wait().code(12).warns("read-only").warns("verify and restore work").silent_about("os error");
    // As it is, it refuses the next visit, too, and tells what it holds.
    world.dsb.run(["backup", "red"]).code(12).warns("read-only");
    world.dsb.run(["verify", "red"]).ok();
    disk.unmount();
    disk.mount();
    goes_on(&world, &disk.path());
}

#[test]
fn d3_a_disk_that_is_pulled_out_in_mid_visit_ends_it_in_order_and_the_next_one_goes_on() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let Some(mut disk) = LoopDisk::new(filesystem, DISK_BYTES) else { continue };
        let world = with_much_to_copy(&disk);
        let visit = held_in_the_middle(&world.dsb, &disk.path());
        if !disk.shut_down() {
            continue;
        }
        // The device is gone, and the mount point with it.
        disk.pull_out();
        visit.signal(distbackup_testkit::dsb::Signal::CONT);
        let run = visit.wait().code(1);
        failed_in_order(&run, "pulled out");
        // Nothing was written beneath the mount point, and nothing will be (D10).
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0, "{run}");
        world.dsb.run(["backup", "red"]).code(12);
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
        disk.mount();
        goes_on(&world, &disk.path());
    }
}

#[test]
fn d10_a_visit_whose_disk_is_unmounted_lazily_still_writes_to_it_and_to_nothing_else() {
    let mut disk = or_skip!(LoopDisk::new(Filesystem::Ext4, DISK_BYTES));
    let world = with_much_to_copy(&disk);
    let visit = held_in_the_middle(&world.dsb, &disk.path());
    disk.pull_out();
    visit.signal(distbackup_testkit::dsb::Signal::CONT);
    // What it holds open stays there until it is closed: the visit may finish, or say that it cannot.
    let run = visit.wait();
    failed_in_order(&run, "unmounted lazily");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0, "written beneath the mount point\n{run}");
    disk.mount();
    goes_on(&world, &disk.path());
}

#[test]
fn c5_of_two_computers_that_visit_one_disk_at_once_one_is_refused_and_nothing_is_lost() {
    let world = World::new();
    distbackup_testkit::tree::many_small(&world.source(), 200, 1).unwrap();
    let red = world.add_disk("red", None);
    world.dsb.run(["backup", "--update", "red"]).ok();
    let other = world.dsb.another_pc();
    other.run(["recover", red.to_str().unwrap()]).ok();
    (0..50).for_each(|number| drop(world.write(&format!("new {number}"), noise(5000, 900 + number))));
    let both = [&world.dsb, &other].map(|dsb| dsb.start(["backup", "--update", "red"]));
    let runs = both.map(Running::wait);
    let mut codes = runs.each_ref().map(|run| run.exit_code().unwrap());
    codes.sort_unstable();
    // In use (11); or, one after the other, the second one's catalog is the older one by now (10).
    assert!([[0, 10], [0, 11]].contains(&codes), "{}\n{}", runs[0], runs[1]);
    // Whoever won has left a catalog there that knows all of it.
    all_is_there(&world, &red, "two at once");
}
