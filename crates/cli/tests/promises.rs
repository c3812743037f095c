//! What the program promises to its users, whatever else happens: dry runs, idle visits, the first backup, what an
//! interrupt leaves, and what scripts rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;

use common::frozen::{Frozen, age_access_times, nobody_was_seen_reading};
use common::{World, coming_in, noise, object, objects, objects_on, program, under_way};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::Signal;
use distbackup_testkit::tree;

/// A set in the middle of its life: something to hash, to copy, to remove, to verify, and a second disk.
fn busy_world() -> World {
    let world = World::new();
    for name in ["kept", "changed", "folder/removed"] {
        world.write(name, name);
    }
    world.add_disk("red", None);
    world.add_disk("blue", None);
    world.update_and_back_up("red");
    world.write("changed", "changed since");
    world.dsb.run(["update"]).ok();
    world.write("new", "new");
    fs::remove_file(world.source().join("folder/removed")).unwrap();
    // An object that the catalog does not know, one that it misses, and an unfinished one.
    let red = world.place("red");
    fs::create_dir_all(red.join("distbackup-objects/abc")).unwrap();
    fs::write(red.join("distbackup-objects/abc").join("abc".to_owned() + &"0".repeat(61)), "unknown")
        .unwrap();
    fs::remove_file(&objects_on(&red)[0]).unwrap();
    fs::create_dir_all(red.join("distbackup-incoming")).unwrap();
    fs::write(red.join("distbackup-incoming/unfinished"), "unfinished").unwrap();
    age_access_times(&world.source());
    world
}

#[test]
fn a_dry_run_of_any_command_changes_no_byte_and_no_time_anywhere() {
    let world = busy_world();
    let (source, red, to) = (world.source(), world.place("red"), world.place("destination"));
    let (more, green) = (world.place("more"), world.place("green"));
    fs::create_dir(&more).unwrap();
    fs::create_dir(&green).unwrap();
    fs::write(more.join("file"), "file").unwrap();
    age_access_times(&more);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let [source_text, red_text, to_text, more_text, green_text] =
        [&source, &red, &to, &more, &green].map(|path| text(path));
    let commands: [&[&str]; 28] = [
        &["update"],
        &["update", "--accept"],
        &["backup", "red"],
        &["backup", "red", "blue"],
        &["backup", "--update", "red"],
        &["backup", &red_text, "--source", &more_text],
        &["backup", &green_text, "--source", &source_text],
        &["verify", "red"],
        &["verify", "--quarantine", "red"],
        &["verify", "--check", "red"],
        &["heal"],
        &["heal", "red", "--staging", &green_text],
        &["disk", "retire", "red"],
        &["disk", "replace", "red", "blue", "--staging", &green_text],
        &["restore", "--to", &to_text],
        &["restore", "red", &to_text],
        &["recover", &red_text],
        &["--yes", "recover", &red_text],
        &["source", "map", "/more", &more_text],
        &["source", "unmap", "/data"],
        &["source", "set", "/data", "--priority", "2"],
        &["disk", "add", "green", &green_text],
        &["disk", "set", "red", "--size", "1M", "--location", "home"],
        &["disk", "rename", "red", "rouge"],
        &["--yes", "disk", "drop", "red"],
        &["disk", "del", "blue"],
        &["disk", "refresh", "red"],
        &["config", "set", "keep-deleted", "1d"],
    ];
    let catalog = world.dsb.catalog().to_owned();
    let places =
        [catalog.as_path(), &source, &red, &world.place("blue"), &to, &more, &green, world.dsb.home()];
    let before = Frozen::of(&places);
    let mut code_of = std::collections::BTreeMap::new();
    for command in commands {
        let run = world.dsb.run([&["--dry-run"], command].concat());
        before.is_untouched(&places, &run);
        nobody_was_seen_reading(&source, &run);
        code_of.insert(command.join(" "), run.exit_code().unwrap());
    }
    // A refusal is a dry run, too; but these have one that means something.
    for (command, code) in [("update", 0), ("verify red", 4), ("source unmap /data", 0)] {
        assert_eq!(code_of[command], code, "{command}");
    }
    // Its other names, and the command that is one by itself.
    for command in [
        ["--noaction", "update"].as_slice(),
        &["-n", "disk", "refresh", "red"],
        &["backup", "--simulate", "red"],
        &["backup", "--simulate", "--update", "red"],
        &["--nolog", "plan", "red"],
    ] {
        let run = world.dsb.run(command);
        before.is_untouched(&places, &run);
    }
    // And the wet run does touch them, so the comparison can see; but the sources it reads without a trace.
    let run = world.dsb.run(["backup", "--update", "red"]).code(4);
    assert_ne!(Frozen::of(&places), before);
    nobody_was_seen_reading(&source, &run);
}

