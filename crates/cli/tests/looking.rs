//! What is told for other programs and for looking closely: export, info, doctor, debug, and what a restore would take.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;

use common::{World, chmod, noise, object, objects};
use serde_json::Value;
use shelf::*;

/// The records of a table, each with its fields; a plain reader of RFC 4180.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            c => field.push(c),
        }
    }
    records
}

#[test]
fn a_table_of_all_files_opens_in_a_spreadsheet_whatever_their_names_are() {
    let world = World::new();
    for name in ["plain", "with, comma", "with \"quotes\"", "Grüße"] {
        world.write(name, name);
    }
    world.add_disk("red", None);
    world.update_and_back_up("red");
    let run = world.dsb.run(["export", "csv"]).ok();
    let table = records(run.stdout());
    assert!(table.iter().all(|record| record.len() == 7), "{run}");
    let names: Vec<&str> = table.iter().map(|record| record[0].as_str()).collect();
    assert_eq!(
        names,
        ["path", "/data", "/data/Grüße", "/data/plain", "/data/with \"quotes\"", "/data/with, comma"]
    );
    let plain = &table[3];
    assert_eq!(
        (plain[1].as_str(), plain[2].as_str(), plain[5].as_str(), plain[6].as_str()),
        ("f", "5", "1", "red")
    );
    assert_eq!(plain[4], world.whereabouts("/data/plain")["sha256"].as_str().unwrap());

    let file = world.place("list.json");
    world.dsb.run(["export", "json", "-o", file.to_str().unwrap(), "*plain"]).ok().says("1 entry");
    let line: Value = serde_json::from_str(fs::read_to_string(&file).unwrap().trim()).unwrap();
    assert_eq!((line["path"].as_str(), line["disks"][0].as_str()), (Some("/data/plain"), Some("red")));
}

#[test]
fn info_tells_how_much_each_disk_holds_alone_and_together_with_others() {
    let world = World::new();
    world.write("both", noise(5000, 1));
    world.add_disk("red", None);
    world.add_disk("blue", None);
    world.update_and_back_up("red");
    world.update_and_back_up("blue");
    world.write("one", noise(300, 2));
    world.update_and_back_up("red");
    let info = objects(&world.dsb.run(["--json", "info"]).ok());
    let levels = |disk: &str| {
        let found = info.iter().find(|object| object["type"] == "disk-levels" && object["name"] == disk);
        found.unwrap()["levels"].clone()
    };
    assert_eq!(
        (levels("red"), levels("blue")),
        (serde_json::json!([300, 5000]), serde_json::json!([0, 5000]))
    );
    world.dsb.run(["info", "--no-saturated"]).ok().says("red");
}

#[test]
fn a_script_learns_from_the_exit_code_of_status_whether_anything_is_to_be_done() {
    let world = world_on(&["red"], 3);
    world.dsb.run(["status"]).ok();
    world.dsb.run(["status", "--check"]).code(5).says("CHECK: 3 objects are");
    world.add_disk("blue", None);
    world.dsb.run(["backup", "blue"]).ok();
    assert_eq!(world.dsb.run(["status", "--check"]).ok().stdout(), "", "cron is to send no mail");
    rot_at(&object_of(&world, &vpath(1), &world.place("red")), 5, 1);
    world.dsb.run(["verify", "red"]).code(4);
    world.dsb.run(["status", "--check"]).code(5).says("red has lost objects: dsb heal red");
    world.dsb.run(["heal"]).ok();
    world.dsb.run(["status", "--check"]).ok();
    let year = "UPDATE disk SET verified_ns = 1, added_ns = 1 WHERE name = 'blue'";
    meddle(&world.dsb.catalog().join("distbackup.sqlite"), year);
    let check = answer(&world, &["status", "--check"], 5, "check");
    assert_eq!(check["wrong"], serde_json::json!(["blue was not verified for a year: dsb verify blue"]));
}

#[test]
fn the_doctor_names_what_is_wrong_and_ends_with_a_code_for_it() {
    let world = world_on(&["red"], 3);
    world.dsb.run(["doctor"]).ok().says("every page is whole");
    let catalog = world.dsb.catalog().join("distbackup.sqlite");
    chmod(&catalog, 0o644);
    world.dsb.run(["doctor"]).code(1).says("BAD  privacy");
    chmod(&catalog, 0o600);
    let lost = lose_source(&world);
    world.dsb.run(["doctor"]).code(3).says("BAD  source");
    fs::rename(lost, world.source()).unwrap();
    let whole = fs::read(&catalog).unwrap();
    fs::write(&catalog, &whole[..whole.len() / 2]).unwrap();
    world.dsb.run(["doctor"]).code(10).says("BAD  catalog");
    fs::remove_file(&catalog).unwrap();
    world.dsb.run(["doctor"]).code(10).says("none at");
}

#[test]
fn the_smallest_set_of_disks_for_a_restore_is_told_without_a_disk_and_without_a_destination() {
    let world = World::new();
    for (disk, files) in [("red", 0..2), ("blue", 2..4), ("green", 0..4)] {
        world.add_disk(disk, None);
        for number in files {
            world.write(&name(number), noise(4000, number as u64 + 1));
        }
        world.update_and_back_up(disk);
    }
    // Blue and green hold everything, red a part of it.
    for disk in ["red", "blue", "green"] {
        unplug(&world, disk);
    }
    let plan = answer(&world, &["restore", "--minset"], 0, "restore-plan");
    assert_eq!((plan["steps"].as_array().unwrap().len(), plan["exact"].as_bool()), (1, Some(true)), "{plan}");
    let plan = answer(&world, &["restore", "--minset", "-f", &vpath(0)], 0, "restore-plan");
    assert_eq!(plan["files"], 1, "{plan}");
}

#[test]
fn files_that_are_elsewhere_already_are_left_out_of_a_restore() {
    let world = world_on(&["red"], 5);
    let there = world.place("there");
    fs::create_dir_all(there.join("data")).unwrap();
    for number in [1, 3] {
        fs::copy(world.source().join(name(number)), there.join("data").join(name(number))).unwrap();
    }
    // Another size is another file.
    fs::write(there.join("data").join(name(4)), "shorter").unwrap();
    let to = world.restored(&["-e", there.to_str().unwrap()]);
    let there = |number: usize| to.path().join("data").join(name(number)).exists();
    assert_eq!([0, 1, 2, 3, 4].map(there), [true, false, true, false, true]);
}

#[test]
fn what_distbackup_1_took_is_still_taken_or_says_what_replaces_it() {
    let world = world_on(&["red"], 2);
    for line in [
        ["update", "--nohelper"].as_slice(),
        &["backup", "--sync", "--slack", "--nohelper", "--nocopy", "--noflush", "red"],
        &["verify", "-s", "a1", "red"],
        &["-e", "ls"],
    ] {
        world.dsb.run(line).ok();
    }
    world.dsb.run(["verify", "--delete", "red"]).code(2).warns("--quarantine");
    let to = world.place("linked");
    world.dsb.run(["restore", "-l", "red", to.to_str().unwrap()]).ok().warns("files are copied all the same");
    assert_eq!(
        fs::metadata(to.join("data").join(name(0)))
            .map(|stat| std::os::unix::fs::MetadataExt::nlink(&stat))
            .unwrap(),
        1
    );
    let hash = object(
        &world.dsb.run(["--json", "debug", "hash", world.source().join(name(1)).to_str().unwrap()]).ok(),
        "hash",
    );
    assert_eq!(hash["sha256"], world.whereabouts(&vpath(1))["sha256"]);
    world.dsb.run(["debug", "info", &vpath(1)]).ok().says("disks        red");
}
