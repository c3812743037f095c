//! `CATALOG.html` on each disk and `export html`: what any browser can show without the program.
//!
//! The data are read here by a reader of their own, written from `docs/format.md`; and, where there is a Chromium, by the
//! page itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::frozen::Frozen;
use common::{World, object, objects};
use distbackup_testkit::faults::{Fault, Injector};
use distbackup_testkit::{or_skip, skipped};
use serde_json::Value;
use shelf::*;
use tempfile::TempDir;

/// Size, time, and the names of disks, or what it is instead.
type Name = (u64, i64, Vec<String>);
/// What needs no copy, files and bytes by copies, files and bytes by disk.
type Totals = (u64, Vec<(u64, u64)>, BTreeMap<String, (u64, u64)>);

/// The data of a page, read without the program.
struct Page {
    /// The call of `dsbState`.
    state: Value,
    /// What is no folder, by its path as it is shown.
    files: BTreeMap<String, Name>,
    /// Each folder, by its path.
    folders: BTreeMap<String, Totals>,
    /// Where the page says that its data are.
    data: PathBuf,
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text, 36).unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn time(text: &str) -> i64 {
    i64::from_str_radix(text, 36).unwrap_or_else(|_| panic!("{text:?} is no time"))
}

/// The text in a file of data; it begins and ends as the page needs it.
#[track_caller]
fn text(file: &Path, kind: &str, part: u64) -> String {
    let all = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let inner = all.strip_prefix(&format!("dsbChunk(\"{kind}\",{part},`\n")).expect("how a part begins");
    let inner = inner.strip_suffix("`);\n").expect("how a part ends");
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        assert!(c != '`' && !(c == '$' && chars.as_str().starts_with('{')), "a text ends, or runs something");
        text.push(if c == '\\' { chars.next().unwrap() } else { c });
    }
    text
}

fn join(folder: &str, name: &str) -> String {
    if folder == "/" { format!("/{name}") } else { format!("{folder}/{name}") }
}

fn pairs(text: &str) -> Vec<(u64, u64)> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('.').map(|(files, bytes)| (number(files), number(bytes))).unwrap())
        .collect()
}

/// Reads the page in a folder, every part that its state tells of.
#[track_caller]
fn page(folder: &Path) -> Page {
    let html = fs::read_to_string(folder.join("CATALOG.html")).unwrap();
    let line = html.lines().find_map(|line| line.strip_prefix("const DATA = \"")).unwrap();
    let data = folder.join(line.strip_suffix("\";").unwrap());
    let state = fs::read_to_string(data.join("state.js")).unwrap();
    assert!(!state.contains('<'), "{state}");
    let state = state.strip_prefix("dsbState(").unwrap().strip_suffix(");\n").unwrap();
    let state: Value = serde_json::from_str(state).unwrap();
    let disk = |at: u64| state["disks"][at as usize]["name"].as_str().unwrap().to_owned();

    let mut files = BTreeMap::new();
    for part in 0..state["files_chunks"].as_u64().unwrap() {
        let mut folder = String::new();
        for line in text(&data.join(format!("files-{part:03}.js")), "files", part).lines() {
            if line.starts_with('/') {
                folder = line.strip_suffix('\t').unwrap().to_owned();
                continue;
            }
            let [size, mtime, mark, name] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line:?}")
            };
            let disks = match mark {
                "." | "@" | "|" | "%" | "?" => vec![mark.to_owned()],
                set => {
                    let set = state["sets"][number(set) as usize].as_array().unwrap();
                    set.iter().map(|at| disk(at.as_u64().unwrap())).collect()
                }
            };
            let before = files.insert(join(&folder, name), (number(size), time(mtime), disks));
            assert!(before.is_none(), "{name} stands twice in {folder}");
        }
    }

    let totals = |other: &str, levels: &str, disks: &str| {
        let held = disks.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (at, rest) = part.split_once('.').unwrap();
            (disk(number(at)), pairs(rest)[0])
        });
        (number(other), pairs(levels), held.collect())
    };
    let mut folders = BTreeMap::new();
    let root: Vec<&str> = state["root"].as_str().unwrap().split('\t').collect();
    folders.insert("/".to_owned(), totals(root[1], root[2], root[3]));
    for part in 0..state["folders_chunks"].as_u64().unwrap() {
        let mut folder = String::new();
        for line in text(&data.join(format!("folders-{part:03}.js")), "folders", part).lines() {
            if line.starts_with('/') {
                folder = line.split('\t').next().unwrap().to_owned();
                continue;
            }
            let [_, other, levels, disks, _, name] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("{line:?}")
            };
            folders.insert(join(&folder, name), totals(other, levels, disks));
        }
    }
    Page { state, files, folders, data }
}

