//! Each accident that `docs/safety.md` lists has a test that carries its number, and no test carries one that is not listed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Whether a word is the number of an invariant or a hazard: `N3`, `D12`.
fn is_number(word: &str) -> bool {
    let mut letters = word.chars();
    matches!(letters.next(), Some('N' | 'S' | 'D' | 'C' | 'R'))
        && !letters.as_str().is_empty()
        && letters.all(|letter| letter.is_ascii_digit())
}

/// The numbers in the first columns of the tables.
fn listed(text: &str) -> BTreeSet<String> {
    let firsts = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    firsts.flat_map(str::split_whitespace).filter(|word| is_number(word)).map(str::to_owned).collect()
}

/// The numbers that a test's name begins with.
fn numbers(name: &str) -> Vec<String> {
    name.split('_').map(str::to_uppercase).take_while(|word| is_number(word)).collect()
}

/// The names of the tests in a file: functions below a `#[test]`, and methods of Python's `unittest`.
fn tests_of(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let mut names = Vec::new();
    let mut below_mark = false;
    for line in text.lines().map(str::trim) {
        let name = match line.strip_prefix("def test_") {
            Some(name) => Some(name),
            None => line.strip_prefix("fn ").filter(|_| below_mark),
        };
        names.extend(name.and_then(|name| name.split('(').next()).map(str::to_owned));
        below_mark = line == "#[test]" || below_mark && line.starts_with("#[");
    }
    names
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            found.push(path);
        }
    }
}

#[test]
fn every_accident_has_a_test_by_its_number_and_every_number_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = listed(&fs::read_to_string(root.join("docs/safety.md")).unwrap());
    assert!(listed.len() > 50, "the tables are not read any more: {listed:?}");
    let mut files = Vec::new();
    ["crates", "tests"].iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let mut tests: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        for name in tests_of(file) {
            for number in numbers(&name) {
                assert!(
                    listed.contains(&number),
                    "{}: {name} is a test of what is not listed",
                    file.display()
                );
                *tests.entry(number).or_default() += 1;
            }
        }
    }
    let without: Vec<&String> = listed.iter().filter(|number| !tests.contains_key(*number)).collect();
    assert!(without.is_empty(), "no test carries the number of {without:?}");
}

#[test]
fn numbers_are_read_from_tables_and_names() {
    let table =
        "| S1 S2 | a source |\n| | accident |\n| `D1` | x |\n| N12 | y |\nS7 is not in a table | S8 |";
    assert_eq!(listed(table), ["N12", "S1", "S2"].map(str::to_owned).into());
    assert_eq!(numbers("n10_d7_verify_finds_d9"), ["N10", "D7"]);
    assert_eq!(numbers("nothing_of_d7"), Vec::<String>::new());
}
