//! `adopt`: ordinary files on a drive of the set become objects, and none is ever lost by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::frozen::Frozen;
use common::{World, noise, object, objects_on};
use distbackup_testkit::compare::Compare;
use distbackup_testkit::dsb::Run;
use distbackup_testkit::mounts::{Filesystem, LoopDisk, fill};
use distbackup_testkit::or_skip;
use distbackup_testkit::rng::Rng;

const WAYS: [&str; 4] = ["move", "reflink", "link", "copy"];

/// A computer with three files, and a mounted disk `red` with a folder `old` that has two of them under other names, one
/// of these twice, and two files that are nothing of the set.
fn with_old_drive(filesystem: Filesystem) -> Option<(World, LoopDisk)> {
    let disk = LoopDisk::new(filesystem, filesystem.bytes_min().max(48 << 20))?;
    let world = World::new();
    for number in 1..4 {
        world.write(&format!("{number}"), content(number));
    }
    write(&disk.path().join("old/photos/one.jpg"), &content(1));
    write(&disk.path().join("old/two"), &content(2));
    write(&disk.path().join("old/z/two again"), &content(2));
    write(&disk.path().join("old/looks like one"), &noise(content(1).len(), 77));
    write(&disk.path().join("old/nothing"), &noise(12, 78));
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    world.dsb.run(["update"]).ok();
    Some((world, disk))
}

