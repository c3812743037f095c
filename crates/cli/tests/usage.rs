//! Where the bytes are: `tree` and `ncdu`, with their filters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use common::{World, noise, objects};
use serde_json::Value;

/// `both` is on two disks, `one` on one, `none` on none; `copy` has the content of `both`.
fn world() -> World {
    let world = World::new();
    world.write("big/both", noise(300_000, 1));
    world.write("small/copy", noise(300_000, 1));
    world.add_disk("red", None);
    world.add_disk("blue", None);
    world.update_and_back_up("red");
    world.dsb.run(["backup", "blue"]).ok();
    world.write("small/one", noise(20_000, 2));
    world.update_and_back_up("red");
    world.write("none", noise(5_000, 3));
    world.dsb.run(["update"]).ok();
    world
}

/// Paths of the tree in the order shown.
#[track_caller]
fn shown(world: &World, arguments: &[&str]) -> Vec<String> {
    lines(world, arguments).iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn lines(world: &World, arguments: &[&str]) -> Vec<Value> {
    let run = world.dsb.run([&["--json", "tree"], arguments].concat()).ok();
    objects(&run).into_iter().filter(|object| object["type"] == "item").collect()
}

#[test]
fn the_tree_shows_folders_and_files_by_size_with_what_they_hold_by_number_of_copies() {
    let world = world();
    let all = lines(&world, &[]);
    let root = &all[0];
    assert_eq!((&root["path"], &root["files"], &root["bytes"]), (&"/".into(), &4.into(), &325_000.into()));
    let level =
        |copies: usize| (root["levels"][copies]["files"].clone(), root["levels"][copies]["bytes"].clone());
    assert_eq!(level(0), (1.into(), 5_000.into()));
    assert_eq!(level(1), (1.into(), 20_000.into()));
    assert_eq!(level(2), (2.into(), 300_000.into()), "two names of one content share its bytes");
    assert_eq!(
        shown(&world, &[]),
        [
            "/",
            "/data",
            "/data/small",
            "/data/small/copy",
            "/data/small/one",
            "/data/big",
            "/data/big/both",
            "/data/none"
        ]
    );
    assert_eq!(shown(&world, &["--depth", "1"]), ["/", "/data"]);
    world.dsb.run(["tree"]).ok().says("2 / 300 kB").says("small/");
}

#[test]
fn filters_choose_by_copies_and_disks() {
    let world = world();
    let files = |arguments: &[&str]| -> Vec<String> {
        let lines = lines(&world, arguments);
        let files = lines.iter().filter(|line| line["kind"] == "f");
        let mut files: Vec<_> = files.map(|line| line["path"].as_str().unwrap()[6..].to_owned()).collect();
        files.sort();
        files
    };
    assert_eq!(files(&["-m", "2"]), ["big/both", "small/copy"]);
    assert_eq!(files(&["-x", "1"]), ["none", "small/one"]);
    assert_eq!(files(&["-c", "0"]), ["none"]);
    assert_eq!(files(&["-i", "red", "-e", "blue"]), ["small/one"]);
    assert_eq!(files(&["-i", "red", "-i", "blue"]), ["big/both", "small/copy"]);
    // As if red were lost: what only it holds has no copy any more.
    assert_eq!(files(&["-c", "0", "--simulate-drop", "red"]), ["none", "small/one"]);
    assert_eq!(files(&["-c", "1", "-d", "red"]), ["big/both", "small/copy"]);
    world.dsb.run(["tree", "-i", "gren"]).code(12);
}

#[test]
fn ncdu_reads_what_is_exported_for_it() {
    let world = world();
    let odd = world.source().join(std::ffi::OsStr::from_bytes(b"caf\xe9 \"x\"\n"));
    fs::write(odd, "odd").unwrap();
    world.dsb.run(["update"]).ok();
    let file = world.place("export");
    world.dsb.run(["ncdu", "-o", file.to_str().unwrap()]).ok();
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.windows(16).any(|part| part == b"caf\xe9 \\\"x\\\"\\u000a"), "raw bytes, as ncdu has it");
    let tree: Value = serde_json::from_str(&String::from_utf8_lossy(&bytes)).unwrap();
    assert_eq!((&tree[0], &tree[2]["progname"]), (&1.into(), &"dsb".into()));
    let data = &tree[3][1];
    assert_eq!((&tree[3][0]["name"], &data[0]["name"]), (&"/".into(), &"data".into()));
    let both = &data[1][1];
    assert_eq!((&both["name"], &both["dsize"]), (&"both  (red,blue)".into(), &300_000.into()));
    let copy = &data.as_array().unwrap().last().unwrap()[1];
    assert_eq!((&copy["name"], &copy["ino"]), (&"copy  (red,blue)".into(), &both["ino"]));
    assert_eq!(copy["hlnkc"], true, "names of one content count once");
}
