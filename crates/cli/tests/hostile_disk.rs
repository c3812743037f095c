//! A disk that somebody prepared: its identity, the files beside the objects and its own folders lead nowhere, hang nothing
//! and steer no terminal (N12, C7, D15). What its catalog may say is in `hostile_catalog`, odd objects in `disk_hazards`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::frozen::Frozen;
use common::objects_on;
use distbackup_testkit::dsb::Run;
use distbackup_testkit::rng::Rng;
use shelf::*;

/// What clears a screen, sets a title, begins a sequence in one character, writes backwards, and a line that looks like ours.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;mine\u{7}\u{9b}2J\u{202e}\nerror: all is lost";

/// Expects nothing in the output that steers a terminal but our own colours, and that no line is made up.
#[track_caller]
fn is_harmless(run: &Run) {
    for text in [run.stdout(), run.stderr()] {
        let mut rest = text.to_owned();
        for ours in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[33m", "\u{1b}[36m"] {
            rest = rest.replace(ours, "");
        }
        let steers = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!rest.contains(steers), "{rest:?}\n{run}");
        assert!(rest.lines().all(|line| !line.starts_with("error: all is lost")), "a made-up line\n{run}");
    }
    assert!(run.exit_code().is_some_and(|code| code != 101), "{run}");
}

#[test]
fn n12_whatever_a_catalog_calls_things_no_command_lets_it_steer_a_terminal() {
    let world = world_on(&["red", "blue"], 3);
    let hex: String = EVIL.bytes().map(|byte| format!("{byte:02x}")).collect();
    let evil = format!("CAST(x'{hex}' AS TEXT)");
    let meddle = |sql: String| meddle(&world.dsb.catalog().join("distbackup.sqlite"), &sql);
    meddle(format!("UPDATE entry SET name = x'{hex}' WHERE name = CAST('file-01' AS BLOB)"));
    meddle(format!(
        "UPDATE disk SET name = name || {evil}, location = {evil}, note = {evil}, doubt = {evil}"
    ));
    meddle(format!("UPDATE run SET command = {evil}, result = {evil}, details = {evil}"));
    meddle(format!("UPDATE snapshot SET note = {evil}"));
    meddle(format!("UPDATE source SET path = CAST(path || x'{hex}' AS BLOB)"));
    meddle(format!("INSERT INTO setting (name, value) VALUES ({evil}, {evil})"));
    meddle(format!("INSERT INTO path_config (vpath, rules) VALUES (x'2f{hex}', {evil})"));
    meddle(format!("UPDATE metadata SET user_name = x'{hex}', group_name = x'{hex}'"));
    let (red, to) = (world.place("red"), world.place("to"));
    // One object is rotten: there is something to be said of the odd names.
    rot(&objects_on(&red)[0], &mut Rng::new(1));
    rot(&objects_on(&red)[1], &mut Rng::new(2));
    rot(&objects_on(&red)[2], &mut Rng::new(3));
    let (red, to) = (red.to_str().unwrap(), to.to_str().unwrap());
    let commands: &[&[&str]] = &[
        &["status"],
        &["ls"],
        &["ls", "-d", "red"],
        &["where", "/data/*"],
        &["log"],
        &["snapshots"],
        &["disk", "list"],
        &["disk", "refresh", red],
        &["source", "list"],
        &["source", "set", "/data"],
        &["config", "list"],
        &["config", "get"],
        &["plan"],
        &["plan", red],
        &["next"],
        &["whatif", "lose", "red"],
        &["verify", red],
        &["restore", "--to", to],
        &["update"],
        &["backup", red],
        &["disk", "drop", red],
        &["--dry-run", "backup", red],
        &["backup", EVIL],
        &["ls", EVIL],
        &["disk", "add", EVIL, red],
        &["recover", "--yes", red],
        &["status"],
    ];
    for command in commands {
        for more in [["--color", "always", "-v"].as_slice(), &["--json"]] {
            // With colours nothing is taken out of what is written to a pipe.
            is_harmless(&world.dsb.run([more, command].concat()));
        }
    }
    // The log file is read on a terminal, too.
    for log in fs::read_dir(world.dsb.catalog().join("log")).unwrap() {
        let text = fs::read_to_string(log.unwrap().path()).unwrap();
        assert!(!text.contains(|c: char| c != '\n' && c.is_control()), "{text:?}");
    }
}

