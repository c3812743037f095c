//! The documents are true: every command in them is run, and prints what stands there.
//!
//! A block ```` ```console ```` is a session: `$ ` begins a command, what follows is what it prints, where `…` stands
//! for anything in a line and alone for any lines. `# ends with N` behind a command tells its exit code. A comment
//! `<!-- $ COMMAND -->` is run unseen: it sets the stage. All of one document happens in one place: `/media` and
//! `/home/anna` belong to it alone, and `disk NAME SIZE`, `unplug NAME`, `plug NAME` are its hands.
//!
//! `DSB_BLESS_DOCUMENTS=1` writes into the documents what the commands really print; look at the difference then.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

#[path = "documents/session.rs"]
mod session;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use distbackup_testkit::dsb::Dsb;
use distbackup_testkit::{is_root, skipped};
use session::Document;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All documents for users.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(repository().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    found.push(repository().join("README.md"));
    found.sort();
    found
}

#[test]
fn every_session_in_the_documents_happens_as_it_is_printed() {
    let unshare = Command::new("unshare").args(["-m", "true"]).status();
    if !is_root() || !unshare.is_ok_and(|status| status.success()) {
        return skipped("needs root for disks and a /media of its own");
    }
    let bless = std::env::var_os("DSB_BLESS_DOCUMENTS").is_some();
    let mut wrong = Vec::new();
    let mut commands = 0;
    for path in documents() {
        let document = Document::read(&fs::read_to_string(&path).unwrap());
        if document.commands().next().is_none() {
            continue;
        }
        let happened = session::play(&document, Path::new(env!("CARGO_BIN_EXE_dsb")));
        commands += happened.len();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        wrong.extend(document.differences(&happened).into_iter().map(|why| format!("{name}: {why}")));
        if bless {
            fs::write(&path, document.blessed(&happened)).unwrap();
        }
    }
    assert!(commands > 30, "the documents have sessions: {commands}");
    assert!(wrong.is_empty(), "{} differences:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Commands that stand in sentences and tables, and in blocks that are no sessions: they are at least understood.
#[test]
fn every_command_in_the_documents_is_understood() {
    let dsb = Dsb::new(env!("CARGO_BIN_EXE_dsb"));
    let mut wrong = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for path in documents() {
        for line in session::mentioned(&fs::read_to_string(&path).unwrap()) {
            let Some(mut words) = session::words(&line) else {
                wrong.push(format!("{}: `{line}`: its quotes do not close", path.display()));
                continue;
            };
            words.remove(0);
            words.push("--help".into());
            let run = dsb.run(&words);
            if run.exit_code() != Some(0) {
                let why = run.stderr().lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("{}: `{line}`: {why}", path.display()));
            }
            seen.insert(line);
        }
    }
    assert!(seen.len() > 25, "the documents name commands: {}", seen.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Links between the documents lead somewhere.
#[test]
fn every_link_in_the_documents_leads_to_a_file() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(file).exists() {
                wrong.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `docs/reference.md` is what `--help` says, of every command.
#[test]
fn the_reference_is_what_the_program_says_of_itself() {
    let dsb = Dsb::new(env!("CARGO_BIN_EXE_dsb")).with_env("COLUMNS", "100");
    let mut text = String::from(
        "# Reference\n\nWhat `dsb COMMAND --help` says, of every command; written by the program itself. What the commands are for, in fewer words: \
         [commands](commands.md).\n",
    );
    describe(&dsb, &mut Vec::new(), &mut text);
    let file = repository().join("docs/reference.md");
    if std::env::var_os("DSB_BLESS_DOCUMENTS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(text.lines()).find(|(there, now)| there != now);
    assert!(
        there == text,
        "docs/reference.md is of another version, at {differs:?}; DSB_BLESS_DOCUMENTS=1 writes it anew"
    );
}

fn describe(dsb: &Dsb, command: &mut Vec<String>, text: &mut String) {
    use std::fmt::Write as _;
    let run = dsb.run(command.iter().map(String::as_str).chain(["--help"])).ok();
    let help = run.stdout().lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    // Options of every command are told once, with the program itself.
    let own = match command.is_empty() {
        true => help.clone(),
        false => without_global(&help),
    };
    let name = std::iter::once("dsb").chain(command.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    write!(text, "\n## `{name}`\n\n```\n{}\n```\n", own.trim_end()).unwrap();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<String> = listed
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    for name in names {
        command.push(name);
        describe(dsb, command, text);
        command.pop();
    }
}

/// Help without the options that every command has.
fn without_global(help: &str) -> String {
    const GLOBAL: &[&str] = &[
        "--db",
        "--log",
        "--nolog",
        "--verbose",
        "--quiet",
        "--dry-run",
        "--json",
        "--color",
        "--progress",
        "--yes",
        "--no-input",
        "--bytes",
        "--help",
        "--version",
    ];
    let mut kept = Vec::new();
    let mut dropping = false;
    for line in help.lines() {
        let option = line.trim_start().starts_with('-') && line.len() - line.trim_start().len() <= 6;
        if option {
            dropping = GLOBAL.iter().any(|name| line.split([' ', ',', '=']).any(|word| word == *name));
        } else if !line.starts_with(' ') && !line.is_empty() {
            dropping = false;
        }
        if !dropping {
            kept.push(line);
        }
    }
    let text = kept.join("\n");
    text.trim_end().trim_end_matches("Options:").trim_end().to_owned()
}