#[test]
fn a_dry_run_on_a_fresh_computer_leaves_it_fresh() {
    let world = World::empty();
    world.write("a", "a");
    let (source, disk) = (world.source(), world.place("red"));
    fs::create_dir(&disk).unwrap();
    let places = [world.dsb.home(), &source, &disk];
    let before = Frozen::of(&places);
    let (source, disk) = (source.to_str().unwrap(), disk.to_str().unwrap());
    for command in [
        ["backup", disk, "--source", source].as_slice(),
        &["source", "map", "/data", source],
        &["disk", "add", "red", disk],
        &["recover", disk],
        &["config", "set", "keep-deleted", "1d"],
        &["update"],
    ] {
        let run = world.dsb.run([&["--dry-run"], command].concat());
        before.is_untouched(&places, &run);
    }
    for command in [["status"].as_slice(), &["ls"], &["disk", "list"], &[]] {
        let run = world.dsb.run(command);
        before.is_untouched(&places, &run);
    }
}

#[test]
fn a_disk_that_is_not_there_is_reported_before_the_sources_are_scanned() {
    let world = World::new();
    world.write("new", "new");
    let run = world.dsb.run(["backup", "--update", "blue"]).code(12);
    assert!(!run.stdout().contains("added"), "{run}");
    let after = world.dsb.run(["log", "--json"]).ok();
    assert!(!after.stdout().contains("1 added"), "{after}");
}

#[test]
fn a_first_backup_names_both_folders_as_a_shell_completes_them() {
    let world = World::empty();
    for folder in ["usb", "photos"] {
        fs::create_dir(world.dsb.home().join(folder)).unwrap();
    }
    fs::write(world.dsb.home().join("photos/cat.jpg"), "cat").unwrap();
    world.dsb.run(["backup", "usb", "--source", "photos"]).ok().says("usb joins the set");
    world.dsb.run(["where", "/photos/cat.jpg"]).ok().says("usb");
    world.dsb.run(["backup", "usb", "--source", "photos"]).ok().silent_about("joins");
}

#[test]
fn an_idle_second_visit_writes_nothing_to_the_disk_and_reads_no_file_of_the_source() {
    let world = World::new();
    tree::many_small(&world.source(), 50, 1).unwrap();
    age_access_times(&world.source());
    let red = world.add_disk("red", None);
    world.update_and_back_up("red");
    let source = world.source();
    nobody_was_seen_reading(&source, "the first update and backup");
    let before = Frozen::of(&[&red, &source]);
    for command in
        [["backup", "red"].as_slice(), &["backup", "--update", "red"], &["backup"], &["backup", "red"]]
    {
        let run = world.dsb.run(command);
        before.is_untouched(&[&red, &source], &run);
        nobody_was_seen_reading(&source, &run);
        drop(run.ok());
    }
}

#[test]
fn the_first_backup_on_a_fresh_computer_does_the_main_job() {
    let world = World::empty();
    tree::many_small(&world.source(), 50, 1).unwrap();
    tree::names(&world.source().join("names")).unwrap();
    let (source, disk) = (world.source(), world.place("my disk"));
    fs::create_dir(&disk).unwrap();
    let arguments = ["backup", disk.to_str().unwrap(), "--source", source.to_str().unwrap()];
    world.dsb.run(arguments).ok().says("Safe").says("my-disk");
    // The same line again is no mistake, and maps or adds nothing twice.
    world.dsb.run(arguments).ok();
    assert_eq!(objects(&world.dsb.run(["--json", "source"]).ok()).len(), 2, "one source, and the summary");
    assert_eq!(objects(&world.dsb.run(["--json", "disk"]).ok()).len(), 2, "one disk, and the summary");
    let to = world.restored(&[]);
    assert_same_trees(&source, &to.path().join("source"), Compare::as_far_as_possible());
}

