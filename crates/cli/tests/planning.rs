//! `plan`, `next` and `whatif`: answers from the catalog that change nothing and hold true afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

use std::fs;
use std::path::PathBuf;

use distbackup_testkit::dsb::Dsb;
use serde_json::Value;
use tempfile::TempDir;

/// Ten files of 100 kB, and two disks: red takes six of them, blue all.
struct Shelf {
    dsb: Dsb,
    folder: TempDir,
}

impl Shelf {
    fn new() -> Shelf {
        let shelf = Shelf { dsb: Dsb::new(env!("CARGO_BIN_EXE_dsb")), folder: TempDir::new().unwrap() };
        fs::create_dir(shelf.path("files")).unwrap();
        for number in 0..10_u8 {
            fs::write(shelf.path("files").join(number.to_string()), vec![number; 100_000]).unwrap();
        }
        shelf.run("source map /files", &["files"]);
        for (name, size, place) in [("red", "650k", "home"), ("blue", "2M", "office")] {
            fs::create_dir(shelf.path(name)).unwrap();
            shelf.run(&format!("disk add --size {size} --location {place} {name}"), &[name]);
        }
        shelf.run("update", &[]);
        shelf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs words, then paths below the test's folder.
    fn run(&self, words: &str, paths: &[&str]) -> String {
        let mut arguments: Vec<std::ffi::OsString> = words.split(' ').map(Into::into).collect();
        arguments.extend(paths.iter().map(|name| self.path(name).into_os_string()));
        self.dsb.run(arguments).ok().stdout().to_owned()
    }

    /// The objects of a JSON answer of this type.
    fn json(&self, words: &str, kind: &str) -> Vec<Value> {
        let answer = self.run(&format!("{words} --json"), &[]);
        let lines = answer.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|value| value["type"] == kind).collect()
    }

    fn away(&self, name: &str) {
        fs::rename(self.path(name), self.path(&format!("{name} in the drawer"))).unwrap();
    }

    fn bring(&self, name: &str) {
        fs::rename(self.path(&format!("{name} in the drawer")), self.path(name)).unwrap();
    }
}

#[test]
fn a_plan_says_what_the_visit_then_does() {
    let shelf = Shelf::new();
    let plan = shelf.json("plan red", "plan").remove(0);
    assert_eq!(plan["copies"][0]["objects"], 6, "{plan}");
    assert_eq!(plan["copies"][0]["bytes"], 600_000, "{plan}");
    assert_eq!(plan["after"][0]["objects"], 4, "{plan}");
    assert_eq!(plan["after"][1]["objects"], 6, "{plan}");
    let text = shelf.run("plan red", &[]);
    assert!(text.contains("6 objects") && text.contains("no copy 1.00 MB -> 400 kB"), "{text}");
    assert!(text.contains("Do it: dsb backup red"), "{text}");
    let done = shelf.json("backup red", "visit").remove(0);
    assert_eq!(done["copied"][0]["objects"], 6, "{done}");
    assert!(shelf.run("plan red", &[]).contains("nothing to do"));
}

#[test]
fn a_disk_in_the_drawer_is_planned_from_the_catalog() {
    let shelf = Shelf::new();
    shelf.away("red");
    let plan = shelf.json("plan red", "plan").remove(0);
    assert_eq!((plan["connected"].as_bool(), plan["copies"][0]["objects"].as_u64()), (Some(false), Some(6)));
}

#[test]
fn next_names_the_disk_that_helps_most_also_with_no_disk_connected() {
    let shelf = Shelf::new();
    shelf.away("red");
    shelf.away("blue");
    let text = shelf.run("next", &[]);
    assert!(text.contains("Next: connect blue, then dsb backup blue"), "{text}");
    shelf.bring("blue");
    assert!(shelf.run("next", &[]).contains("Next: dsb backup blue"));
    shelf.run("backup blue", &[]);
    let disks = shelf.json("next", "item");
    assert_eq!(disks[0]["disk"], "red");
    assert_eq!(disks[0]["copies"][1]["objects"], 6, "second copies: {disks:?}");
    assert!(disks[1]["copies"].as_array().unwrap().is_empty(), "blue has everything: {disks:?}");
}

