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

/// Three snapshots: one file leaves with each.
fn three_snapshots() -> World {
    let world = World::new();
    for name in ["first", "second", "third"] {
        world.write(name, name);
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    for name in ["first", "second"] {
        fs::remove_file(world.source().join(name)).unwrap();
        world.dsb.run(["update", "--accept"]).ok();
    }
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(objects_on(&world.place("red")).len(), 3);
    world
}

/// The numbers that `snapshots` lists.
fn snapshots(world: &World) -> Vec<i64> {
    let run = world.dsb.run(["--json", "snapshots"]).ok();
    objects(&run).iter().filter_map(|row| row["id"].as_i64()).collect()
}

#[test]
fn n7_forgetting_a_snapshot_asks_and_its_contents_leave_at_the_next_visit_only() {
    let world = three_snapshots();
    // The file, and its folder as it was with it.
    let dry = object(&world.dsb.run(["--json", "--dry-run", "forget", "1"]).ok(), "forgotten");
    assert_eq!(
        (&dry["entries"], &dry["unnamed"]["objects"], &dry["unnamed"]["bytes"]),
        (&2.into(), &1.into(), &5.into())
    );
    world.dsb.run(["forget", "1"]).code(14).warns("--yes");
    assert_eq!(snapshots(&world), [1, 2, 3], "neither has changed anything");

    world.dsb.run(["--yes", "forget", "1"]).ok().says("No disk has lost anything yet");
    assert_eq!(snapshots(&world), [2, 3]);
    assert_eq!(objects_on(&world.place("red")).len(), 3);
    world.dsb.run(["restore", "--at", "1", "--to", world.place("to").to_str().unwrap()]).code(2);
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(objects_on(&world.place("red")).len(), 2);
    // What another snapshot shows is still there, byte for byte.
    let to = world.restored(&["--at", "2"]);
    assert_eq!(fs::read_to_string(to.path().join("data/second")).unwrap(), "second");
}

#[test]
fn the_newest_snapshot_is_never_forgotten() {
    let world = three_snapshots();
    world.dsb.run(["--yes", "forget", "3"]).code(2).warns("never forgotten");
    world.dsb.run(["--yes", "forget", "9"]).code(2).warns("dsb snapshots");
    world.dsb.run(["--yes", "forget", "--keep-deleted", "90d"]).ok().says("nothing was forgotten");
    assert_eq!(snapshots(&world), [1, 2, 3]);
    world.dsb.run(["--yes", "forget", "--keep-snapshots", "2"]).ok();
    assert_eq!(snapshots(&world), [2, 3]);
    world.dsb.run(["--yes", "forget", "--keep-snapshots", "0"]).ok();
    assert_eq!(snapshots(&world), [3]);
    world.update_and_back_up("red");
    world.restores(&world.source(), distbackup_testkit::compare::Compare::CONTENT);
}

#[test]
fn s3_what_the_brake_holds_is_not_forgotten_and_status_says_what_it_holds() {
    let world = World::new();
    (0..120).for_each(|number| drop(world.write(&number.to_string(), format!("photo {number}"))));
    world.add_disk("red", None);
    world.update_and_back_up("red");
    world.dsb.run(["status"]).ok().silent_about("HELD");
    (0..120).for_each(|number| drop(world.write(&number.to_string(), format!("encrypted {number}"))));
    world.dsb.run(["update"]).code(14);
    world.dsb.run(["status"]).ok().says("HELD: 120 of 120 files").says("dsb update --accept");
    assert_eq!(world.status()["held"]["files"], 120);

    world.dsb.run(["--yes", "forget", "1"]).code(2).warns("dsb update --accept");
    world.dsb.run(["--yes", "forget", "--keep-snapshots", "1"]).ok().says("nothing was forgotten");
    let to = world.restored(&["--at", "1"]);
    assert_eq!(fs::read_to_string(to.path().join("data/7")).unwrap(), "photo 7");
}

#[test]
fn history_is_kept_for_ever_where_the_user_says_off() {
    let world = three_snapshots();
    world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
    world.dsb.run(["config", "set", "keep-snapshots", "off"]).ok();
    world.update_and_back_up("red");
    assert_eq!((snapshots(&world).as_slice(), objects_on(&world.place("red")).len()), (&[1, 2, 3][..], 3));
    world.dsb.run(["config", "set", "keep-snapshots", "0"]).ok();
    world.dsb.run(["config", "set", "keep-deleted", "off"]).ok();
    world.update_and_back_up("red");
    assert_eq!(objects_on(&world.place("red")).len(), 3);
    // And given up at once where the user says so: the tests above could not fail otherwise.
    world.dsb.run(["config", "set", "keep-deleted", "0"]).ok();
    world.update_and_back_up("red");
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(objects_on(&world.place("red")).len(), 1);
}

#[test]
fn the_log_shows_one_run() {
    let world = three_snapshots();
    let run = world.dsb.run(["--json", "log"]).ok();
    let last = objects(&run).iter().find(|run| run["type"] == "run").unwrap()["id"].to_string();
    world.dsb.run(["log", "show", &last]).ok().says("backup red").says("exit code 0");
    let shown = object(&world.dsb.run(["--json", "log", "show", &last]).ok(), "run");
    assert_eq!((&shown["command"], &shown["exit"]), (&"backup red".into(), &0.into()));
    world.dsb.run(["log", "show", "99"]).code(2).warns("there is no such run");
}

#[test]
fn find_knows_names_that_are_deleted_and_says_how_to_get_them_back() {
    let world = World::new();
    world.add_disk("red", None);
    world.write("photos/Rome/IMG_2231.CR2", "one");
    world.write("letters/to rome.txt", "first");
    world.update_and_back_up("red");
    fs::remove_file(world.source().join("photos/Rome/IMG_2231.CR2")).unwrap();
    world.write("letters/to rome.txt", "second, longer");
    world.update_and_back_up("red");

    let run = world.dsb.run(["find", "img_22"]).ok();
    let run = run.says("/data/photos/Rome/IMG_2231.CR2   [deleted, last in snapshot 1]").says("red");
    assert!(run.stderr().contains("dsb restore --at 1 --to FOLDER /data/photos/Rome/IMG_2231.CR2"), "{run}");
    let back = world.restored(&["--at", "1", "/data/photos/Rome/IMG_2231.CR2"]);
    assert_eq!(fs::read(back.path().join("data/photos/Rome/IMG_2231.CR2")).unwrap(), b"one");
    world.dsb.run(["find", "--now", "img_22"]).ok().says("Nothing in the tree has such a name");
    let run = world.dsb.run(["find", "ROME"]).ok();
    let run = run.says("/data/photos/Rome/").says("/data/letters/to rome.txt   [1 older version]");
    assert_eq!(run.stdout().lines().count(), 2, "a part of a name is not a part of its folder's\n{run}");
    world.dsb.run(["find", "rome/*"]).ok().says("IMG_2231.CR2");
    world.dsb.run(["find", "["]).code(2);
    let json = world.dsb.run(["find", "img", "--json"]).ok();
    assert!(json.stdout().contains(r#""gone":true"#) && json.stdout().contains(r#""snapshot":1"#), "{json}");
}
