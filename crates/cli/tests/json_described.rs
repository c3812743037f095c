//! `docs/json.md` names every type and every key that a command prints.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{World, noise};
use serde_json::Value;

/// All keys of an object, also of those in it.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            keys(value, found);
        }),
        Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_key_that_is_printed_is_described() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let description = fs::read_to_string(file).unwrap();
    let described: BTreeSet<&str> = description.split('`').skip(1).step_by(2).collect();
    let says = |word: &str| {
        described.iter().any(|code| {
            code.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).any(|part| part == word)
        })
    };

    let world = World::empty();
    let source = format!("/data={}", world.source().display());
    for seed in 1..5 {
        world.write(&format!("folder/{seed}"), noise(5000, seed));
    }
    world.write("a.tmp", "a");
    let place = |name: &str| {
        let folder = world.place(name);
        fs::create_dir_all(&folder).unwrap();
        folder.to_str().unwrap().to_owned()
    };
    let (red, blue, to) = (place("red"), place("blue"), place("to"));
    let lines: Vec<Vec<&str>> = vec![
        vec!["init", "--source", &source],
        vec!["disk", "add", "red", &red],
        vec!["disk", "add", "blue", &blue],
        vec!["disk", "list"],
        vec!["disk", "set", "red", "--location", "here"],
        vec!["source", "list"],
        vec!["source", "set", "-p", "2", "/data/folder"],
        vec!["source", "check", "*.tmp"],
        vec!["source", "lock", "/data/a.tmp"],
        vec!["source", "lock"],
        vec!["update"],
        vec!["update", "--reread"],
        vec!["plan", "red"],
        vec!["next"],
        vec!["whatif", "lose", "red"],
        vec!["whatif", "add", "8T"],
        vec!["whatif", "target", "3"],
        vec!["backup", "--read-back", "red"],
        vec!["backup", "blue"],
        vec!["status"],
        vec!["status", "--check"],
        vec!["info"],
        vec!["ls"],
        vec!["tree"],
        vec!["find", "a"],
        vec!["where", "/data/folder/1"],
        vec!["snapshots"],
        vec!["diff", "1", "latest"],
        vec!["log"],
        vec!["log", "show", "1"],
        vec!["verify", "red"],
        vec!["verify", "--sample", "50%", "blue"],
        vec!["heal"],
        vec!["restore", "--to", &to],
        vec!["config", "get"],
        vec!["config", "export", "-"],
        vec!["export", "json"],
        vec!["debug", "info", "/data/folder/1"],
        vec!["debug", "hash", &source[6..]],
        vec!["doctor"],
        vec!["adopt", &to],
        vec!["disk", "refresh", "red"],
        vec!["disk", "retire", "red"],
        vec!["disk", "retire", "red", "--cancel"],
        vec!["forget", "1", "--yes"],
        vec!["recover", &red, "--yes"],
        vec!["no such command"],
        vec!["backup", "green"],
    ];
    let (mut types, mut wrong) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let run = world.dsb.run(std::iter::once("--json").chain(line.iter().copied()));
        for object in run.stdout().lines() {
            let value: Value =
                serde_json::from_str(object).unwrap_or_else(|error| panic!("{error}: {object}"));
            // Words of other programs: what is exported is described where it is read.
            if line[0] == "export" || line.starts_with(&["config", "export"]) {
                continue;
            }
            let kind = value["type"].as_str().unwrap_or_default().to_owned();
            if !says(&kind) {
                wrong.insert(format!("{line:?}: the type `{kind}`"));
            }
            types.insert(kind.clone());
            let mut found = BTreeSet::new();
            keys(&value, &mut found);
            wrong.extend(
                found
                    .into_iter()
                    .filter(|key| !says(key))
                    .map(|key| format!("{}: `{key}` of `{kind}`", line[0])),
            );
        }
    }
    assert!(types.len() > 25, "{types:?}");
    assert!(
        wrong.is_empty(),
        "not described in docs/json.md:\n{}",
        wrong.into_iter().collect::<Vec<_>>().join("\n")
    );
}
