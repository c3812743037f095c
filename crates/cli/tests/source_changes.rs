//! Sources that do not hold still: files that change while they are read, or between update and backup.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{World, noise, object, objects_on};
use distbackup_testkit::compare::Compare;

#[test]
fn s8_a_file_that_never_rests_ends_the_update_all_the_same() {
    const PARTS: u64 = 64;
    let world = World::new();
    let busy = world.write("busy.log", noise(4 << 20, 1));
    world.write("quiet", "quiet");
    world.add_disk("red", None);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&busy).unwrap();
            for part in (0..).map(|round: u64| round % PARTS) {
                file.write_all_at(&noise(1000, part), part * (64 << 10)).unwrap();
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let run = world.dsb.run(["backup", "--update", "red"]);
        done.store(true, Ordering::Relaxed);
        // A lucky moment without a write may let it through, which is just as well.
        match run.exit_code() {
            Some(3) => drop(run.warns("/data/busy.log")),
            code => assert_eq!(code, Some(0), "{run}"),
        }
    });
    assert_eq!(world.holders("/data/quiet"), ["red"]);
    world.dsb.run(["verify", "red"]).ok();
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::as_far_as_possible());
}

/// A world where `red` has to give up its copy of `/data/old`, of which `blue` has another, for `/data/new`.
fn red_is_short_of_room() -> World {
    let world = World::new();
    world.write("old", noise(1_000_000, 1));
    world.add_disk("red", Some("2M"));
    world.add_disk("blue", Some("2M"));
    world.dsb.run(["update"]).ok();
    world.dsb.run(["backup", "red", "blue"]).ok();
    world.write("new", noise(1_500_000, 2));
    world.dsb.run(["update"]).ok();
    let plan = object(&world.dsb.run(["--json", "backup", "red", "--dry-run"]).ok(), "visit");
    assert_eq!(plan["planned_evictions"]["objects"], 1, "the test needs a disk that is short of room");
    world
}

#[test]
fn n8_s9_nothing_is_evicted_for_a_file_that_changed_or_vanished_after_the_update() {
    for change in ["changed", "vanished"] {
        let world = red_is_short_of_room();
        let new = world.source().join("new");
        match change {
            "changed" => fs::write(&new, noise(1_500_000, 3)).unwrap(),
            _ => fs::remove_file(&new).unwrap(),
        }
        let visit = object(&world.dsb.run(["--json", "backup", "red"]).code(3), "visit");
        assert_eq!((visit["evicted"]["objects"].as_u64(), visit["problems"].as_u64()), (Some(0), Some(1)));
        assert_eq!(world.holders("/data/old"), ["blue", "red"], "{change}");
        assert_eq!(objects_on(&world.place("red")).len(), 1, "{change}");
        world.dsb.run(["backup", "red"]).code(3).warns("/data/new");
    }
    let world = red_is_short_of_room();
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(world.holders("/data/old"), ["blue"], "while one that stays makes the other go");
}
