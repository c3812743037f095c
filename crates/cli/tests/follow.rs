//! `source set --follow`: symlinks in one folder are taken as what they lead to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::{World, noise};
use distbackup_testkit::compare::{Compare, assert_same_trees};
use tempfile::TempDir;

/// A source with links in it and in a folder below, to a file and a folder that stand elsewhere.
fn linked() -> World {
    let world = World::new();
    let shelf = world.place("elsewhere");
    fs::create_dir_all(shelf.join("album/deep")).unwrap();
    fs::write(shelf.join("film"), noise(50_000, 1)).unwrap();
    fs::write(shelf.join("album/one"), noise(2_000, 2)).unwrap();
    fs::write(shelf.join("album/deep/two"), noise(2_000, 3)).unwrap();
    world.write("plain", "plain");
    world.write("below/plain", "below");
    for folder in [world.source(), world.source().join("below")] {
        symlink(shelf.join("film"), folder.join("film")).unwrap();
        symlink(shelf.join("album"), folder.join("album")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        symlink(world.source(), folder.join("loop")).unwrap();
    }
    world.add_disk("red", None);
    world.dsb.run(["source", "set", "--follow", "/data"]).ok().says("follow_symlinks: not set -> yes");
    world
}

/// The tree that a restore of it is to show: links are followed in the outer folder, not below.
fn expected(world: &World) -> TempDir {
    let to = TempDir::new().unwrap();
    let data = to.path().join("data");
    copy(&world.source(), &data);
    for name in ["film", "album"] {
        fs::remove_file(data.join(name)).unwrap();
        copy(&world.place("elsewhere").join(name), &data.join(name));
    }
    assert!(Command::new("touch").arg("-r").args([&world.source(), &data]).status().unwrap().success());
    to
}

#[track_caller]
fn same(expected: &TempDir, back: &TempDir) {
    assert_same_trees(&expected.path().join("data"), &back.path().join("data"), Compare::EVERYTHING);
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn what_links_lead_to_is_backed_up_and_comes_back_as_files() {
    let world = linked();
    world.update_and_back_up("red");
    let back = world.restored(&[]);
    same(&expected(&world), &back);
    // Nothing changed, so nothing is read or recorded.
    world.dsb.run(["update"]).ok().says("nothing changed");
    // A change behind the link is seen, also when it is hashed on the way to the disk.
    fs::write(world.place("elsewhere/film"), noise(60_000, 9)).unwrap();
    fs::write(world.place("elsewhere/album/deep/two"), noise(3_000, 8)).unwrap();
    world.dsb.run(["backup", "--update", "red"]).ok();
    let back = world.restored(&[]);
    same(&expected(&world), &back);
    world.dsb.run(["update", "--reread"]).ok();
}

#[test]
fn s2_what_a_link_led_to_is_kept_while_it_leads_nowhere() {
    let world = linked();
    world.update_and_back_up("red");
    let whole = expected(&world);
    fs::rename(world.place("elsewhere"), world.place("unmounted")).unwrap();
    let run = world.dsb.run(["update"]).code(3);
    assert!(run.stderr().contains("/data/film") && run.stderr().contains("leads nowhere"), "{run}");
    assert!(!run.stderr().contains("/data/dangling"), "a link that never led anywhere is a link\n{run}");
    world.dsb.run(["backup", "red"]).ok();
    same(&whole, &world.restored(&[]));
    fs::rename(world.place("unmounted"), world.place("elsewhere")).unwrap();
    world.dsb.run(["update"]).ok();
}

#[test]
fn links_are_links_again_when_they_are_not_followed_any_more() {
    let world = linked();
    world.update_and_back_up("red");
    world.dsb.run(["source", "set", "--nofollow", "/data"]).ok();
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::EVERYTHING);
    // What was reached through them is history now, not gone.
    let back = world.restored(&["--at", "1"]);
    assert!(back.path().join("data/album/deep/two").is_file());
}

#[test]
fn s14_a_link_to_a_folder_around_it_is_not_walked_for_ever() {
    let world = linked();
    world.dsb.run(["source", "set", "--follow", "/data/below"]).ok();
    world.update_and_back_up("red");
    let back = world.restored(&[]);
    for way in ["data/loop", "data/below/loop"] {
        assert!(fs::symlink_metadata(back.path().join(way)).unwrap().is_symlink(), "{way}");
    }
    assert!(back.path().join("data/below/album/deep/two").is_file());
}

#[test]
fn a_folder_that_is_reached_twice_is_there_twice() {
    let world = linked();
    world.map("/shelf", &world.place("elsewhere"));
    for _ in 0..3 {
        world.dsb.run(["update"]).ok();
    }
    world.dsb.run(["backup", "red"]).ok();
    let back = world.restored(&[]);
    for place in ["data", "shelf"] {
        assert!(back.path().join(place).join("album/deep/two").is_file(), "{place}");
    }
    fs::rename(world.place("elsewhere/album"), world.place("elsewhere/renamed")).unwrap();
    world.dsb.run(["update"]).code(3);
    world.dsb.run(["backup", "red"]).ok();
    let back = world.restored(&[]);
    for place in ["data/album", "shelf/renamed"] {
        assert!(back.path().join(place).join("deep/two").is_file(), "{place}");
    }
}
