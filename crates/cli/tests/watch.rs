//! `watch`: disks that are mounted are backed up, once, by processes of their own; nothing is confirmed for the user.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod tools;

use std::fs;
use std::path::PathBuf;

use common::{World, objects, objects_on};
use distbackup_testkit::dsb::{Dsb, Run, Running, Signal};
use distbackup_testkit::mounts::{Filesystem, LoopDisk, Tmpfs};
use distbackup_testkit::or_skip;
use tools::Tools;

/// A computer whose disk `red` holds one file and is not mounted; another file waits.
fn with_disk_in_the_drawer() -> Option<(World, LoopDisk)> {
    let mut disk = LoopDisk::new(Filesystem::Ext4, 32 << 20)?;
    let world = World::new();
    world.write("a", "content");
    world.dsb.run(["disk", "add", "red", disk.path().to_str().unwrap()]).ok();
    world.update_and_back_up("red");
    disk.unmount();
    world.write("b", "more");
    Some((world, disk))
}

/// The same computer, where these programs only are found.
fn same(world: &World, tools: &Tools) -> Dsb {
    Dsb::new(env!("CARGO_BIN_EXE_dsb"))
        .with_env("DISTBACKUP_PATH", world.dsb.catalog())
        .with_env("XDG_CONFIG_HOME", world.place("config"))
        .with_env("PATH", tools.path())
}

/// How often the log files say something.
fn said(world: &World, what: &str) -> usize {
    let Ok(files) = fs::read_dir(world.dsb.catalog().join("log")) else { return 0 };
    let text = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect::<String>();
    text.matches(what).count()
}

/// Waits until the watch has said something so often.
#[track_caller]
fn wait_for(watch: &mut Running, world: &World, what: &str, times: usize) {
    assert!(watch.wait_until(|| said(world, what) >= times), "it ended without saying {what:?}");
}

/// The child of a watch that updates, as soon as it is a program of its own: before that it is the watch itself that a signal holds up.
#[track_caller]
fn child_of(watch: &mut Running) -> rustix::process::Pid {
    let list = format!("/proc/{0}/task/{0}/children", watch.pid());
    let mut child = None;
    assert!(watch.wait_until(|| {
        let text = fs::read_to_string(&list).unwrap_or_default();
        child = text.split(' ').next().and_then(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?));
        let words =
            child.and_then(|child| fs::read(format!("/proc/{}/cmdline", child.as_raw_nonzero())).ok());
        words.is_some_and(|words| words.ends_with(b"update\0"))
    }));
    child.unwrap()
}

/// Commands of the runs that the catalog knows, oldest first, without global options.
fn runs(world: &World) -> Vec<String> {
    let run = world.dsb.run(["--json", "log"]).ok();
    let all = objects(&run).into_iter().filter(|object| object["type"] == "run");
    let mut commands: Vec<String> = all
        .map(|run| {
            let command = run["command"].as_str().unwrap().to_owned();
            let verb = [" update", " backup", " verify"].iter().find_map(|verb| command.find(verb));
            command[verb.unwrap_or(0)..].trim().to_owned()
        })
        .collect();
    commands.reverse();
    commands
}

#[test]
fn a_disk_is_backed_up_and_read_when_it_is_mounted() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    let tools = Tools::none();
    tools.add("notify-send", "");
    let mut watch = same(&world, &tools).start(["watch", "--once"]);
    wait_for(&mut watch, &world, "Waiting for a disk of the set", 1);
    assert_eq!(tools.calls(), [""; 0]);
    disk.mount();
    watch.wait().ok().says("red: backed up. Safe to unplug once it is unmounted: dsb disk eject red");
    assert_eq!(world.holders("/data/b"), ["red"]);
    assert_eq!(runs(&world)[2..], ["update", "backup red", "verify red --for 10min"]);
    let calls = tools.calls();
    assert!(
        calls.len() == 2 && calls[0].contains("red the backup begins") && calls[1].contains("Safe to unplug"),
        "{calls:?}"
    );
}

#[test]
fn a_disk_is_taken_care_of_once_for_each_time_that_it_is_mounted() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    let tools = Tools::none();
    let mut watch = same(&world, &tools).start(["watch", "--verify", "0"]);
    wait_for(&mut watch, &world, "red: backed up.", 1);
    // Something else is mounted: the watch looks, and finds nothing new.
    drop(or_skip!(Tmpfs::new(1 << 20)));
    disk.unmount();
    world.write("c", "even more");
    disk.mount();
    wait_for(&mut watch, &world, "red: backed up.", 2);
    watch.interrupt();
    watch.wait().code(130);
    assert_eq!(runs(&world)[2..], ["update", "backup red", "update", "backup red"]);
    assert_eq!(world.holders("/data/c"), ["red"]);
}

#[test]
fn c5_another_dsb_at_work_is_waited_for() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    let folder = fs::File::open(world.dsb.catalog()).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut watch = same(&world, &Tools::none()).start(["watch", "--once"]);
    wait_for(&mut watch, &world, "Waiting for the catalog; another dsb is at work", 1);
    drop(folder);
    watch.wait().ok().says("red: backed up.");
    assert_eq!(world.holders("/data/b"), ["red"]);
}

#[test]
fn c5_a_disk_in_use_is_waited_for_from_the_step_on_that_needs_it() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    let folder = fs::File::open(disk.path()).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut watch = same(&world, &Tools::none()).start(["watch", "--once", "--verify=0"]);
    wait_for(&mut watch, &world, "Waiting for its turn", 1);
    drop(folder);
    watch.wait().ok().says("red: backed up.");
    assert_eq!(runs(&world)[2..], ["update", "backup red", "backup red"]);
}

