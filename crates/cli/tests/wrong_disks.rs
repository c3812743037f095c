//! The wrong disk, no disk, or the same disk twice; and a catalog that is not the one the disks know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;
use std::path::Path;

use common::frozen::Frozen;
use common::{World, objects_on};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::dsb::Run;
use distbackup_testkit::mounts::{Filesystem, LoopDisk, Tmpfs};
use distbackup_testkit::or_skip;
use shelf::*;

/// All that people do with a disk, by its name and by its path; each must be refused with 12.
fn every_use_is_refused(world: &World, path: &Path, told: &str) {
    let (path, to) = (path.to_str().unwrap(), world.place("restored"));
    let to = to.to_str().unwrap();
    let uses: [&[&str]; 8] = [
        &["backup", "red"],
        &["backup", path],
        &["backup", "--update", "red"],
        &["verify", "red"],
        &["disk", "refresh", "red"],
        &["disk", "set", "red", "--path", path],
        &["restore", "red", to],
        &["--dry-run", "backup", "red"],
    ];
    for arguments in uses {
        let run: Run = world.dsb.run(arguments).code(12);
        assert!(run.stderr().contains(told) || run.stderr().contains("red is not connected"), "{run}");
        assert!(run.stderr().contains("hint:"), "{run}");
    }
}

