//! `update --reread`: what did not change is read again, and what rotted is told, with the way back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{World, noise, object, objects};
use distbackup_testkit::dsb::Run;
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::{or_skip, skipped};
use serde_json::Value;
use tempfile::TempDir;

/// Contents that no other file of a test has, and long enough to have a block of their own.
fn content(name: &str) -> Vec<u8> {
    format!("the one and only content of {name}, which nobody has twice\n").repeat(40).into_bytes()
}

/// The medium turns a bit of these contents over: size, times and inodes of their files stay as they were.
fn rot(card: &mut LoopDisk, contents: &[Vec<u8>]) {
    card.unmount();
    let image = fs::read(card.image()).unwrap();
    let file = fs::File::options().write(true).open(card.image()).unwrap();
    for content in contents {
        let found: Vec<usize> =
            (0..image.len()).step_by(512).filter(|at| image[*at..].starts_with(content)).collect();
        let [at] = found[..] else { panic!("{found:?}") };
        file.write_all_at(&[content[0] ^ 4], at as u64).unwrap();
    }
    drop(file);
    card.mount();
}

/// A memory card with some files, mapped under this name, of which red has everything.
fn card_on_red(vpath: &str, names: &[&[u8]]) -> Option<(LoopDisk, World)> {
    let card = LoopDisk::new(Filesystem::Ext4, 16 << 20)?;
    let world = World::empty();
    for name in names {
        let file = card.path().join(std::ffi::OsStr::from_bytes(name));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content(&name.escape_ascii().to_string())).unwrap();
    }
    world.map(vpath, &card.path());
    world.add_disk("red", None);
    world.update_and_back_up("red");
    Some((card, world))
}

/// What `update --reread` says as JSON.
#[track_caller]
fn reread(world: &World, arguments: &[&str], code: i32) -> Value {
    let mut all = vec!["--json", "update", "--reread"];
    all.extend(arguments);
    object(&world.dsb.run(all).code(code), "reread")
}

