//! Catalogs that somebody made: read, planned from and restored from as `recover` and `restore` do it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use distbackup_core::model::{Bytes, DAY_NS, DiskNo, DiskUuid, VirtualPath};
use distbackup_engine::browse::{BrowseError, Selection, Step, walk};
use distbackup_engine::catalog::{
    At, Catalog, CatalogError, CatalogTime, CheckedCopy, DiskRow, NewDisk, Unreadable, inspect,
};
use distbackup_engine::clock::Clock;
use distbackup_engine::disk::Identity;
use distbackup_engine::disk::simulated::SimulatedDisk;
use distbackup_engine::ops::backup::{self, BackupOptions};
use distbackup_engine::ops::restore::{self, Readable, RestoreOptions};
use distbackup_engine::ops::sources;
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::progress::Silent;
use rusqlite::Connection;
use tempfile::TempDir;

/// More entries than this in a walk means that it does not end: the catalog has about a dozen.
const ENTRIES_MAX: u64 = 20_000;

/// A small set: its catalog, and the disk that holds its objects.
struct Seed {
    catalog: Vec<u8>,
    disk: SimulatedDisk,
    row: DiskNo,
}

struct Noon;

impl Clock for Noon {
    fn now_ns(&self) -> i64 {
        2 * DAY_NS
    }
}

/// A folder in memory where there is one: thousands of small databases are written there.
fn folder() -> TempDir {
    let mut named = tempfile::Builder::new();
    named.prefix("dsb-fuzz-");
    named.tempdir_in("/dev/shm").or_else(|_| named.tempdir()).unwrap()
}

fn set() -> &'static Seed {
    static SET: OnceLock<Seed> = OnceLock::new();
    SET.get_or_init(make)
}

fn make() -> Seed {
    let folder = folder();
    let files = folder.path().join("files");
    fs::create_dir_all(files.join("sub/deep")).unwrap();
    for name in ["one", "two", "sub/three", "sub/deep/four"] {
        fs::write(files.join(name), format!("content of {name}")).unwrap();
    }
    fs::write(files.join("empty"), "").unwrap();
    fs::File::create(files.join("sparse")).unwrap().set_len(1 << 20).unwrap();
    fs::hard_link(files.join("one"), files.join("sub/one, too")).unwrap();
    std::os::unix::fs::symlink("../outside", files.join("link")).unwrap();
    let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), DAY_NS).unwrap();
    sources::map(&mut catalog, &VirtualPath::parse(b"/files").unwrap(), &files).unwrap();
    let options = UpdateOptions { accept: true, ..UpdateOptions::default() };
    update::update(&mut catalog, &Noon, None, &options, &Silent).unwrap();
    // Some history.
    fs::write(files.join("two"), "another content").unwrap();
    fs::remove_file(files.join("sub/three")).unwrap();
    let (row, disk) = add_disk(&mut catalog);
    let visit = |catalog: &mut Catalog| {
        let known = catalog.read().disk(row).unwrap().unwrap();
        backup::visit(catalog, &disk, known, 2 * DAY_NS, None, &BackupOptions::default(), &Silent).unwrap();
    };
    visit(&mut catalog);
    update::update(&mut catalog, &Noon, None, &options, &Silent).unwrap();
    visit(&mut catalog);
    let copy = folder.path().join("copy.sqlite");
    catalog.write_copy(&copy).unwrap();
    Seed { catalog: fs::read(copy).unwrap(), disk, row }
}

fn add_disk(catalog: &mut Catalog) -> (DiskNo, SimulatedDisk) {
    let uuid = DiskUuid("00000000-0000-4000-8000-000000000001".to_owned());
    let new = NewDisk {
        uuid: &uuid,
        name: "red",
        size_rule: "auto",
        location: None,
        added_ns: DAY_NS,
        unproven: false,
    };
    let disk = catalog.write::<_, CatalogError>("fuzz", |writer| writer.record_disk(&new)).unwrap();
    let row = catalog.read().disk(disk).unwrap().unwrap();
    let row = DiskRow { capacity: Bytes(1 << 30), total: Bytes(1 << 30), free: Bytes(1 << 30), ..row };
    catalog.write::<_, CatalogError>("fuzz", |writer| writer.record_disk_seen(&row, DAY_NS)).unwrap();
    let identity = Identity {
        uuid,
        name: "red".into(),
        set: Some(catalog.read().set_uuid().unwrap()),
        format: 1,
        features_required: Vec::new(),
        stamp: None,
        other: Default::default(),
    };
    (disk, SimulatedDisk::new(&identity))
}

