//! Accidents of a restore: rotten objects, a destination that is not empty, absent disks, a killed process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use common::frozen::Frozen;
use common::{World, noise, object};
use distbackup_testkit::compare::{Compare, assert_same_trees, compare_trees};
use distbackup_testkit::dsb::{Run, Signal, give_to};
use distbackup_testkit::faults::{Fault, Injector};
use distbackup_testkit::mounts::{Filesystem, LoopDisk, Tmpfs};
use distbackup_testkit::{is_root, or_skip, skipped, tree};
use shelf::*;

/// Restores everything of a world to a place, with further arguments.
fn restore(world: &World, to: &Path, more: &[&str]) -> Run {
    world.dsb.run([&["restore", "--to", to.to_str().unwrap()], more].concat())
}

/// Expects that the restored `/data` is the source, but for these names.
#[track_caller]
fn all_but(world: &World, to: &Path, without: &[String]) {
    let found = compare_trees(&world.source(), &to.join("data"), Compare::as_far_as_possible());
    let mut missing: Vec<String> = Vec::new();
    for difference in &found {
        // A folder of which a file is kept or missing has been written to, which its times may show.
        assert!(difference.what == "there" && difference.second == "missing", "{difference}");
        missing.push(format!("/data/{}", String::from_utf8_lossy(&difference.path)));
    }
    missing.sort();
    assert_eq!(missing, without);
}

#[test]
fn r1_a_rotten_object_is_not_delivered_and_the_disk_with_the_next_copy_is_named() {
    let world = world_on(&["red", "blue"], 9);
    let (bad, all) = (vec![vpath(2), vpath(6)], (0..9).map(vpath).collect::<Vec<_>>());
    for path in &bad {
        rot_at(&object_of(&world, path, &world.place("red")), 100, 8);
    }
    unplug(&world, "blue");
    let to = world.place("restored");
    let run = restore(&world, &to, &[]).code(4).warns("blue");
    names_exactly(&run, &bad, &all);
    all_but(&world, &to, &bad);
    assert_eq!(unfinished(&to), 0);

    // With that disk the same command completes it.
    plug_in(&world, "blue");
    unplug(&world, "red");
    restore(&world, &to, &[]).ok();
    all_but(&world, &to, &[]);
}

#[test]
fn r1_the_next_copy_is_taken_and_the_damage_is_told_all_the_same() {
    let world = world_on(&["red", "blue"], 9);
    let all: Vec<String> = (0..9).map(vpath).collect();
    // Some are rotten on one disk, some on the other, of other sizes or not there at all; no file on both.
    let (red, blue) = (world.place("red"), world.place("blue"));
    rot_at(&object_of(&world, &all[1], &red), 0, 1);
    rot_at(&object_of(&world, &all[2], &blue), 9, 1);
    resize(&object_of(&world, &all[3], &red), 10);
    fs::remove_file(object_of(&world, &all[4], &blue)).unwrap();
    for disk in ["red", "blue"] {
        unplug(&world, if disk == "red" { "blue" } else { "red" });
        restore(&world, &world.place(&format!("from {disk} alone")), &[]).code(4);
        plug_in(&world, if disk == "red" { "blue" } else { "red" });
    }
    let to = world.place("restored");
    let run = restore(&world, &to, &[]);
    all_but(&world, &to, &[]);
    // Which of two good disks is read first is the program's choice, but what it saw it says.
    let met: Vec<&String> = all.iter().filter(|path| run.stderr().contains(path.as_str())).collect();
    assert!(!met.is_empty(), "the damage that was met is told\n{run}");
    assert!(met.iter().all(|path| all[1..5].contains(path)), "{run}");
    run.code(4).warns("another disk");
    restore(&world, &to, &[]).ok();
}

/// Files that a restore has begun and not finished.
fn unfinished(to: &Path) -> usize {
    let all = tree::paths(to).unwrap_or_default();
    all.iter().filter(|path| path.to_string_lossy().contains(".dsb-restore")).count()
}

