//! Accidents with the catalog and between processes, as the user of the command line meets them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::{World, chmod, noise, object, objects_on, under_way};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::dsb::{Dsb, Running, Signal};
use distbackup_testkit::{skipped, tree};

/// Two disks that were visited one after the other: blue knows of a file, a change and a removal that red does not.
fn red_is_older_than_blue() -> World {
    let world = World::new();
    for (name, content) in [("early", "early"), ("changed", "before"), ("removed", "removed")] {
        world.write(name, content);
    }
    world.add_disk("red", None);
    world.add_disk("blue", None);
    world.update_and_back_up("red");
    world.write("changed", "after the visit of red");
    world.write("late", "late");
    fs::remove_file(world.source().join("removed")).unwrap();
    world.update_and_back_up("blue");
    world
}

/// The computer and its sources are gone; what is left are the disks.
fn only_the_disks_are_left(world: &World) -> PathBuf {
    let lost = world.place("lost source");
    fs::rename(world.source(), &lost).unwrap();
    fs::remove_dir_all(world.dsb.catalog()).unwrap();
    lost
}

#[test]
fn c1_the_catalog_comes_back_from_the_newest_disk() {
    let world = red_is_older_than_blue();
    let lost = only_the_disks_are_left(&world);
    // The first thing people try says what to do, and makes no new catalog.
    for arguments in
        [["status"].as_slice(), &["update"], &["backup", "red"], &["restore", "--to", "/nowhere"]]
    {
        world.dsb.run(arguments).code(10).warns("dsb recover");
    }
    assert!(!world.dsb.catalog().join("distbackup.sqlite").exists());

    world.dsb.run(["recover", world.place("blue").to_str().unwrap()]).ok().says("blue");
    world.restores(&lost, Compare::as_far_as_possible());
    let before = world.restored(&["--at", "1"]);
    assert_eq!(
        fs::read(before.path().join("data/changed")).unwrap(),
        b"before",
        "red still has the old state"
    );
    assert!(before.path().join("data/removed").exists());
}

#[test]
fn c1_a_catalog_from_an_older_disk_loses_nothing_of_the_newer_one() {
    let world = red_is_older_than_blue();
    let lost = only_the_disks_are_left(&world);
    world.dsb.run(["recover", world.place("red").to_str().unwrap()]).ok();
    assert_eq!(world.files(), ["/data/changed", "/data/early", "/data/removed"]);
    let objects = objects_on(&world.place("blue"));

    // The sources are still away, and blue holds what this catalog has never heard of.
    let visit = world.dsb.run(["backup", "blue"]);
    assert!(visit.stderr().contains("newer") && visit.stderr().contains("dsb recover"), "{visit}");
    assert_eq!(objects_on(&world.place("blue")), objects, "nothing is deleted");
    let found = tree_contents(&restored_with_history(&world));
    for content in tree_contents(&lost) {
        assert!(found.contains(&content), "lost: {}", String::from_utf8_lossy(&content));
    }
}

#[test]
fn c1_n7_all_versions_of_a_file_that_only_the_newer_disk_knows_are_kept_after_a_recovery_from_an_older_one() {
    let world = red_is_older_than_blue();
    let versions: Vec<Vec<u8>> = (0..4).map(|version| noise(3000, 70 + version)).collect();
    for version in &versions {
        world.write("diary", version);
        world.update_and_back_up("blue");
    }
    // A folder in the place of the file, at another time.
    fs::remove_file(world.source().join("diary")).unwrap();
    world.write("diary/first", "first page");
    world.update_and_back_up("blue");
    only_the_disks_are_left(&world);
    world.dsb.run(["recover", world.place("red").to_str().unwrap()]).ok();
    let objects = objects_on(&world.place("blue"));
    world.dsb.run(["backup", "blue"]);
    world.dsb.run(["backup", "blue"]);
    assert_eq!(objects_on(&world.place("blue")), objects, "nothing is deleted");
    let found = tree_contents(&restored_with_history(&world));
    assert!(
        versions.iter().all(|version| found.contains(version)),
        "{} of 4 versions",
        versions.iter().filter(|version| found.contains(version)).count()
    );
    assert!(found.contains(&b"first page".to_vec()));
}

