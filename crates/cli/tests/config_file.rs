//! The configuration as a file: exported, imported, edited, taken over from distbackup 1.x.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{World, object};
use serde_json::{Value, json};

/// A set with everything that can be configured.
fn configured() -> World {
    let world = World::new();
    world.add_disk("red", Some("1G"));
    world.dsb.run(["disk", "set", "red", "--location", "safe", "--note", "old"]).ok();
    world.dsb.run(["source", "set", "/data", "-p", "3", "-i", "*.tmp", "-i", "!!keep"]).ok();
    world.dsb.run(["source", "lock", "/data/locked"]).ok();
    world.dsb.run(["config", "set", "keep-deleted", "30d"]).ok();
    world
}

#[track_caller]
fn exported(world: &World) -> Value {
    object(&world.dsb.run(["--json", "config", "export", "-"]).ok(), "configuration")
}

#[test]
fn what_is_exported_can_be_imported_into_a_new_set() {
    let world = configured();
    let file = world.place("export.json");
    world.dsb.run(["config", "export", file.to_str().unwrap()]).ok();
    let other = world.dsb.another_pc();
    let run = other.run(["config", "import", file.to_str().unwrap()]).ok();
    assert!(run.stdout().contains("/data -> ") && run.stderr().contains("not in this set"), "{run}");
    let now = object(&other.run(["--json", "config", "export", "-"]).ok(), "configuration");
    let before = exported(&world);
    for part in ["path_map", "path_config", "settings"] {
        assert_eq!(now[part], before[part], "{part}");
    }
    assert_eq!(now["disks"], json!({}), "disks are never added");
    other.run(["config", "import", file.to_str().unwrap()]).ok().says("Nothing changed");
}

#[test]
fn an_import_replaces_what_lies_below_the_prefix_and_changes_known_disks() {
    let world = configured();
    let uuid = exported(&world)["disks"].as_object().unwrap().keys().next().unwrap().clone();
    let file = world.place("new.json");
    let new = json!({
        "path_config": { "/data/sub": { "hide": true }, "/elsewhere": { "priority": 9 } },
        "disks": { uuid: { "name": "crimson", "size": "80%" } },
    });
    fs::write(&file, new.to_string()).unwrap();
    let run = world.dsb.run(["config", "import", "-p", "/data", file.to_str().unwrap()]).ok();
    assert!(run.stderr().contains("/elsewhere: not below /data"), "{run}");
    let now = exported(&world);
    assert_eq!(now["path_config"], json!({ "/data/sub": { "hide": true } }));
    assert_eq!(now["path_map"], json!({}), "the file maps nothing below /data");
    let disk = now["disks"].as_object().unwrap().values().next().unwrap();
    assert_eq!(
        (&disk["name"], &disk["size"], &disk["location"]),
        (&"crimson".into(), &"80.0%".into(), &"safe".into())
    );
}

#[test]
fn what_distbackup_1_exported_is_taken_over() {
    let world = configured();
    let uuid = exported(&world)["disks"].as_object().unwrap().keys().next().unwrap().clone();
    let file = world.place("old.json");
    let old = json!({
        "path_map": { "/data/": world.source().to_str().unwrap() },
        "path_config": {
            "/data/": { "priority": 3, "maxcopies": 2, "rules": ["*.tmp"], "follow_symlinks": true },
            "/data/sub/": { "lock": true }
        },
        "disks": { uuid: { "name": "red", "size_bytes": "10,000,000", "relative_path": "a/b", "fstype": null, "fsuuid": null } },
    });
    fs::write(&file, old.to_string()).unwrap();
    world.dsb.run(["config", "import", file.to_str().unwrap()]).ok();
    let now = exported(&world);
    assert_eq!(
        now["path_config"]["/data"],
        json!({ "priority": 3, "maxcopies": 2, "rules": ["*.tmp"], "follow_symlinks": true })
    );
    assert_eq!(now["path_config"]["/data/sub"], json!({ "lock": true }));
    let disk = now["disks"].as_object().unwrap().values().next().unwrap();
    assert_eq!((&disk["size"], &disk["relative_path"]), (&"10000000".into(), &"a/b".into()));
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing() {
    let world = configured();
    let before = exported(&world);
    for (wrong, why) in [
        ("{", "EOF"),
        (r#"{"path_confg": {}}"#, "path_confg"),
        (
            r#"{"path_map": {"/new": "relative"}, "settings": {"keep-deleted": "1d"}}"#,
            "does not begin with /",
        ),
        (r#"{"path_config": {"/data": {"rules": ["/("]}}}"#, "unclosed group"),
        (r#"{"path_map": {"/../x": "/tmp"}}"#, ".."),
        (r#"{"settings": {"keep-deleted": "soon"}}"#, "soon"),
        (r#"{"settings": {"colour": "red"}}"#, "colour"),
    ] {
        let run = world.dsb.run_with_input(["config", "import", "-"], wrong).code(2);
        assert!(run.stderr().contains(why), "{wrong}\n{run}");
        assert_eq!(exported(&world), before, "{wrong}");
    }
}

#[test]
fn the_configuration_can_be_edited_and_a_mistake_changes_nothing() {
    let world = configured();
    let edit = |script: &str| world.dsb.run(["config", "edit", "path", "-e", script]);
    edit(r#"sed -i 's/"priority": 3/"priority": 7/'"#).ok().says("/data: configured anew");
    assert_eq!(exported(&world)["path_config"]["/data"]["priority"], 7);
    edit("true").ok().says("Nothing changed");
    let run = edit(r#"sed -i 's/"rules"/"ruels"/'"#).code(2);
    assert!(run.stderr().contains("ruels"), "{run}");
    assert_eq!(edit("false").code(2).exit_code(), Some(2));
    assert_eq!(exported(&world)["path_config"]["/data"]["priority"], 7);
}