fn content(number: u64) -> Vec<u8> {
    noise(100_000 + number as usize, number)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn adopt(world: &World, disk: &LoopDisk, arguments: &[&str]) -> Run {
    let folder = disk.path().join("old");
    world.dsb.run([&["adopt", folder.to_str().unwrap()], arguments].concat())
}

#[test]
fn what_the_set_needs_is_taken_from_an_old_drive_in_each_way_that_its_filesystem_has() {
    for filesystem in Filesystem::ALL {
        for way in WAYS {
            let (world, disk) = or_skip!(with_old_drive(filesystem));
            let old = |name: &str| disk.path().join("old").join(name);
            let clones = matches!(filesystem, Filesystem::Xfs | Filesystem::Btrfs);
            let run = adopt(&world, &disk, &["--how", way, "--yes", "--json"]);
            let context = format!("{way} on {}\n{run}", filesystem.name());
            match (way, filesystem) {
                ("reflink", _) if !clones => {
                    run.code(2).says("cannot share contents");
                    continue;
                }
                ("link", Filesystem::Vfat) => {
                    let adopted = object(&run.code(3), "adopted");
                    assert!(adopted["left"] == 3 && objects_on(&disk.path()).is_empty(), "{context}");
                    continue;
                }
                _ => {}
            }
            let adopted = object(&run.ok(), "adopted");
            let number = |key: &str| adopted[key]["objects"].as_u64();
            assert_eq!((number("files"), number("candidates")), (Some(5), Some(4)), "{context}");
            assert_eq!((number("twice"), number("not_needed")), (Some(1), Some(1)), "{context}");
            assert_eq!(adopted["taken"][0]["objects"], 2, "{context}");

            for (vpath, holders) in [("/data/1", vec!["red"]), ("/data/2", vec!["red"]), ("/data/3", vec![])]
            {
                assert_eq!(world.holders(vpath), holders, "{vpath} {context}");
            }
            let gone = way == "move";
            assert_eq!(old("photos/one.jpg").exists(), !gone, "{context}");
            assert_eq!(old("two").exists() && old("z/two again").exists(), !gone, "{context}");
            assert!(old("two").exists() || old("z/two again").exists(), "one of two is enough\n{context}");
            assert_eq!(fs::read(old("looks like one")).unwrap(), noise(content(1).len(), 77), "{context}");
            if !gone {
                assert_eq!(fs::read(old("photos/one.jpg")).unwrap(), content(1), "{context}");
                let read_only = old("photos/one.jpg").metadata().unwrap().permissions().mode() & 0o222 == 0;
                assert_eq!(read_only, way == "link", "{context}");
            }
            // What the file becomes is not what the object becomes, but for a link, which says so.
            if way == "reflink" || way == "copy" {
                fs::write(old("photos/one.jpg"), "changed").unwrap();
            }
            world.dsb.run(["backup", "red"]).ok();
            world.dsb.run(["verify", "red"]).ok();
            fs::remove_dir_all(world.source()).unwrap();
            let to = world.restored(&[]);
            for number in 1..4 {
                assert_eq!(
                    fs::read(to.path().join(format!("data/{number}"))).unwrap(),
                    content(number),
                    "{context}"
                );
            }
        }
    }
}

#[test]
fn unless_it_is_told_how_it_changes_no_file() {
    for filesystem in [Filesystem::Ext4, Filesystem::Btrfs] {
        let (world, disk) = or_skip!(with_old_drive(filesystem));
        let old = disk.path().join("old");
        let before = Frozen::of(&[&old]);
        let way = if filesystem == Filesystem::Ext4 { "copied" } else { "shares the file's content" };
        adopt(&world, &disk, &[]).ok().says("4 of 5 files in the folder (400 kB of 400 kB)").says(way);
        before.is_untouched(&[&old], filesystem.name());
        assert_eq!(world.holders("/data/1"), ["red"]);
        // Once more: they are there now.
        let adopted = object(&adopt(&world, &disk, &["--json"]).ok(), "adopted");
        assert_eq!(adopted["candidates"]["objects"], 0, "{adopted}");
    }
}

#[test]
fn what_changes_the_users_files_is_said_in_advance_and_not_done_without_their_word() {
    let (world, disk) = or_skip!(with_old_drive(Filesystem::Ext4));
    let old = disk.path().join("old");
    for way in ["move", "link"] {
        let before = Frozen::of(&[&old]);
        adopt(&world, &disk, &["--how", way]).code(14).says("becomes an object").warns("--yes");
        before.is_untouched(&[&old], way);
    }
    for way in ["move", "link", "copy"] {
        let everything = disk.path();
        let before = Frozen::of(&[&everything]);
        adopt(&world, &disk, &["--how", way, "--dry-run", "--yes"])
            .ok()
            .says("would be read")
            .says("Nothing was read");
        before.is_untouched(&[&everything], way);
    }
    assert!(objects_on(&disk.path()).is_empty());
}

#[test]
fn s8_a_file_that_can_still_be_changed_by_others_is_not_moved() {
    let (world, disk) = or_skip!(with_old_drive(Filesystem::Ext4));
    let old = disk.path().join("old");
    fs::hard_link(old.join("photos/one.jpg"), disk.path().join("kept under another name")).unwrap();
    fs::remove_file(old.join("z/two again")).unwrap();
    let writer = fs::File::options().append(true).open(old.join("two")).unwrap();
    let run = adopt(&world, &disk, &["--how", "move", "--yes"]).code(3);
    run.warns("another name").warns("open for writing").silent_about("Nothing there");
    drop(writer);
    adopt(&world, &disk, &["--how", "move", "--yes"]).code(3).says("Moved 1 file");
    assert!(!old.join("two").exists() && old.join("photos/one.jpg").exists());
    assert_eq!((world.holders("/data/1"), world.holders("/data/2")), (vec![], vec!["red".to_owned()]));
}

#[test]
fn what_belongs_to_a_source_or_to_a_disk_is_not_taken() {
    let (world, disk) = or_skip!(with_old_drive(Filesystem::Ext4));
    let at = |name: &str| disk.path().join(name);
    let run = |folder: &Path, code: i32| {
        world.dsb.run(["adopt", folder.to_str().unwrap(), "--how", "move", "--yes"]).code(code)
    };
    // A source on the drive itself.
    write(&at("work/now"), &noise(5000, 9));
    world.map("/work", &at("work"));
    world.dsb.run(["update"]).ok();
    for folder in [at("work"), disk.path()] {
        run(&folder, 2).warns("the source").warns("work");
    }
    world.dsb.run(["source", "unmap", "/work"]).ok();

    // A disk of another set on the drive.
    let other = World::new();
    other.write("1", content(3));
    let theirs = at("old/theirs");
    fs::create_dir(&theirs).unwrap();
    other.dsb.run(["disk", "add", "theirs", theirs.to_str().unwrap()]).ok();
    other.update_and_back_up("theirs");
    let before = Frozen::of(&[&theirs]);
    run(&disk.path(), 0).says("Moved 3 files");
    before.is_untouched(&[&theirs], "a backup disk of somebody else");
    assert_eq!(objects_on(&disk.path()).len(), 3);

    // The disk's own objects, and what is no folder or on no disk.
    run(&at("distbackup-objects"), 2).warns("belongs to the disk itself");
    run(&at("old/looks like one"), 2).warns("no folder");
    run(&world.place("nowhere"), 1);
    run(&world.source(), 12).warns("dsb disk add");
}

#[test]
fn d4_copies_that_find_no_room_are_told_and_moving_takes_none() {
    let (world, disk) = or_skip!(with_old_drive(Filesystem::Ext4));
    fill(&disk.path().join("full"));
    let before = Frozen::of(&[&disk.path().join("old")]);
    // Not even the catalog fits: files that only it knows would be in no backup.
    adopt(&world, &disk, &["--how", "move", "--yes"]).code(13).warns("no room left");
    before.is_untouched(&[&disk.path().join("old")], "an adoption without room for the catalog");

    let out = fs::File::options().write(true).open(disk.path().join("full")).unwrap();
    out.set_len(out.metadata().unwrap().len() - (600 << 10)).unwrap();
    let run = adopt(&world, &disk, &["--how", "copy"]).code(13);
    run.warns("--how move").silent_about("Nothing there");
    adopt(&world, &disk, &["--how", "move", "--yes"]).code(0);
    assert_eq!(
        (world.holders("/data/1"), world.holders("/data/2")),
        (vec!["red".to_owned()], vec!["red".to_owned()])
    );
    world.dsb.run(["verify", "red"]).ok();
}

/// Contents of all files below these folders.
fn contents(folders: &[&Path]) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for folder in folders {
        let paths: Vec<PathBuf> = distbackup_testkit::tree::paths(folder).unwrap_or_default();
        all.extend(paths.iter().filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()));
    }
    all
}

