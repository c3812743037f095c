//! Catalogs and disks that distbackup 1.x really made, taken over: by its first version on PyPI whose catalogs are read, and
//! by its last one. They are installed with pip into a folder of the build.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{World, noise, object, objects_on};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::skipped;

const OLD: &str = "1.0.3";
const LAST: &str = "1.0.20";

/// A version of distbackup 1.x from PyPI; `None`, with a loud line, where it cannot be had.
fn version1(version: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("distbackup-{version}"));
    if folder.is_dir() {
        return Some(folder);
    }
    let partial = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--target",
    ]);
    pip.arg(partial.path()).arg(format!("distbackup=={version}"));
    match pip.output() {
        Ok(done) if done.status.success() => {
            // Another test may have been quicker; both are whole.
            let _ = fs::rename(partial.path(), &folder);
            folder.is_dir().then_some(folder)
        }
        failed => {
            skipped(&format!("needs distbackup {version} from PyPI: {failed:?}"));
            None
        }
    }
}

/// Runs distbackup 1.x on the place where the new program will look for its catalog.
#[track_caller]
fn old(world: &World, program: &Path, arguments: &[&str]) {
    let mut command = Command::new("python3");
    command.args(["-m", "distbackup", "-L", "-d"]).arg(world.dsb.catalog()).args(arguments);
    command.env("PYTHONPATH", program).env("HOME", world.dsb.home()).env("PYTHONDONTWRITEBYTECODE", "1");
    let done = command.current_dir(world.dsb.home()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !said.contains("Traceback"), "{arguments:?}: {said}");
}

/// A computer where distbackup 1.x has made two backups, and something happened since.
fn world_of(version: &str) -> Option<World> {
    let program = version1(version)?;
    let world = World::empty();
    fs::create_dir_all(world.dsb.catalog()).unwrap();
    for number in 0..6 {
        world.write(&format!("photos/{number}.nef"), noise(4000 + 700 * number, number as u64 + 1));
    }
    world.write("photos/twin", noise(4000, 1));
    world.write("with space/Grüße", "greetings");
    world.write("empty", "");
    world.write("gone soon", noise(9000, 77));
    symlink("photos/1.nef", world.source().join("link")).unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    old(&world, &program, &["source", "map", "/data", &text(world.source())]);
    old(
        &world,
        &program,
        &["source", "set", "/data/photos", "-i", "!!*.nef", "-i", "*.tmp", "-p", "3", "-m", "2"],
    );
    for disk in ["red", "blue"] {
        fs::create_dir(world.place(disk)).unwrap();
        old(&world, &program, &["disk", "add", disk, &text(world.place(disk))]);
        // The first version did not take the size when a disk was added.
        old(&world, &program, &["disk", "set", disk, "-s", "1g"]);
    }
    old(&world, &program, &["update"]);
    old(&world, &program, &["backup", "red"]);
    old(&world, &program, &["backup", "blue"]);
    fs::remove_file(world.source().join("gone soon")).unwrap();
    world.write("new", noise(3000, 88));
    old(&world, &program, &["update"]);
    Some(world)
}

/// What tells whether a file was touched.
fn identities(files: &[PathBuf]) -> Vec<(u64, i64, i64)> {
    let stat = |file: &PathBuf| {
        fs::metadata(file).map(|stat| (stat.ino(), stat.mtime(), stat.mtime_nsec())).unwrap()
    };
    files.iter().map(stat).collect()
}

#[track_caller]
fn moves_over(version: &str) {
    let Some(world) = world_of(version) else { return };
    world.dsb.run(["status"]).code(10).warns("dsb import-v1");
    let catalog = world.dsb.catalog().join("distbackup.sqlite");
    let before = fs::read(&catalog).unwrap();
    let dry = world.dsb.run(["--dry-run", "import-v1"]).ok();
    dry.says("10 files").says("disk red: 8 objects").says("Nothing was changed");
    assert_eq!(fs::read(&catalog).unwrap(), before, "a dry run changes nothing");

    let (red, blue) = (world.place("red"), world.place("blue"));
    let objects = [objects_on(&red), objects_on(&blue)].concat();
    let untouched = identities(&objects);
    let run = world.dsb.run(["--json", "import-v1"]).ok();
    let imported = object(&run, "imported");
    assert_eq!((imported["files"]["objects"].as_u64(), imported["links"].as_u64()), (Some(10), Some(1)));
    assert_eq!(imported["deleted"]["objects"], 1, "what was deleted since is kept as history: {imported}");
    assert_eq!(imported["problems"], 0, "{run}");
    assert_eq!(fs::read(imported["saved"].as_str().unwrap()).unwrap(), before, "the old catalog is kept");

    // The old catalog's word is a claim and no proof.
    let known = world.whereabouts("/data/photos/3.nef");
    assert_eq!(known["copies"].as_array().unwrap().len(), 2, "{known}");
    assert!(known["copies"].as_array().unwrap().iter().all(|copy| copy["how"] == "imported"), "{known}");
    world.dsb.run(["source", "set", "/data/photos"]).ok().says("priority").says("*.tmp");
    // Even before the first update everything that was backed up comes back, named as presumed.
    let to = tempfile::tempdir().unwrap();
    world.dsb.run(["restore", "--to", to.path().to_str().unwrap()]).code(4).warns("/data/new");
    for number in 0..6 {
        let name = format!("photos/{number}.nef");
        assert_eq!(
            fs::read(to.path().join("data").join(&name)).unwrap(),
            fs::read(world.source().join(&name)).unwrap()
        );
    }

    world.dsb.run(["update"]).ok();
    for disk in ["red", "blue"] {
        world.dsb.run(["backup", disk]).ok().says("Copied 1 object");
        world.dsb.run(["verify", disk]).ok();
    }
    assert_eq!(identities(&objects), untouched, "objects stay where and what they are");
    world.restores(&world.source(), Compare::as_far_as_possible());
    let old = world.restored(&["--at", "1"]);
    let deleted = old.path().join("deleted-in-distbackup-1/data/gone soon");
    assert_eq!(fs::read(deleted).unwrap(), noise(9000, 77));
    // And from a disk alone, when the computer is lost.
    fs::remove_dir_all(world.dsb.catalog()).unwrap();
    world.dsb.run(["recover", blue.to_str().unwrap()]).ok();
    world.restores(&world.source(), Compare::as_far_as_possible());
}