#[test]
fn r2_what_differs_at_the_destination_is_kept_and_reported_and_replaced_only_when_told() {
    let world = world_on(&["red"], 6);
    let to = world.place("restored");
    let data = to.join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join(name(0)), "mine, of another size").unwrap();
    let mut same_size = fs::read(world.source().join(name(1))).unwrap();
    same_size[7] ^= 1;
    fs::write(data.join(name(1)), &same_size).unwrap();
    fs::write(world.place("target"), "mine, elsewhere").unwrap();
    symlink(world.place("target"), data.join(name(2))).unwrap();
    fs::create_dir(data.join(name(3))).unwrap();
    fs::write(data.join(name(3)).join("inside"), "mine").unwrap();
    fs::copy(world.source().join(name(4)), data.join(name(4))).unwrap();
    fs::write(data.join("stranger"), "mine").unwrap();
    let before =
        Frozen::of(&[&data.join(name(0)), &data.join(name(1)), &data.join(name(2)), &data.join(name(3))]);

    let (in_the_way, all) = ((0..4).map(vpath).collect::<Vec<_>>(), (0..6).map(vpath).collect::<Vec<_>>());
    let run = restore(&world, &to, &[]).code(3).warns("--overwrite");
    names_exactly(&run, &in_the_way, &all);
    before.is_untouched(
        &[&data.join(name(0)), &data.join(name(1)), &data.join(name(2)), &data.join(name(3))],
        "restore",
    );
    let again =
        object(&world.dsb.run(["--json", "restore", "--to", to.to_str().unwrap()]).code(3), "restore");
    assert_eq!((again["present"].as_u64(), again["conflicts"].as_u64()), (Some(2), Some(4)), "{again}");

    // Files and links give way then; a folder never does, and what a link points to is not touched.
    names_exactly(&restore(&world, &to, &["--overwrite"]).code(3), &in_the_way[3..], &all);
    for number in [0, 1, 2, 4, 5] {
        assert!(!data.join(name(number)).is_symlink());
        let content = fs::read(data.join(name(number))).unwrap();
        assert_eq!(content, fs::read(world.source().join(name(number))).unwrap(), "{}", name(number));
    }
    assert_eq!(fs::read(data.join(name(3)).join("inside")).unwrap(), b"mine");
    assert_eq!(fs::read(data.join("stranger")).unwrap(), b"mine", "never removed");
    assert_eq!(fs::read(world.place("target")).unwrap(), b"mine, elsewhere");
}

#[test]
fn r3_a_symlink_in_the_place_of_a_folder_is_never_written_through() {
    let world = World::new();
    for file in ["a/one", "a/b/two", "c/three", "four"] {
        world.write(file, file);
    }
    symlink("target", world.source().join("a/link")).unwrap();
    fs::hard_link(world.source().join("four"), world.source().join("a/b/zz same as four")).unwrap();
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let outside = world.place("outside");
    fs::create_dir_all(outside.join("b")).unwrap();
    fs::write(outside.join("one"), "not ours").unwrap();
    for (link, overwrite) in [("data/a", false), ("data/a", true), ("data/a/b", true), ("data", true)] {
        let to = world.place("restored");
        fs::create_dir_all(to.join(link).parent().unwrap()).unwrap();
        symlink(&outside, to.join(link)).unwrap();
        let before = Frozen::of(&[&outside]);
        let run = restore(&world, &to, if overwrite { &["--overwrite"] } else { &[] }).code(3);
        before.is_untouched(&[&outside], &run);
        assert!(to.join(link).is_symlink() && run.stderr().contains("/data"), "{run}");
        assert_eq!(to.join("data/c/three").exists(), link != "data", "the others are restored\n{run}");
        fs::remove_dir_all(to).unwrap();
    }
    // The user's own path to the destination may lead through a link.
    let real = world.place("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, world.place("shortcut")).unwrap();
    restore(&world, &world.place("shortcut"), &[]).ok();
    all_but(&world, &real, &[]);
}

/// The films that a restore has delivered so far, in whatever order it took them.
fn names_of_films(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name())
        .filter(|name| name.as_encoded_bytes().starts_with(b"film"))
        .collect()
}

