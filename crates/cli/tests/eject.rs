//! `disk eject`: a disk that may be unplugged is unmounted, and nothing else is called so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod tools;

use std::fs;
use std::process::{Child, Command, Stdio};

use common::{World, object};
use distbackup_testkit::dsb::{Dsb, Run};
use distbackup_testkit::mounts::{Filesystem, LoopDisk};
use distbackup_testkit::or_skip;
use tools::Tools;

/// A computer with a mounted disk `red` that holds a backup.
fn with_disk() -> Option<(World, LoopDisk)> {
    let disk = LoopDisk::new(Filesystem::Ext4, 32 << 20)?;
    let world = World::new();
    world.write("a", "content");
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    world.update_and_back_up("red");
    Some((world, disk))
}

/// Another dsb on the same computer, which finds these programs only.
fn ejecting(world: &World, tools: &Tools, arguments: &[&str]) -> Run {
    let dsb = Dsb::new(env!("CARGO_BIN_EXE_dsb"))
        .with_env("DISTBACKUP_PATH", world.dsb.catalog())
        .with_env("PATH", tools.path());
    dsb.run([arguments, &["disk", "eject"]].concat())
}

fn is_mounted(disk: &LoopDisk) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == disk.path().to_str())
}

/// Expects that a disk was unmounted, and mounts it again.
#[track_caller]
fn was_unmounted(disk: &mut LoopDisk) {
    assert!(!is_mounted(disk));
    disk.mount();
}

/// A process that uses a disk until it is dropped.
struct Squatter(Child);

impl Drop for Squatter {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn d2_what_is_powered_off_was_unmounted_before_and_may_be_unplugged() {
    let (world, mut disk) = or_skip!(with_disk());
    let tools = Tools::none();
    let point = disk.path();
    tools.add("udisksctl", &format!("case $1 in unmount) umount '{}';; esac", point.display()));
    ejecting(&world, &tools, &[]).ok().says("red is unmounted and powered off. Safe to unplug.");
    assert!(!is_mounted(&disk));
    let calls = tools.calls();
    assert!(calls[0].starts_with("udisksctl unmount --no-user-interaction -b /dev/loop"), "{calls:?}");
    assert!(calls[1].starts_with("udisksctl power-off --no-user-interaction -b /dev/loop"), "{calls:?}");
    assert_eq!(calls.len(), 2, "{calls:?}");
    // Unmounted, it is not connected any more.
    ejecting(&world, &tools, &[]).code(12);
    disk.mount();
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn without_udisks_the_disk_is_unmounted_and_nobody_says_that_it_is_off() {
    let (world, mut disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add_real("umount");
    let run = ejecting(&world, &tools, &["--json"]).ok();
    let ejected = object(&run, "ejected");
    assert_eq!((&ejected["unmounted"], &ejected["powered_off"]), (&true.into(), &false.into()), "{run}");
    was_unmounted(&mut disk);
    assert_eq!(tools.calls(), [format!("umount {}", disk.path().display())]);
}

#[test]
fn a_program_that_only_says_it_unmounted_is_not_believed() {
    let (world, disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add("udisksctl", "exit 0");
    let run = ejecting(&world, &tools, &[]).code(1).silent_about("Safe to unplug");
    run.warns("disk red is not unmounted")
        .warns("hint: everything is flushed; to go on: ")
        .warns("udisksctl unmount");
    assert!(is_mounted(&disk));
    assert!(tools.calls().iter().all(|call| !call.contains("power-off")), "{:?}", tools.calls());
}

#[test]
fn who_uses_the_disk_is_named_and_nothing_is_forced() {
    let (world, mut disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add_real("umount");
    let file = disk.path().join("RESTORE.txt");
    let open = fs::File::open(file).unwrap();
    let reader = Squatter(Command::new("sleep").arg("600").stdin(open).spawn().unwrap());
    let mut worker = Command::new("sleep");
    let worker = Squatter(worker.arg("600").stdin(Stdio::null()).current_dir(disk.path()).spawn().unwrap());
    let run = ejecting(&world, &tools, &[]).code(11).silent_about("Safe to unplug");
    let (reads, works) = (
        format!("sleep (process {}) has a file open: ", reader.0.id()),
        format!("sleep (process {}) works there: ", worker.0.id()),
    );
    run.warns("disk red is in use").warns(&reads).warns(&works).warns("RESTORE.txt");
    assert!(is_mounted(&disk));
    assert_eq!(tools.calls(), [""; 0], "nothing was asked to unmount it");
    drop((reader, worker));
    ejecting(&world, &tools, &[]).ok();
    was_unmounted(&mut disk);
}

#[test]
fn who_only_looks_at_the_disk_for_a_moment_does_not_keep_it() {
    let (world, mut disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add_real("umount");
    // As long as a search for disks takes at most; a file held open would be named as a holder otherwise.
    let open = fs::File::open(disk.path().join("RESTORE.txt")).unwrap();
    let looker = Squatter(Command::new("sleep").arg("0.2").stdin(open).spawn().unwrap());
    ejecting(&world, &tools, &[]).ok();
    was_unmounted(&mut disk);
    drop(looker);
}

#[test]
fn c5_a_disk_that_a_dsb_uses_is_not_ejected() {
    let (world, disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add_real("umount");
    let folder = fs::File::open(disk.path()).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockShared).unwrap();
    ejecting(&world, &tools, &[]).code(11).warns("disk red is in use by another dsb");
    assert!(is_mounted(&disk));
}

#[test]
fn a_drive_with_another_filesystem_in_use_is_not_powered_off() {
    let (world, mut disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add_real("umount");
    tools.add("udisksctl", "exit 0");
    let other = world.place("other");
    fs::create_dir(&other).unwrap();
    assert!(
        Command::new("mount").arg("--bind").args([disk.path(), other.clone()]).status().unwrap().success()
    );
    let run = ejecting(&world, &tools, &["--json"]);
    // Both show the whole filesystem, so the disk may be found at either; the other one stays.
    let (left, gone) = match is_mounted(&disk) {
        true => (disk.path().to_owned(), other),
        false => (other, disk.path().to_owned()),
    };
    assert!(Command::new("umount").arg(&left).status().unwrap().success());
    let ejected = object(&run.clone().code(3), "ejected");
    assert_eq!(ejected["also_mounted"][0], left.to_str().unwrap(), "{run}");
    assert!(run.stdout().contains("not safe to unplug"), "{run}");
    was_unmounted(&mut disk);
    assert_eq!(tools.calls(), [format!("umount {}", gone.display())]);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let (world, disk) = or_skip!(with_disk());
    let tools = Tools::none();
    tools.add_real("umount");
    let line = format!("  umount {}", disk.path().display());
    ejecting(&world, &tools, &["--dry-run"]).ok().says("would be flushed").says(&line);
    assert!(is_mounted(&disk));
    assert_eq!(tools.calls(), [""; 0]);
}

#[test]
fn a_disk_that_is_a_folder_is_flushed_and_there_is_nothing_to_unmount() {
    let world = World::new();
    world.write("a", "content");
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let tools = Tools::none();
    tools.add("umount", "exit 1");
    tools.add("udisksctl", "exit 1");
    let run = ejecting(&world, &tools, &[]).ok().silent_about("Safe to unplug");
    run.says("Everything on red is flushed. There is nothing to unmount");
    assert_eq!(tools.calls(), [""; 0]);
}
