//! `backup --read-back`, as the user of the command line meets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{World, object, objects_on};
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::{or_skip, skipped};
use tempfile::TempDir;

/// Preloaded into the program: when memory is told to let go of an object, the object turns rotten. That is what a
/// medium looks like that took other bytes than memory remembers.
const ROTS_WHEN_DROPPED: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static int rot(int fd)
{
    char link[64], path[4096];
    ssize_t length;
    int file;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    if (strstr(path, "/distbackup-objects/") && (file = open(path, O_WRONLY)) >= 0) {
        if (pwrite(file, "ROT", 3, 0) != 3)
            _exit(99);
        close(file);
    }
    return 0;
}
int posix_fadvise(int fd, off_t at, off_t length, int what) { return rot(fd); }
int posix_fadvise64(int fd, off64_t at, off64_t length, int what) { return rot(fd); }
"#;

/// Compiles it; `None`, with a loud line, without a C compiler.
fn rotting(folder: &Path) -> Option<std::path::PathBuf> {
    let (source, library) = (folder.join("rot.c"), folder.join("rot.so"));
    fs::write(&source, ROTS_WHEN_DROPPED).unwrap();
    match Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status() {
        Ok(status) => assert!(status.success(), "cc"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped("needs cc");
            return None;
        }
        Err(error) => panic!("cc: {error}"),
    }
    Some(library)
}

#[test]
fn n1_d7_a_disk_that_gives_back_other_bytes_than_were_written_holds_no_copy() {
    let folder = TempDir::new().unwrap();
    let library = or_skip!(rotting(folder.path()));
    for update in [false, true] {
        let mut world = World::new();
        world.write("letter", "the only letter");
        world.add_disk("red", None);
        if !update {
            world.dsb.run(["update"]).ok();
        }
        world.dsb = world.dsb.with_env("LD_PRELOAD", &library);
        let run = world.dsb.run(if update {
            &["backup", "--update", "--read-back", "red"][..]
        } else {
            &["backup", "--read-back", "red"]
        });
        run.code(4)
            .warns("/data/letter   the disk gave back other bytes than were written")
            .warns("dsb verify red")
            .silent_about("Copied");
        assert!(world.holders("/data/letter").is_empty(), "not claimed");
        assert_eq!(objects_on(&world.place("red")).len(), 1, "left where it is");

        // On a disk that has come to its senses the same command brings the copy.
        world.dsb = world.dsb.with_env("LD_PRELOAD", "");
        world.dsb.run(["backup", "--read-back", "red"]).ok().says("Read back 1 object");
        assert_eq!(world.holders("/data/letter"), ["red"]);
        world.dsb.run(["verify", "red"]).ok();
    }
}

#[test]
fn what_was_written_to_a_disk_is_read_back_from_its_medium() {
    let card = or_skip!(LoopDisk::new(Filesystem::Ext4, 32 << 20));
    let world = World::new();
    for number in 0..5 {
        world.write(&format!("photo {number}"), common::noise(100_000, number));
    }
    world.dsb.run(["disk", "add", "red", card.path().to_str().unwrap()]).ok();
    let visit = object(&world.dsb.run(["--json", "backup", "-u", "--read-back", "red"]).ok(), "visit");
    assert_eq!(visit["read_back"]["good"]["objects"], 5, "{visit}");
    assert_eq!(visit["read_back"]["good"]["bytes"], 500_000);
    assert_eq!(visit["read_back"]["from_memory"]["objects"], 0);
    assert_eq!(visit["read_back"]["bad"], 0);
    let known = world.whereabouts("/data/photo 1");
    assert_eq!(known["copies"][0]["how"], "read", "{known}");
    // Nothing new: nothing is read back. Not asked for: nothing is said of it.
    let visit = object(&world.dsb.run(["--json", "backup", "--read-back", "red"]).ok(), "visit");
    assert_eq!(visit["read_back"]["good"]["objects"], 0);
    let visit = object(&world.dsb.run(["--json", "backup", "red"]).ok(), "visit");
    assert!(visit["read_back"].is_null());
}

#[test]
fn where_files_live_in_memory_it_is_said_once_that_no_medium_was_read() {
    let place = Path::new("/dev/shm");
    let is_memory = fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts.lines().any(|line| line.split(' ').nth(1) == place.to_str() && line.contains(" tmpfs "))
    });
    if !is_memory {
        return skipped("needs a filesystem in memory at /dev/shm");
    }
    let disk = TempDir::new_in(place).unwrap();
    let world = World::new();
    world.write("one", "one");
    world.write("two", "two");
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    let run = world.dsb.run(["backup", "-u", "--read-back", "red"]).ok();
    run.warns("2 objects were read back from memory").silent_about("the disk holds what was written");
    let known = world.whereabouts("/data/one");
    assert_eq!(known["copies"][0]["how"], "written", "{known}");
}
