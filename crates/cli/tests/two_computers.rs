//! One set of disks, two computers in turn: `recover --share`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::{World, noise};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::Run;

/// A computer of this name with one source, and files in it.
fn computer(name: &str, seed: u64) -> World {
    let mut world = World::empty();
    world.dsb = world.dsb.with_env("DISTBACKUP_COMPUTER", name);
    for number in 0..3 {
        world.write(&format!("{name} {number}"), noise(3000, seed + number));
    }
    world
}

/// A computer that begins the set, another one, and the folder of the disk that both visit.
fn desk_and_laptop() -> (World, World, PathBuf) {
    let (desk, laptop) = (computer("desk", 10), computer("laptop", 20));
    desk.map("/desk", &desk.source());
    let disk = desk.add_disk("red", None);
    desk.update_and_back_up("red");
    share(&laptop, &disk).ok().says("/desk belongs to desk: what is known of it stays");
    laptop.map("/laptop", &laptop.source());
    (desk, laptop, disk)
}

fn share(world: &World, disk: &std::path::Path) -> Run {
    world.dsb.run(["recover", "--share", disk.to_str().unwrap()])
}

fn visit(world: &World, disk: &std::path::Path) -> Run {
    world.dsb.run(["backup", "--update", disk.to_str().unwrap()])
}

#[test]
fn each_computer_looks_at_its_own_sources_and_keeps_those_of_the_other() {
    let (desk, laptop, disk) = desk_and_laptop();
    visit(&laptop, &disk).ok().says("Copied 3 objects");
    desk.write("desk 1", noise(4000, 99));
    share(&desk, &disk).ok().says("/laptop belongs to laptop");
    visit(&desk, &disk).ok().says("1 changed").says("Copied 1 object");
    desk.dsb.run(["source", "list"]).ok().says("on laptop");
    share(&laptop, &disk).ok();
    visit(&laptop, &disk).ok().says("nothing changed");
    for world in [&desk, &laptop] {
        let back = world.restored(&[]);
        assert_same_trees(&desk.source(), &back.path().join("desk"), Compare::EVERYTHING);
        assert_same_trees(&laptop.source(), &back.path().join("laptop"), Compare::EVERYTHING);
    }
}

#[test]
fn c2_a_computer_that_did_not_take_over_is_stopped_at_the_disk() {
    let (desk, laptop, disk) = desk_and_laptop();
    visit(&laptop, &disk).ok();
    let run = visit(&desk, &disk).code(10);
    assert!(run.stderr().contains("dsb recover --share"), "the way on is told\n{run}");
    share(&desk, &disk).ok();
    visit(&desk, &disk).ok();
}

#[test]
fn c2_nothing_that_only_one_computer_knows_is_given_up_without_a_word() {
    let (desk, laptop, disk) = desk_and_laptop();
    desk.write("new at the desk", "new");
    desk.dsb.run(["update"]).ok();
    let run = share(&desk, &disk).code(14);
    assert!(run.stderr().contains("changes that no disk has yet"), "{run}");
    visit(&desk, &disk).ok();
    // The laptop has mapped its source, which no disk knows; it says so.
    share(&laptop, &disk).code(14);
    laptop.dsb.run(["--yes", "recover", "--share", disk.to_str().unwrap()]).ok();
    laptop.map("/laptop", &laptop.source());
    visit(&laptop, &disk).ok();
    assert!(laptop.restored(&[]).path().join("desk/new at the desk").is_file());
}

#[test]
fn what_only_the_other_computer_can_read_is_no_trouble_for_a_new_disk() {
    let (desk, laptop, disk) = desk_and_laptop();
    visit(&laptop, &disk).ok();
    share(&desk, &disk).ok();
    desk.write("not on a disk yet", noise(2000, 7));
    desk.dsb.run(["update"]).ok();
    // The desk publishes its state onto a disk without room for the file.
    fs::create_dir(laptop.place("blue")).unwrap();
    let blue = laptop.place("blue");
    share(&laptop, &disk).ok();
    laptop.dsb.run(["disk", "add", "blue", blue.to_str().unwrap()]).ok();
    let run = visit(&laptop, &blue).ok();
    assert!(
        run.stdout().contains("Copied 3 objects"),
        "its own get a second copy, nothing else is tried\n{run}"
    );
    assert!(!run.stderr().contains("cannot"), "{run}");
}

#[test]
fn a_source_below_one_of_another_computer_is_named_and_not_forgotten() {
    let (_desk, laptop, _disk) = desk_and_laptop();
    laptop.dsb.run(["source", "unmap", "/laptop"]).ok();
    laptop.map("/desk/laptop", &laptop.source());
    let run = laptop.dsb.run(["update"]).code(3);
    assert!(run.stderr().contains("/desk/laptop") && run.stderr().contains("belongs to desk"), "{run}");
}