/// A catalog as a disk carries it.
pub fn seed() -> Vec<u8> {
    set().catalog.clone()
}

/// Any bytes in the place of a catalog.
pub fn bytes(input: &[u8]) -> bool {
    let folder = folder();
    let path = folder.path().join("catalog.sqlite");
    fs::write(&path, input).unwrap();
    use_as_catalog(folder.path(), &path)
}

/// Columns and the key of their table.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("entry", "directory", "directory, name, born"),
    ("entry", "name", "directory, name, born"),
    ("entry", "born", "directory, name, born"),
    ("entry", "died", "directory, name, born"),
    ("entry", "kind", "directory, name, born"),
    ("entry", "node", "directory, name, born"),
    ("entry", "object", "directory, name, born"),
    ("entry", "pending", "directory, name, born"),
    ("entry", "size", "directory, name, born"),
    ("entry", "mtime_ns", "directory, name, born"),
    ("entry", "filesystem", "directory, name, born"),
    ("entry", "metadata", "directory, name, born"),
    ("entry", "link", "directory, name, born"),
    ("entry", "target", "directory, name, born"),
    ("entry", "holes", "directory, name, born"),
    ("object", "id", "id"),
    ("object", "sha256", "id"),
    ("object", "size", "id"),
    ("copy", "object", "object, disk"),
    ("copy", "disk", "object, disk"),
    ("copy", "proof", "object, disk"),
    ("proof", "at_ns", "id"),
    ("proof", "how", "id"),
    ("metadata", "mode", "id"),
    ("metadata", "uid", "id"),
    ("metadata", "user_name", "id"),
    ("metadata", "xattrs", "id"),
    ("disk", "id", "id"),
    ("disk", "uuid", "id"),
    ("disk", "name", "id"),
    ("disk", "size_rule", "id"),
    ("disk", "capacity", "id"),
    ("disk", "total", "id"),
    ("disk", "free", "id"),
    ("disk", "unit", "id"),
    ("disk", "file_max", "id"),
    ("disk", "relative_path", "id"),
    ("disk", "seen_ns", "id"),
    ("disk", "stamp_counter", "id"),
    ("disk", "copy_sha256", "id"),
    ("snapshot", "id", "id"),
    ("snapshot", "created_ns", "id"),
    ("snapshot", "pinned", "id"),
    ("source", "vpath", "id"),
    ("source", "path", "id"),
    ("catalog", "set_uuid", "one"),
    ("catalog", "generation", "one"),
    ("catalog", "newest_ns", "one"),
    ("catalog", "confirmed_ns", "one"),
];

/// What is put there; columns are strict, so half of them suits none.
const VALUES: &[&str] = &[
    "NULL",
    "0",
    "1",
    "-1",
    "2",
    "3",
    "5",
    "4095",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "2305843009213693952",
    "9223372036854775807",
    "-9223372036854775808",
    "''",
    "'d'",
    "'f'",
    "'b'",
    "'l'",
    "'written'",
    "'auto'",
    "'-9223372036854775807'",
    "char(27) || '[2J'",
    "x''",
    "x'2e2e'",
    "x'2f'",
    "x'2f65746300'",
    "x'2e2e2f2e2e2f657669'",
    "CAST('sub' AS BLOB)",
    "CAST('link' AS BLOB)",
    "CAST('8:0' AS BLOB)",
    "x'ffffffffffffffffff01ffffffffffffffffff01'",
    "x'8080808010ffffffff0f'",
    "x'0600757365722e61ffffffff'",
    "zeroblob(32)",
    "zeroblob(5000)",
    "{column} + 1",
    "{column} * 1000000",
    "-{column}",
    "(SELECT max({column}) FROM {table})",
    "(SELECT min({column}) FROM {table})",
    "(SELECT max(node) FROM entry)",
];

/// Any values in the place of a catalog's: each three bytes of the input change one of them.
pub fn values(input: &[u8]) -> bool {
    let folder = folder();
    let path = folder.path().join("catalog.sqlite");
    fs::write(&path, &set().catalog).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF;").unwrap();
    for change in input.chunks_exact(3).take(24) {
        let (table, column, key) = COLUMNS[usize::from(change[0]) % COLUMNS.len()];
        let value = VALUES[usize::from(change[2]) % VALUES.len()];
        let value = value.replace("{column}", column).replace("{table}", table);
        let row = change[1] % 16;
        let of = if row == 15 {
            String::new()
        } else {
            format!("WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {row})")
        };
        // What the table itself refuses is not there to be read either.
        let _ = connection.execute(&format!("UPDATE OR IGNORE {table} SET {column} = {value} {of}"), []);
    }
    drop(connection);
    use_as_catalog(folder.path(), &path)
}