/// What `export json` says of the same tree, in the form of [`Page::files`].
fn exported(world: &World) -> BTreeMap<String, Name> {
    let run = world.dsb.run(["export", "json"]).ok();
    let rows = run.stdout().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = rows.filter(|row| row["kind"] != "d");
    rows.map(|row| {
        let disks: Vec<String> = serde_json::from_value(row["disks"].clone()).unwrap();
        let disks = match row["kind"].as_str().unwrap() {
            "l" => vec!["@".to_owned()],
            "p" => vec!["|".to_owned()],
            _ if row["size"] == 0 => vec![".".to_owned()],
            _ if row["pending"] == true => vec!["?".to_owned()],
            _ => disks,
        };
        let seconds = row["mtime_ns"].as_i64().unwrap().div_euclid(1_000_000_000);
        (row["path"].as_str().unwrap().to_owned(), (row["size"].as_u64().unwrap(), seconds, disks))
    })
    .collect()
}

/// Names that mean something to a terminal, a browser, a script or the form of the data.
fn hostile_names() -> Vec<&'static [u8]> {
    vec![
        b"<script>alert(1)<",
        b"<img src=x onerror=alert(1)>",
        b"`;alert(1);`",
        b"${alert(1)}",
        b"back\\slash\\",
        b"\\u0041\\x41",
        b"line\nbreak\rand\ttab",
        b"not utf-8 \xff\xfe",
        "\u{2028}\u{2029}\u{202e}txt.exe".as_bytes(),
        "日本語 📷".as_bytes(),
        b"\x1b[2Jcleared",
        b"'\"&amp;",
        b"#hash?query%41",
        b"=1+1",
        // Accents apart from their letters, as some systems store them.
        "cafe\u{301}".as_bytes(),
    ]
}

/// A world of two disks, with odd names, equal files, empty ones, links, and a file on no disk.
fn odd_world() -> World {
    let world = World::new();
    for (number, name) in hostile_names().into_iter().enumerate() {
        let content = common::noise(1000 + number, number as u64);
        fs::write(world.source().join(OsStr::from_bytes(name)), content).unwrap();
        let folder = world.source().join("odd").join(OsStr::from_bytes(name));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("inside"), format!("content {number}")).unwrap();
    }
    world.write("photos/2019/rome.jpg", common::noise(5000, 100));
    world.write("photos/2019/rome again.jpg", common::noise(5000, 100));
    world.write("photos/2020/oslo.jpg", common::noise(7000, 101));
    world.write("empty", b"");
    fs::create_dir(world.source().join("empty folder")).unwrap();
    symlink("rome.jpg", world.source().join("photos/2019/link")).unwrap();
    let old = fs::File::options().write(true).open(world.source().join("photos/2019/rome.jpg")).unwrap();
    let before_1970 = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1_000_000);
    old.set_modified(before_1970).unwrap();
    world.add_disk("red", None);
    world.add_disk("blue", None);
    world.update_and_back_up("red");
    world.write("photos/2021/new.jpg", common::noise(900, 102));
    world.update_and_back_up("blue");
    world
}

