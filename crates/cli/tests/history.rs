//! History as its owner uses it: snapshots compared, and what leaves the tree in whatever way kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{World, chmod, object, objects, objects_on};

/// Changes that `diff` tells, as `(change, path, from)` in the order of the paths.
fn changes(world: &World, arguments: &[&str]) -> Vec<(String, String, String)> {
    let mut all = vec!["--json", "diff"];
    all.extend(arguments);
    let items = objects(&world.dsb.run(all).ok()).into_iter().filter(|item| item["type"] == "item");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut told: Vec<_> =
        items.map(|item| (text(&item["change"]), text(&item["path"]), text(&item["from"]))).collect();
    told.sort_by(|a, b| a.1.cmp(&b.1));
    told.retain(|(change, _, _)| change != "metadata");
    told
}

fn told(changes: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    changes.iter().map(|(a, b, c)| ((*a).into(), (*b).into(), (*c).into())).collect()
}

/// A world whose second snapshot differs from the first in every way.
fn two_snapshots() -> World {
    let world = World::new();
    for (name, content) in [
        ("stays", "stays"),
        ("goes", "goes away"),
        ("grows", "small"),
        ("old-name", "keeps its content"),
        ("album/one", "picture one"),
        ("album/two", "picture two"),
        ("mode", "the same"),
    ] {
        world.write(name, content);
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    fs::remove_file(world.source().join("goes")).unwrap();
    world.write("grows", "much larger now");
    world.write("comes", "new");
    fs::rename(world.source().join("old-name"), world.source().join("new-name")).unwrap();
    fs::rename(world.source().join("album"), world.source().join("pictures")).unwrap();
    chmod(&world.source().join("mode"), 0o600);
    world.dsb.run(["update"]).ok();
    world
}

#[test]
fn diff_tells_what_came_went_changed_or_got_another_name() {
    let world = two_snapshots();
    let forth = told(&[
        ("added", "/data/comes", ""),
        ("removed", "/data/goes", ""),
        ("changed", "/data/grows", ""),
        ("renamed", "/data/new-name", "/data/old-name"),
        // A folder is told once, however much is in it.
        ("renamed", "/data/pictures", "/data/album"),
    ]);
    assert_eq!(changes(&world, &["1", "latest"]), forth);
    assert_eq!(changes(&world, &["1"]), forth, "without a second one: against the newest");
    let back = told(&[
        ("renamed", "/data/album", "/data/pictures"),
        ("removed", "/data/comes", ""),
        ("added", "/data/goes", ""),
        ("changed", "/data/grows", ""),
        ("renamed", "/data/old-name", "/data/new-name"),
    ]);
    assert_eq!(changes(&world, &["latest", "1"]), back);
    let run = world.dsb.run(["--json", "diff", "1", "2"]).ok();
    let totals = object(&run, "diff");
    assert_eq!((&totals["added"]["entries"], &totals["added"]["bytes"]), (&1.into(), &3.into()));
    assert_eq!((&totals["removed"]["entries"], &totals["removed"]["bytes"]), (&1.into(), &9.into()));
    let mode = objects(&run).into_iter().find(|item| item["path"] == "/data/mode").unwrap();
    assert_eq!(mode["change"], "metadata");
}

#[test]
fn diff_is_filtered_by_path_and_knows_when_nothing_differs() {
    let world = two_snapshots();
    assert_eq!(
        changes(&world, &["1", "2", "-f", "/data/g*"]),
        told(&[("removed", "/data/goes", ""), ("changed", "/data/grows", "")])
    );
    // Either name of what was renamed will do.
    assert_eq!(
        changes(&world, &["1", "2", "-f", "/data/album"]),
        told(&[("renamed", "/data/pictures", "/data/album")])
    );
    world.dsb.run(["diff", "2", "latest"]).ok().says("Nothing differs.");
    world.dsb.run(["diff", "1", "2"]).ok().says("1 added (3 B)").says("2 renamed");
    world.dsb.run(["diff", "7"]).code(2).warns("dsb snapshots");
}

#[test]
fn contents_with_several_names_are_renamed_one_by_one() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.write(name, "the same content");
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    fs::rename(world.source().join("a"), world.source().join("x")).unwrap();
    fs::remove_file(world.source().join("b")).unwrap();
    world.dsb.run(["update"]).ok();
    assert_eq!(
        changes(&world, &["1"]),
        told(&[("removed", "/data/b", ""), ("renamed", "/data/x", "/data/a")])
    );
}

/// Whatever makes a file leave the tree: its object stays on the disk, in history, and can be restored.
#[track_caller]
fn becomes_history(leave: impl FnOnce(&World)) {
    let world = World::new();
    world.write("stays", "stays");
    world.write("folder/leaves", "leaves the tree");
    world.add_disk("red", None);
    world.update_and_back_up("red");
    leave(&world);
    world.dsb.run(["update", "--accept"]).ok();
    assert!(!world.files().contains(&"/data/folder/leaves".to_owned()));
    let visit = object(&world.dsb.run(["--json", "backup", "red"]).ok(), "visit");
    assert_eq!(visit["removed"]["objects"], 0);
    assert_eq!(visit["orphans"]["objects"], 0);
    assert_eq!(objects_on(&world.place("red")).len(), 2);
    let to = world.restored(&["--at", "1"]);
    assert_eq!(fs::read_to_string(to.path().join("data/folder/leaves")).unwrap(), "leaves the tree");
}

#[test]
fn n7_what_is_deleted_becomes_history() {
    becomes_history(|world| fs::remove_file(world.source().join("folder/leaves")).unwrap());
}

#[test]
fn n7_what_is_hidden_becomes_history() {
    becomes_history(|world| {
        world.dsb.run(["source", "set", "--hide", "/data/folder"]).ok();
    });
}

#[test]
fn n7_what_is_unmapped_becomes_history() {
    becomes_history(|world| {
        world.dsb.run(["source", "unmap", "/data"]).ok();
        let rest = world.place("rest");
        fs::create_dir(&rest).unwrap();
        world.map("/rest", &rest);
    });
}

#[test]
fn n7_what_is_skipped_becomes_history() {
    becomes_history(|world| {
        world.write("folder/.distbackup.skip", "");
    });
}
