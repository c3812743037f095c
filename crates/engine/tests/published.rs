//! The catalog that a disk is left with knows all that its visit did, however it came there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails here says so")]

mod shelf;

use std::path::Path;

use distbackup_engine::disk::Disk;
use distbackup_engine::ops::backup::BackupOptions;
use shelf::Shelf;

/// What a catalog says of the set; not when a disk was seen, which counts for nothing.
fn facts(catalog: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(catalog).unwrap();
    let questions = [
        "SELECT 'generation ' || generation FROM catalog",
        "SELECT 'object ' || id || ' ' || hex(sha256) || ' ' || size FROM object ORDER BY id",
        "SELECT 'entry ' || hex(name) || ' ' || ifnull(object, '-') || ' ' || pending FROM entry ORDER BY name",
        "SELECT 'copy ' || object || ' ' || disk || ' ' || proof FROM copy ORDER BY object, disk",
    ];
    let ask = |question: &&str| {
        let mut statement = connection.prepare(question).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>()
    };
    questions.iter().flat_map(ask).collect()
}

#[test]
fn a_disk_knows_its_own_copies_whether_its_catalog_was_made_ahead_or_after_them() {
    let mut shelf = Shelf::new(&[100, 100]);
    let options = BackupOptions { streams: 2, take_pending: true, ..BackupOptions::default() };
    let mut number = 0;
    // A copy is made ahead where a batch is most of the set: of the first files, not of the few that come later.
    for (new, scan_only) in [(20, true), (20, false), (3, true), (1, false), (0, false)] {
        (0..new).for_each(|_| {
            number += 1;
            shelf.write(&format!("photo {number}"));
        });
        shelf.update(scan_only);
        for disk in [0, 1] {
            shelf.visit(disk, &options);
            let fetched = tempfile::NamedTempFile::new().unwrap();
            assert!(shelf.disks[disk].1.fetch_catalog(fetched.path()).unwrap());
            let facts = facts(fetched.path());
            let copies = facts.iter().filter(|fact| fact.starts_with("copy ")).count();
            assert!(copies >= number && copies <= 2 * number, "{facts:#?}");
            assert_eq!(facts, self::facts(shelf.catalog.path()), "disk {disk} after {number} files");
        }
    }
}