#[test]
fn c1_after_a_recovery_from_an_older_disk_the_newer_catalog_can_still_be_taken() {
    let world = red_is_older_than_blue();
    let lost = only_the_disks_are_left(&world);
    let (red, blue) = (world.place("red"), world.place("blue"));
    // The newest of the disks that are connected is named, unless it is this one.
    let hint = format!("dsb --yes recover {}", blue.display());
    world.dsb.run(["recover", red.to_str().unwrap()]).ok().warns(&hint);
    world.dsb.another_pc().run(["recover", blue.to_str().unwrap()]).ok().silent_about("newer catalog");
    world.dsb.run(["recover", blue.to_str().unwrap()]).code(14).warns("good catalog");
    world.dsb.run(["recover", blue.to_str().unwrap(), "--yes"]).ok().says("kept as");
    world.restores(&lost, Compare::as_far_as_possible());
}

/// Restores every snapshot, those included into which other catalogs were merged.
fn restored_with_history(world: &World) -> PathBuf {
    let to = world.place("everything");
    let run = world.dsb.run(["--json", "snapshots"]).ok();
    for number in common::objects(&run).iter().filter_map(|snapshot| snapshot["id"].as_i64()) {
        let (place, number) = (to.join(number.to_string()), number.to_string());
        fs::create_dir_all(&place).unwrap();
        world.dsb.run(["restore", "--at", &number, "--to", place.to_str().unwrap()]).ok();
    }
    to
}

/// The contents of all files below a folder.
fn tree_contents(folder: &Path) -> Vec<Vec<u8>> {
    let all = tree::paths(folder).unwrap().into_iter().filter(|path| path.is_file());
    all.map(|path| fs::read(path).unwrap()).collect()
}

/// What people run without a thought when something is wrong. Each must leave a damaged catalog alone.
fn everything(world: &World) -> Vec<Vec<String>> {
    let (source, disk) = (world.source(), world.place("red"));
    let (source, disk) = (source.to_str().unwrap(), disk.to_str().unwrap());
    let lines = [
        "status",
        "update",
        "backup red",
        "backup --update red",
        "verify red",
        "ls",
        "where /data/a",
        "log",
        "disk list",
        "source list",
        "config set keep-deleted 10d",
        "plan red",
        "next",
    ];
    let mut all: Vec<Vec<String>> =
        lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
    for words in [
        ["source", "map", "/data", source].as_slice(),
        &["disk", "add", "green", disk],
        &["backup", disk, "--source", source],
        &["restore", "--to", "/nowhere"],
        &["--dry-run", "update"],
    ] {
        all.push(words.iter().map(|&word| word.to_owned()).collect());
    }
    all
}

#[test]
fn c3_a_damaged_catalog_is_an_error_that_says_how_to_recover_and_never_a_new_one() {
    let world = World::new();
    world.write("a", "a");
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let file = world.dsb.catalog().join("distbackup.sqlite");
    let good = fs::read(&file).unwrap();
    let half = good.len() / 2;
    let mut flipped_head = good.clone();
    flipped_head[3] ^= 0x10;
    let mut flipped_schema = good.clone();
    flipped_schema[100] ^= 0x04;
    let damages: [(&str, Vec<u8>); 8] = [
        ("empty", vec![]),
        ("cut off in its head", good[..50].to_vec()),
        ("cut off after a page", good[..4096].to_vec()),
        ("cut off in the middle", good[..half + 7].to_vec()),
        ("zeroed", vec![0; good.len()]),
        ("a bit of its head flipped", flipped_head),
        ("a bit of its first page flipped", flipped_schema),
        ("text", b"to be or not to be\n".repeat(500)),
    ];
    let commands = everything(&world);
    for (label, damaged) in damages {
        fs::write(&file, &damaged).unwrap();
        for command in &commands {
            let run = world.dsb.run(command);
            assert_eq!(run.exit_code(), Some(10), "{label}\n{run}");
            let run = run.warns("damaged").warns("dsb recover");
            assert!(fs::read(&file).unwrap() == damaged, "{label}: the file was changed by\n{run}");
        }
        world.dsb.run(["recover", world.place("red").to_str().unwrap()]).ok().says("kept as");
        assert_eq!(world.files(), ["/data/a"], "{label}");
        fs::write(&file, &good).unwrap();
    }
}

