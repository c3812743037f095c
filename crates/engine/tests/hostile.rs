//! A catalog copy from a stranger: what it holds costs neither memory nor time beyond its own size, and leads nowhere (C7).
//!
//! crates/cli/tests/hostile_catalog.rs restores from such catalogs; here they are only read, so that more of them can be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use std::path::PathBuf;

use distbackup_engine::browse::{BrowseError, Selection, Step, walk};
use distbackup_engine::catalog::{At, Catalog, CatalogError, CheckedCopy, Unreadable, inspect};
use distbackup_engine::ops::backup::BackupOptions;
use shelf::{Shelf, meddle};

/// A copy of a small catalog, to be changed.
struct Copy {
    _shelf: Shelf,
    path: PathBuf,
}

impl Copy {
    fn new() -> Copy {
        let mut shelf = Shelf::new(&[100]);
        (0..5).for_each(|number| shelf.write(&format!("photo {number}")));
        shelf.update(false);
        shelf.visit(0, &BackupOptions::default());
        let path = shelf.folder.path().join("copy.sqlite");
        shelf.catalog.write_copy(&path).unwrap();
        Copy { _shelf: shelf, path }
    }

    fn changed(sql: &str) -> Copy {
        let copy = Copy::new();
        meddle(&copy.path, &format!("PRAGMA ignore_check_constraints = ON; {sql}"));
        copy
    }

    /// As `recover` looks at it.
    fn inspect(&self) -> Result<CheckedCopy, CatalogError> {
        let copy = inspect(&self.path, true)?;
        copy.refuse_absurd_numbers(&self.path)?;
        Ok(copy)
    }
}

