//! What is done for every file, without drives in the way: hashing, the comparison of folders with the catalog, `status`.
//!
//! ```text
//! cargo bench -p distbackup-engine --bench hot_paths
//! ```

#![allow(clippy::unwrap_used, reason = "a benchmark that fails here says so")]

use std::fs;

use distbackup_core::model::VirtualPath;
use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::content::InMemory;
use distbackup_engine::hash::{hash_content, hash_many};
use distbackup_engine::ops::sources;
use distbackup_engine::ops::update::{UpdateOptions, update};
use distbackup_engine::progress::Silent;
use distbackup_engine::report;
use divan::{Bencher, black_box, counter::BytesCount, counter::ItemsCount};

fn main() {
    divan::main();
}

/// One content from memory.
#[divan::bench(args = [4 << 10, 1 << 20, 64 << 20])]
fn hash(bencher: Bencher, bytes: usize) {
    let content = vec![7u8; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        hash_content(&mut InMemory::new(black_box(&content)), &mut |_| {}, &|| false).unwrap()
    });
}

/// 64 contents of so many bytes from memory, where the processor can at once.
#[divan::bench(args = [100, 1 << 10, 8 << 10, 64 << 10])]
fn hash_small(bencher: Bencher, bytes: usize) {
    let contents: Vec<_> = (0..64).map(|number| vec![number; bytes]).collect();
    let contents: Vec<_> = contents.iter().map(Vec::as_slice).collect();
    bencher.counter(BytesCount::new(64 * bytes)).bench_local(|| hash_many(black_box(&contents)));
}

/// A source of small files in folders of a hundred, and a catalog that knows it.
struct Set {
    _folder: tempfile::TempDir,
    catalog: Catalog,
}

fn known_set(files: usize) -> Set {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    for number in 0..files {
        let place = source.join(format!("folder-{:05}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&place).unwrap();
        }
        fs::write(place.join(format!("file-{number}")), number.to_le_bytes()).unwrap();
    }
    let mut catalog =
        Catalog::create(&folder.path().join("distbackup.sqlite"), SystemClock.now_ns()).unwrap();
    sources::map(&mut catalog, &VirtualPath::parse(b"/data").unwrap(), &source).unwrap();
    update(&mut catalog, &SystemClock, None, &UpdateOptions::default(), &Silent).unwrap();
    Set { _folder: folder, catalog }
}

/// An update that finds nothing new.
#[divan::bench(args = [1_000, 20_000], sample_count = 20)]
fn catalog_diff(bencher: Bencher, files: usize) {
    let mut set = known_set(files);
    bencher.counter(ItemsCount::new(files)).bench_local(|| {
        update(&mut set.catalog, &SystemClock, None, &UpdateOptions::default(), &Silent).unwrap()
    });
}

/// What `dsb status` asks the catalog.
#[divan::bench(args = [1_000, 20_000], sample_count = 20)]
fn status(bencher: Bencher, files: usize) {
    let set = known_set(files);
    bencher.counter(ItemsCount::new(files)).bench_local(|| report::status(&set.catalog.read()).unwrap());
}