#[test]
fn whatif_tells_exactly_what_the_loss_of_disks_means() {
    let shelf = Shelf::new();
    shelf.run("backup blue", &[]);
    shelf.run("backup red", &[]);
    let only_blue = shelf.json("whatif lose blue", "whatif-lose").remove(0);
    assert_eq!(only_blue["unprotected"]["objects"], 4, "{only_blue}");
    assert_eq!(only_blue["unprotected"]["bytes"], 400_000, "{only_blue}");
    let both = shelf.run("whatif lose red blue", &[]);
    assert!(both.contains("1.00 MB in 10 objects would have no copy"), "{both}");
    assert!(shelf.run("whatif lose red", &[]).contains("Every file would still have a copy"));
    // What the sources no longer have would be gone for good.
    fs::remove_file(shelf.path("files").join("0")).unwrap();
    shelf.run("update", &[]);
    let gone = shelf.json("whatif lose red blue", "whatif-lose").remove(0);
    assert_eq!(gone["history_gone"]["objects"], 1, "{gone}");
    assert_eq!(gone["unprotected"]["objects"], 9, "{gone}");
}

#[test]
fn whatif_tells_what_new_disks_would_bring_and_how_large_they_must_be() {
    let shelf = Shelf::new();
    shelf.run("backup blue", &[]);
    shelf.run("backup red", &[]);
    let add = shelf.json("whatif add 500k", "whatif-add").remove(0);
    assert_eq!(add["first_visit"][1]["objects"], 4, "second copies for what has one: {add}");
    let live = add["reach_after"]["live"].as_u64().unwrap();
    assert_eq!(add["reach_after"]["bound"][1].as_u64(), Some(live), "{add}");
    assert!(add["reach_before"]["bound"][1].as_u64().unwrap() < live, "{add}");
    assert!(shelf.run("whatif target 1", &[]).contains("room for 1 copy of everything"));
    let target = shelf.json("whatif target 2", "whatif-target").remove(0);
    let each = target["new_disks"]["bytes_each"].as_u64().unwrap();
    assert_eq!(target["new_disks"]["disks"], 1, "{target}");
    // 4 of 10 billed files are missing, less what is left over on red.
    assert!((360_000..=430_000).contains(&each), "{target}");
}

#[test]
fn a_target_for_copies_is_checked_by_status_and_does_not_change_the_plan() {
    let shelf = Shelf::new();
    shelf.run("backup blue", &[]);
    let below = |shelf: &Shelf| shelf.json("status", "status").remove(0)["below_target"]["objects"].as_u64();
    assert_eq!(below(&shelf), Some(10), "two copies are asked for unless said otherwise");
    shelf.run("source set --mincopies 1 /files", &[]);
    assert_eq!(below(&shelf), Some(0));
    shelf.run("source set --mincopies 3 /files/7", &[]);
    assert_eq!(below(&shelf), Some(1));
    assert_eq!(shelf.json("plan red", "plan").remove(0)["copies"][1]["objects"], 6);
}

#[test]
fn copies_in_another_place_come_before_copies_in_the_same_one() {
    let shelf = Shelf::new();
    for (name, place) in [("green", "home"), ("gold", "office")] {
        fs::create_dir(shelf.path(name)).unwrap();
        shelf.run(&format!("disk add --size 2M --location {place} {name}"), &[name]);
    }
    shelf.run("backup red", &[]);
    let items = shelf.json("next", "item");
    let helps = |disk: &str| {
        let item = items.iter().find(|item| item["disk"] == disk).unwrap();
        item["copies"][1]["objects"].as_u64().unwrap_or(0)
    };
    assert_eq!((helps("gold"), helps("blue")), (6, 6));
    assert!(
        items.iter().position(|item| item["disk"] == "gold")
            < items.iter().position(|item| item["disk"] == "green")
    );
}

#[test]
fn asking_changes_nothing() {
    let shelf = Shelf::new();
    shelf.run("backup red", &[]);
    let before = fs::read(shelf.dsb.catalog().join("distbackup.sqlite")).unwrap();
    for question in ["plan red", "plan blue", "next", "whatif lose red", "whatif add 1T", "whatif target 9"] {
        shelf.run(question, &[]);
    }
    assert_eq!(fs::read(shelf.dsb.catalog().join("distbackup.sqlite")).unwrap(), before);
    shelf.dsb.run(["plan", "grey"]).code(12).warns("grey");
    shelf.dsb.run(["whatif", "target", "0"]).code(2);
    shelf.dsb.run(["whatif", "add", "much"]).code(2);
}