#[test]
fn a_backup_that_updates_stores_each_content_once() {
    let world = World::new();
    for (name, seed) in [("a", 1), ("b", 1), ("folder/c", 1), ("d", 2), ("folder/e", 2), ("f", 3)] {
        // Too large to be read by the scan already.
        world.write(name, noise(1_200_000, seed));
    }
    let red = world.add_disk("red", None);
    let visit = object(&world.dsb.run(["--json", "backup", "--update", "red"]).ok(), "visit");
    assert_eq!(objects_on(&red).len(), 3);
    assert_eq!(visit["copied"][0]["objects"], 3, "a duplicate is no second copy");
    // Of one content that is known and comes again under a new name, nothing is stored.
    world.write("g", noise(1_200_000, 3));
    world.dsb.run(["backup", "--update", "red"]).ok();
    assert_eq!(objects_on(&red).len(), 3);
    assert_eq!(coming_in(&red), 0);
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn n9_new_files_that_do_not_fit_stay_pending_and_are_counted_as_unprotected() {
    let world = World::new();
    for seed in 0..6 {
        // Too large to be read by the scan already.
        world.write(&format!("film {seed}"), noise(1_200_000, seed));
    }
    world.add_disk("small", Some("4M"));
    let run = world.dsb.run(["--json", "backup", "--update", "small"]).code(3);
    let (visit, status) = (object(&run, "visit"), world.status());
    let stored = objects_on(&world.place("small")).len() as u64;
    assert!((1..=3).contains(&stored), "{stored}");
    assert_eq!(status["pending"]["files"].as_u64().unwrap(), 6 - stored);
    assert_eq!(visit["pending"]["objects"], status["pending"]["files"]);
    assert_eq!(status["pending"]["bytes"].as_u64().unwrap(), (6 - stored) * 1_200_000);
    world.dsb.run(["status"]).ok().says("not hashed yet: unprotected").says("NOT EVERYTHING IS PROTECTED");
    // Another disk takes what is left.
    world.add_disk("large", None);
    world.dsb.run(["backup", "--update", "large"]).ok();
    assert_eq!(world.status()["pending"]["files"], 0);
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn what_was_deleted_is_history_for_as_long_as_the_user_wants_and_its_object_is_kept() {
    let world = World::new();
    let file = world.write("mistake", "deleted by mistake");
    world.write("other", "other");
    let red = world.add_disk("red", None);
    world.update_and_back_up("red");
    fs::remove_file(file).unwrap();
    for round in 0..3 {
        world.write("other", format!("round {round}"));
        world.update_and_back_up("red");
    }
    assert_eq!(world.files(), ["/data/other"]);
    assert_eq!(objects_on(&red).len(), 5, "nothing of the last 90 days is removed");
    let old = world.restored(&["--at", "1"]);
    assert_eq!(fs::read(old.path().join("data/mistake")).unwrap(), b"deleted by mistake");

    // Only when the user keeps no history at all, it goes.
    world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
    for round in 3..6 {
        world.write("other", format!("round {round}"));
        world.update_and_back_up("red");
    }
    assert!(objects_on(&red).len() < 5);
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn every_answer_in_json_is_lines_of_objects_that_end_in_a_summary() {
    let world = busy_world();
    let (blue, to) = (world.place("blue"), world.place("destination"));
    let (blue, to) = (blue.to_str().unwrap(), to.to_str().unwrap());
    // (the command, its exit code, an object that has to be in its answer)
    let commands: [(&[&str], i32, &str); 28] = [
        (&["status"], 0, "status"),
        (&[], 0, "status"),
        (&["source"], 0, "source"),
        (&["source", "list"], 0, "source"),
        (&["disk", "list"], 0, "disk"),
        (&["ls"], 0, "item"),
        (&["where", "/data/kept"], 0, "where"),
        (&["where", "/data/nowhere"], 2, "error"),
        (&["config", "get"], 0, "setting"),
        (&["config", "set", "keep-deleted", "soon"], 2, "error"),
        (&["log"], 0, "run"),
        (&["snapshots"], 0, "snapshot"),
        (&["plan", "red"], 0, "plan"),
        (&["next"], 0, "summary"),
        (&["whatif", "lose", "red"], 0, "summary"),
        (&["--dry-run", "backup", "red"], 4, "visit"),
        (&["verify", "red"], 4, "verify"),
        (&["update"], 0, "update"),
        (&["backup", "red"], 0, "visit"),
        (&["verify", "red"], 4, "verify"),
        (&["restore", "--to", to], 0, "restore"),
        (&["backup", "green"], 12, "error"),
        (&["heal", "red"], 0, "carried"),
        (&["disk", "retire", "green"], 12, "error"),
        (&["disk", "drop", "red"], 14, "error"),
        (&["recover", blue], 14, "error"),
        (&["backup", "blue"], 0, "visit"),
        (&["--yes", "recover", blue], 0, "recovered"),
    ];
    for (command, code, kind) in commands {
        let run = world.dsb.run([&["--json"], command].concat());
        let answer = objects(&run);
        assert!(answer.iter().any(|object| object["type"] == kind), "no {kind}\n{run}");
        let errors = answer.iter().filter(|object| object["type"] == "error");
        for error in errors {
            assert_eq!(error["exit"], answer.last().unwrap()["exit"], "{run}");
            assert!(error["code"].is_string() && error["message"].is_string(), "{run}");
        }
        let run = run.code(code);
        assert_eq!(run.stderr(), "", "{run}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_changes_nothing() {
    let world = World::new();
    world.write("a", "a");
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let (catalog, red) = (world.dsb.catalog().join("distbackup.sqlite"), world.place("red"));
    let before = Frozen::of(&[&red]);
    let wrong: [&[&str]; 15] = [
        &["frobnicate"],
        &["backup", "--frobnicate"],
        &["source", "map", "/only-one-argument"],
        &["source", "map", "/data/../data", "/tmp"],
        &["source", "map", "/more", "/does/not/exist/at/all"],
        &["source", "unmap", "/never-mapped"],
        &["disk", "add", "bad/name", "/tmp"],
        &["disk", "set", "red", "--size", "a lot"],
        &["backup", "red", "--limit", "much"],
        &["config", "set", "frobnicate", "1d"],
        &["config", "set", "keep-deleted", "for a while"],
        &["restore"],
        &["restore", "--to", "/nowhere/x", "--at", "the day before yesterday"],
        &["ls", "--at", "999"],
        &["where", "/data/nowhere"],
    ];
    for command in wrong {
        let run = world.dsb.run(command);
        assert_eq!(run.exit_code(), Some(2), "{run}");
        assert!(run.stdout().is_empty() && run.stderr().contains("error"), "{run}");
        before.is_untouched(&[&red], &run);
    }
    assert!(catalog.exists());
    assert_eq!(world.files(), ["/data/a"]);
    // Nothing to protect yet is a matter of usage as well.
    let fresh = program();
    fresh.run(["config", "set", "keep-deleted", "10d"]).ok();
    fresh.run(["update"]).code(2).warns("dsb source map");
}

#[test]
fn what_cannot_be_undone_is_refused_without_a_terminal_and_without_yes() {
    let world = World::new();
    world.write("a", "a");
    let red = world.add_disk("red", None);
    world.update_and_back_up("red");
    let before = Frozen::of(&[&red]);
    for command in [["disk", "drop", "red"].as_slice(), &["disk", "del", "red"]] {
        world.dsb.run(command).code(14);
        world.dsb.run([&["--no-input"], command].concat()).code(14);
        // An answer that nobody gave on a terminal is no answer.
        world.dsb.run_with_input(command, "red\nyes\n").code(14);
        assert_eq!(world.holders("/data/a"), ["red"]);
    }
    world.dsb.run(["recover", red.to_str().unwrap()]).code(14).warns("--yes");
    before.is_untouched(&[&red], "refusals");
    world.dsb.run(["--yes", "disk", "drop", "red"]).ok();
    assert!(world.holders("/data/a").is_empty());
    assert_eq!(objects_on(&red).len(), 1, "dropping a disk forgets; it deletes nothing");
}

#[test]
fn n9_ctrl_c_ends_a_backup_in_order_and_the_next_visit_finishes() {
    for update_first in [true, false] {
        let world = World::new();
        tree::large(&world.source(), 40, 2 << 20, 1).unwrap();
        let red = world.add_disk("red", None);
        let arguments: &[&str] = if update_first {
            world.dsb.run(["update"]).ok();
            &["backup", "red"]
        } else {
            &["backup", "--update", "red"]
        };
        let mut running = world.dsb.start(arguments);
        // One is there before the scan, when it is tried how copies may come in.
        assert!(
            running.wait_until(|| under_way(&red) >= 3),
            "the backup ended before it could be interrupted"
        );
        // It stands still while the signal arrives, so that it cannot win the race to its end.
        running.signal(Signal::STOP);
        running.interrupt();
        running.signal(Signal::CONT);
        let run = running.wait().code(130);
        assert!(objects_on(&red).len() < 40, "the test came too late\n{run}");

        // What is claimed is there, the disk carries its catalog, and nothing unfinished lies about.
        world.dsb.run(["verify", "red"]).ok();
        world.dsb.another_pc().run(["recover", red.to_str().unwrap()]).ok();
        assert_eq!(coming_in(&red), 0);
        world.dsb.run(["log"]).ok().says("130");
        world.dsb.run(arguments).ok();
        assert_eq!(objects_on(&red).len(), 40);
        world.restores(&world.source(), Compare::as_far_as_possible());
    }
}