#[test]
fn r4_a_killed_restore_goes_on_where_it_stopped_and_believes_nothing_unseen() {
    let world = World::new();
    tree::large(&world.source().join("films"), 40, 1 << 20, 4).unwrap();
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let to = world.place("restored");
    let films = to.join("data/films");
    let done = || names_of_films(&films).len();
    // Stopped while a file is being written, so that the kill leaves one unfinished.
    let mut running = world.dsb.start(["restore", "--to", to.to_str().unwrap()]);
    assert!(running.wait_until(|| done() >= 5 && unfinished(&to) > 0), "the restore ended too early");
    running.signal(Signal::STOP);
    let killed = running.kill();
    assert!(killed.was_killed() && (5..40).contains(&done()), "{killed}");
    let there = done() as u64;

    // One of the files that are there goes bad, with the same size and times.
    let mut whole = names_of_films(&films);
    whole.sort();
    let broken = films.join(&whole[0]);
    rot_at(&broken, 1000, 1);
    let run = world.dsb.run(["--json", "restore", "--to", to.to_str().unwrap()]).code(3);
    let answer = object(&run, "restore");
    assert_eq!(answer["conflicts"], 1, "{run}");
    assert_eq!(answer["present"].as_u64(), Some(there - 1), "what was there is not written again\n{run}");
    assert_eq!(answer["restored"].as_u64(), Some(40 - there), "{run}");
    assert_eq!(unfinished(&to), 0, "nothing unfinished stays at the destination");
    restore(&world, &to, &["--overwrite"]).ok();
    assert_same_trees(&world.source(), &to.join("data"), Compare::as_far_as_possible());
}

#[test]
fn r5_files_on_no_connected_disk_are_told_with_the_disks_that_hold_them() {
    let world = world_on(&["red"], 4);
    world.add_disk("blue", None);
    for number in [10, 11] {
        world.write(&name(number), noise(5000 + number, number as u64));
    }
    world.dsb.run(["update"]).ok();
    world.dsb.run(["backup", "blue", "--maxcopies", "1"]).ok();
    unplug(&world, "blue");
    let to = world.place("restored");
    let run = world.dsb.run(["--json", "restore", "--to", to.to_str().unwrap()]).code(3);
    let missing = object(&run, "restore")["missing"].clone();
    assert_eq!(missing, serde_json::json!([{ "disks": ["blue"], "files": 2, "bytes": 10_021 }]));
    let steps = object(&run, "restore-plan")["steps"].clone();
    assert_eq!((&steps[0]["disk"], &steps[0]["connected"]), (&"red".into(), &true.into()), "{steps}");
    assert_eq!((&steps[1]["disk"], &steps[1]["files"]), (&"blue".into(), &2.into()), "{steps}");
    restore(&world, &to, &[]).code(3).warns("2 files, 10.0 kB still to come from blue").warns("Connect");
    all_but(&world, &to, &[vpath(10), vpath(11)]);
    // Still so with no disk at all, and nothing is lost by asking.
    unplug(&world, "red");
    restore(&world, &to, &[]).code(3).warns("blue");
    plug_in(&world, "blue");
    restore(&world, &to, &[]).ok();
    all_but(&world, &to, &[]);
}

#[test]
fn r5_what_no_disk_holds_any_more_is_named() {
    let world = world_on(&["red", "blue"], 4);
    fs::remove_file(object_of(&world, &vpath(1), &world.place("red"))).unwrap();
    fs::remove_file(object_of(&world, &vpath(1), &world.place("blue"))).unwrap();
    lose_source(&world);
    for disk in ["red", "blue"] {
        world.dsb.run(["disk", "refresh", disk]).code(4);
    }
    let to = world.place("restored");
    let run = restore(&world, &to, &[]).code(4).warns("on no disk any more");
    names_exactly(&run, &[vpath(1)], &(0..4).map(vpath).collect::<Vec<_>>());
    let answer = world.dsb.run(["--json", "restore", "--to", to.to_str().unwrap()]).code(4);
    assert_eq!(object(&answer, "restore")["lost"], 1);
}

