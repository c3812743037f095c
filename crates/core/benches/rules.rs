//! Matching names against the rules of a path: done for every name of every scan.
//!
//! ```text
//! cargo bench -p distbackup-core --bench rules
//! ```

#![allow(clippy::unwrap_used, reason = "a benchmark that fails here says so")]

use distbackup_core::rules::Rules;
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

const NAMES: [&[u8]; 8] = [
    b"IMG_20190714_183022.CR2",
    b"node_modules",
    b".DS_Store",
    b"final cut (2).mov",
    b"index.html",
    b"thesis.tex~",
    b"cache.tmp",
    b"\xff\xfe odd",
];

/// Rules as a set of photographs and programs has them.
#[divan::bench(args = [1, 4, 16])]
fn first_match(bencher: Bencher, rules: usize) {
    let texts = ["*.tmp", "*~", ".DS_Store", "node_modules"];
    let texts: Vec<String> = (0..rules)
        .map(|number| match texts.get(number) {
            Some(text) => (*text).to_owned(),
            None => format!("*.extension-{number}"),
        })
        .collect();
    let rules = Rules::parse(&texts).unwrap();
    bencher
        .counter(ItemsCount::new(NAMES.len()))
        .bench_local(|| NAMES.iter().filter(|name| rules.first_match(black_box(name)).is_some()).count());
}