/// Commands that look at a disk by its path.
const LOOKS: [&[&str]; 5] = [&["verify"], &["backup"], &["disk", "add"], &["plan"], &["recover", "--yes"]];

#[test]
fn n12_no_identity_file_makes_the_program_fall_write_or_lie() {
    let world = world_on(&["red"], 2);
    let red = world.place("red");
    let file = red.join("distbackup-disk.json");
    let good: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        changed[key] = value;
        changed.to_string()
    };
    let deep = (0..200).fold("1".to_owned(), |inside, _| format!("{{\"a\":{inside}}}"));
    let identities = [
        with("name", EVIL.into()),
        with("name", "n".repeat(500_000).into()),
        with("name", "../../../etc/passwd".into()),
        with("name", "".into()),
        with("uuid", "../red".into()),
        with("uuid", EVIL.into()),
        with("set", EVIL.into()),
        with("features_required", serde_json::json!([EVIL])),
        with("format", 1e300.into()),
        with("stamp", serde_json::json!({ "counter": u64::MAX, "random": "ffffffffffffffff" })),
        with("unknown\u{1b}[2J", serde_json::json!([[[EVIL]], { "a": null }])),
        with("deep", serde_json::Value::Null).replace("\"deep\":null", &format!("\"deep\":{deep}")),
        format!("{{\"uuid\":\"a\",\"uuid\":{}}}", good["uuid"]),
        "\u{feff}{}".to_owned(),
        "{".repeat(1_000_000),
        String::new(),
    ];
    let catalog = world.dsb.catalog().to_owned();
    for identity in identities {
        fs::write(&file, &identity).unwrap();
        let before = Frozen::of(&[&red, &world.source()]);
        for look in LOOKS {
            let place = red.to_str().unwrap();
            let run = world.dsb.run([["--dry-run", "--color", "always"].as_slice(), look, &[place]].concat());
            is_harmless(&run);
            before.is_untouched(&[&red, &world.source()], format_args!("{identity:.200}: {run}"));
        }
        assert!(catalog.join("distbackup.sqlite").exists());
    }
    // The highest stamp that is understood, and one that is not: there is a next one, or an error.
    for (counter, code) in [(1u64 << 53, 0), ((1 << 53) + 1, 12), (u64::MAX, 12)] {
        fs::write(&file, with("stamp", serde_json::json!({ "counter": counter, "random": "1" }))).unwrap();
        meddle(&catalog.join("distbackup.sqlite"), "UPDATE disk SET unproven = 1");
        world.write("new", counter.to_string());
        let run = world.dsb.run(["--color", "always", "backup", "--update", red.to_str().unwrap()]);
        is_harmless(&run);
        assert_eq!(run.exit_code(), Some(code), "{run}");
    }
}

/// What somebody puts in the place of one of the disk's own things.
#[derive(Debug, Clone, Copy)]
enum Instead {
    Link,
    LinkToNowhere,
    Pipe,
    Folder,
    File,
}

impl Instead {
    fn put(self, at: &Path, outside: &Path) {
        let aside = at.with_extension("aside");
        if at.symlink_metadata().is_ok() {
            fs::rename(at, aside).unwrap();
        }
        match self {
            Instead::Link => symlink(outside, at).unwrap(),
            Instead::LinkToNowhere => symlink(outside.join("nowhere"), at).unwrap(),
            Instead::Pipe => assert!(Command::new("mkfifo").arg(at).status().unwrap().success()),
            Instead::Folder => fs::create_dir(at).unwrap(),
            Instead::File => fs::write(at, "mine").unwrap(),
        }
    }
}

