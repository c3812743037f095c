//! `disk label`: the drawing and the text, with whatever people write into a location.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;

use common::{World, object};

#[test]
fn a_label_says_which_disk_it_is_also_when_that_is_in_the_drawer() {
    let world = World::empty();
    world.add_disk("A-blue", Some("500M"));
    world.dsb.run(["disk", "set", "A-blue", "--location", "office safe"]).ok();
    fs::remove_dir_all(world.place("A-blue")).unwrap();
    let label = object(&world.dsb.run(["--json", "disk", "label", "A-blue"]).ok(), "label");
    let uuid = label["uuid"].as_str().unwrap();
    assert_eq!(label["content"], format!("dsb:{uuid}"), "{label}");

    let run = world.dsb.run(["disk", "label", "A-blue"]).ok().says("office safe").says("added 20");
    let run = run.says(&uuid[..8]);
    // Not on a terminal, the letters are dark: the upper left corner of the code is drawn, its frame is not.
    let lines: Vec<&str> = run.stdout().lines().collect();
    assert!(lines[0].trim().is_empty() && lines[2].starts_with("    █▀▀▀▀▀█ "), "{run}");

    let file = world.place("label.svg");
    world.dsb.run(["disk", "label", "A-blue", "--svg", file.to_str().unwrap()]).ok();
    let svg = fs::read_to_string(&file).unwrap();
    assert!(svg.contains("width=\"62mm\" height=\"29mm\"") && svg.contains(">A-blue</text>"), "{svg}");
    assert_eq!(world.dsb.run(["disk", "label", "A-blue", "--svg", "-"]).ok().stdout(), svg);
}

#[test]
fn n12_a_hostile_location_is_printed_as_words() {
    let world = World::empty();
    world.add_disk("red", None);
    let hostile = "<&\">\u{1b}[31m</text><script>倉庫".to_owned() + &" far away".repeat(500);
    world.dsb.run(["disk", "set", "red", "--location", &hostile]).ok();
    let run = world.dsb.run(["disk", "label", "red", "--svg", "-"]).ok().harmless();
    run.says("&lt;&amp;&quot;&gt;")
        .silent_about("<script")
        .silent_about("far away far away far away far away");
    let run = world.dsb.run(["disk", "label", "red"]).ok().harmless();
    assert!(run.stdout().lines().all(|line| line.chars().count() < 100), "{run}");
}

#[test]
fn a_dry_run_writes_no_label() {
    let world = World::empty();
    world.add_disk("red", None);
    let file = world.place("label.svg");
    world
        .dsb
        .run(["--dry-run", "disk", "label", "red", "--svg", file.to_str().unwrap()])
        .ok()
        .says("would be written");
    assert!(!file.exists());
}