#[test]
fn d10_an_empty_folder_in_the_place_of_a_disk_is_refused_and_stays_empty() {
    let world = world_on(&["red"], 3);
    world.write("new", "new");
    unplug(&world, "red");
    let place = world.place("red");
    fs::create_dir(&place).unwrap();
    let before = Frozen::of(&[&place]);
    every_use_is_refused(&world, &place, "no backup disk at");
    before.is_untouched(&[&place], "a refused command");
    fs::remove_dir(&place).unwrap();
    every_use_is_refused(&world, &place, "no backup disk at");
    assert!(!place.exists());

    plug_in(&world, "red");
    assert_eq!(world.holders(&vpath(0)), ["red"], "nobody concluded that the copies are gone");
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn d10_nothing_is_written_beneath_the_mount_point_of_a_disk_that_is_not_mounted() {
    let mut disk = or_skip!(LoopDisk::new(Filesystem::Ext4, 16 << 20));
    let world = World::new();
    write_files(&world, 3);
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    world.update_and_back_up("red");
    world.write("new", "new");
    disk.unmount();
    let before = Frozen::of(&[&disk.path()]);
    every_use_is_refused(&world, &disk.path(), "no backup disk at");
    before.is_untouched(&[&disk.path()], "a refused command");
    disk.mount();
    world.update_and_back_up("red");
    assert_eq!(objects_on(&disk.path()).len(), 4);
}

#[test]
fn d11_another_disk_of_the_set_in_the_place_of_one_is_not_taken_for_it() {
    let world = world_on(&["red", "blue"], 3);
    let (drawer, place) = (unplug(&world, "red"), world.place("red"));
    fs::rename(world.place("blue"), &place).unwrap();
    world.write("new", "new");
    world.dsb.run(["update"]).ok();
    let before = Frozen::of(&[&place, &drawer]);
    let path = place.to_str().unwrap();
    world.dsb.run(["backup", "red"]).code(12).warns("red");
    world.dsb.run(["verify", "red"]).code(12);
    world.dsb.run(["disk", "set", "red", "--path", path]).code(12).warns("red was expected, blue is there");
    before.is_untouched(&[&place, &drawer], "a refused command");
    // By its path it is what it is.
    world.dsb.run(["backup", path]).ok().warns("blue recognised");
    assert_eq!(world.holders("/data/new"), ["blue"]);
}

#[test]
fn d11_a_disk_of_another_set_is_refused_and_named() {
    let (world, other) = (world_on(&["red"], 3), world_on(&["strange"], 5));
    unplug(&world, "red");
    let place = world.place("red");
    fs::rename(other.place("strange"), &place).unwrap();
    let before = Frozen::of(&[&place]);
    every_use_is_refused(&world, &place, "strange");
    world.dsb.run(["backup", place.to_str().unwrap()]).code(12).warns("strange").warns("not in this set");
    before.is_untouched(&[&place], "a refused command");
}

#[test]
fn d12_a_clone_used_in_turn_with_its_original_is_recognised_and_nothing_on_either_is_deleted() {
    let world = world_on(&["red"], 6);
    let (red, clone, away) = (world.place("red"), world.place("clone"), world.place("away"));
    clone_of(&red, &clone);
    // What was removed from the source could go at once, if the disks were what they seem to be.
    world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
    world.write("new", "new");
    world.update_and_back_up("red");

    // Whichever of the two is connected: it is older than the catalog knows, and that is told.
    for round in 0..3 {
        fs::rename(&red, &away).unwrap();
        fs::rename(&clone, &red).unwrap();
        fs::rename(&away, &clone).unwrap();
        fs::remove_file(world.source().join(name(round))).unwrap();
        world.write(&format!("new in round {round}"), format!("round {round}"));
        world.dsb.run(["update"]).ok();
        let before = objects_on(&red);
        let visit = world.dsb.run(["backup", "red"]);
        assert!(visit.stderr().contains("older than the catalog expects"), "round {round}: {visit}");
        for object in &before {
            assert!(object.exists(), "round {round}: {} was deleted\n{visit}", object.display());
        }
        assert!(world.status()["disks"][0]["doubt"].is_string(), "its claims stand for nothing yet");
    }
    world.restores(&world.source(), Compare::as_far_as_possible());
    world.dsb.run(["verify", "red"]).ok();
    assert!(world.status()["disks"][0]["doubt"].is_null(), "what was read in full is no hearsay");
}

#[test]
fn d12_a_clone_is_refused_while_its_original_is_connected() {
    let world = world_on(&["red"], 6);
    let (red, clone) = (world.place("red"), clone_of(&world.place("red"), &world.place("clone")));
    world.write("new", "new");
    world.dsb.run(["update"]).ok();
    let before = Frozen::of(&[&red, &clone]);
    for verb in ["backup", "verify"] {
        world.dsb.run([verb, clone.to_str().unwrap()]).code(12).warns("two connected disks are red");
    }
    before.is_untouched(&[&red, &clone], "a refused command");
    // The same folder by another way is the same disk.
    std::os::unix::fs::symlink(&red, world.place("shortcut")).unwrap();
    world.dsb.run(["backup", world.place("shortcut").to_str().unwrap()]).ok();
}

#[test]
fn d12_two_connected_disks_with_one_identity_stop_everything() {
    let (disk, twin) = (or_skip!(Tmpfs::new(16 << 20)), or_skip!(Tmpfs::new(16 << 20)));
    let world = World::new();
    write_files(&world, 3);
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    world.update_and_back_up("red");
    clone_of(disk.path(), twin.path());
    world.write("new", "new");
    world.dsb.run(["update"]).ok();
    let before = Frozen::of(&[disk.path(), twin.path()]);
    for arguments in [["backup", "red"].as_slice(), &["backup"], &["verify", "red"]] {
        let run = world.dsb.run(arguments).code(12).warns("two connected disks are red");
        run.warns(disk.path().to_str().unwrap()).warns(twin.path().to_str().unwrap());
    }
    for path in [disk.path(), twin.path()] {
        world.dsb.run(["backup", path.to_str().unwrap()]).code(12).warns("two connected disks are red");
    }
    before.is_untouched(&[disk.path(), twin.path()], "a refused command");
    drop(twin);
    world.dsb.run(["backup", "red"]).ok();
}

#[test]
fn d13_a_folder_that_is_a_disk_is_never_overwritten_by_disk_add() {
    let (world, other) = (world_on(&["red"], 3), world_on(&["strange"], 3));
    let old = world.place("old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("distbackup-disk.json"), r#"{"uuid": "6a1f6b2e-7c0c-4d0f", "name": "attic"}"#)
        .unwrap();
    let odd = world.place("odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("distbackup-disk.json"), "not what it should be").unwrap();
    for (folder, told) in [
        (world.place("red"), "red of this set"),
        (other.place("strange"), "strange of another set"),
        (old, "attic of distbackup 1.x"),
        (odd, "distbackup-disk.json"),
    ] {
        let before = Frozen::of(&[&folder]);
        world.dsb.run(["disk", "add", "green", folder.to_str().unwrap()]).code(12).warns(told);
        before.is_untouched(&[&folder], "disk add");
    }
    assert_eq!(world.status()["disks"].as_array().unwrap().len(), 1);
}

#[test]
fn d13_a_disk_that_the_set_lost_sight_of_comes_back_with_what_it_holds() {
    let world = world_on(&["red"], 6);
    let red = world.place("red");
    world.dsb.run(["--yes", "disk", "drop", "red"]).ok();
    world.dsb.run(["disk", "del", "red"]).ok();
    let before = objects_on(&red);
    world.dsb.run(["disk", "add", "red", red.to_str().unwrap()]).ok().says("back in the set");
    assert_eq!(world.holders(&vpath(0)), Vec::<String>::new(), "not proven yet");
    // Its first visit reads what it holds and copies none of it again.
    lose_source(&world);
    let visit = answer(&world, &["backup", "red"], 0, "visit");
    assert_eq!(
        (visit["adopted"]["objects"].as_u64(), visit["copied"].as_array().unwrap().len()),
        (Some(6), 0)
    );
    assert_eq!(objects_on(&red), before);
    assert_eq!(world.holders(&vpath(0)), ["red"]);
}

#[test]
fn d14_a_new_disk_inherits_nothing_from_one_that_left() {
    let world = world_on(&["red"], 6);
    world.dsb.run(["--yes", "disk", "drop", "red"]).ok();
    world.dsb.run(["disk", "del", "red"]).ok();
    unplug(&world, "red");
    // The same name, and the first number that is free.
    world.add_disk("red", None);
    assert_eq!(world.holders(&vpath(0)), Vec::<String>::new());
    assert_eq!(world.status()["disks"][0]["objects"], 0);
    let visit = answer(&world, &["backup", "red"], 0, "visit");
    assert_eq!((visit["copied"][0]["objects"].as_u64(), visit["missing"].as_u64()), (Some(6), Some(0)));
    world.dsb.run(["verify", "red"]).ok();

    // The old one comes back under another name and is told apart.
    let old = world.place("drawer of red");
    world.dsb.run(["disk", "add", "blue", old.to_str().unwrap()]).ok();
    assert_eq!(world.holders(&vpath(0)), ["red"]);
    world.dsb.run(["backup", "blue"]).ok();
    assert_eq!(world.holders(&vpath(0)), ["blue", "red"]);
}

#[test]
fn c2_an_older_catalog_put_back_is_recognised_before_it_plans_anything() {
    let world = world_on(&["red", "blue"], 6);
    let saved = clone_of(world.dsb.catalog(), &world.place("saved catalog"));
    world.write("new", "new");
    world.update_and_back_up("red");
    fs::remove_dir_all(world.dsb.catalog()).unwrap();
    clone_of(&saved, world.dsb.catalog());

    let red = world.place("red");
    world.write("newer", "newer");
    world.dsb.run(["update"]).ok();
    let before = Frozen::of(&[&red]);
    for arguments in
        [["backup", "red"].as_slice(), &["disk", "refresh", "red"], &["backup", "red", "--dry-run"]]
    {
        world.dsb.run(arguments).code(10).warns("newer catalog").warns("dsb recover");
        before.is_untouched(&[&red], "a refused command");
    }
    // A disk that was not visited since is no reason to refuse.
    world.dsb.run(["backup", "blue"]).ok();

    world.dsb.run(["recover", red.to_str().unwrap(), "--yes"]).ok();
    for disk in ["red", "blue"] {
        world.update_and_back_up(disk);
        world.dsb.run(["verify", disk]).ok();
    }
    assert_eq!(world.holders("/data/new"), ["blue", "red"]);
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn c2_the_original_is_recognised_after_an_older_catalog_went_on_with_its_clone() {
    let world = world_on(&["red"], 6);
    let saved = clone_of(world.dsb.catalog(), &world.place("saved catalog"));
    let (red, clone) = (world.place("red"), clone_of(&world.place("red"), &world.place("clone")));
    world.write("new on the original", "one");
    world.update_and_back_up("red");
    // PC and disk are put back together: they agree, and count on from there.
    fs::remove_dir_all(world.dsb.catalog()).unwrap();
    clone_of(&saved, world.dsb.catalog());
    let drawer = unplug(&world, "red");
    fs::rename(&clone, &red).unwrap();
    world.write("new on the clone", "two");
    world.update_and_back_up("red");
    // The original has the same number of visits, but not the same ones.
    let before = Frozen::of(&[&drawer]);
    let path = drawer.to_str().unwrap();
    fs::rename(&red, world.place("away")).unwrap();
    world.dsb.run(["backup", path]).code(10).warns("dsb recover");
    before.is_untouched(&[&drawer], "a refused backup");
}
