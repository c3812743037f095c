//! What a shell is told when a key is pressed: names from the catalog, soon, and without a trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::World;
use distbackup_testkit::dsb::Dsb;

/// What fish is offered for the last word of a line, without the descriptions.
fn offered(dsb: &Dsb, line: &[&str]) -> Vec<String> {
    let mut command = dsb.command([&["--", "dsb"], line].concat());
    command.env("COMPLETE", "fish");
    let run = dsb.start_prepared(command).wait().ok();
    let words = run.stdout().lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned());
    words.filter(|word| !word.starts_with('-')).collect()
}

/// Names and contents of the files in a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn world() -> World {
    let world = World::new();
    for name in ["photos/2024/a.nef", "photos/2025/b.nef", "photos/readme", "music/c.ogg"] {
        world.write(name, name);
    }
    for disk in ["red", "rose", "blue"] {
        world.add_disk(disk, None);
    }
    world.dsb.run(["update"]).ok();
    world
}

#[test]
fn disks_paths_and_snapshots_are_offered_from_the_catalog() {
    let world = world();
    assert_eq!(offered(&world.dsb, &["verify", "r"]), ["red", "rose"]);
    assert_eq!(offered(&world.dsb, &["disk", "retire", ""]), ["red", "rose", "blue"]);
    assert_eq!(offered(&world.dsb, &["where", "/da"]), ["/data/"]);
    assert_eq!(offered(&world.dsb, &["where", "/data/p"]), ["/data/photos/"]);
    assert_eq!(
        offered(&world.dsb, &["where", "/data/photos/"]),
        ["/data/photos/2024/", "/data/photos/2025/", "/data/photos/readme"]
    );
    assert_eq!(offered(&world.dsb, &["ls", "--at", ""]), ["1"]);
    assert_eq!(offered(&world.dsb, &["config", "set", "keep"]), ["keep-deleted", "keep-snapshots"]);
    assert!(offered(&world.dsb, &["rest"]).contains(&"restore".to_owned()));
}

#[test]
fn a_catalog_that_the_line_names_is_the_one_that_is_asked() {
    let world = world();
    let other = World::empty();
    let catalog = world.dsb.catalog().to_str().unwrap();
    assert_eq!(offered(&other.dsb, &["-d", catalog, "verify", "b"]), ["blue"]);
    assert_eq!(
        offered(&other.dsb, &["verify", "b"]),
        Vec::<String>::new(),
        "no catalog, no answer, no error"
    );
}

#[test]
fn completing_changes_nothing_and_waits_for_nobody() {
    let world = world();
    let catalog = world.dsb.catalog().to_owned();
    let before = files(&catalog);
    // As while a long backup runs.
    let lock = std::fs::File::open(&catalog).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(offered(&world.dsb, &["verify", "r"]), ["red", "rose"]);
    drop(lock);
    // SQLite looks for a journal's index beside the file, which the folder's times show; no more than that.
    assert_eq!(files(&catalog), before);
}

#[test]
fn scripts_and_manual_pages_are_there_for_every_command() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        world.dsb.run(["completions", shell]).ok().says("COMPLETE");
    }
    let folder = world.place("man");
    world.dsb.run(["man", folder.to_str().unwrap()]).ok();
    let help = world.dsb.run(["--help"]).ok();
    let commands = help.stdout().lines().skip_while(|line| *line != "Commands:").skip(1);
    // Deeper lines go on with a description that is too long for the width.
    let names = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| *name != "help") {
        let page = std::fs::read_to_string(folder.join(format!("dsb-{name}.1"))).unwrap();
        assert!(page.contains("EXIT STATUS") && page.contains(".SH NAME"), "{name}");
    }
    world.dsb.run(["help", "exit-codes"]).ok().says("130  interrupted");
}