/// Recovers from a catalog, asks it everything and restores from it; whether it was accepted at all.
fn use_as_catalog(folder: &Path, path: &Path) -> bool {
    let Ok(copy) = inspect(path, true) else { return false };
    if copy.refuse_absurd_numbers(path).is_err() {
        return false;
    }
    // Errors are as good as answers here; what must not happen is anything else.
    let now = look(&copy, At::Now);
    for snapshot in copy.read().snapshots().unwrap_or_default() {
        let _ = look(&copy, At::Snapshot(snapshot.snapshot));
    }
    let reader = copy.read();
    let _ =
        (reader.runs(100), reader.sources(), reader.path_configs(), reader.retention(), reader.trust_days());
    let _ = reader.count_levels(Bytes(1 << 40));
    plan(&copy);
    restored(&copy, folder);
    drop(copy);
    take_over(path);
    now.is_ok()
}

/// Walks the tree of a moment, and asks where every entry is.
fn look(copy: &CheckedCopy, at: At) -> Result<u64, BrowseError> {
    let reader = copy.read();
    let mut count = 0;
    walk::<BrowseError>(reader, at, &Selection::parse(&[]).unwrap(), &mut |step| {
        let Step::Entry { path, entry } = step else { return Ok(()) };
        count += 1;
        assert!(count < ENTRIES_MAX, "the walk goes on and on");
        assert!(path.components().all(|name| !matches!(name, b"." | b"..") && !name.contains(&0)));
        let _ = (reader.metadata(entry.metadata), reader.path_of(entry.directory));
        if let Some(object) = entry.object {
            let _ = (reader.object(object), reader.copies(object), reader.references(object, 16));
        }
        Ok(())
    })?;
    Ok(count)
}

/// Plans a visit of each disk.
fn plan(copy: &CheckedCopy) {
    let time = CatalogTime { now_ns: 3 * DAY_NS, confirmed_ns: 3 * DAY_NS, leap: false };
    let Ok(scope) = copy.read().scope(time, None, false) else { return };
    let Ok(loaded) = copy.read().load_plan(&scope, &Unreadable::default()) else { return };
    loaded.by_state();
    for disk in 0..scope.disks.len() as u16 {
        let options = distbackup_core::planner::Options {
            disk,
            copies_max: None,
            bytes_max: None,
            reserve: Bytes(0),
            away_days: 30,
            allow_history_loss: false,
        };
        let plan = distbackup_core::planner::plan_visit(&loaded.input, &options);
        for copy in plan.copies() {
            let _ = loaded.content(copy.object);
        }
    }
}

/// Restores everything; outside of the destination nothing may come to be.
fn restored(copy: &CheckedCopy, folder: &Path) {
    let set = set();
    let jail = folder.join("jail");
    let destination = jail.join("a/b/restored");
    let options = RestoreOptions {
        patterns: Vec::new(),
        destination: destination.clone(),
        at: At::Now,
        overwrite: true,
        numeric_ids: true,
        streams: 1,
        done: Vec::new(),
        again: Default::default(),
        existing: Vec::new(),
    };
    let disks = [Readable { disk: set.row, name: "red".into(), port: &set.disk }];
    if let Ok(needs) = restore::needs(copy.read(), &options, &[set.row]) {
        let _ = restore::restore(copy.read(), &disks, &options, &needs, &Silent);
    }
    let outside: Vec<PathBuf> = ["", "a", "a/b"]
        .into_iter()
        .flat_map(|place| fs::read_dir(jail.join(place)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| !destination.starts_with(path))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(!folder.join("outside").exists() && !folder.join("evil").exists());
}

/// As `recover` goes on: opened for writing, and marked.
fn take_over(path: &Path) {
    let Ok(mut catalog) = Catalog::open(path) else { return };
    let _ = catalog.write::<_, CatalogError>("fuzz", |writer| writer.mark_all_unproven());
    let _ = catalog.write::<_, CatalogError>("fuzz", |writer| writer.advance_time(5 * DAY_NS, false));
    let _ = distbackup_engine::ops::guard::settle(
        &mut catalog,
        CatalogTime { now_ns: 200 * DAY_NS, confirmed_ns: 200 * DAY_NS, leap: false },
        distbackup_engine::ops::guard::Moment::Visit,
    );
    let _ = catalog.close();
}