#[test]
fn d1_an_adoption_that_is_killed_loses_no_file_and_the_next_one_finishes() {
    const FILES: u64 = 150;
    let mut rng = Rng::from_environment(11);
    for way in ["move", "link", "copy"] {
        let mut kills = 0;
        let mut longest = Duration::from_millis(300);
        while kills < 4 {
            let disk = or_skip!(LoopDisk::new(Filesystem::Ext4, 32 << 20));
            let world = World::new();
            for number in 0..FILES {
                world.write(&format!("{number}"), noise(9000 + number as usize, number));
                write(
                    &disk.path().join(format!("old/{}/{number}", number % 7)),
                    &noise(9000 + number as usize, number),
                );
            }
            let expected = contents(&[&world.source()]);
            world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
            world.dsb.run(["update"]).ok();
            let (old, objects) = (disk.path().join("old"), disk.path().join("distbackup-objects"));
            let began = Instant::now();
            let arguments = ["adopt", old.to_str().unwrap(), "--how", way, "--yes"];
            let delay = longest.mul_f64(rng.below(1000) as f64 / 1000.0);
            let run = world.dsb.start(arguments).kill_after(delay);
            if run.was_killed() {
                kills += 1;
            } else {
                longest = began.elapsed();
            }
            let there = contents(&[&old, &objects]);
            assert!(expected.is_subset(&there), "{way} after {delay:?}: a file is gone\n{run}");
            world.dsb.run(arguments).ok();
            let there = contents(&[&objects]);
            assert_eq!(there, expected, "{way} after {delay:?}: objects and contents\n{run}");
            world.dsb.run(["verify", "red"]).ok();
            let idle = object(&world.dsb.run(["--json", "backup", "red"]).ok(), "visit");
            assert!(idle["copied"].as_array().unwrap().iter().all(|one| one["objects"] == 0), "{idle}");
            if way == "move" {
                assert!(contents(&[&old]).is_empty());
            } else {
                assert_eq!(fs::metadata(old.join("3/3")).unwrap().nlink(), if way == "link" { 2 } else { 1 });
            }
            world.restores(&world.source(), Compare::as_far_as_possible());
        }
    }
}