#[test]
fn c3_a_damaged_page_never_reaches_the_disk_and_never_ends_in_anything_but_a_clear_error() {
    const FILES: usize = 60;
    let world = World::new();
    tree::many_small(&world.source(), FILES, 1).unwrap();
    let red = world.add_disk("red", None);
    world.update_and_back_up("red");
    world.write("one more", "makes the visit write");
    let file = world.dsb.catalog().join("distbackup.sqlite");
    let (good, on_disk) = (fs::read(&file).unwrap(), copy_of(&red, &world.place("red as it was")));
    let mut noticed = 0;
    // The kind of every second page, and a byte in the middle of some: each visit waits for the real disk.
    let kinds = (0..good.len()).step_by(2 * 4096).map(|page| page.max(100));
    for at in kinds.chain((2000..good.len()).step_by(5 * 4096)) {
        let structure = at % 4096 <= 100;
        let mut damaged = good.clone();
        damaged[at] ^= 0xff;
        fs::write(&file, &damaged).unwrap();
        let mut clear = true;
        for command in [["update"].as_slice(), &["backup", "red"], &["ls"]] {
            let run = world.dsb.run(command);
            match run.exit_code() {
                Some(0) => {}
                Some(10) => {
                    drop(run.warns("dsb recover"));
                    clear = false;
                }
                // A flipped byte of a value is a wrong value: it may look like trouble with the source or the disk.
                Some(3 | 4) if !structure => {}
                code => panic!("byte {at}: {code:?}\n{run}"),
            }
        }
        noticed += usize::from(!clear);
        // Whatever happened, the disk gives back a catalog that is whole: the old one, or the one of this visit.
        let rescue = world.dsb.another_pc();
        rescue.run(["recover", red.to_str().unwrap()]).ok();
        let run = rescue.run(["--json", "ls"]).ok();
        let files = common::objects(&run).iter().filter(|item| item["kind"] == "f").count();
        assert!(!structure || files == FILES + usize::from(clear), "byte {at}: {files} files, {clear}");

        for journal in ["distbackup.sqlite-wal", "distbackup.sqlite-shm"] {
            let _ = fs::remove_file(world.dsb.catalog().join(journal));
        }
        fs::remove_dir_all(&red).unwrap();
        copy_of(&on_disk, &red);
    }
    assert!(noticed > 5, "only {noticed} damages were noticed");
}

/// Copies a folder of folders and files.
fn copy_of(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir(to).unwrap();
    for path in tree::paths(from).unwrap() {
        let place = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() { fs::create_dir(&place).unwrap() } else { assert!(fs::copy(&path, &place).is_ok()) }
    }
    to.to_owned()
}

#[test]
fn c3_a_journal_without_its_catalog_is_no_reason_to_begin_anew() {
    let world = World::new();
    let file = world.dsb.catalog().join("distbackup.sqlite");
    fs::rename(&file, file.with_extension("sqlite-wal")).unwrap();
    let source = world.source();
    world.dsb.run(["source", "map", "/data", source.to_str().unwrap()]).code(10).warns("dsb recover");
    assert!(!file.exists());
}

/// A backup of `red` that stands still while it copies, and so holds both locks.
fn stopped_in_the_middle(world: &World, dsb: &Dsb) -> Running {
    tree::large(&world.source().join("films"), 40, 2 << 20, 1).unwrap();
    let red = world.place("red");
    let mut running = dsb.start(["backup", "--update", "red"]);
    let writing = || under_way(&red) > 0;
    assert!(running.wait_until(writing), "the backup ended before it could be stopped");
    running.signal(Signal::STOP);
    running
}

