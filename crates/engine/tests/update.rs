//! Update on real folders: what a change of the sources costs, and what is recorded of it.

#![allow(clippy::unwrap_used, reason = "a test that fails here says so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use distbackup_core::model::{DirNo, VirtualPath};
use distbackup_engine::catalog::{At, Catalog};
use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::ops::sources;
use distbackup_engine::ops::update::{UpdateOptions, UpdateOutcome, update};
use distbackup_engine::progress::Silent;

/// A catalog and a source folder.
struct Set {
    _folder: tempfile::TempDir,
    source: PathBuf,
    file: PathBuf,
    catalog: Catalog,
}

impl Set {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        let file = folder.path().join("distbackup.sqlite");
        let mut catalog = Catalog::create(&file, SystemClock.now_ns()).unwrap();
        sources::map(&mut catalog, &path("/data"), &source).unwrap();
        Set { _folder: folder, source, file, catalog }
    }

    fn update(&mut self) -> UpdateOutcome {
        self.update_with(UpdateOptions::default())
    }

    fn update_with(&mut self, options: UpdateOptions) -> UpdateOutcome {
        update(&mut self.catalog, &SystemClock, None, &options, &Silent).unwrap()
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let file = self.source.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        file
    }

    /// Asks the database file directly, as another program would.
    fn count(&self, condition: &str) -> i64 {
        let connection = rusqlite::Connection::open(&self.file).unwrap();
        let sql = format!("SELECT count(*) FROM entry WHERE {condition}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    fn object_of(&self, name: &str) -> Option<i64> {
        let reader = self.catalog.read();
        let path = path(&format!("/data/{name}"));
        let (folder, name) = path.parent().unwrap();
        let directory = reader.directory_at(&folder, At::Now).unwrap()?;
        reader.entry(directory, name, At::Now).unwrap()?.object.map(|object| object.0)
    }
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn moving_a_folder_writes_two_rows_however_much_is_in_it() {
    let mut set = Set::new();
    for number in 0..300 {
        set.write(&format!("old/deep/{number}"), &format!("content {number}"));
    }
    fs::create_dir(set.source.join("elsewhere")).unwrap();
    let first = set.update();
    assert_eq!(first.hashed.objects, 300);

    fs::rename(set.source.join("old"), set.source.join("elsewhere/new")).unwrap();
    let second = set.update();

    assert_eq!(second.hashed.objects, 0, "nothing is read again");
    let snapshot = second.snapshot.unwrap().0;
    // The moved folder: one row ends, one begins. Besides, its old and its new parent have another mtime.
    let moved =
        set.count(&format!("(born = {snapshot} OR died = {snapshot}) AND name IN (x'6f6c64', x'6e6577')"));
    assert_eq!(moved, 2);
    let all = set.count(&format!("born = {snapshot} OR died = {snapshot}"));
    assert_eq!(all, 6, "two rows for the folder, two for each of its parents");
    assert!(set.object_of("elsewhere/new/deep/7").is_some());
    assert!(set.object_of("old/deep/7").is_none());
}

#[test]
fn a_renamed_file_keeps_its_content_unread() {
    let mut set = Set::new();
    let old = set.write("a/photo", "pixels");
    set.update();
    let object = set.object_of("a/photo");
    fs::create_dir(set.source.join("b")).unwrap();
    fs::rename(old, set.source.join("b/photo")).unwrap();
    let outcome = set.update();
    assert_eq!(outcome.moved, 1);
    assert_eq!(outcome.hashed.objects, 0);
    assert_eq!(set.object_of("b/photo"), object);
}

#[test]
fn an_update_that_finds_no_change_makes_no_snapshot() {
    let mut set = Set::new();
    set.write("a", "1");
    assert!(set.update().snapshot.is_some());
    let again = set.update();
    assert_eq!(again.snapshot, None);
    assert_eq!((again.added, again.changed, again.removed), (0, 0, 0));
}

#[test]
fn s5_another_size_is_a_change_although_the_mtime_is_the_same() {
    let mut set = Set::new();
    let file = set.write("a", "short");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    set.update();
    let before = set.object_of("a");
    fs::write(&file, "much longer").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let outcome = set.update();
    assert_eq!(outcome.hashed.objects, 1);
    assert_ne!(set.object_of("a"), before);
}

#[test]
fn a_changed_ctime_alone_means_read_again_whoever_hashes_what_is_new() {
    for scan_only in [false, true] {
        let mut set = Set::new();
        let (touched, rewritten) = (set.write("touched", "content"), set.write("rewritten", "before"));
        let time = fs::metadata(&rewritten).unwrap().modified().unwrap();
        set.update();
        let objects = [set.object_of("touched"), set.object_of("rewritten")];
        fs::set_permissions(&touched, fs::Permissions::from_mode(0o600)).unwrap();
        // Another content under the old size and mtime.
        fs::write(&rewritten, "after!").unwrap();
        fs::File::options().write(true).open(&rewritten).unwrap().set_modified(time).unwrap();

        let outcome = set.update_with(UpdateOptions { scan_only, ..UpdateOptions::default() });

        assert_eq!((outcome.hashed.objects, outcome.pending.objects), (2, 0));
        assert_eq!(set.object_of("touched"), objects[0]);
        assert_ne!(set.object_of("rewritten"), objects[1]);
    }
}

#[test]
fn s1_an_emptied_source_keeps_its_entries_until_the_user_accepts_it() {
    let mut set = Set::new();
    let file = set.write("only", "one");
    set.update();
    fs::remove_file(file).unwrap();
    let outcome = set.update();
    assert_eq!(outcome.kept.len(), 1);
    assert!(!outcome.complete());
    assert!(set.object_of("only").is_some(), "nothing is retired");
    let accepted = set.update_with(UpdateOptions { accept: true, ..UpdateOptions::default() });
    assert!(accepted.kept.is_empty());
    assert!(set.object_of("only").is_none());
}

#[test]
fn s1_a_missing_source_keeps_its_entries() {
    let mut set = Set::new();
    set.write("a", "1");
    set.update();
    fs::rename(&set.source, set.source.with_extension("away")).unwrap();
    assert_eq!(set.update().kept.len(), 1);
    assert!(set.object_of("a").is_some());
}

#[test]
fn s13_a_source_mapped_below_another_is_scanned_once_and_wins() {
    let mut set = Set::new();
    set.write("inner/hidden", "the outer source has this");
    set.write("plain", "x");
    let other = set.source.with_extension("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("seen"), "the inner source has this").unwrap();
    sources::map(&mut set.catalog, &path("/data/inner"), &other).unwrap();
    sources::map(&mut set.catalog, &path("/data/way/to/it"), &other).unwrap();
    let outcome = set.update();
    assert!(set.object_of("inner/seen").is_some());
    assert!(set.object_of("inner/hidden").is_none());
    assert!(set.object_of("way/to/it/seen").is_some(), "folders on the way are made up");
    assert!(set.object_of("plain").is_some());
    assert_eq!(outcome.files.objects, 3);
}

#[test]
fn hard_links_of_one_file_are_one_group_and_read_once() {
    let mut set = Set::new();
    let file = set.write("a", "linked");
    fs::hard_link(&file, set.source.join("b")).unwrap();
    set.write("alone", "not linked");
    let outcome = set.update();
    assert_eq!(outcome.hashed.objects, 2);
    assert_eq!(set.count("link IS NOT NULL AND object IS NOT NULL"), 2);

    fs::hard_link(&file, set.source.join("c")).unwrap();
    set.update();
    assert_eq!(set.count("link IS NOT NULL AND died IS NULL"), 3);
    fs::remove_file(set.source.join("a")).unwrap();
    fs::remove_file(set.source.join("b")).unwrap();
    set.update();
    assert_eq!(set.count("link IS NOT NULL AND died IS NULL"), 0, "one name is no group");
    assert!(set.object_of("c").is_some());
}

#[test]
fn what_is_unmapped_becomes_history_and_not_nothing() {
    let mut set = Set::new();
    set.write("kept/a", "1");
    let first = set.update().snapshot.unwrap();
    sources::unmap(&mut set.catalog, &path("/data")).unwrap();
    set.update();
    let reader = set.catalog.read();
    assert!(reader.directory_at(&path("/data/kept"), At::Now).unwrap().is_none());
    assert!(reader.directory_at(&path("/data/kept"), At::Snapshot(first)).unwrap().is_some());
    assert!(!reader.has_entries(DirNo::ROOT).unwrap());
}

#[test]
fn s12_a_folder_that_cannot_be_listed_keeps_its_entries() {
    if fs::read_dir("/proc/1/fd").is_ok() {
        eprintln!("SKIPPED: s12_a_folder_that_cannot_be_listed_keeps_its_entries: root lists everything");
        return;
    }
    let mut set = Set::new();
    set.write("locked/a", "1");
    set.update();
    let folder = set.source.join("locked");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = set.update();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(!outcome.problems.is_empty());
    assert!(set.object_of("locked/a").is_some());
}

#[test]
fn s14_odd_entries_are_recorded_and_sockets_are_left_out() {
    let mut set = Set::new();
    set.write("a", "1");
    std::os::unix::fs::symlink("a", set.source.join("link")).unwrap();
    std::os::unix::fs::symlink("loop", set.source.join("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(set.source.join("socket")).unwrap();
    make_fifo(&set.source.join("fifo"));
    let outcome = set.update();
    assert!(outcome.complete());
    assert_eq!(outcome.sockets, 1);
    assert_eq!(set.count("kind = 'l'"), 2);
    assert_eq!(set.count("kind = 'p'"), 1);
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn s11_a_time_that_cannot_be_recorded_is_reported_and_the_file_taken_all_the_same() {
    let mut set = Set::new();
    let file = set.write("from the future", "content");
    // The year 2400, where the filesystem knows it.
    let moment = rustix::fs::Timespec { tv_sec: 13_569_465_600, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: moment, last_modification: moment };
    rustix::fs::utimensat(rustix::fs::CWD, &file, &times, rustix::fs::AtFlags::empty()).unwrap();
    let outcome = set.update();
    if fs::metadata(&file).unwrap().modified().unwrap()
        > std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(10_000_000_000)
    {
        assert_eq!(outcome.problems.count, 1, "{:?}", outcome.problems);
        assert!(outcome.problems.first[0].reason.contains("2262"));
    }
    assert!(set.object_of("from the future").is_some());
    assert_eq!(set.update().problems.count, 0, "said once");
}
