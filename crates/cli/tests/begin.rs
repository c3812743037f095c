//! `dsb init`: a set begins, by answers or by options, and nothing is left out unasked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod common;

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use common::World;
use distbackup_testkit::compare::Compare;
use distbackup_testkit::skipped;

#[test]
fn options_answer_every_question() {
    let world = World::empty();
    fs::create_dir(world.place("red")).unwrap();
    let source = format!("/data={}", world.source().display());
    let disk = format!("B-red={}", world.place("red").display());
    let arguments = ["init", "--source", &source, "--copies", "3", "-i", ".cache", "--disk", &disk];
    let options = ["--location", "home shelf", "--no-input"];
    let all = || arguments.into_iter().chain(options);
    world
        .dsb
        .run(all().chain(["--dry-run"]))
        .ok()
        .says("dsb disk add B-red")
        .says("dsb source set -i .cache /");
    assert!(!world.dsb.catalog().exists(), "a dry run leaves nothing");
    world.dsb.run(all()).ok().says("Next: dsb backup --update");
    world.write("a", "a");
    world.write(".cache/b", "b");
    world.dsb.run(["backup", "--update"]).ok();
    world.dsb.run(["source", "set", "/"]).ok().says("mincopies: 3").says("rules: .cache");
    fs::remove_dir_all(world.source().join(".cache")).unwrap();
    world.restores(&world.source(), Compare::CONTENT);
    let run = world.dsb.run(["init", "--no-input"]).code(1);
    assert!(run.stderr().contains("there is a catalog already"), "{run}");
}

#[test]
fn where_nobody_can_answer_it_does_not_guess() {
    let world = World::empty();
    world.dsb.run(["init"]).code(2);
    assert!(!world.dsb.catalog().exists());
    let missing = world.place("missing");
    world.dsb.run(["init", "--no-input", "--source", missing.to_str().unwrap()]).code(2);
    assert!(!world.dsb.catalog().exists(), "what is wrong is said before anything begins");
    world.dsb.run(["init", "--no-input"]).ok().says("Next: dsb source map");
}

#[test]
fn caches_and_trash_are_proposed_and_left_out_only_when_somebody_says_so() {
    if Command::new("script").arg("--version").output().is_err() {
        return skipped("needs `script` of bsdutils for a terminal");
    }
    for (answer, rules) in
        [("n", None), ("y", Some("rules: .cache   .Trash-*")), ("a\nt\nl", Some("rules: .Trash-*"))]
    {
        let world = World::empty();
        for name in ["album/.cache/x", ".Trash-1000/y", "z"] {
            world.write(name, name);
        }
        let folder = world.source();
        let command = format!("{} -d {} init", env!("CARGO_BIN_EXE_dsb"), world.dsb.catalog().display());
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &command, "/dev/null"]).env("HOME", world.dsb.home());
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = format!("{}\n\n{answer}\n\n", folder.display());
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("look like caches and trash") && said.contains("album/.cache"), "{said}");
        assert!(said.contains("Next: connect a disk"), "{said}");
        let set = world.dsb.run(["source", "set", "/"]).ok();
        match rules {
            Some(rules) => drop(set.says(rules)),
            None => assert!(!set.stdout().contains("rules"), "{set}"),
        }
    }
}