#[test]
fn s10_the_page_of_a_disk_knows_every_file_and_who_holds_it_whatever_its_name() {
    let world = odd_world();
    let blue = page(&world.place("blue"));
    let expected = exported(&world);
    assert_eq!(blue.files, expected);
    assert!(expected.contains_key("/data/not utf-8 \\xff\\xfe"), "{:?}", expected.keys());
    assert_eq!(expected["/data/photos/2019/rome.jpg"].2, ["red", "blue"]);
    assert_eq!(expected["/data/photos/2021/new.jpg"].2, ["blue"]);
    // The page on red is as old as the catalog there: it does not know what came since.
    let red = page(&world.place("red"));
    assert!(!red.files.contains_key("/data/photos/2021/new.jpg"));
    assert_eq!(red.files["/data/photos/2019/rome.jpg"].2, ["red"]);
}

#[test]
fn the_page_says_whose_it_is_and_how_safe_the_set_is() {
    let world = odd_world();
    world.dsb.run(["disk", "set", "red", "--location", "</script><b>", "--note", "a \"note\"\u{2028}"]).ok();
    world.dsb.run(["source", "set", "/data/photos", "--mincopies", "3"]).ok();
    world.update_and_back_up("blue");
    let Page { state, .. } = page(&world.place("blue"));
    let status = world.status();
    assert_eq!(state["format"], 1);
    assert_eq!(state["disks"][state["disk"].as_u64().unwrap() as usize]["name"], "blue");
    assert_eq!(state["disks"][0]["location"], "</script><b>");
    assert_eq!(state["targets"][0]["path"], "/data/photos");
    assert_eq!(state["targets"][0]["copies"], 3);
    for (at, level) in status["levels"].as_array().unwrap().iter().enumerate() {
        for key in ["files", "bytes"] {
            assert_eq!(state["levels"][at][key], level[key], "{key} of level {at}\n{state}\n{status}");
        }
    }
    for (at, disk) in status["disks"].as_array().unwrap().iter().enumerate() {
        for key in ["name", "uuid", "objects", "bytes", "alone"] {
            assert_eq!(state["disks"][at][key], disk[key], "{key} of disk {at}\n{state}\n{status}");
        }
    }
    assert_eq!(state["below_target"]["objects"], status["below_target"]["objects"]);
}

#[test]
fn each_folder_sums_up_what_is_below_it() {
    let world = odd_world();
    let Page { files, folders, state, .. } = page(&world.place("blue"));
    assert_eq!(state["folders"].as_u64(), Some(folders.len() as u64));
    assert_eq!(state["files"].as_u64(), Some(files.len() as u64));
    assert!(folders.contains_key("/data/empty folder"));
    for (folder, (other, levels, disks)) in &folders {
        let below = if folder == "/" { "/".to_owned() } else { format!("{folder}/") };
        let mut expected = (0, Vec::new(), BTreeMap::new());
        for (size, _, held) in files.iter().filter(|(path, _)| path.starts_with(&below)).map(|(_, file)| file)
        {
            if matches!(held.first().map(String::as_str), Some("." | "@" | "|" | "%")) {
                expected.0 += 1;
                continue;
            }
            expected.1.resize(expected.1.len().max(held.len() + 1), (0, 0));
            let level: &mut (u64, u64) = &mut expected.1[held.len()];
            *level = (level.0 + 1, level.1 + size);
            for disk in held {
                let on: &mut (u64, u64) = expected.2.entry(disk.clone()).or_default();
                *on = (on.0 + 1, on.1 + size);
            }
        }
        assert_eq!((*other, levels, disks), (expected.0, &expected.1, &expected.2), "{folder}");
    }
}

#[test]
fn files_that_no_disk_has_yet_are_on_none() {
    let world = odd_world();
    world.write("photos/2022/later.jpg", common::noise(4000, 103));
    world.dsb.run(["update"]).ok();
    let to = TempDir::new().unwrap();
    world.dsb.run(["export", "html", to.path().to_str().unwrap()]).ok().says("CATALOG.html");
    let Page { files, folders, state, .. } = page(to.path());
    assert_eq!(files["/data/photos/2022/later.jpg"].2, Vec::<String>::new());
    assert_eq!(folders["/data/photos/2022"].1, [(1, 4000)]);
    assert_eq!(state["disk"], Value::Null);
    assert_eq!(files, exported(&world));
}

