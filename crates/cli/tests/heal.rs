//! Disks that lost something get it back, disks that leave or are replaced leave nothing behind: with all disks
//! connected, and with a single bay, where the test does what the program says to do next.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;
use std::time::Duration;

use common::{World, noise, object, objects_on};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::Run;
use distbackup_testkit::rng::Rng;
use shelf::*;

/// Lets these files rot on a disk and a verify find it.
#[track_caller]
fn rot_and_verify(world: &World, disk: &str, files: &[usize]) {
    for number in files {
        rot_at(&object_of(world, &vpath(*number), &world.place(disk)), 50, 4);
    }
    world.dsb.run(["verify", disk]).code(4).says(&format!("dsb heal {disk}"));
}

/// Which disk to connect next, and the command to run then, as the program says it.
fn next_step(run: &Run) -> Option<(String, Vec<String>)> {
    let line =
        run.stdout().lines().find_map(|line| line.strip_prefix("Next: connect ").map(str::to_owned))?;
    let (disk, command) = line.split_once(", then: dsb ")?;
    Some((disk.to_owned(), command.split(' ').map(str::to_owned).collect()))
}

/// Does what the program says, with one disk connected at a time, until it says that it is done. `here` is the connected
/// disk, the others are in their drawers. Returns the last run and how often a disk was changed.
#[track_caller]
fn follow(world: &World, command: &[&str], here: &str) -> (Run, usize) {
    let (mut here, mut changes) = (here.to_owned(), 0);
    let mut run = world.dsb.run(command);
    while let Some((disk, command)) = next_step(&run) {
        run.code(3);
        assert_ne!(disk, here, "that disk is connected");
        changes += 1;
        assert!(changes < 40, "it comes to no end");
        unplug(world, &here);
        plug_in(world, &disk);
        here = disk;
        run = world.dsb.run(&command);
    }
    (run.ok(), changes)
}

#[test]
fn d7_heal_brings_back_from_the_source_what_verify_found() {
    let world = world_on(&["red"], 12);
    rot_and_verify(&world, "red", &[2, 3, 7]);
    assert_eq!(world.holders(&vpath(3)), Vec::<String>::new());
    let status = world.status();
    assert_eq!(status["disks"][0]["lost"]["objects"], 3, "{status}");

    world
        .dsb
        .run(["heal"])
        .ok()
        .says("Brought 3 objects")
        .says("Everything that was lost on the disks is back");
    assert_eq!(world.holders(&vpath(3)), ["red"]);
    world.dsb.run(["verify", "red"]).ok();
    assert_eq!(world.status()["disks"][0]["lost"]["objects"], 0);
    world.dsb.run(["heal"]).ok().says("Nothing to heal");
}

#[test]
fn d7_heal_reads_another_connected_disk_where_the_source_is_gone() {
    let world = world_on(&["red", "blue"], 12);
    rot_and_verify(&world, "red", &[0, 5, 11]);
    // What vanished since is found by the comparison that comes first (D5).
    fs::remove_file(object_of(&world, &vpath(8), &world.place("red"))).unwrap();
    lose_source(&world);
    world.dsb.run(["heal", "red"]).ok().says("Brought 4 objects");
    world.dsb.run(["verify", "red"]).ok();
    assert_eq!(world.holders(&vpath(8)), ["blue", "red"]);
}

