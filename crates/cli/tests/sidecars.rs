//! Files `NAME.meta-inf`: what they say about the file beside them, as in distbackup 1.x.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod common;

use std::fs;

use common::{World, noise};
use distbackup_testkit::compare::Compare;

/// Three files of 100 kB, and a disk that takes two of them.
fn short_of_room() -> World {
    let world = World::new();
    for (seed, name) in (1..).zip(["a", "b", "c"]) {
        world.write(name, noise(100_000, seed));
    }
    world.add_disk("small", Some("250k"));
    world
}

/// Whether a disk holds a file.
fn holds(world: &World, disk: &str, name: &str) -> bool {
    let listed = world.dsb.run(["ls", "-d", disk]).ok();
    listed.stdout().lines().any(|line| line.ends_with(&format!("/data/{name}")))
}

#[test]
fn a_file_that_its_sidecar_ranks_higher_is_served_first() {
    let world = short_of_room();
    world.write("c.meta-inf", r#"{"priority": 5}"#);
    world.update_and_back_up("small");
    assert!(holds(&world, "small", "c"), "{}", world.dsb.run(["ls", "-d", "small"]).ok());
    // The sidecar of another one counts as soon as it was read, also when all is read on the way to the disk.
    world.write("c.meta-inf", r#"{"priority": 1}"#);
    world.write("a.meta-inf", r#"{"priority": 7}"#);
    world.write("b.meta-inf", r#"{"priority": 6}"#);
    world.add_disk("other", Some("250k"));
    world.dsb.run(["backup", "--update", "other"]).ok();
    assert!(holds(&world, "other", "a") || holds(&world, "small", "a"));
    assert!(holds(&world, "other", "b") || holds(&world, "small", "b"));
    world.restores(&world.source(), Compare::EVERYTHING);
}

#[test]
fn the_copies_of_a_file_are_those_that_its_sidecar_allows() {
    let world = World::new();
    world.write("once", noise(1000, 1));
    world.write("once.meta-inf", r#"{"maxcopies": 1}"#);
    world.write("endless", noise(1000, 2));
    world.write("endless.meta-inf", r#"{"maxcopies": "inf"}"#);
    world.write("plain", noise(1000, 3));
    world.dsb.run(["source", "set", "-m", "1", "/data"]).ok();
    world.add_disk("red", None);
    world.add_disk("blue", None);
    world.update_and_back_up("red");
    world.update_and_back_up("blue");
    assert!(holds(&world, "red", "endless") && holds(&world, "blue", "endless"));
    for name in ["once", "plain"] {
        assert!(holds(&world, "red", name) && !holds(&world, "blue", name), "{name}");
    }
    // What is configured for the path itself counts more.
    world.dsb.run(["source", "set", "-m", "2", "/data/once"]).ok();
    world.dsb.run(["backup", "blue"]).ok();
    assert!(holds(&world, "blue", "once") && !holds(&world, "blue", "plain"));
}

#[test]
fn a_sidecar_is_backed_up_like_every_file_and_holds_after_a_rename() {
    let world = short_of_room();
    world.write("notes.json", r#"{"priority": 9, "camera": "the old one"}"#);
    world.dsb.run(["update"]).ok();
    fs::rename(world.source().join("notes.json"), world.source().join("c.meta-inf")).unwrap();
    world.update_and_back_up("small");
    assert!(holds(&world, "small", "c") && holds(&world, "small", "c.meta-inf"));
}

#[test]
fn a_hash_in_a_sidecar_is_a_hint_and_a_difference_is_named() {
    let world = World::new();
    world.add_disk("red", None);
    world.write("right", "abc");
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    world.write("right.meta-inf", format!(r#"{{"hash": "{abc}"}}"#));
    world.dsb.run(["update"]).ok();
    world.write("wrong", "abd");
    world.write("wrong.meta-inf", format!(r#"{{"hash": "{}"}}"#, abc.to_uppercase()));
    let run = world.dsb.run(["update"]).code(3);
    assert!(
        run.stderr().contains("/data/wrong   its content is not the one that its .meta-inf file names"),
        "{run}"
    );
    assert!(!run.stderr().contains("/data/right"), "{run}");
    // Said once; what was read is what is backed up.
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::EVERYTHING);
    // The file changes, not its sidecar.
    world.write("right", "something else");
    let run = world.dsb.run(["update"]).code(3);
    assert!(run.stderr().contains("/data/right   its content"), "{run}");
}

#[test]
fn a_sidecar_that_cannot_be_understood_is_named_and_changes_nothing() {
    let world = World::new();
    world.add_disk("red", None);
    world.write("a", "a");
    world.write("a.meta-inf", r#"{"priority": "high"}"#);
    world.write("b.meta-inf", "not JSON");
    // Too large to be one, without a partner, without content: files like others.
    world.write("large.meta-inf", " ".repeat(100_000));
    world.write(".meta-inf", r#"{"priority": "x"}"#);
    world.write("empty.meta-inf", "");
    let run = world.dsb.run(["update"]).code(3);
    assert!(
        run.stderr().contains("/data/a.meta-inf   what it says") && run.stderr().contains("`priority`"),
        "{run}"
    );
    assert!(run.stderr().contains("/data/b.meta-inf   what it says"), "{run}");
    assert_eq!(run.stderr().matches("    /data/").count(), 2, "{run}");
    world.update_and_back_up("red");
    world.restores(&world.source(), Compare::EVERYTHING);
}
