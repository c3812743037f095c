//! Verify of a part of a disk, its list of errors, and what it tells of the copies elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use common::{World, object, objects_on};
use distbackup_testkit::dsb::Signal;
use serde_json::Value;
use shelf::*;

/// Makes all evidence of the catalog so many days older.
fn age_evidence(world: &World, days: i64) {
    let ns = days * 86_400_000_000_000;
    meddle(&world.dsb.catalog().join("distbackup.sqlite"), &format!("UPDATE proof SET at_ns = at_ns - {ns}"));
}

/// The lines of a list of errors, each cut at its tabs.
fn lines(file: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Whether a process has an object of a disk open.
fn reads_an_object(pid: u32, disk: &Path) -> bool {
    let objects = disk.join("distbackup-objects");
    fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|mut open| {
        open.any(|fd| fd.and_then(|fd| fs::read_link(fd.path())).is_ok_and(|file| file.starts_with(&objects)))
    })
}

/// Runs `verify red --for 1s` and stops the clock of its work, not of its time, as soon as it reads.
#[track_caller]
fn verify_until_time_is_up(world: &World, disk: &Path, code: i32) -> Value {
    let mut verify = world.dsb.start(["--json", "verify", "red", "--for", "1s"]);
    let pid = verify.pid();
    assert!(verify.wait_until(|| reads_an_object(pid, disk)), "it ended before it could be held");
    verify.signal(Signal::STOP);
    sleep(Duration::from_millis(1200));
    verify.signal(Signal::CONT);
    let outcome = object(&verify.wait().code(code), "verify");
    assert!(outcome["part"]["out_of_time"] == true && outcome["complete"] == false, "{outcome}");
    outcome
}

#[test]
fn d7_what_was_proven_lately_is_not_read_by_older_than() {
    let world = world_on(&["red"], 9);
    let verify = answer(&world, &["verify", "red", "--older-than", "90d"], 0, "verify");
    assert_eq!((verify["good"].as_u64(), verify["part"]["left"]["objects"].as_u64()), (Some(0), Some(9)));
    world.dsb.run(["verify", "red", "--older-than", "90d"]).ok().says("Nothing was chosen");

    age_evidence(&world, 100);
    rot_at(&object_of(&world, &vpath(4), &world.place("red")), 100, 4);
    let run = world.dsb.run(["verify", "red", "--older-than", "90d"]).code(4);
    names_exactly(&run, &[vpath(4)], &(0..9).map(vpath).collect::<Vec<_>>());
    // What was read is proven anew, and the damaged one is no copy any more: nothing old is left.
    let verify = answer(&world, &["verify", "red", "--older-than", "90d"], 0, "verify");
    assert_eq!(verify["part"]["left"]["objects"], 8, "{verify}");
    assert_eq!(world.holders(&vpath(4)), Vec::<String>::new());
}

#[test]
fn d7_a_sample_is_a_part_and_says_that_it_proves_nothing_of_the_rest() {
    let world = world_on(&["red"], 60);
    let verify = answer(&world, &["verify", "red", "--sample", "30%"], 0, "verify");
    let (read, left) =
        (verify["good"].as_u64().unwrap(), verify["part"]["left"]["objects"].as_u64().unwrap());
    assert!(read < 60 && read + left == 60, "{verify}");
    world.dsb.run(["verify", "red", "--sample", "30%"]).ok().says("It proves nothing of the rest");

    let all = answer(&world, &["verify", "red", "--sample", "100%"], 0, "verify");
    assert_eq!(all["good"], 60, "{all}");
    for nonsense in ["0%", "101%", "many"] {
        world.dsb.run(["verify", "red", "--sample", nonsense]).code(2).warns(nonsense);
    }
}

#[test]
fn d7_when_time_is_up_verify_ends_in_order_and_the_next_one_goes_on_with_what_is_oldest() {
    let world = World::new();
    for number in 0..40 {
        // Long to read, short to store.
        let file = File::create(world.source().join(name(number))).unwrap();
        file.set_len(48 << 20).unwrap();
        file.write_all_at(&[number as u8 + 1], 0).unwrap();
    }
    let red = world.add_disk("red", None);
    world.update_and_back_up("red");

    let first = verify_until_time_is_up(&world, &red, 0);
    let (read, due) = (first["good"].as_u64().unwrap(), first["part"]["due"]["objects"].as_u64().unwrap());
    assert!(due > 0 && read + due == 40, "{first}");
    let was_read = |path: &String| world.whereabouts(path)["copies"][0]["how"] == "read";
    let all: Vec<String> = (0..40).map(vpath).collect();
    let (proven, not_yet): (Vec<_>, Vec<_>) = all.iter().cloned().partition(was_read);
    assert_eq!(proven.len() as u64, read);

    for path in &all {
        rot_at(&object_of(&world, path, &red), 9, 1);
    }
    let second = verify_until_time_is_up(&world, &red, 4);
    assert!(second["good"] == 0 && second["bad"].as_u64() > Some(0), "{second}");
    let copies =
        |paths: &[String]| paths.iter().filter(|path| !world.holders(path).is_empty()).count() as u64;
    assert_eq!(copies(&proven), read, "what was proven a moment ago has to wait");
    assert_eq!(copies(&not_yet), due - second["bad"].as_u64().unwrap());
}