#[test]
fn n7_what_needs_a_word_is_told_and_not_confirmed() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    for number in 0..60 {
        world.write(&format!("many/{number}"), format!("content {number}"));
    }
    world.update_and_back_up("red");
    let before = objects_on(&disk.path());
    fs::remove_dir_all(world.source().join("many")).unwrap();
    world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
    let tools = Tools::none();
    tools.add("notify-send", "");
    let run = same(&world, &tools).run(["watch", "--once"]).code(14);
    run.warns("it waits for your word; nothing was confirmed for you");
    assert!(tools.calls()[1].contains("it waits for your word"), "{:?}", tools.calls());
    assert_eq!(objects_on(&disk.path()), before, "nothing was removed");
    assert!(!world.status()["held"].is_null());
}

#[test]
fn d1_a_step_that_crashes_does_not_end_the_watch() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    let mut watch = same(&world, &Tools::none()).start(["watch", "--once"]);
    let child = child_of(&mut watch);
    rustix::process::kill_process(child, Signal::KILL).unwrap();
    let run = watch.wait().code(1).warns("red: backed up, but look at this: update: it did not end in order");
    run.warns("signal: 9");
}

#[test]
fn a_watch_that_is_told_to_end_ends_its_child_in_order() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    let mut watch = same(&world, &Tools::none()).start(["watch"]);
    let child = child_of(&mut watch);
    rustix::process::kill_process(child, Signal::STOP).unwrap();
    watch.signal(Signal::TERM);
    wait_for(&mut watch, &world, "Ending in order", 1);
    assert!(!watch.has_ended(), "it waits for its child");
    rustix::process::kill_process(child, Signal::CONT).unwrap();
    watch.wait().code(130).silent_about("backed up");
    assert!(rustix::process::test_kill_process(child).is_err(), "the child has ended, too");
    world.update_and_back_up("red");
}

#[test]
fn a_dry_run_changes_nothing() {
    let (world, mut disk) = or_skip!(with_disk_in_the_drawer());
    disk.mount();
    let before = objects_on(&disk.path());
    let run = same(&world, &Tools::none()).run(["--dry-run", "watch", "--once"]).ok();
    run.says("red: this was a dry run; nothing was written.");
    assert_eq!(objects_on(&disk.path()), before);
    assert_eq!(runs(&world).len(), 2);
}

fn unit_file(world: &World) -> PathBuf {
    world.place("config").join("systemd/user/distbackup-watch.service")
}

fn with_systemctl(script: &str) -> Tools {
    let tools = Tools::none();
    tools.add("systemctl", script);
    tools
}

#[test]
fn the_service_is_written_started_and_taken_away_again() {
    let world = World::new();
    let tools = with_systemctl("");
    let dsb = same(&world, &tools);
    let run = dsb.run(["--dry-run", "watch", "--install"]).ok().says("WantedBy=default.target");
    assert!(!unit_file(&world).exists() && tools.calls().is_empty(), "{run}");

    let run = dsb.run(["watch", "--install", "--verify", "1h"]).ok().says("systemctl --user stop");
    run.says("The watch is running");
    let text = fs::read_to_string(unit_file(&world)).unwrap();
    let catalog = world.dsb.catalog().display();
    let line = format!(
        "ExecStart=\"{}\" --db \"{catalog}\" --no-input watch --verify \"1h\"",
        env!("CARGO_BIN_EXE_dsb")
    );
    assert!(text.contains(&line), "{text}");
    // Again: ours is replaced.
    dsb.run(["watch", "--install"]).ok();
    assert!(fs::read_to_string(unit_file(&world)).unwrap().contains("--verify \"10min\""));
    let enable = "systemctl --user enable --now distbackup-watch.service";
    assert_eq!(tools.calls(), ["systemctl --user daemon-reload", enable].repeat(2));

    dsb.run(["watch", "--uninstall"]).ok().says("Removed: ");
    assert!(!unit_file(&world).exists());
    assert_eq!(tools.calls()[4], "systemctl --user disable --now distbackup-watch.service");
    dsb.run(["watch", "--uninstall"]).ok().says("Nothing to remove");
    let left: Vec<_> = fs::read_dir(unit_file(&world).parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_service_of_somebody_else_stays_as_it_is() {
    let world = World::new();
    let tools = with_systemctl("");
    fs::create_dir_all(unit_file(&world).parent().unwrap()).unwrap();
    fs::write(unit_file(&world), "[Unit]\nDescription=mine\n").unwrap();
    for way in ["--install", "--uninstall"] {
        same(&world, &tools).run(["watch", way]).code(2).warns("dsb did not write it; nothing was changed");
        assert_eq!(fs::read_to_string(unit_file(&world)).unwrap(), "[Unit]\nDescription=mine\n");
    }
    assert_eq!(tools.calls(), [""; 0]);
}

#[test]
fn what_systemd_did_not_do_is_a_command_to_paste() {
    let world = World::new();
    let tools = with_systemctl("echo 'Failed to connect to bus' >&2; exit 1");
    let run: Run = same(&world, &tools).run(["watch", "--install"]).code(3).warns("Failed to connect to bus");
    run.warns("systemctl --user daemon-reload").silent_about("is running");
    let run = same(&world, &Tools::none()).run(["watch", "--install"]).ok();
    run.warns("systemctl --user enable --now distbackup-watch.service").silent_about("is running");
}