#[test]
fn r6_everything_comes_back_as_it_was() {
    let world = World::new();
    tree::odd_tree(&world.source(), 6).unwrap();
    // The catalog counts nanoseconds from 1970 in 64 bits, which last until 2262.
    let times = world.source().join("times");
    fs::remove_dir_all(times.join("folder 2400")).unwrap();
    for late in ["link 2400", "2400"] {
        fs::remove_file(times.join(late)).unwrap();
    }
    let red = world.add_disk("red", None);
    world.dsb.run(["update"]).ok();
    world.dsb.run(["backup", "red"]).ok();
    let to = world.place("restored");
    restore(&world, &to, &[]).ok();
    assert_same_trees(&world.source(), &to.join("data"), Compare::as_far_as_possible());
    // Also over itself: what is there and equal needs no disk and is not written again.
    fs::rename(red, world.place("drawer")).unwrap();
    let again = world.dsb.run(["--json", "restore", "--to", to.to_str().unwrap()]).ok();
    assert_eq!(object(&again, "restore")["restored"], 0, "{again}");
    assert_same_trees(&world.source(), &to.join("data"), Compare::as_far_as_possible());
}

/// Expects that what could not be set is said once for each kind, and never as trouble with a file.
#[track_caller]
fn unset_once(run: &Run, expected: &[&str]) {
    for what in expected {
        let lines =
            run.stderr().lines().filter(|line| line.contains("could not be set") && line.contains(what));
        assert_eq!(lines.count(), 1, "{what}\n{run}");
    }
    assert!(!run.stderr().contains("could not be restored"), "{run}");
}

#[test]
fn r6_what_an_ordinary_user_cannot_set_is_said_once() {
    if !is_root() {
        return skipped("needs root to make files of several owners");
    }
    let world = or_skip!(World::of_ordinary_user());
    let files: Vec<PathBuf> =
        (0..30).map(|number| world.write(&name(number), noise(100, number as u64))).collect();
    for (number, file) in files.iter().enumerate() {
        give_to(file, 1000 + number as u32 % 2);
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }
    world.dsb.run(["disk", "add", "red", made_for_all(&world, "red").to_str().unwrap()]).ok();
    world.update_and_back_up("red");
    let to = made_for_all(&world, "restored");
    let run = restore(&world, &to, &[]).code(3);
    unset_once(&run, &["owner"]);
    assert!(run.stderr().contains("30 entries"), "{run}");
    assert_same_trees(&world.source(), &to.join("data"), Compare::ORDINARY_USER);
}