/// Does what the program says, as it says it.
#[track_caller]
fn paste(world: &World, command: &str) {
    let template = world.dsb.command::<&str>([]);
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(command).env_clear().stdin(std::process::Stdio::null());
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let programs = Path::new(env!("CARGO_BIN_EXE_dsb")).parent().unwrap();
    let path = std::env::join_paths(
        [programs.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let done = shell.env("PATH", path.unwrap()).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// The commands that `status` offers.
#[track_caller]
fn offers(world: &World) -> Vec<String> {
    let status = world.status();
    let commands = status["rot"]["commands"].as_array().unwrap().iter();
    commands.map(|command| command.as_str().unwrap().to_owned()).collect()
}

/// Says that nothing is known to be rotten any more, and that all is good when it is read again.
#[track_caller]
fn all_is_good(world: &World, files: u64) {
    world.dsb.run(["update"]).ok();
    assert_eq!(world.status()["rot"]["files"], 0);
    world.dsb.run(["status"]).ok().silent_about("ROT:");
    let again = reread(world, &[], 0);
    assert_eq!((again["rotten"].as_u64(), again["good"]["objects"].as_u64()), (Some(0), Some(files)));
}

#[test]
fn s4_a_reread_finds_the_rotten_file_and_says_how_its_good_content_gets_back() {
    // The card's folder is called as it is in the backup, so that a restore leads back.
    let (mut card, world) = or_skip!(card_on_red("/disk", &[b"picture", b"folder/it's [one] *", b"good"]));
    rot(&mut card, &[content("picture"), content("folder/it\\'s [one] *")]);

    // Nothing but a reading tells.
    world.dsb.run(["update"]).ok();
    assert_eq!(world.status()["rot"]["files"], 0);
    let run = world.dsb.run(["update", "--reread"]).code(4);
    run.warns("/disk/picture   its content is not what it was, under the same size and times; good on red")
        .says("Read 1 unchanged file again")
        .says("ROT: 2 files of the sources");
    world
        .dsb
        .run(["status"])
        .ok()
        .says("ROT: 2 files")
        .says("/disk/picture   good on red")
        .says("dsb restore ");
    let rot = world.status()["rot"].clone();
    assert_eq!((&rot["files"], &rot["first"][0]["disks"][0]), (&2.into(), &"red".into()), "{rot}");

    // Once more: still rotten, still told, nothing of it is stored.
    assert_eq!(reread(&world, &[], 4)["rotten"], 2);
    world.dsb.run(["backup", "--update", "red"]).ok();

    let offers = offers(&world);
    assert_eq!(offers.len(), 1, "one restore for all: {offers:?}");
    paste(&world, &offers[0]);
    assert_eq!(fs::read(card.path().join("picture")).unwrap(), content("picture"));
    assert_eq!(fs::read(card.path().join("folder/it's [one] *")).unwrap(), content("folder/it\\'s [one] *"));
    all_is_good(&world, 3);
}

#[test]
fn s4_the_way_back_is_right_where_the_backup_has_another_name_for_the_place_and_for_names_that_are_no_text() {
    let (mut card, world) = or_skip!(card_on_red("/data", &[b"bad \xff name", b"a\nb"]));
    rot(&mut card, &[content("bad \\xff name"), content("a\\nb")]);
    assert_eq!(reread(&world, &[], 4)["rotten"], 2);
    let offers = offers(&world);
    assert_eq!(offers.len(), 2);
    offers.iter().for_each(|offer| paste(&world, offer));
    for (name, text) in [(b"bad \xff name".as_slice(), "bad \\xff name"), (b"a\nb", "a\\nb")] {
        let file = card.path().join(std::ffi::OsString::from_vec(name.to_vec()));
        assert_eq!(fs::read(file).unwrap(), content(text));
    }
    all_is_good(&world, 2);
}

#[test]
fn s4_hard_links_are_read_once_told_and_repaired_together() {
    let (mut card, world) = or_skip!(card_on_red("/disk", &[b"a", b"z"]));
    fs::hard_link(card.path().join("a"), card.path().join("b")).unwrap();
    world.update_and_back_up("red");
    let good = reread(&world, &[], 0);
    assert_eq!(good["good"]["objects"], 2, "two files with three names: {good}");
    assert_eq!(good["left"]["objects"], 0);

    rot(&mut card, &[content("a")]);
    assert_eq!(reread(&world, &[], 4)["rotten"], 1);
    assert_eq!(world.status()["rot"]["files"], 2, "both names");
    let offers = offers(&world);
    assert_eq!(offers.len(), 1, "{offers:?}");
    paste(&world, &offers[0]);
    let inode = |name: &str| fs::metadata(card.path().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"), "still one file");
    assert_eq!(fs::read(card.path().join("b")).unwrap(), content("a"));
    all_is_good(&world, 2);
}

#[test]
fn s4_rot_that_a_backup_meets_is_known_until_it_is_repaired_as_well() {
    let (mut card, world) = or_skip!(card_on_red("/disk", &[b"picture", b"another"]));
    world.add_disk("blue", None);
    rot(&mut card, &[content("picture")]);
    world.dsb.run(["update"]).ok();
    let run = world.dsb.run(["backup", "blue"]).code(3);
    run.warns("/disk/picture").says("ROT: 1 file of the sources").says("good on red");
    world.dsb.run(["status"]).ok().says("ROT: 1 file");
    paste(&world, &offers(&world)[0]);
    all_is_good(&world, 2);
    world.dsb.run(["backup", "blue"]).ok();
    assert_eq!(world.holders("/disk/picture"), ["blue", "red"]);
}

#[test]
fn s4_what_no_disk_has_is_said_to_be_lost_and_can_be_accepted() {
    let mut card = or_skip!(LoopDisk::new(Filesystem::Ext4, 16 << 20));
    let world = World::empty();
    fs::write(card.path().join("picture"), content("picture")).unwrap();
    world.map("/disk", &card.path());
    world.dsb.run(["update"]).ok();
    rot(&mut card, &[content("picture")]);
    world.dsb.run(["update", "--reread"]).code(4).says("NO DISK has the good content").says("touch the file");
    assert!(offers(&world).is_empty());
    fs::File::options()
        .write(true)
        .open(card.path().join("picture"))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    all_is_good(&world, 1);
}

/// A world with so many files of 1000 bytes.
fn with_files(count: u64) -> World {
    let world = World::new();
    (0..count).for_each(|number| drop(world.write(&format!("{number:03}"), noise(1000, number))));
    world.dsb.run(["update"]).ok();
    world
}

#[test]
fn parts_go_on_where_the_last_one_stopped_and_the_oldest_reading_comes_first() {
    const FILES: u64 = 40;
    let world = with_files(FILES);
    let (mut read, mut runs, mut oldest) = (0, 0, BTreeSet::new());
    // No time at all: each run reads what it began, which is one file at least.
    while read < FILES {
        let part = reread(&world, &["--for", "0s"], 0);
        read += part["good"]["objects"].as_u64().unwrap();
        runs += 1;
        assert_eq!(part["out_of_time"], true, "{part}");
        oldest.insert(part["oldest_ns"].as_i64().unwrap());
        // As long as a file was never read again, its age is that of the first update.
        assert_eq!(oldest.len() == 1, read < FILES, "nothing is read twice before all is read once");
    }
    assert!(read == FILES && runs > 3, "{read} files in {runs} runs are no parts");
    world.dsb.run(["update", "--reread", "--for", "0s"]).ok().says("To go on: dsb update --reread --for 0s");
    let whole = reread(&world, &[], 0);
    assert_eq!((&whole["good"]["objects"], &whole["left"]["objects"]), (&FILES.into(), &0.into()));
}

#[test]
fn only_what_was_not_read_for_so_long_is_read() {
    let world = with_files(5);
    let run = world.dsb.run(["update", "--reread", "--older-than", "1d"]).ok();
    run.says("Nothing to read again: 5 files were read more recently");
    assert_eq!(reread(&world, &["--older-than", "1d"], 0)["chosen"]["objects"], 0);
}

#[test]
fn what_an_update_has_just_read_is_not_read_again_by_the_same_one() {
    let world = with_files(5);
    world.write("new", "new");
    let again = reread(&world, &[], 0);
    assert_eq!(again["good"]["objects"], 5);
    let again = reread(&world, &[], 0);
    assert_eq!(again["good"]["objects"], 6, "the next one reads it as well");
}

#[test]
fn a_sample_is_a_part_and_another_one_each_time() {
    let world = with_files(40);
    let read = || {
        let run = world.dsb.run(["-vv", "update", "--reread", "--sample", "50%"]).ok();
        let names: BTreeSet<String> = world_log(&world).lines().filter_map(name_read).collect();
        run.says("A random sample");
        fs::remove_dir_all(log_folder(&world)).unwrap();
        names
    };
    let (one, two) = (read(), read());
    for sample in [&one, &two] {
        assert!((1..40).contains(&sample.len()), "{sample:?}");
    }
    assert_ne!(one, two);
}

fn log_folder(world: &World) -> PathBuf {
    world.dsb.catalog().join("log")
}

fn world_log(world: &World) -> String {
    let logs = fs::read_dir(log_folder(world)).unwrap();
    logs.map(|log| fs::read_to_string(log.unwrap().path()).unwrap()).collect()
}

/// The file that a line of the log tells to have been in hand.
fn name_read(line: &str) -> Option<String> {
    line.contains("DEBUG").then(|| line.rsplit(' ').next().unwrap().to_owned())
}

#[test]
fn a_dry_run_says_how_much_and_reads_and_records_nothing() {
    let world = with_files(5);
    let before = fs::read(world.dsb.catalog().join("distbackup.sqlite")).unwrap();
    let run = world.dsb.run(["update", "--reread", "--for", "2h", "--dry-run"]).ok();
    run.says("Would read 5 unchanged files again, 5.00 kB, for 2h at most; oldest reading");
    let dry = reread(&world, &["--dry-run"], 0);
    assert_eq!((&dry["dry_run"], &dry["chosen"]["objects"]), (&true.into(), &5.into()));
    assert_eq!(dry["good"]["objects"], 0);
    assert_eq!(fs::read(world.dsb.catalog().join("distbackup.sqlite")).unwrap(), before);
}

#[test]
fn s7_a_file_that_cannot_be_read_again_is_named_and_all_others_are_read() {
    // Preloaded: reading a file of this name fails as on a medium that gives it back no more.
    const UNREADABLE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
ssize_t pread64(int fd, void *buffer, size_t bytes, off64_t at)
{
    static ssize_t (*next)(int, void *, size_t, off64_t);
    char link[64], path[4096];
    ssize_t length;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pread64");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    if (strstr(path, "/source/003")) {
        errno = EIO;
        return -1;
    }
    return next(fd, buffer, bytes, at);
}
"#;
    let folder = TempDir::new().unwrap();
    let (source, library) = (folder.path().join("eio.c"), folder.path().join("eio.so"));
    fs::write(&source, UNREADABLE).unwrap();
    match Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status()
    {
        Ok(status) => assert!(status.success(), "cc"),
        Err(_) => return skipped("needs cc"),
    }
    let mut world = with_files(5);
    world.dsb = world.dsb.with_env("LD_PRELOAD", &library);
    let run: Run = world.dsb.run(["update", "--reread"]).code(3);
    run.warns("/data/003   cannot read it").says("Read 4 unchanged files again");
    let run = world.dsb.run(["--json", "update", "--reread"]).code(3);
    let warned = objects(&run).into_iter().filter(|object| object["path"] == "/data/003").count();
    assert_eq!((object(&run, "reread")["unreadable"].as_u64(), warned), (Some(1), 1));
    assert_eq!(world.status()["rot"]["files"], 0, "unreadable is not rotten");
}

#[test]
fn what_is_locked_is_left_alone_unless_told_otherwise() {
    let world = with_files(3);
    world.write("safe/one", "one");
    world.dsb.run(["update"]).ok();
    world.dsb.run(["source", "lock", "/data/safe"]).ok();
    let again = reread(&world, &[], 0);
    assert_eq!((&again["good"]["objects"], &again["locked"]), (&3.into(), &1.into()), "{again}");
    let again = reread(&world, &["--ignore-lock"], 0);
    assert_eq!((&again["good"]["objects"], &again["locked"]), (&4.into(), &0.into()), "{again}");
}

#[test]
fn a_part_of_nothing_is_wrong_usage() {
    let world = with_files(1);
    world.dsb.run(["update", "--for", "2h"]).code(2).warns("--reread");
}