#[test]
fn d15_c7_nothing_in_the_place_of_a_disks_own_things_is_followed_or_waited_for() {
    let names = [
        "distbackup-objects",
        "distbackup-incoming",
        "bad-objects",
        "distbackup.sqlite",
        "distbackup.sqlite.previous",
        "distbackup-disk.json",
        "RESTORE.txt",
        "restore.py",
    ];
    let world = world_on(&["good"], 3);
    rot(&objects_on(&world.place("good"))[0], &mut Rng::new(7));
    let outside = world.place("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "mine").unwrap();
    let saved = fs::read(world.dsb.catalog().join("distbackup.sqlite")).unwrap();
    world.write("new", "new content");
    for name in names {
        let file = outside.join("precious");
        let folder = matches!(name, "distbackup-objects" | "distbackup-incoming" | "bad-objects");
        for instead in [
            Instead::Link,
            Instead::LinkToNowhere,
            Instead::Pipe,
            if folder { Instead::File } else { Instead::Folder },
        ] {
            // Each time the same disk and the same catalog as in the beginning.
            let disk = clone_of(&world.place("good"), &world.place("red"));
            fs::rename(world.place("good"), world.place("hidden")).unwrap();
            instead.put(&disk.join(name), if folder { &outside } else { &file });
            let before = Frozen::of(&[&outside]);
            let place = disk.to_str().unwrap();
            let to = world.place("to");
            let commands: [&[&str]; 6] = [
                &["verify", "--quarantine", place],
                &["backup", "--update", place],
                &["plan", place],
                &["restore", place, to.to_str().unwrap()],
                &["recover", "--yes", place],
                &["disk", "add", "again", place],
            ];
            for command in commands {
                let run = world.dsb.run(command);
                let what = format!("{instead:?} as {name}: {run}");
                is_harmless(&run);
                before.is_untouched(&[&outside], &what);
            }
            fs::remove_dir_all(&disk).unwrap();
            let _ = fs::remove_dir_all(&to);
            fs::rename(world.place("hidden"), world.place("good")).unwrap();
            for ending in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(world.dsb.catalog().join(format!("distbackup.sqlite{ending}")));
            }
            fs::write(world.dsb.catalog().join("distbackup.sqlite"), &saved).unwrap();
        }
    }
}

#[test]
fn c7_a_catalog_larger_than_this_computer_has_room_is_not_fetched() {
    let world = world_on(&["red"], 1);
    let red = world.place("red");
    let free = distbackup_engine::platform::space_at(&red).unwrap().free.0;
    // A file that is all hole; a filesystem that cannot have one has no room for the real thing either.
    let huge = fs::File::options().write(true).open(red.join("distbackup.sqlite")).unwrap();
    if huge.set_len(free + (1 << 30)).is_err() {
        return distbackup_testkit::skipped("no file can be larger than what is free here");
    }
    let pc = world.dsb.another_pc();
    let run = pc.run(["recover", red.to_str().unwrap()]).code(1).harmless();
    assert!(run.stderr().contains("free here"), "{run}");
    let left: Vec<_> = distbackup_testkit::tree::paths(pc.catalog()).unwrap_or_default();
    assert!(left.iter().all(|path| !path.to_string_lossy().ends_with(".sqlite")), "{left:?}");
}

#[test]
fn c7_names_taken_over_from_a_disks_catalog_bring_no_sizes_that_break_every_sum() {
    let world = world_on(&["red"], 2);
    let red = world.place("red");
    // The PC's catalog goes back to before the files; the disk's own knows them, with sizes nobody has.
    let hostile = red.join("distbackup.sqlite");
    meddle(&hostile, "UPDATE entry SET size = 2305843009213693951 WHERE kind = 'f'");
    let own = world.dsb.catalog().join("distbackup.sqlite");
    meddle(
        &own,
        "DELETE FROM copy; DELETE FROM entry WHERE kind = 'f'; DELETE FROM object; UPDATE disk SET unproven = 1",
    );
    fs::remove_dir_all(world.source()).unwrap();
    fs::create_dir(world.source()).unwrap();
    world.write("other", "other");
    world.dsb.run(["update", "--accept"]);
    world.dsb.run(["backup", "red"]).ok();
    world.dsb.run(["status"]).ok();
    let to = world.place("to");
    let listed = world.dsb.run(["snapshots"]).ok();
    let taken = |line: &&str| line.contains("catalog copy of disk red");
    let pinned =
        listed.stdout().lines().find(taken).unwrap_or_else(|| panic!("nothing was taken over\n{listed}"));
    let number = pinned.split_whitespace().next().unwrap();
    world.dsb.run(["restore", "--at", number, "--to", to.to_str().unwrap()]).ok();
}
