//! What a user configures for paths: what is left out, what is taken to be unchanged, and what comes first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{World, noise, object, objects, objects_on};

/// A protected set of which everything is on one disk.
fn backed_up(files: &[&str]) -> World {
    let world = World::new();
    for (seed, file) in (1..).zip(files) {
        world.write(file, noise(5000, seed));
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    world
}

/// Whatever left the tree by configuration is history: a visit deletes nothing, and the earlier state is still there.
#[track_caller]
fn is_history(world: &World, vpath: &str) {
    assert!(!world.files().contains(&vpath.to_owned()), "{vpath} is still in the tree");
    let before = objects_on(&world.place("red"));
    world.dsb.run(["backup", "red"]).ok().silent_about("Removed");
    assert_eq!(objects_on(&world.place("red")), before);
    world.dsb.run(["where", "--at", "1", vpath]).ok().says("red");
}

#[test]
fn n7_what_a_rule_leaves_out_becomes_history() {
    let world = backed_up(&["keep.txt", "a.tmp", "folder/b.tmp", "folder/keep.tmp"]);
    world.dsb.run(["source", "set", "/data", "-i", "*.tmp"]).ok().says("rules: not set -> *.tmp");
    world.dsb.run(["source", "set", "/data/folder", "-i", "!keep*"]).ok();
    world.dsb.run(["update"]).ok().says("2 removed");
    assert_eq!(world.files(), ["/data/folder/keep.tmp", "/data/keep.txt"]);
    is_history(&world, "/data/a.tmp");
    is_history(&world, "/data/folder/b.tmp");
    world.dsb.run(["source", "reset", "/data"]).ok().says("rules: *.tmp -> not set");
    world.dsb.run(["update"]).ok().says("2 added");
    world.dsb.run(["backup", "red"]).ok().says("Nothing to copy");
}

#[test]
fn n7_what_is_hidden_becomes_history() {
    let world = backed_up(&["keep", "private/a", "private/deep/b"]);
    world.dsb.run(["source", "set", "/data/private", "--hide"]).ok();
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files(), ["/data/keep"]);
    is_history(&world, "/data/private/deep/b");
    world.dsb.run(["source", "set", "/data/private", "--unhide"]).ok();
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files().len(), 3);
}

#[test]
fn n7_a_folder_with_a_skip_mark_becomes_history() {
    let world = backed_up(&["keep", "cache/a", "cache/deep/b"]);
    let mark = world.write("cache/.distbackup.skip", "");
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files(), ["/data/keep"]);
    is_history(&world, "/data/cache/deep/b");
    fs::remove_file(mark).unwrap();
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files().len(), 3);
}

#[test]
fn n7_what_is_unmapped_becomes_history() {
    let world = backed_up(&["a", "b"]);
    let other = world.place("other");
    fs::create_dir(&other).unwrap();
    world.map("/other", &other);
    world.dsb.run(["source", "unmap", "/data"]).ok();
    world.dsb.run(["update"]).ok();
    is_history(&world, "/data/a");
}

#[test]
fn n6_what_is_locked_is_neither_looked_at_nor_forgotten() {
    let world = backed_up(&["keep", "locked/a", "outer/locked/b"]);
    world.dsb.run(["source", "lock", "/data/locked", "/data/outer/locked"]).ok();
    world.dsb.run(["source", "lock"]).ok().says("/data/outer/locked");
    world.write("locked/a", "changed");
    world.write("locked/new", "new");
    fs::remove_dir_all(world.source().join("outer")).unwrap();
    let run = world.dsb.run(["update"]).ok();
    assert!(run.stderr().contains("locked places were not looked at"), "{run}");
    assert_eq!(world.files(), ["/data/keep", "/data/locked/a", "/data/outer/locked/b"]);
    // A look all the same, once; and then for good.
    world.dsb.run(["update", "--ignore-lock"]).ok();
    assert_eq!(world.files(), ["/data/keep", "/data/locked/a", "/data/locked/new"]);
    world.dsb.run(["source", "unlock", "/data/locked", "/data/outer/locked"]).ok();
    world.dsb.run(["source", "lock"]).ok().silent_about("/data");
}

#[test]
fn a_locked_source_that_is_not_connected_keeps_everything_and_the_update_is_complete() {
    let world = backed_up(&["a", "b"]);
    world.dsb.run(["source", "lock", "/data"]).ok();
    fs::rename(world.source(), world.place("elsewhere")).unwrap();
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files().len(), 2);
}

