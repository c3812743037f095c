//! Disks of a small world and what happens to them: rot, short objects, clones, hands that move things.

#![allow(dead_code, reason = "each test program uses its part of this module")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use distbackup_testkit::dsb::Run;
use distbackup_testkit::is_root;
use distbackup_testkit::rng::Rng;
use serde_json::Value;

use crate::common::{World, noise, object};

/// A world with so many files (`/data/file-00`, …) of some kilobytes, on each of the disks named.
#[track_caller]
pub fn world_on(disks: &[&str], files: usize) -> World {
    let world = World::new();
    write_files(&world, files);
    for disk in disks {
        world.add_disk(disk, None);
        world.update_and_back_up(disk);
    }
    world
}

/// Writes so many files, all of different contents and of sizes from 3 to 8 kB.
pub fn write_files(world: &World, files: usize) {
    for number in 0..files {
        world.write(&name(number), noise(3000 + 500 * (number % 11), number as u64 + 1));
    }
}

/// Name of a file of [`write_files`] in the source.
pub fn name(number: usize) -> String {
    format!("file-{number:02}")
}

/// Virtual path of a file of [`write_files`].
pub fn vpath(number: usize) -> String {
    format!("/data/{}", name(number))
}

/// A world whose user is locked out by a mode of 0: root is made an ordinary user, others are one.
pub fn world_with_locks() -> Option<World> {
    if is_root() { World::of_ordinary_user() } else { Some(World::new()) }
}

/// Where a disk keeps the content of the file at a virtual path.
#[track_caller]
pub fn object_of(world: &World, vpath: &str, disk: &Path) -> PathBuf {
    let sha256 = world.whereabouts(vpath)["sha256"].as_str().unwrap().to_owned();
    disk.join("distbackup-objects").join(&sha256[..3]).join(sha256)
}

/// Flips one bit anywhere in a file and leaves its size and times as they were, as rot does.
pub fn rot(file: &Path, rng: &mut Rng) {
    let bytes = fs::metadata(file).unwrap().len();
    rot_at(file, rng.below(bytes), 1 << rng.below(8));
}

/// Flips bits of one byte of a file and leaves its size and times as they were.
pub fn rot_at(file: &Path, offset: u64, bits: u8) {
    let modified = fs::metadata(file).unwrap().modified().unwrap();
    let opened = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, offset).unwrap();
    opened.write_all_at(&[byte[0] ^ bits], offset).unwrap();
    opened.set_modified(modified).unwrap();
}

/// Gives a file another length.
pub fn resize(file: &Path, bytes: u64) {
    File::options().write(true).open(file).unwrap().set_len(bytes).unwrap();
}

/// Copies a folder as people do it: `cp -a`.
pub fn clone_of(from: &Path, to: &Path) -> PathBuf {
    let done = Command::new("cp").arg("-aT").args([from, to]).status().unwrap();
    assert!(done.success(), "cp -a {} {}", from.display(), to.display());
    to.to_owned()
}

/// Puts a disk into the drawer: its folder moves where nobody looks; returns where that is.
pub fn unplug(world: &World, disk: &str) -> PathBuf {
    let (here, drawer) = (world.place(disk), world.place(&format!("drawer of {disk}")));
    fs::rename(here, &drawer).unwrap();
    drawer
}

/// Takes a disk out of the drawer again.
pub fn plug_in(world: &World, disk: &str) {
    fs::rename(world.place(&format!("drawer of {disk}")), world.place(disk)).unwrap();
}

/// Hides the source, so that nothing can be copied from it any more.
pub fn lose_source(world: &World) -> PathBuf {
    let lost = world.place("lost source");
    fs::rename(world.source(), &lost).unwrap();
    lost
}

/// Runs a command with `--json`, expects its exit code, and returns its only object of a type.
#[track_caller]
pub fn answer(world: &World, arguments: &[&str], code: i32, kind: &str) -> Value {
    let run = world.dsb.run([&["--json"], arguments].concat()).code(code);
    object(&run, kind)
}

/// Expects that a run says each of these paths, and none of those others, in its messages.
#[track_caller]
pub fn names_exactly(run: &Run, guilty: &[String], all: &[String]) {
    for path in all {
        let said = run.stderr().contains(path.as_str());
        assert_eq!(said, guilty.contains(path), "{path}\n{run}");
    }
}

/// Changes a catalog behind the program's back.
pub fn meddle(catalog: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(catalog).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}