/// A folder in which everybody may write.
fn made_for_all(world: &World, name: &str) -> PathBuf {
    let folder = world.place(name);
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

#[test]
fn r6_a_filesystem_without_modes_and_links_gets_the_contents_and_one_word_for_each_kind() {
    let stick = or_skip!(LoopDisk::new(Filesystem::Vfat, 34 << 20));
    let world = World::new();
    for number in 0..20 {
        let file = world.write(&name(number), noise(100, number as u64));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::lchown(&file, Some(1234), Some(1234)).unwrap();
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let run = restore(&world, &stick.path(), &[]).code(3);
    unset_once(&run, &["owner", "mode"]);
    assert_same_trees(&world.source(), &stick.path().join("data"), Compare::CONTENT);
    assert!(run.stderr().lines().count() < 12, "{run}");
}

#[test]
fn r7_a_destination_that_is_too_small_is_told_before_the_first_byte() {
    let place = or_skip!(Tmpfs::new(4 << 20));
    let world = World::new();
    tree::large(&world.source(), 6, 1 << 20, 7).unwrap();
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let run = restore(&world, place.path(), &[]).code(13).warns("are needed").warns("hint:");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{run}");
    // A part fits, and what is there already needs no room a second time.
    restore(&world, place.path(), &["/data/film-000[0-2]*"]).ok();
    restore(&world, place.path(), &["/data/film-000[0-2]*"]).ok();
    restore(&world, place.path(), &[]).code(13);
    assert_eq!(fs::read_dir(place.path().join("data")).unwrap().count(), 3);
}

#[test]
fn r7_holes_need_no_room() {
    let place = or_skip!(Tmpfs::new(4 << 20));
    let world = World::new();
    fs::File::create(world.source().join("sparse")).unwrap().set_len(64 << 20).unwrap();
    world.write("end", "end");
    world.add_disk("red", None);
    world.update_and_back_up("red");
    restore(&world, place.path(), &[]).ok();
    assert_eq!(fs::metadata(place.path().join("data/sparse")).unwrap().len(), 64 << 20);
}

#[test]
fn r7_hard_links_need_their_room_once() {
    let place = or_skip!(Tmpfs::new(4 << 20));
    let world = World::new();
    let first = world.write("first", noise(2 << 20, 1));
    for number in 0..5 {
        fs::hard_link(&first, world.source().join(name(number))).unwrap();
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    restore(&world, place.path(), &[]).ok();
    all_but(&world, place.path(), &[]);
}

#[test]
fn r6_hard_links_and_folders_that_are_named_one_by_one_come_back_where_they_belong() {
    let world = World::new();
    let first = world.write("sub/a", "content");
    fs::hard_link(&first, world.source().join("sub/b")).unwrap();
    world.write("box/inner/c", "another");
    fs::set_permissions(world.source().join("box/inner"), fs::Permissions::from_mode(0o751)).unwrap();
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let to = world.restored(&["/data/sub/a", "/data/sub/b", "/data/box/inner"]);
    let names = |folder: &Path| -> Vec<PathBuf> {
        let mut names: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into()).collect();
        names.sort();
        names
    };
    assert_eq!(names(to.path()), [Path::new("data")], "nothing beside what was asked for");
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(to.path().join(name)).unwrap());
    assert_eq!(inode("data/sub/a"), inode("data/sub/b"));
    let mode = fs::metadata(to.path().join("data/box/inner")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o751, "a folder below one that was not asked for gets its mode");
}

#[test]
fn r2_overwrite_also_replaces_a_file_that_should_be_a_hard_link() {
    let world = World::new();
    let first = world.write("a", "content");
    fs::hard_link(&first, world.source().join("b")).unwrap();
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let to = world.place("to");
    fs::create_dir_all(to.join("data")).unwrap();
    fs::write(to.join("data/b"), "something else").unwrap();
    restore(&world, &to, &[]).code(3).warns("it should be a hard link");
    assert_eq!(fs::read(to.join("data/b")).unwrap(), b"something else");
    restore(&world, &to, &["--overwrite"]).ok();
    all_but(&world, &to, &[]);
}

/// N9: who is told that everything is restored may take the power away. What could not be written out is no success.
#[test]
fn n9_a_restore_ends_when_the_destination_has_written_everything_out() {
    let injector = or_skip!(Injector::new());
    let world = world_on(&["red"], 3);
    let restored = |name: &str, fault| {
        let to = world.place(name);
        let mut command = world.dsb.command(["restore", "--to", to.to_str().unwrap()]);
        injector.arm(&mut command, &[&to], fault);
        (world.dsb.start_prepared(command).wait(), injector.calls())
    };
    let (run, calls) = restored("restored", None);
    run.ok();
    let last = calls.last().expect("calls below the destination are seen");
    assert_eq!(last.kind, "sync", "nothing is changed after it");
    let (run, calls) = restored("again", Some((last.number, Fault::Once(libc::EIO))));
    assert_eq!(calls.last().map(|call| call.kind.as_str()), Some("sync"));
    assert!(run.code(1).stderr().contains("write out everything"));
}