#[test]
fn what_is_mapped_by_name_is_protected_although_a_rule_or_a_hidden_folder_says_otherwise() {
    let world = backed_up(&["keep", "cache/a"]);
    let inner = world.place("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("wanted"), "wanted").unwrap();
    world.map("/data/cache/inner", &inner);
    world.dsb.run(["source", "set", "/data", "-i", "cache", "-i", "inner"]).ok();
    world.dsb.run(["update"]).ok();
    assert_eq!(world.files(), ["/data/cache/inner/wanted", "/data/keep"]);
}

#[test]
fn a_rule_that_cannot_be_read_is_refused_with_its_place_and_changes_nothing() {
    let world = backed_up(&["a"]);
    let run = world.dsb.run(["source", "set", "/data", "-i", "*.tmp", "-i", "/a(b"]).code(2);
    assert!(run.stderr().contains("rule 2 `/a(b`") && run.stderr().contains("unclosed group"), "{run}");
    world.dsb.run(["source", "set", "/data"]).ok().says("nothing is configured");
    let run = world.dsb.run(["source", "set", "/data", "-j", r#"{"colour": 3}"#]).code(2);
    assert!(run.stderr().contains("colour"), "{run}");
}

#[test]
fn settings_can_be_given_as_json_and_are_answered_as_json() {
    let world = backed_up(&["a"]);
    let settings = r#"{"priority": 3, "noinherit": true, "rules": ["*.bak"]}"#;
    let run = world.dsb.run(["--json", "source", "set", "/data", "-j", settings]).ok();
    let now = object(&run, "path")["now"].clone();
    assert_eq!(
        (&now["priority"], &now["noinherit"], &now["rules"][0]),
        (&3.into(), &true.into(), &"*.bak".into())
    );
    let run = world.dsb.run(["--json", "source", "set", "/data", "-j", r#"{"rules": null}"#]).ok();
    assert_eq!(
        (&object(&run, "path")["now"]["rules"], &object(&run, "path")["now"]["priority"]),
        (&().into(), &3.into())
    );
    world.dsb.run(["source", "set", "/data", "-a", "-i", "*.x"]).ok();
    let run = world.dsb.run(["source", "set", "/data", "-a", "-i", "*.x", "-i", "*.y"]).ok();
    assert!(run.stdout().contains("*.x   *.y"), "{run}");
}

#[test]
fn check_shows_what_rules_would_hit_before_they_are_set() {
    let world = backed_up(&["keep.txt", "a.tmp", "cache/b", "cache/deep/c"]);
    let run = world.dsb.run(["--json", "source", "check", "*.tmp", "cache", "!!!*.txt"]).ok();
    let items: Vec<_> = objects(&run).into_iter().filter(|item| item["type"] == "item").collect();
    let paths: Vec<_> = items.iter().map(|item| item["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/data/a.tmp", "/data/cache", "/data/keep.txt"]);
    assert_eq!((&items[1]["rule"], &items[1]["ignored"]), (&"cache".into(), &true.into()));
    assert_eq!(items[2]["priority"], 3);
    world.dsb.run(["source", "check", "*.tmp", "cache"]).ok().says("3 files (15.0 kB) would leave the tree");
    world.dsb.run(["source", "check", "cache", "--in", "/data/cache"]).ok().says("No file");
}

#[test]
fn a_rule_with_a_priority_decides_what_comes_first_where_room_is_short() {
    let world = World::new();
    for number in 0..20 {
        world.write(&format!("{number:02}.jpg"), noise(40_000, number));
        world.write(&format!("{number:02}.raw"), noise(40_000, 100 + number));
    }
    world.dsb.run(["source", "set", "/data", "-i", "!!!!!*.raw"]).ok();
    world.add_disk("red", Some("1M"));
    world.dsb.run(["update"]).ok();
    world.dsb.run(["backup", "red"]).ok();
    let held = |vpath: &str| !world.holders(vpath).is_empty();
    assert!((0..20).all(|number| held(&format!("/data/{number:02}.raw"))), "all raw files have a copy");
    assert!((0..20).any(|number| !held(&format!("/data/{number:02}.jpg"))), "the disk is too small for all");
}