#[test]
fn d7_a_time_box_that_is_long_enough_goes_once_through_everything() {
    let world = world_on(&["red"], 9);
    // Even the shortest does something, so that many short ones come to an end.
    let one = answer(&world, &["verify", "red", "--for", "0s"], 0, "verify");
    assert!(one["good"] == 1 && one["part"]["due"]["objects"] == 8 && one["complete"] == false, "{one}");
    world.dsb.run(["verify", "red", "--for", "1h"]).ok().says("has been read once");
    assert!(world.status()["disks"][0]["verified_ns"].as_i64().unwrap() > 0);
}

#[test]
fn d7_the_list_of_errors_has_a_line_for_each_damaged_or_missing_object() {
    let world = world_on(&["red", "blue"], 9);
    let red = world.place("red");
    let (bad, gone) = (object_of(&world, &vpath(2), &red), object_of(&world, &vpath(7), &red));
    let size = fs::metadata(&bad).unwrap().len().to_string();
    rot_at(&bad, 5, 1);
    fs::remove_file(&gone).unwrap();
    let list = world.place("errors");
    let run = world.dsb.run(["verify", "red", "--check", "--errors", list.to_str().unwrap()]).code(4);
    run.says("Nothing was recorded");
    let mut found = lines(&list);
    found.sort_by_key(|line| line[3].clone());
    let expected = [(&bad, vpath(2)), (&gone, vpath(7))];
    assert_eq!(found.len(), 2, "{found:?}");
    for (line, (file, path)) in found.iter().zip(expected) {
        assert_eq!(
            (line[0].as_str(), Path::new(&line[1]), &line[3]),
            ("red", file.as_path(), &path),
            "{line:?}"
        );
    }
    assert_eq!(found[0][2], size);
    assert!(found[0][4].starts_with("hash="), "{found:?}");
    assert_eq!(found[1][4], "missing");
    // `--check` has recorded nothing, so all copies still count.
    assert_eq!(world.holders(&vpath(2)), ["blue", "red"]);

    // A descriptor that the caller has open, here that of its own output.
    let run = world.dsb.run(["verify", "red", "--errors", "@1"]).code(4);
    assert!(run.stdout().contains(&format!("\t{}\t", vpath(2))), "{run}");
    world.dsb.run(["verify", "red", "--errors", "@many"]).code(2).warns("descriptor");
    world.dsb.run(["verify", "red", "--errors", "@77"]).code(1);
}

#[test]
fn d7_verify_says_who_else_has_what_is_damaged_and_what_nobody_else_has() {
    let world = world_on(&["red", "blue"], 9);
    let (red, blue) = (world.place("red"), world.place("blue"));
    rot_at(&object_of(&world, &vpath(1), &red), 5, 1);
    rot_at(&object_of(&world, &vpath(3), &red), 5, 1);
    rot_at(&object_of(&world, &vpath(3), &blue), 5, 1);
    world.dsb.run(["verify", "blue"]).code(4).says("the source");
    fs::remove_file(world.source().join(name(3))).unwrap();
    fs::remove_file(world.source().join(name(1))).unwrap();
    world.dsb.run(["update", "--accept"]).ok();
    let run = world.dsb.run(["verify", "red"]).code(4);
    let run = run.says("Another copy: blue (of 1)").warns("NO OTHER COPY");
    let no_other = run.stderr().split("NO OTHER COPY").nth(1).unwrap().to_owned();
    assert!(no_other.contains(&vpath(3)) && !no_other.contains(&vpath(1)), "{run}");
}

#[test]
fn c4_a_damaged_catalog_copy_is_named_and_replaced_by_the_next_visit() {
    let world = world_on(&["red"], 3);
    let red = world.place("red");
    let copy = red.join("distbackup.sqlite");
    rot_at(&copy, fs::metadata(&copy).unwrap().len() / 2, 8);
    let run = world.dsb.run(["verify", "red"]).code(4);
    run.warns(copy.file_name().unwrap().to_str().unwrap());
    assert_eq!(objects_on(&red).len(), 3);
    world.dsb.run(["backup", "red"]);
    world.dsb.run(["verify", "red"]).ok();
}

#[test]
fn d7_a_part_and_restart_do_not_go_together() {
    let world = world_on(&["red"], 1);
    world.dsb.run(["verify", "red", "--restart", "--for", "1h"]).code(2).warns("--restart");
}