#[test]
fn c5_the_second_process_is_refused_and_told_who_holds_the_lock() {
    let world = World::new();
    let red = world.add_disk("red", None);
    world.dsb.run(["backup", "--update", "red"]).ok();
    // Another computer with the catalog of the same set: it shares only the disk.
    let other = world.dsb.another_pc();
    other.run(["recover", red.to_str().unwrap()]).ok();

    let running = stopped_in_the_middle(&world, &world.dsb);
    let pid = running.pid();
    let kernel_tells =
        fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains(&format!(" {pid} ")));
    for arguments in [["update"].as_slice(), &["backup", "red"], &["--yes", "disk", "drop", "red"]] {
        world.dsb.run(arguments).code(11).warns(&pid.to_string()).warns("in use");
    }
    for arguments in [["backup", "red"].as_slice(), &["disk", "refresh", "red"]] {
        let run = other.run(arguments).code(11).warns("red");
        if kernel_tells {
            drop(run.warns(&pid.to_string()));
        } else {
            skipped("this system does not tell who holds the lock on a disk");
        }
    }
    let error = object(&world.dsb.run(["--json", "update"]).code(11), "error");
    assert_eq!(error["code"], "in-use");

    // Killed, it blocks nobody, and the next visit finishes its work.
    assert!(running.kill().was_killed());
    world.dsb.run(["backup", "red"]).code(3);
    world.dsb.run(["backup", "--update", "red"]).ok();
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn c5_a_visit_of_two_processes_at_once_is_done_by_one_of_them() {
    let world = World::new();
    tree::many_small(&world.source(), 300, 1).unwrap();
    world.add_disk("red", None);
    let both = [(); 2].map(|()| world.dsb.start(["backup", "--update", "red"]));
    let mut codes = both.map(|running| running.wait().exit_code().unwrap());
    codes.sort_unstable();
    assert!(codes == [0, 11] || codes == [0, 0], "{codes:?}");
    world.dsb.run(["verify", "red"]).ok();
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn c8_neither_catalog_nor_log_nor_objects_are_for_everybody_to_read() {
    let world = World::empty();
    chmod(&world.write("diary", "private"), 0o600);
    world.write("public", "for all");
    // A user who has given up all protection of new files.
    let script = world.place("careless");
    fs::write(&script, format!("#!/bin/sh\numask 000\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_dsb"))).unwrap();
    chmod(&script, 0o755);
    let careless = Dsb::new(&script);
    let disk = world.place("red");
    fs::create_dir(&disk).unwrap();
    let source = world.source();
    careless.run(["backup", disk.to_str().unwrap(), "--source", source.to_str().unwrap()]).ok();
    world.write("later", "later");
    careless.run(["backup", "--update", "red"]).ok();
    careless.run(["verify", "red"]).ok();

    let closed = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077 == 0;
    let catalog = careless.catalog();
    assert!(closed(catalog), "the folder of the catalog");
    for path in tree::paths(catalog).unwrap() {
        assert!(closed(&path), "{}", path.display());
    }
    let private: Vec<_> = ["distbackup.sqlite", "distbackup.sqlite.previous", "distbackup-objects"]
        .map(|name| disk.join(name))
        .into_iter()
        .chain(objects_on(&disk))
        .collect();
    assert!(private.len() == 6 && private.iter().all(|path| path.exists()), "{private:?}");
    for path in private {
        assert!(closed(&path), "{}", path.display());
    }
    // A catalog that comes back from a disk is as private.
    let recovered = Dsb::new(&script);
    recovered.run(["recover", disk.to_str().unwrap()]).ok();
    for path in tree::paths(recovered.catalog()).unwrap() {
        assert!(closed(&path), "{}", path.display());
    }
    assert!(closed(recovered.catalog()));
}