#[test]
fn a_set_of_the_first_version_on_pypi_moves_over_and_comes_back_byte_for_byte() {
    moves_over(OLD);
}

#[test]
fn a_set_of_the_last_version_1_moves_over_and_comes_back_byte_for_byte() {
    moves_over(LAST);
}

#[test]
fn n3_nothing_is_removed_on_the_word_of_an_old_catalog() {
    let Some(world) = world_of(LAST) else { return };
    world.dsb.run(["import-v1"]).ok();
    world.dsb.run(["update"]).ok();
    // Neither disk has room for another one, and everything on red is claimed on blue as well.
    for disk in ["red", "blue"] {
        world.dsb.run(["disk", "set", disk, "--size", "60k"]).ok();
    }
    world.write("fresh", noise(30_000, 99));
    world.dsb.run(["update"]).ok();
    let before = objects_on(&world.place("red"));
    world.dsb.run(["backup", "--accept", "red"]);
    let after = objects_on(&world.place("red"));
    assert!(before.iter().all(|object| after.contains(object)), "removed on hearsay");
    // Once blue was read they are redundant.
    world.dsb.run(["verify", "blue"]).ok();
    world.dsb.run(["backup", "--accept", "red"]);
    let after = objects_on(&world.place("red"));
    assert!(before.iter().any(|object| !after.contains(object)), "now they may go");
}

#[test]
fn a_new_catalog_can_begin_elsewhere_and_never_replaces_one_that_is_there() {
    let Some(world) = world_of(LAST) else { return };
    let before = fs::read(world.dsb.catalog().join("distbackup.sqlite")).unwrap();
    let new = world.place("new catalog");
    let arguments = ["-d", new.to_str().unwrap(), "import-v1", world.dsb.catalog().to_str().unwrap()];
    world.dsb.run(arguments).ok();
    assert_eq!(
        fs::read(world.dsb.catalog().join("distbackup.sqlite")).unwrap(),
        before,
        "the old one is not touched"
    );
    assert_same_trees(&new, &new, Compare::as_far_as_possible());
    world.dsb.run(["-d", new.to_str().unwrap(), "status"]).ok().says("PROTECTED");
    world.dsb.run(arguments).code(2).warns("there is a catalog already");
    world.dsb.run(["-d", new.to_str().unwrap(), "import-v1"]).code(2).warns("no catalog of distbackup 1.x");
    // A disk carries a catalog of 1.x as well: that will do if the computer is lost.
    let third = world.place("third");
    let disk = world.place("blue").join("distbackup.sqlite");
    world
        .dsb
        .run(["-d", third.to_str().unwrap(), "import-v1", disk.to_str().unwrap()])
        .ok()
        .says("disk blue");
}

#[test]
fn c3_what_is_too_old_damaged_or_something_else_is_refused_and_left_alone() {
    let Some(world) = world_of(LAST) else { return };
    let catalog = world.dsb.catalog().join("distbackup.sqlite");
    let whole = fs::read(&catalog).unwrap();
    shelf::meddle(&catalog, "PRAGMA user_version = 20");
    world.dsb.run(["import-v1"]).code(10).warns("open it once with distbackup 1.0.20");
    for (content, says) in
        [(&whole[..whole.len() / 2], "damaged"), (&b"hello"[..], "damaged"), (&[][..], "empty")]
    {
        fs::write(&catalog, content).unwrap();
        world.dsb.run(["import-v1"]).code(10).warns(says);
        assert_eq!(fs::read(&catalog).unwrap(), content, "left alone");
    }
    fs::remove_file(&catalog).unwrap();
    world.dsb.run(["import-v1"]).code(10).warns("there is no catalog");
}

#[test]
fn d1_an_import_that_is_killed_leaves_the_old_catalog_or_a_whole_new_one() {
    let Some(world) = world_of(LAST) else { return };
    let catalog = world.dsb.catalog().join("distbackup.sqlite");
    let before = fs::read(&catalog).unwrap();
    for milliseconds in [0, 2, 4, 8, 12, 16, 24, 32] {
        let running = world.dsb.start(["import-v1"]);
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        running.kill();
        let here =
            fs::read_dir(world.dsb.catalog()).unwrap().filter_map(Result::ok).map(|entry| entry.path());
        let kept = here.filter(|path| path.is_file()).any(|path| fs::read(path).unwrap() == before);
        assert!(kept, "the old catalog is somewhere, after {milliseconds} ms");
        if catalog.exists() && fs::read(&catalog).unwrap() != before {
            world.dsb.run(["update"]).ok();
            fs::remove_dir_all(world.dsb.catalog()).unwrap();
            fs::create_dir(world.dsb.catalog()).unwrap();
        }
        fs::write(&catalog, &before).unwrap();
    }
    world.dsb.run(["import-v1"]).ok();
    world.dsb.run(["update"]).ok();
}