#[test]
fn c8_the_data_are_for_their_owner_and_the_page_is_for_everybody() {
    let world = world_on(&["red"], 3);
    let Page { data, .. } = page(&world.place("red"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.place("red").join("CATALOG.html")), 0o644);
    assert_eq!((mode(&data), mode(&data.join("state.js"))), (0o700, 0o600));
    let html = fs::read_to_string(world.place("red").join("CATALOG.html")).unwrap();
    assert!(!html.contains("file-01"));
}

#[test]
fn a_new_page_takes_the_place_of_the_old_one_and_an_idle_visit_touches_neither() {
    let world = world_on(&["red"], 3);
    let first = page(&world.place("red")).data;
    world.write("more", "content");
    world.update_and_back_up("red");
    let second = page(&world.place("red"));
    assert!(second.data != first && !first.exists());
    assert_eq!(fs::read_dir(world.place("red/distbackup-catalog")).unwrap().count(), 1);
    assert!(second.files.contains_key("/data/more"));

    let red = world.place("red");
    let before = Frozen::of(&[&red]);
    world.dsb.run(["backup", "red"]).ok();
    before.is_untouched(&[&red], "a visit that has nothing to do");
}

#[test]
fn who_does_not_want_the_page_has_none_after_the_next_visit() {
    let world = world_on(&["red"], 3);
    world.dsb.run(["config", "set", "page", "sometimes"]).code(2);
    world.dsb.run(["config", "set", "page", "off"]).ok();
    world.dsb.run(["backup", "red"]).ok();
    assert!(!world.place("red/CATALOG.html").exists() && !world.place("red/distbackup-catalog").exists());
    world.dsb.run(["config", "set", "page", "on"]).ok();
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(page(&world.place("red")).files.len(), 3);
}

#[test]
fn d15_what_is_not_ours_under_the_names_of_the_page_is_neither_followed_nor_removed() {
    let world = world_on(&["red"], 3);
    let red = world.place("red");
    fs::remove_dir_all(red.join("distbackup-catalog")).unwrap();
    fs::create_dir(world.place("outside")).unwrap();
    fs::write(world.place("outside/mine.js"), "precious").unwrap();
    symlink(world.place("outside"), red.join("distbackup-catalog")).unwrap();
    world.write("more", "content");
    world.dsb.run(["update"]).ok();
    world.dsb.run(["backup", "red"]).ok().warns("CATALOG.html");
    assert_eq!(fs::read_dir(world.place("outside")).unwrap().count(), 1);
    // The visit counts all the same: the catalog is there.
    assert_eq!(world.holders("/data/more"), ["red"]);

    // As soon as nothing is in its way, the page is written, though there is nothing else to do.
    fs::remove_file(red.join("distbackup-catalog")).unwrap();
    world.dsb.run(["backup", "red"]).ok();
    assert_eq!(page(&red).files.len(), 4);

    fs::create_dir_all(red.join("distbackup-catalog/mine/deeper")).unwrap();
    fs::write(red.join("distbackup-catalog/mine/notes.txt"), "precious").unwrap();
    fs::write(red.join("distbackup-catalog/notes.txt"), "precious").unwrap();
    symlink(world.place("outside"), red.join("distbackup-catalog/link")).unwrap();
    world.write("and more", "content 2");
    world.update_and_back_up("red");
    assert_eq!(page(&red).files.len(), 5);
    for kept in ["mine/deeper", "mine/notes.txt", "notes.txt", "link/mine.js"] {
        assert!(red.join("distbackup-catalog").join(kept).exists(), "{kept}");
    }
}