#[test]
fn d7_with_a_single_bay_heal_goes_through_a_staging_folder_and_says_which_disk_comes_next() {
    let world = world_on(&["red", "blue"], 24);
    let source = lose_source(&world);
    rot_and_verify(&world, "red", &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    rot_and_verify(&world, "blue", &[20, 21]);
    unplug(&world, "blue");
    let staging = world.place("staging");
    let staging = staging.to_str().unwrap();
    // Nine objects of up to two blocks do not fit in at once.
    let (run, changes) = follow(&world, &["heal", "--staging", staging, "--staging-size", "40k"], "red");
    run.says("Nothing waits in");
    assert!(changes >= 4, "several rounds: {changes}");
    let both = [world.place("red").is_dir(), world.place("blue").is_dir()];
    assert!(both.contains(&false), "one disk at a time");
    if world.place("red").is_dir() {
        plug_in(&world, "blue")
    } else {
        plug_in(&world, "red")
    }
    world.dsb.run(["verify", "red"]).ok();
    world.dsb.run(["verify", "blue"]).ok();
    assert_eq!(objects_on(std::path::Path::new(staging)), Vec::<std::path::PathBuf>::new());
    world.restores(&source, Compare::as_far_as_possible());
}

#[test]
fn d7_a_copy_that_is_damaged_itself_heals_nothing_and_loses_its_claim() {
    let world = world_on(&["red", "blue"], 8);
    rot_and_verify(&world, "red", &[1, 6]);
    // Nobody has read this one on blue since it went bad.
    rot_at(&object_of(&world, &vpath(6), &world.place("blue")), 7, 1);
    let source = lose_source(&world);
    let run = world.dsb.run(["heal"]).code(4);
    run.says("Brought 1 object").warns("NO COPY LEFT").warns(&vpath(6));
    assert_eq!(world.holders(&vpath(6)), Vec::<String>::new(), "a damaged copy counts nowhere");
    assert_eq!(world.holders(&vpath(1)), ["blue", "red"]);
    let heal = answer(&world, &["heal"], 4, "carried");
    assert_eq!(heal["remaining"][0]["lost"], 1, "{heal}");
    // The source comes back: so does the content, on both disks.
    fs::rename(source, world.source()).unwrap();
    world.dsb.run(["heal"]).ok().says("Brought 1 object");
    world.dsb.run(["verify", "red"]).ok();
    world.dsb.run(["verify", "blue"]).ok();
    assert_eq!(world.holders(&vpath(6)), ["blue", "red"]);
}

#[test]
fn d7_a_heal_that_is_killed_anywhere_goes_on_with_the_same_command() {
    let world = world_on(&["red", "blue"], 40);
    let source = lose_source(&world);
    let (mut rng, mut killed) = (Rng::from_environment(71), 0);
    let staging = world.place("staging");
    for round in 0..8 {
        let bad: Vec<usize> = (0..40).filter(|_| rng.once_in(2)).collect();
        rot_and_verify(&world, "red", &bad);
        for connected in [&["blue"][..], &["red"], &["red", "blue"]] {
            for disk in ["red", "blue"] {
                match (world.place(disk).is_dir(), connected.contains(&disk)) {
                    (true, false) => drop(unplug(&world, disk)),
                    (false, true) => plug_in(&world, disk),
                    _ => {}
                }
            }
            let running = world.dsb.start(["heal", "--staging", staging.to_str().unwrap()]);
            std::thread::sleep(Duration::from_micros(rng.below(60_000)));
            killed += u32::from(running.kill().exit_code().is_none());
        }
        world.dsb.run(["heal", "--staging", staging.to_str().unwrap()]).ok();
        world.dsb.run(["verify", "red"]).ok();
        let holders: Vec<_> = (0..40).filter(|number| world.holders(&vpath(*number)).len() != 2).collect();
        assert_eq!(holders, Vec::<usize>::new(), "round {round}");
    }
    assert!(killed > 8, "{killed} of 24 were killed in time");
    world.restores(&source, Compare::as_far_as_possible());
}

#[test]
fn d7_a_staging_folder_that_was_being_made_when_the_run_was_killed_is_taken_again() {
    let world = world_on(&["red", "blue"], 4);
    rot_and_verify(&world, "red", &[1]);
    lose_source(&world);
    unplug(&world, "red");
    // The identity was being written: it is a draft among what comes in, and has no name yet.
    let staging = world.place("staging");
    fs::create_dir_all(staging.join("distbackup-incoming")).unwrap();
    fs::write(staging.join("distbackup-incoming/draft"), b"{ \"uuid\": ").unwrap();
    let folder = staging.to_str().unwrap();
    world.dsb.run(["heal", "--staging", folder]).code(3);
    plug_in(&world, "red");
    world.dsb.run(["heal", "--staging", folder]).ok();
    assert_eq!(world.holders(&vpath(1)), ["blue", "red"]);
}

#[test]
fn n3_a_disk_that_is_to_leave_counts_for_nothing_and_what_only_it_holds_goes_to_the_others() {
    let world = world_on(&["red"], 10);
    // Only history has these from now on, and only red.
    fs::remove_file(world.source().join(name(3))).unwrap();
    fs::remove_file(world.source().join(name(4))).unwrap();
    world.dsb.run(["update", "--accept"]).ok();
    let expected = [name(3), name(4)].map(|name| {
        (
            name.clone(),
            noise(
                3000 + 500 * if name.ends_with('3') { 3 } else { 4 },
                if name.ends_with('3') { 4 } else { 5 },
            ),
        )
    });
    world.add_disk("blue", None);
    world.dsb.run(["backup", "blue"]).ok();
    world.dsb.run(["disk", "del", "red"]).code(14);

    unplug(&world, "blue");
    let run = world.dsb.run(["disk", "retire", "red"]).code(3);
    run.says("is to leave the set")
        .says("2 objects")
        .says("with a single bay: dsb disk retire red --staging FOLDER");
    assert_eq!(world.status()["levels"][1]["files"], 8, "only blue's copies count");
    world.dsb.run(["disk", "del", "red"]).code(14).warns("2 objects");
    world.dsb.run(["backup", "red"]).ok().warns("is to leave the set: nothing is copied to it");

    let staging = world.place("staging");
    let (run, _) = follow(&world, &["disk", "retire", "red", "--staging", staging.to_str().unwrap()], "red");
    run.says("To take it out of the set: dsb disk del red");
    world.dsb.run(["disk", "del", "red"]).ok();
    world.dsb.run(["verify", "blue"]).ok();
    fs::rename(world.source(), world.place("elsewhere")).unwrap();
    let to = world.restored(&["--at", "1"]);
    for (name, content) in expected {
        assert_eq!(fs::read(to.path().join("data").join(name)).unwrap(), content);
    }
}

#[test]
fn a_disk_that_was_to_leave_can_stay_after_all() {
    let world = world_on(&["red", "blue"], 6);
    world.dsb.run(["disk", "retire", "red"]).ok().says("Everything on red is on other disks as well");
    assert_eq!(world.status()["disks"][0]["leaves"], true);
    world.dsb.run(["disk", "retire", "--cancel", "red"]).ok().says("its copies count again");
    assert_eq!(world.status()["levels"][2]["files"], 6);
    world.dsb.run(["disk", "retire", "--cancel", "red"]).ok().says("was not to leave");
    world.dsb.run(["disk", "del", "red"]).code(14);
}

#[test]
fn n3_a_copy_is_not_given_up_because_of_one_on_a_disk_that_is_to_leave() {
    let world = World::new();
    world.write("old", noise(600_000, 1));
    world.add_disk("red", None);
    world.add_disk("blue", Some("1M"));
    world.update_and_back_up("red");
    world.update_and_back_up("blue");
    world.dsb.run(["disk", "retire", "red"]).ok();
    unplug(&world, "red");
    // It would fit if the old one went, of which red has a copy that does not count any more.
    world.write("new", noise(600_000, 2));
    world.dsb.run(["update"]).ok();
    world.dsb.run(["backup", "--accept", "blue"]);
    assert!(world.holders("/data/old").contains(&"blue".to_owned()));
    plug_in(&world, "red");
    world.dsb.run(["disk", "retire", "--cancel", "red"]).ok();
    unplug(&world, "red");
    world.dsb.run(["backup", "--accept", "blue"]);
    assert_eq!(world.holders("/data/new"), ["blue"], "with red's copy counted again the old one makes room");
}

#[test]
fn d6_a_dead_disk_is_replaced_from_the_sources_and_the_other_disks() {
    let world = world_on(&["red", "blue"], 12);
    // The source has half of it still, blue all but one, which is lost with red.
    let kept = world.place("kept");
    fs::create_dir(&kept).unwrap();
    for number in 0..6 {
        fs::copy(world.source().join(name(number)), kept.join(name(number))).unwrap();
    }
    unplug(&world, "red");
    world.add_disk("green", None);
    let source = lose_source(&world);
    let run = world.dsb.run(["disk", "replace", "red", "green"]).ok();
    run.says("Brought 12 objects").says("green holds everything that red held");
    world.dsb.run(["disk", "del", "red"]).ok();
    world.dsb.run(["verify", "green"]).ok();
    unplug(&world, "blue");
    world.restores(&source, Compare::as_far_as_possible());
    world.dsb.run(["disk", "replace", "green", "green"]).code(2).warns("its own place");
}

#[test]
fn d18_what_finds_no_room_on_the_new_disk_is_said_and_stays_where_it_is() {
    let world = World::new();
    for number in 0..6 {
        world.write(&name(number), noise(300_000, number as u64));
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    world.add_disk("green", Some("1M"));
    let replace = answer(&world, &["disk", "replace", "red", "green"], 3, "carried");
    let (arrived, no_room) = (
        replace["deliveries"][0]["arrived"]["objects"].as_u64(),
        replace["deliveries"][0]["no_room"]["objects"].as_u64(),
    );
    assert_eq!((arrived, no_room), (Some(3), Some(3)), "{replace}");
    world
        .dsb
        .run(["disk", "replace", "red", "green"])
        .code(3)
        .warns("no room on green")
        .says("make room on green");
    world.dsb.run(["disk", "del", "red"]).code(14).warns("3 objects");
    let to = world.restored(&[]);
    assert_same_trees(&world.source(), &to.path().join("data"), Compare::as_far_as_possible());
}

#[test]
fn d13_a_disk_is_never_taken_for_a_staging_folder_nor_a_staging_folder_for_a_disk() {
    let world = world_on(&["red"], 3);
    let red = world.place("red");
    world.dsb.run(["heal", "--staging", red.to_str().unwrap()]).code(12).warns("no staging folder");
    let full = world.place("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("letter"), "dear").unwrap();
    world.dsb.run(["heal", "--staging", full.to_str().unwrap()]).code(2).warns("it is not empty");
    let staging = world.place("staging");
    world.dsb.run(["heal", "--staging", staging.to_str().unwrap()]).ok();
    world.dsb.run(["disk", "add", "new", staging.to_str().unwrap()]).code(12).warns("it is a staging folder");
    world.dsb.run(["heal", "--staging-size", "1G"]).code(2);
    let dry = object(&world.dsb.run(["--json", "--dry-run", "heal"]).ok(), "carried");
    assert_eq!(dry["left"]["objects"], 0, "{dry}");
}