/// Walks everything, up to a bound that no honest test here reaches.
fn entries(copy: &CheckedCopy) -> Result<u64, BrowseError> {
    let selection = Selection::parse(&[]).unwrap();
    let mut count = 0;
    walk::<BrowseError>(copy.read(), At::Now, &selection, &mut |step| {
        count += u64::from(matches!(step, Step::Entry { .. }));
        assert!(count < 1_000_000, "the walk goes on and on");
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn c7_a_name_that_is_no_name_ends_the_walk() {
    assert_eq!(entries(&Copy::new().inspect().unwrap()).unwrap(), 7, "root, folder and five files");
    for name in ["'..'", "'.'", "''", "'a/b'", "'/etc/passwd'", "'../../x'"] {
        let name = format!("CAST({name} AS BLOB)");
        let copy =
            Copy::changed(&format!("UPDATE entry SET name = {name} WHERE name = CAST('photo 3' AS BLOB)"));
        let walked = entries(&copy.inspect().unwrap());
        assert!(matches!(walked, Err(BrowseError::HostileName { .. })), "{name}: {walked:?}");
    }
    let copy = Copy::changed("UPDATE entry SET name = x'610062' WHERE name = CAST('photo 3' AS BLOB)");
    assert!(matches!(entries(&copy.inspect().unwrap()), Err(BrowseError::HostileName { .. })), "a NUL byte");
}

/// A row for a folder.
fn folder(directory: i64, name: &str, node: i64) -> String {
    format!(
        "INSERT INTO entry (directory, name, born, kind, node, pending, size, mtime_ns, ctime_ns, filesystem, inode, metadata)
         VALUES ({directory}, CAST('{name}' AS BLOB), 1, 'd', {node}, 0, 0, 0, 0, 0, 0, 1);"
    )
}

#[test]
fn c7_folders_that_stand_at_several_places_cannot_make_a_walk_endless() {
    // Each folder stands twice in the one before: two to the power of sixty places, out of 120 rows.
    let mut sql = folder(1, "x", 1000);
    for node in 1000..1060 {
        sql += &folder(node, "a", node + 1);
        sql += &folder(node, "b", node + 1);
    }
    let walked = entries(&Copy::changed(&sql).inspect().unwrap());
    assert!(matches!(walked, Err(BrowseError::Circle { .. })), "{walked:?}");
}

#[test]
fn c7_a_very_deep_tree_costs_no_more_than_its_rows() {
    // Were the path of each folder kept, they would take gigabytes together.
    let copy = Copy::changed(&chain(1000, 21_000));
    meddle(&copy.path, &folder(1, "x", 1000));
    assert_eq!(entries(&copy.inspect().unwrap()).unwrap(), 20_000 + 8);
    // And a deeper one is an error.
    meddle(&copy.path, &chain(21_000, 120_000));
    assert!(matches!(entries(&copy.inspect().unwrap()), Err(BrowseError::Circle { .. })));
}

/// Folders from number `first` on, each in the one before.
fn chain(first: i64, end: i64) -> String {
    format!(
        "WITH RECURSIVE n(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM n WHERE n < {end} - 1)
         INSERT INTO entry (directory, name, born, kind, node, pending, size, mtime_ns, ctime_ns, filesystem, inode, metadata)
         SELECT n, CAST('a name of some length' AS BLOB), 1, 'd', n + 1, 0, 0, 0, 0, 0, 0, 1 FROM n"
    )
}

#[test]
fn c7_object_numbers_far_apart_are_counted_and_planned_as_any_others() {
    let plain = Copy::new();
    let far = "UPDATE entry SET object = object + 4294967000 WHERE object IS NOT NULL;
               UPDATE copy SET object = object + 4294967000; UPDATE object SET id = id + 4294967000";
    let far = Copy::changed(far);
    let look = |copy: &Copy| {
        let copy = copy.inspect().unwrap();
        let levels = copy.read().count_levels(distbackup_core::model::Bytes(u64::MAX)).unwrap();
        let levels: Vec<_> = levels.levels.iter().map(|level| (level.files, level.bytes)).collect();
        let scope = {
            let time = distbackup_engine::catalog::CatalogTime { now_ns: 0, confirmed_ns: 0, leap: false };
            copy.read().scope(time, None, false).unwrap()
        };
        let loaded = copy.read().load_plan(&scope, &Unreadable::default()).unwrap();
        (levels, loaded.by_state())
    };
    assert_eq!(look(&plain), look(&far));
    assert_eq!(look(&plain).1.live[1].objects, 5);
}

#[test]
fn c7_what_no_shelf_can_have_is_refused_before_anything_is_done_with_it() {
    let many_disks = "
        WITH RECURSIVE n(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM n WHERE n < 70000)
        INSERT INTO disk (id, uuid, name, size_rule, capacity, total, free, unit, file_max, relative_path, added_ns)
        SELECT n, 'u' || n, 'd' || n, 'auto', 1, 1, 1, 4096, 1, x'', 1 FROM n";
    for sql in [
        many_disks,
        "UPDATE entry SET size = 9223372036854775807 WHERE kind = 'f'",
        "UPDATE object SET size = 9223372036854775807",
        "UPDATE object SET id = 4611686018427387904 WHERE id = 1",
        "UPDATE entry SET name = zeroblob(5000) WHERE kind = 'f'",
        "UPDATE entry SET target = zeroblob(100000) WHERE kind = 'f'",
        "CREATE VIEW evil AS SELECT * FROM entry",
        "CREATE TRIGGER evil AFTER UPDATE ON disk BEGIN DELETE FROM entry; END",
        "CREATE VIRTUAL TABLE evil USING fts5(text)",
    ] {
        // Names that become equal are no matter here.
        let refused = Copy::changed(&sql.replace("UPDATE entry", "UPDATE OR REPLACE entry")).inspect();
        assert!(matches!(refused, Err(CatalogError::Damaged { .. })), "{sql}: {refused:?}");
    }
}

#[test]
fn c7_a_value_of_a_hundred_megabytes_is_an_error_and_not_in_memory() {
    let copy = Copy::changed("UPDATE metadata SET xattrs = zeroblob(100000000)");
    let inspected = inspect(&copy.path, false).unwrap();
    assert!(inspected.read().metadata(1).is_err());
}

#[test]
fn c3_a_copy_with_a_damaged_page_is_no_copy() {
    let copy = Copy::new();
    let mut bytes = std::fs::read(&copy.path).unwrap();
    let pages = bytes.len() / 4096;
    let mut found = 0;
    // All pages but the first, which holds the schema: there other checks come first.
    for page in 1..pages {
        let at = page * 4096;
        let was = bytes[at..at + 64].to_vec();
        bytes[at..at + 64].fill(0xa5);
        std::fs::write(&copy.path, &bytes).unwrap();
        found += usize::from(inspect(&copy.path, true).is_err());
        bytes[at..at + 64].copy_from_slice(&was);
    }
    assert_eq!(found, pages - 1);
    std::fs::write(&copy.path, &bytes).unwrap();
    inspect(&copy.path, true).unwrap();
}

#[test]
fn c7_a_catalog_opened_for_good_bounds_its_values_too() {
    let copy = Copy::changed("UPDATE metadata SET xattrs = zeroblob(100000000)");
    let catalog = Catalog::open(&copy.path).unwrap();
    assert!(catalog.read().metadata(1).is_err());
    assert!(catalog.view().unwrap().read().metadata(1).is_err());
}