#[test]
fn d1_d4_d19_whatever_goes_wrong_with_the_page_leaves_the_old_or_the_new_one_and_costs_no_visit() {
    let injector = or_skip!(Injector::new());
    let world = world_on(&["red"], 3);
    let red = world.place("red");
    let mut more = 0;
    let mut visit = |fault: Option<(u64, Fault)>| {
        more += 1;
        world.write(&format!("more {more}"), format!("content {more}"));
        world.dsb.run(["update"]).ok();
        let mut command = world.dsb.command(["backup", "red"]);
        injector.arm(&mut command, &[&red], fault);
        let run = world.dsb.start_prepared(command).wait();
        (run, injector.calls(), format!("/data/more {more}"))
    };
    let (run, calls, _) = visit(None);
    run.ok();
    let of_page = |path: &Path| path.to_string_lossy().contains("distbackup-catalog");
    let first = calls.iter().find(|call| of_page(&call.path)).expect("calls for the page").number;
    let last = calls.iter().rfind(|call| of_page(&call.path)).unwrap().number;
    assert!(last > first + 8, "{calls:?}");
    for number in first..=last {
        let fault = Fault::ALL[number as usize % Fault::ALL.len()];
        let known = page(&red).files.len();
        let (run, _, newest) = visit(Some((number, fault)));
        let when = format!("{fault:?} at call {number} of {first} to {last}\n{run}");
        // All that the page on the disk names is there and whole: the page before, or this one.
        let now = page(&red);
        assert!(now.files.len() == known || now.files.contains_key(&newest), "{when}");
        assert_eq!(world.holders(&newest), ["red"], "{when}");
        if !fault.kills() {
            assert_eq!(run.exit_code(), Some(0), "{when}");
            let new = now.files.contains_key(&newest);
            assert!(
                new || run.stderr().contains("CATALOG.html"),
                "says that the page is the old one\n{when}"
            );
        }
    }
    visit(None).0.ok();
    assert_eq!(page(&red).files, exported(&world));
    assert_eq!(fs::read_dir(red.join("distbackup-catalog")).unwrap().count(), 1, "what was begun is gone");
}

#[test]
fn an_export_goes_into_an_empty_folder_only_and_a_dry_run_writes_nothing() {
    let world = odd_world();
    let to = world.place("exported/page");
    let to_text = to.to_str().unwrap();
    world.dsb.run(["--dry-run", "export", "html", to_text]).ok();
    assert!(!world.place("exported").exists());
    let written = object(&world.dsb.run(["--json", "export", "html", to_text]).ok(), "page");
    assert_eq!(written["files"].as_u64(), Some(exported(&world).len() as u64));
    let before = Frozen::of(&[&to]);
    let refused = world.dsb.run(["--json", "export", "html", to_text]).code(2);
    let error = objects(&refused).into_iter().find(|object| object["type"] == "error").unwrap();
    assert_eq!(error["code"], "not-empty");
    before.is_untouched(&[&to], "an export into a folder that is in use");
}

/// A world with a folder of so many names, and of so many folders, that neither fits into one part of the data.
fn wide_world() -> World {
    let world = World::new();
    let long = "x".repeat(200);
    for number in 0..4000 {
        world.write(&format!("flat/{number:04}-{long}"), b"");
    }
    for number in 0..1500 {
        fs::create_dir(world.source().join(format!("flat/folder-{number:04}-{long}"))).unwrap();
    }
    world.write("flat/folder-1499-last/last-one", b"content");
    world.write("flat/zzz", b"another content");
    world.dsb.run(["update"]).ok();
    world
}

