//! The house rules of the imports, held against the code.
//!
//! Data flows one way and imports point one way: what is not in the table below is not allowed. The
//! test reads the sources themselves, without their test code, and looks at every path that starts in
//! one of our crates or in `std`, in `use` lines and elsewhere. So an edge that somebody adds in
//! passing turns red here, with its file and line, and either the code or the table has to change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "layers/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Place, Source};

/// What the modules of a crate may use of ours, besides themselves.
struct House {
    /// Folder of the crate below `crates`.
    crate_folder: &'static str,
    layers: &'static [Layer],
}

/// A top-level module.
struct Layer {
    name: &'static str,
    /// Paths of the same crate, as far as they have to agree: `hash::digest` allows no more of `hash`.
    own: &'static [&'static str],
    /// Paths of `distbackup_core`.
    core: &'static [&'static str],
    /// Paths of `distbackup_engine`.
    engine: &'static [&'static str],
}

const ALL: &[&str] = &[""];
const NONE: &[&str] = &[];

const fn pure(name: &'static str, own: &'static [&'static str]) -> Layer {
    Layer { name, own, core: NONE, engine: NONE }
}

const fn doing(name: &'static str, own: &'static [&'static str], core: &'static [&'static str]) -> Layer {
    Layer { name, own, core, engine: NONE }
}

const CORE: House = House {
    crate_folder: "core",
    layers: &[
        pure("model", NONE),
        pure("rules", &["model"]),
        pure("diff", &["model"]),
        pure("retention", &["model"]),
        pure("evidence", &["model"]),
        pure("plan", &["model"]),
        pure("brake", &["plan"]),
        pure("planner", &["model", "evidence", "plan"]),
        pure("restore_planner", &["model", "plan"]),
    ],
};

/// `scan`, `hash`, `metadata`, `disk` and `catalog` do not know each other; only `ops` knows them all.
const ENGINE: House = House {
    crate_folder: "engine",
    layers: &[
        doing("platform", NONE, &["model"]),
        doing("progress", NONE, ALL),
        doing("clock", NONE, ALL),
        doing("content", NONE, ALL),
        doing("catalog", &["platform"], ALL),
        doing("scan", &["platform", "progress", "content"], ALL),
        doing("hash", &["platform", "progress", "content"], ALL),
        doing("metadata", &["platform", "progress", "content"], ALL),
        // A disk checks what it stages with the same digest, and knows nothing else of hashing.
        doing("disk", &["platform", "progress", "content", "hash::digest", "hash::Digest"], ALL),
        doing("ops", ALL, ALL),
        doing("browse", &["catalog", "platform"], ALL),
        doing("report", &["browse", "catalog", "platform"], ALL),
    ],
};

const CLI: House = House {
    crate_folder: "cli",
    layers: &[
        Layer { name: "main", own: ALL, core: ALL, engine: ALL },
        Layer { name: "context", own: ALL, core: ALL, engine: ALL },
        Layer { name: "commands", own: ALL, core: ALL, engine: ALL },
        Layer { name: "args", own: ALL, core: ALL, engine: ALL },
        Layer { name: "complete", own: ALL, core: ALL, engine: ALL },
        // Words are made of outcomes and events, never by asking a catalog or a disk.
        Layer { name: "render", own: &["failure"], core: ALL, engine: &["ops", "report", "progress"] },
        Layer { name: "failure", own: NONE, core: ALL, engine: ALL },
    ],
};

/// `core` decides; who acts, asks the time or starts a thread, is elsewhere.
const NOT_IN_CORE: &[&str] = &["fs", "io", "net", "process", "thread", "time", "env", "os"];
/// The engine never prints, prompts or exits.
const NOT_IN_ENGINE: &[&str] = &["process::exit", "process::abort", "io::stdout", "io::stderr", "io::stdin"];
const PRINT_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];
/// How a statement begins that belongs into the catalog.
const SQL: &[&str] = &[
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "REPLACE ",
    "CREATE TABLE",
    "CREATE INDEX",
    "DROP ",
    "ALTER ",
    "PRAGMA ",
    "VACUUM",
    "ATTACH ",
    "WITH ",
];
/// A longer file wants to be a folder.
const LINES_MAX: usize = 700;

/// What is wrong in one file.
fn complaints(house: &House, place: &Place, source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let top = place.module.first().map(String::as_str);
    let layer = house.layers.iter().find(|layer| Some(layer.name) == top);
    if let (Some(top), None) = (top, layer) {
        wrong.push(format!("module `{top}` is not in the table: say there what it may use"));
    }

    let krate = house.crate_folder;
    for reference in source.references(&place.module) {
        let (root, path) = (reference.root.as_str(), reference.path.join("::"));
        let allowed = match (root, layer) {
            ("std", _) => !match krate {
                "core" => begins_with_any(&path, NOT_IN_CORE),
                "engine" => begins_with_any(&path, NOT_IN_ENGINE),
                _ => false,
            },
            // The crate's root names its modules and may re-export them.
            (_, None) => true,
            ("crate", Some(layer)) => {
                // A path that names the crate alone, as in `pub(in crate)`, uses nothing.
                path.is_empty() || begins_with(&path, layer.name) || begins_with_any(&path, layer.own)
            }
            ("distbackup_core", Some(layer)) => begins_with_any(&path, layer.core),
            ("distbackup_engine", Some(layer)) => begins_with_any(&path, layer.engine),
            _ => true,
        };
        if !allowed {
            wrong.push(format!("line {}: uses {root}::{path}", reference.line));
        }
    }

    let in_catalog = krate == "engine" && top == Some("catalog");
    let in_platform = krate == "engine" && top == Some("platform");
    for (line, name) in source.macros() {
        if krate != "cli" && PRINT_MACROS.contains(&name) {
            wrong.push(format!("line {line}: prints with {name}!"));
        }
    }
    for (line, word) in source.words() {
        if word == "rusqlite" && !in_catalog {
            wrong.push(format!("line {line}: rusqlite outside the catalog"));
        }
        if word == "unsafe" && !in_platform {
            wrong.push(format!("line {line}: unsafe outside platform"));
        }
    }
    for (line, text) in source.texts() {
        if !in_catalog && SQL.iter().any(|verb| text.trim_start().starts_with(verb)) {
            wrong.push(format!("line {line}: SQL outside the catalog"));
        }
    }
    if source.lines > LINES_MAX {
        wrong.push(format!("{} lines; more than {LINES_MAX} want to be a folder", source.lines));
    }
    wrong
}

/// Whether `path` is `prefix` or goes on below it; everything begins with an empty prefix.
fn begins_with(path: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn begins_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| begins_with(path, prefix))
}

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Reads all sources of a crate and expects no complaint.
fn check_house(house: &House) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(house.crate_folder).join("src");
    let files = source_files(&folder);
    let read: Vec<(Place, Source)> = files
        .iter()
        .map(|file| {
            let place = Place::of(file.strip_prefix(&folder).unwrap());
            (place, Source::read(&fs::read_to_string(file).unwrap()))
        })
        .collect();
    // A file that only tests are compiled from, `#[cfg(test)] mod tests;`, may use what it likes.
    let only_tests: Vec<Vec<String>> = read
        .iter()
        .flat_map(|(place, source)| {
            source.test_modules.iter().map(|name| [place.module.clone(), vec![name.clone()]].concat())
        })
        .collect();
    let mut wrong = Vec::new();
    for (place, source) in &read {
        if only_tests.iter().any(|tests| place.module.starts_with(tests)) {
            continue;
        }
        for complaint in complaints(house, place, source) {
            wrong.push(format!("crates/{}/src/{}: {complaint}", house.crate_folder, place.file.display()));
        }
    }
    assert!(!read.is_empty(), "no sources in {}", folder.display());
    assert!(wrong.is_empty(), "{} broken house rules:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn core_is_pure_and_its_modules_use_only_what_lies_below() {
    check_house(&CORE);
}

#[test]
fn engine_imports_point_one_way() {
    check_house(&ENGINE);
}

#[test]
fn the_command_line_renders_outcomes_and_asks_operations() {
    check_house(&CLI);
}

/// The checker itself, on snippets: a rule that cannot turn red holds nothing.
mod checker {
    use super::*;

    fn found(house: &House, file: &str, text: &str) -> Vec<String> {
        complaints(house, &Place::of(Path::new(file)), &Source::read(text))
    }

    #[track_caller]
    fn clean(house: &House, file: &str, text: &str) {
        assert_eq!(found(house, file, text), [""; 0]);
    }

    #[track_caller]
    fn complains(house: &House, file: &str, text: &str, expected: &str) {
        assert_eq!(found(house, file, text), [expected]);
    }

    #[test]
    fn a_forbidden_edge_is_found_however_it_is_written() {
        complains(&ENGINE, "disk/folder.rs", "use crate::scan::Walk;", "line 1: uses crate::scan::Walk");
        complains(
            &ENGINE,
            "disk/folder.rs",
            "\nuse crate::{content::Content, catalog};",
            "line 2: uses crate::catalog",
        );
        complains(&ENGINE, "disk/mod.rs", "use super::ops;", "line 1: uses crate::ops");
        complains(&ENGINE, "disk/a/b.rs", "use super::super::super::scan::X;", "line 1: uses crate::scan::X");
        complains(&ENGINE, "scan.rs", "fn f() { crate::disk::open(); }", "line 1: uses crate::disk::open");
        complains(&ENGINE, "scan.rs", "use crate as us; use crate::disk as d;", "line 1: uses crate::disk");
        complains(
            &ENGINE,
            "scan.rs",
            "mod inner { use super::super::disk::X; }",
            "line 1: uses crate::disk::X",
        );
        complains(
            &ENGINE,
            "scan.rs",
            "use crate::{progress::{Event, Observer}, hash::*};",
            "line 1: uses crate::hash",
        );
        complains(&ENGINE, "disk/mod.rs", "use crate::hash::read;", "line 1: uses crate::hash::read");
        complains(
            &ENGINE,
            "platform/stat.rs",
            "use distbackup_core::plan::Step;",
            "line 1: uses distbackup_core::plan::Step",
        );
        complains(&CORE, "model/path.rs", "use crate::plan::Step;", "line 1: uses crate::plan::Step");
        complains(
            &CLI,
            "render/json.rs",
            "use distbackup_engine::catalog::X;",
            "line 1: uses distbackup_engine::catalog::X",
        );
        complains(&ENGINE, "scan.rs", "use crate::Reexported;", "line 1: uses crate::Reexported");
        complains(&ENGINE, "shed.rs", "", "module `shed` is not in the table: say there what it may use");
    }

    #[test]
    fn allowed_edges_and_the_modules_own_paths_pass() {
        clean(
            &ENGINE,
            "disk/folder.rs",
            "use crate::{content::Content, disk::port, hash::digest, hash::Digest};",
        );
        clean(
            &ENGINE,
            "disk/a/b.rs",
            "use super::super::port::Disk; use self::x::Y; pub(in crate::disk) fn f() {}",
        );
        clean(
            &ENGINE,
            "ops/backup/execute.rs",
            "use crate::{scan, disk, catalog}; use distbackup_core::planner::X;",
        );
        clean(&ENGINE, "lib.rs", "pub mod scan; pub use crate::scan::Walk;");
        clean(&CORE, "planner/flow.rs", "use super::nexus; use crate::{model, plan, evidence};");
    }

    #[test]
    fn tests_comments_and_texts_may_say_anything() {
        clean(
            &ENGINE,
            "scan.rs",
            "//! [`crate::disk`]\n/* use crate::disk; /* nested */ println!() */ fn f<'a>() {}",
        );
        clean(
            &ENGINE,
            "scan.rs",
            r##"const A: &str = "use crate::disk;"; const B: &str = r#"" unsafe "#; const C: char = '"';"##,
        );
        clean(&ENGINE, "scan.rs", "#[cfg(test)]\nmod tests { use crate::disk; fn f() { println!(); } }");
        clean(&ENGINE, "scan.rs", "#[cfg(test)]\n#[allow(dead_code)]\nuse crate::{disk, hash};\nfn f() {}");
        complains(
            &ENGINE,
            "scan.rs",
            "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::disk;",
            "line 3: uses crate::disk",
        );
        complains(
            &ENGINE,
            "scan.rs",
            "#[cfg(any(test, feature = \"testing\"))]\nmod double { use crate::disk; }",
            "line 2: uses crate::disk",
        );
    }

    #[test]
    fn printing_sql_unsafe_and_impurity_are_found() {
        complains(&ENGINE, "ops/update.rs", "fn f() { println!(\"x\"); }", "line 1: prints with println!");
        complains(&CORE, "plan.rs", "fn f() { std::eprintln!(\"x\"); }", "line 1: prints with eprintln!");
        clean(&CLI, "render/human.rs", "fn f() { println!(\"x\"); }");
        complains(&ENGINE, "ops/x.rs", "use std::process::exit;", "line 1: uses std::process::exit");
        clean(&ENGINE, "ops/x.rs", "use std::process::id;");
        complains(&CORE, "diff.rs", "use std::{fmt, fs::File};", "line 1: uses std::fs::File");
        complains(&CORE, "plan.rs", "fn f(t: std::time::Instant) {}", "line 1: uses std::time::Instant");
        complains(
            &ENGINE,
            "report/find.rs",
            "const Q: &str = \"\n  SELECT 1\";",
            "line 1: SQL outside the catalog",
        );
        clean(&ENGINE, "catalog/find.rs", "use rusqlite::Row; const Q: &str = \"SELECT 1\";");
        complains(
            &ENGINE,
            "ops/x.rs",
            "fn f(c: rusqlite::Connection) {}",
            "line 1: rusqlite outside the catalog",
        );
        complains(&ENGINE, "disk/x.rs", "fn f() { unsafe { g() } }", "line 1: unsafe outside platform");
        clean(&ENGINE, "platform/x.rs", "fn f() { unsafe { g() } }");
        clean(&ENGINE, "lib.rs", "#![deny(unsafe_code)]");
    }

    #[test]
    fn files_know_their_module() {
        let module = |file: &str| Place::of(Path::new(file)).module.join("::");
        assert_eq!(module("lib.rs"), "");
        assert_eq!(module("main.rs"), "");
        assert_eq!(module("disk/mod.rs"), "disk");
        assert_eq!(module("disk/folder/staging.rs"), "disk::folder::staging");
        let source = Source::read("#[cfg(test)]\nmod tests;\nmod code;");
        assert_eq!(source.test_modules, ["tests"]);
    }
}
