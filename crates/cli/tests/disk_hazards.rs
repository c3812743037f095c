//! Accidents on a disk that is the right one: full, read-only, rotten, or meddled with.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::frozen::Frozen;
use common::{World, chmod, coming_in, noise, object, objects_on, under_way};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::dsb::Signal;
use distbackup_testkit::mounts::{Filesystem, LoopDisk, Tmpfs, fill};
use distbackup_testkit::or_skip;
use distbackup_testkit::rng::Rng;
use distbackup_testkit::tree;
use shelf::*;

/// Adds the mounted disk `red` to the set of a world, with further arguments.
#[track_caller]
fn add_red(world: &World, folder: &Path, more: &[&str]) {
    let folder = folder.to_str().unwrap();
    world.dsb.run([&["disk", "add", "red", folder], more].concat()).ok();
}

/// A restore brings every file of the source back.
#[track_caller]
fn nothing_is_lost(world: &World) {
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn d4_a_size_beyond_the_real_one_fills_the_disk_in_order_and_says_what_remains() {
    let disk = or_skip!(Tmpfs::new(24 << 20));
    let world = World::new();
    tree::large(&world.source(), 40, 1 << 20, 4).unwrap();
    add_red(&world, disk.path(), &["--size", "1G"]);
    world.dsb.run(["disk", "set", "red", "--size", "2T"]).ok();
    world.dsb.run(["update"]).ok();
    // The plan knows the real room: what does not fit is no surprise and no error.
    let visit = answer(&world, &["backup", "red"], 0, "visit");
    let copied = visit["copied"][0]["objects"].as_u64().unwrap();
    assert!((10..40).contains(&copied) && visit["full"] == false, "{visit}");
    assert_eq!(visit["unplaced"]["objects"].as_u64(), Some(40 - copied), "{visit}");
    assert_eq!(objects_on(disk.path()).len() as u64, copied);
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn n9_d4_a_disk_that_fills_up_in_mid_visit_stops_in_order_and_the_next_visit_goes_on() {
    let disk = or_skip!(Tmpfs::new(64 << 20));
    let world = World::new();
    tree::large(&world.source(), 80, 256 << 10, 4).unwrap();
    add_red(&world, disk.path(), &[]);
    world.dsb.run(["update"]).ok();
    // Somebody else fills the disk after its room was read.
    let mut visit = world.dsb.start(["backup", "red"]);
    let begun = || under_way(disk.path()) >= 3;
    assert!(visit.wait_until(begun), "the visit ended before the disk could be filled");
    visit.signal(Signal::STOP);
    let filler = disk.path().join("holiday.mov");
    fill(&filler);
    visit.signal(Signal::CONT);
    visit.wait().code(13);

    // What the catalog claims is there, and nothing else is counted.
    let claimed = world.status()["disks"][0]["objects"].as_u64().unwrap();
    assert!(claimed < 80, "{claimed}");
    assert!(objects_on(disk.path()).len() as u64 >= claimed);
    let verify = answer(&world, &["verify", "red"], 0, "verify");
    assert_eq!(verify["good"].as_u64(), Some(claimed), "{verify}");

    fs::remove_file(filler).unwrap();
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(objects_on(disk.path()).len(), 80);
    assert_eq!(coming_in(disk.path()), 0, "nothing unfinished stays");
    nothing_is_lost(&world);
}

#[test]
fn d5_objects_removed_by_hand_are_noticed_and_no_longer_count() {
    let world = world_on(&["red"], 9);
    let (red, all) = (world.place("red"), (0..9).map(vpath).collect::<Vec<_>>());
    let gone: Vec<String> = [1, 4, 7].map(vpath).into();
    for path in &gone {
        fs::remove_file(object_of(&world, path, &red)).unwrap();
    }
    // A dry run tells, and records nothing.
    let plan = world.dsb.run(["backup", "red", "--dry-run"]).code(4);
    names_exactly(&plan, &gone, &all);
    assert_eq!(world.holders(&gone[0]), ["red"]);

    names_exactly(&world.dsb.run(["backup", "red"]).code(4), &gone, &all);
    assert_eq!(objects_on(&red).len(), 9, "the same visit has copied them again");
    world.dsb.run(["backup", "red"]).ok();
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn d5_a_whole_objects_folder_removed_by_hand_no_longer_counts_when_another_disk_is_planned() {
    let world = world_on(&["red"], 9);
    fs::remove_dir_all(world.place("red").join("distbackup-objects")).unwrap();
    world.dsb.run(["disk", "refresh", "red"]).code(4).warns("/data/file-00");
    assert_eq!(world.holders("/data/file-00"), Vec::<String>::new());
    unplug(&world, "red");
    // For the next disk these are first copies again, not second ones.
    world.add_disk("blue", None);
    let visit = answer(&world, &["backup", "blue"], 0, "visit");
    assert_eq!(visit["copied"][0]["objects"], 9, "{visit}");
}

#[test]
fn d6_objects_of_the_wrong_size_are_noticed_and_no_longer_count() {
    let world = world_on(&["red"], 9);
    let (red, all) = (world.place("red"), (0..9).map(vpath).collect::<Vec<_>>());
    let wrong: Vec<String> = [0, 3, 8].map(vpath).into();
    for (path, bytes) in wrong.iter().zip([0, 1000, 1_000_000]) {
        resize(&object_of(&world, path, &red), bytes);
    }
    let source = lose_source(&world);
    // Without the source they cannot be made good: the copies are gone, and it is said.
    let refresh = world.dsb.run(["disk", "refresh", "red"]).code(4);
    names_exactly(&refresh, &wrong, &all);
    for path in &all {
        assert_eq!(world.holders(path).is_empty(), wrong.contains(path), "{path}");
    }
    world.dsb.run(["disk", "refresh", "red"]).ok();

    fs::rename(source, world.source()).unwrap();
    let visit = answer(&world, &["backup", "red"], 0, "visit");
    assert_eq!(visit["copied"][0]["objects"], 3, "{visit}");
    assert_eq!(world.dsb.run(["verify", "red"]).ok().says("9 good").exit_code(), Some(0));
    nothing_is_lost(&world);
}

#[test]
fn n10_d7_verify_finds_every_flipped_bit_and_the_next_backup_heals_it() {
    let world = world_on(&["red", "blue"], 60);
    let red = world.place("red");
    let mut rng = Rng::from_environment(7);
    let all: Vec<String> = (0..60).map(vpath).collect();
    let rotten: Vec<String> = (0..60).filter(|n| *n < 2 || rng.once_in(5)).map(vpath).collect();
    for (number, path) in rotten.iter().enumerate() {
        let file = object_of(&world, path, &red);
        match number {
            0 => rot_at(&file, 0, 1),
            1 => rot_at(&file, fs::metadata(&file).unwrap().len() - 1, 0x80),
            _ => rot(&file, &mut rng),
        }
    }
    // A visit compares names and sizes only and cannot see it.
    world.dsb.run(["backup", "red"]).ok();

    // Looking alone changes nothing: neither claims nor objects.
    let before = Frozen::of(&[&red]);
    let check = world.dsb.run(["verify", "--check", "red"]).code(4).says("still count as copies");
    names_exactly(&check, &rotten, &all);
    assert_eq!(world.holders(&rotten[0]), ["blue", "red"]);
    let verify = answer(&world, &["verify", "red"], 4, "verify");
    assert_eq!(verify["bad"].as_u64(), Some(rotten.len() as u64), "{verify}");
    assert_eq!(verify["good"].as_u64(), Some(60 - rotten.len() as u64), "{verify}");
    before.is_untouched(&[&red], "verify");
    for path in &all {
        let expected: &[&str] = if rotten.contains(path) { &["blue"] } else { &["blue", "red"] };
        assert_eq!(world.holders(path), expected, "{path}");
    }

    let visit = answer(&world, &["backup", "red"], 0, "visit");
    assert_eq!(visit["copied"][1]["objects"].as_u64(), Some(rotten.len() as u64), "{visit}");
    world.dsb.run(["verify", "red"]).ok();
    fs::remove_dir_all(world.place("blue")).unwrap();
    nothing_is_lost(&world);
}

#[test]
fn n10_d7_quarantine_keeps_what_was_bad_for_inspection_and_out_of_the_way() {
    let world = world_on(&["red"], 9);
    let file = object_of(&world, &vpath(5), &world.place("red"));
    rot_at(&file, 17, 4);
    let rotten = fs::read(&file).unwrap();
    world.dsb.run(["verify", "red", "--quarantine"]).code(4).warns(&vpath(5));
    assert!(!file.exists());
    let kept = world.place("red").join("bad-objects").join(file.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), rotten);
    world.update_and_back_up("red");
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn d7_what_a_verify_found_before_it_was_interrupted_counts_for_the_one_that_goes_on() {
    let world = world_on(&["red"], 3);
    // As an interrupted verify leaves it, that had found one bad object and gone through most folders.
    meddle(
        &world.dsb.catalog().join("distbackup.sqlite"),
        "INSERT INTO verify_progress (disk, started_ns, next, good, bad, bytes) VALUES (1, 1, 4090, 3, 1, 9)",
    );
    let verify = world.dsb.run(["verify", "red"]).code(4).says("found before it was interrupted");
    verify.silent_about("Every object is what its name says");
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn d8_an_object_that_cannot_be_read_is_reported_and_all_others_are_done() {
    let world = or_skip!(world_with_locks());
    write_files(&world, 9);
    let red = world.add_disk("red", None);
    world.update_and_back_up("red");
    let all: Vec<String> = (0..9).map(vpath).collect();
    chmod(&object_of(&world, &all[2], &red), 0);
    let to = world.place("restored");
    fs::create_dir(&to).unwrap();
    world.give_away();
    let restore = world.dsb.run(["restore", "--to", to.to_str().unwrap()]).code(4);
    names_exactly(&restore, &all[2..3], &all);
    assert_eq!(objects_on(&red).len(), 9);
    for number in (0..9).filter(|number| *number != 2) {
        let restored = fs::read(to.join("data").join(name(number))).unwrap();
        assert_eq!(restored, fs::read(world.source().join(name(number))).unwrap());
    }
    assert!(!to.join("data").join(name(2)).exists());

    let verify = answer(&world, &["verify", "--check", "red"], 4, "verify");
    assert_eq!((verify["unreadable"].as_u64(), verify["good"].as_u64()), (Some(1), Some(8)), "{verify}");
    names_exactly(&world.dsb.run(["verify", "red"]).code(4), &all[2..3], &all);
    assert_eq!(world.holders(&all[2]), Vec::<String>::new());
    world.update_and_back_up("red");
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn d9_a_read_only_disk_refuses_a_backup_clearly_and_still_verifies_and_restores() {
    let mut disk = or_skip!(LoopDisk::new(Filesystem::Ext4, 16 << 20));
    let world = World::new();
    write_files(&world, 9);
    add_red(&world, &disk.path(), &[]);
    world.update_and_back_up("red");
    disk.unmount();
    disk.mount_read_only();
    world.dsb.run(["backup", "red"]).ok();
    world.write("new", "new");
    world.dsb.run(["update"]).ok();
    let refused = world.dsb.run(["backup", "red"]).code(12);
    refused.warns("read-only").warns("verify and restore work").silent_about("os error");
    assert_eq!(world.holders("/data/new"), Vec::<String>::new());
    world.dsb.run(["verify", "red"]).ok().says("9 good");
    fs::remove_file(world.source().join("new")).unwrap();
    let to = world.place("restored");
    world.dsb.run(["restore", "/data/file-*", "--to", to.to_str().unwrap()]).ok();
    assert_eq!(fs::read_dir(to.join("data")).unwrap().count(), 9);

    disk.unmount();
    disk.mount();
    world.update_and_back_up("red");
}

#[test]
fn d15_odd_things_among_the_objects_are_reported_and_never_followed() {
    let world = world_on(&["red"], 9);
    let (red, outside) = (world.place("red"), world.place("outside"));
    let objects = red.join("distbackup-objects");
    // Names of objects that lead elsewhere or are no files, though what they lead to would be right.
    let [linked, folder, pipe, whole] = [0, 1, 2, 3].map(|number| object_of(&world, &vpath(number), &red));
    fs::create_dir(&outside).unwrap();
    fs::rename(&linked, outside.join("good")).unwrap();
    symlink(outside.join("good"), &linked).unwrap();
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A whole folder of objects that leads elsewhere, and names that are none of ours.
    fs::rename(whole.parent().unwrap(), outside.join("folder")).unwrap();
    symlink(outside.join("folder"), whole.parent().unwrap()).unwrap();
    fs::create_dir(objects.join("lost+found")).unwrap();
    fs::write(objects.join("Thumbs.db"), "x").unwrap();
    fs::write(linked.parent().unwrap().join("note\x1b[2J.txt"), "mine").unwrap();
    let before = Frozen::of(&[&outside]);

    let verify = world.dsb.run(["verify", "red"]).code(4).harmless();
    for odd in ["lost+found", "Thumbs.db", "note\\x1b", "symlink"] {
        assert!(verify.stderr().contains(odd), "{odd}\n{verify}");
    }
    for number in 0..4 {
        assert_eq!(world.holders(&vpath(number)), Vec::<String>::new(), "{}", vpath(number));
    }
    let backup = world.dsb.run(["backup", "red"]).harmless();
    for odd in ["lost+found", "Thumbs.db", "note\\x1b", "symlink"] {
        assert!(backup.stderr().contains(odd), "{odd}\n{backup}");
    }
    before.is_untouched(&[&outside], "backup");
    assert!(linked.is_symlink() && folder.is_dir() && whole.parent().unwrap().is_symlink());
    assert!(objects.join("Thumbs.db").exists());
}

#[test]
fn d15_what_stands_in_the_place_of_one_object_does_not_keep_the_others_from_being_copied() {
    let world = world_on(&["red"], 9);
    let red = world.place("red");
    let taken = object_of(&world, &vpath(0), &red);
    fs::remove_file(&taken).unwrap();
    fs::create_dir(&taken).unwrap();
    for number in 20..40 {
        world.write(&name(number), noise(2000, number as u64 + 1));
    }
    world.dsb.run(["update"]).ok();
    let backup = world.dsb.run(["backup", "red"]).code(4).warns(&vpath(0));
    assert_eq!(objects_on(&red).len(), 8 + 20, "all others are there\n{backup}");
    world.dsb.run(["verify", "red"]).ok();
    fs::remove_dir(&taken).unwrap();
    world.dsb.run(["backup", "red"]).ok();
    nothing_is_lost(&world);
}

#[test]
fn d16_what_a_killed_visit_left_unfinished_goes_at_the_next_visit() {
    let world = World::new();
    tree::large(&world.source(), 60, 512 << 10, 16).unwrap();
    let incoming = world.add_disk("red", None).join("distbackup-incoming");
    let unfinished = || coming_in(&world.place("red"));
    let begun = || under_way(&world.place("red")) >= 3;
    let killed = world.dsb.start(["backup", "--update", "red"]).kill_when(begun);
    assert!(killed.was_killed(), "{killed}");
    // Copies without a name are gone by now. Those with one stay, where the filesystem or a full table of files asks for it.
    fs::create_dir_all(incoming.join("0")).unwrap();
    fs::write(incoming.join("0/0123456789abcdef-6"), noise(1 << 20, 2)).unwrap();
    fs::write(incoming.join("0123456789abcdef-7"), noise(1 << 20, 1)).unwrap();
    world.update_and_back_up("red");
    assert_eq!(unfinished(), 0);
    assert_eq!(objects_on(&world.place("red")).len(), 60);
    // Also when there is nothing else to do.
    fs::write(incoming.join("0123456789abcdef-8"), "x").unwrap();
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(unfinished(), 0);
}

#[test]
fn d18_a_file_larger_than_every_disk_is_never_silently_left_out() {
    let world = World::new();
    world.write("huge.mov", noise(3 << 20, 1));
    world.write("small", "small");
    world.add_disk("red", Some("1M"));
    world.add_disk("blue", Some("2M"));
    world.dsb.run(["update"]).ok();
    for disk in ["red", "blue", "red"] {
        world.dsb.run(["backup", disk]).ok().warns("1 file is larger than every disk of the set");
    }
    world
        .dsb
        .run(["status"])
        .ok()
        .says("1 file is larger than every disk")
        .says("NOT EVERYTHING IS PROTECTED");
    assert_eq!(world.status()["too_large"]["files"], 1);
    assert_eq!(world.holders("/data/small"), ["blue", "red"]);
    // A larger disk ends it.
    world.add_disk("green", None);
    world.dsb.run(["backup", "green"]).ok().silent_about("larger than every disk");
    world.dsb.run(["status"]).ok().silent_about("larger than every disk");
    nothing_is_lost(&world);
}

#[test]
fn c4_a_damaged_catalog_copy_is_noticed_by_verify_and_replaced_by_the_next_visit() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |copy| rot_at(copy, 5000, 1),
        |copy| resize(copy, 4096),
        |copy| resize(copy, 0),
        |copy| fs::remove_file(copy).unwrap(),
    ];
    let world = world_on(&["red", "blue"], 9);
    let (copy, blue) = (world.place("red").join("distbackup.sqlite"), world.place("blue"));
    for (number, damage) in damages.into_iter().enumerate() {
        damage(&copy);
        let others = Frozen::of(&[&blue]);
        let verify = world.dsb.run(["verify", "red"]).code(4).warns("catalog copy");
        assert!(verify.stdout().contains("9 good"), "{number}: {verify}");
        assert_eq!(world.holders(&vpath(0)), ["blue", "red"], "its objects are as good as before");
        world.dsb.run(["backup", "red"]).ok();
        world.dsb.run(["verify", "red"]).ok().silent_about("catalog copy");
        others.is_untouched(&[&blue], "visits of another disk");
    }
    let elsewhere = world.dsb.another_pc();
    elsewhere.run(["recover", world.place("red").to_str().unwrap()]).ok();
    assert_eq!(
        object(&elsewhere.run(["--json", "where", &vpath(0)]).ok(), "where")["copies"][1]["disk"],
        "blue"
    );
}