#[test]
fn a_folder_of_any_size_is_told_whole() {
    let world = wide_world();
    let to = world.place("page");
    world.dsb.run(["export", "html", to.to_str().unwrap()]).ok();
    let Page { state, files, folders, .. } = page(&to);
    assert!(
        state["files_chunks"].as_u64() > Some(1) && state["folders_chunks"].as_u64() > Some(1),
        "{state}"
    );
    assert_eq!(files, exported(&world));
    assert_eq!((files.len(), folders.len()), (4002, 1504));
    assert_eq!(folders["/data/flat"], (4000, vec![(2, 22)], BTreeMap::new()));

    let browser = or_skip!(browser());
    let html = to.join("CATALOG.html");
    let flat = shown(browser, &html, "#/data/flat");
    assert!(flat.contains(">folder-0000-") && flat.contains("of 5,102 left"), "{flat}");
    let inside = shown(browser, &html, "#/data/flat/folder-1499-last");
    assert!(inside.contains(">last-one<"), "{inside}");
    let found = shown(browser, &html, "#?q=zzz");
    assert!(
        found.contains("1 hit") && found.contains(">zzz<") && !found.contains("could not be read"),
        "{found}"
    );
}

/// A Chromium, if there is one.
fn browser() -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|run| run.status.success()));
    if found.is_none() {
        skipped("needs chromium");
    }
    found
}

/// What a browser makes of the page at an address below it, as the text of its elements.
fn shown(browser: &str, page: &Path, hash: &str) -> String {
    let profile = TempDir::new().unwrap();
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let run = command.arg(format!("file://{}{hash}", page.display())).output().unwrap();
    let dom = String::from_utf8_lossy(&run.stdout).into_owned();
    let body = dom.split("<body>").nth(1).unwrap_or_else(|| panic!("no page: {run:?}"));
    // The script is no text that anybody sees.
    body.split("<script>").next().unwrap().to_owned()
}

#[test]
fn a_browser_shows_folders_files_disks_and_what_is_searched_for() {
    let browser = or_skip!(browser());
    let world = odd_world();
    world.dsb.run(["disk", "set", "red", "--location", "office <b>safe"]).ok();
    world.update_and_back_up("blue");
    let page = world.place("blue/CATALOG.html");
    let has = |hash: &str, wanted: &[&str], unwanted: &[&str]| {
        let dom = shown(browser, &page, hash);
        let missing: Vec<_> = wanted.iter().filter(|text| !dom.contains(*text)).collect();
        let there: Vec<_> = unwanted.iter().filter(|text| dom.contains(*text)).collect();
        assert!(
            missing.is_empty() && there.is_empty(),
            "{hash}: without {missing:?}, with {there:?} in\n{dom}"
        );
    };
    has(
        "",
        &[">data/<", "Backup disk “blue”", "only one copy"],
        &["could not be read", "Reading the catalog"],
    );
    has("#/data/photos/2019", &[">rome.jpg<", ">rome again.jpg<", ">link<"], &[">oslo.jpg<"]);
    has(
        "#/data/photos/2019/rome.jpg",
        &["On disks", "office &lt;b&gt;safe", "/data/photos/2019/rome.jpg"],
        &[],
    );
    has("#?q=OSLO", &["/data/photos/2020/</span>oslo.jpg", "1 hit"], &["rome again.jpg"]);
    has("#?q=2019%20rome", &["rome.jpg", "rome again.jpg", "2 hits"], &["oslo.jpg"]);
    has("#?q=CAF%C3%89", &["cafe\u{301}", "2 hits"], &[]);
    has("#?q=nowhere", &["Nothing found."], &[]);
    has("#disks", &["blue", "office &lt;b&gt;safe", "this disk"], &["<b>safe"]);
    has("#/data/not%20there", &["There is nothing at"], &[]);
    let odd = [
        "&lt;script&gt;alert(1)&lt;",
        "&lt;img src=x onerror=alert(1)&gt;",
        "`;alert(1);`",
        "${alert(1)}",
        "back\\\\slash\\\\",
        "not utf-8 \\xff\\xfe",
        "日本語 📷",
        "line\\nbreak\\rand\\ttab",
        "\\x1b[2Jcleared",
    ];
    has("#/data", &odd, &["<img", "<script"]);
    has("#/data/odd/%23hash%3Fquery%2541", &[">inside<"], &["There is nothing"]);
}
