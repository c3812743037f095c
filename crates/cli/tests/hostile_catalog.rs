//! A catalog on a disk that somebody made to do harm (C7): it is recovered from and restored by another computer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod shelf;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::World;
use common::frozen::Frozen;
use distbackup_testkit::dsb::{Dsb, Run};
use distbackup_testkit::tree;
use shelf::*;

/// A disk with a few harmless things, whose catalog is still to be changed.
struct Trap {
    world: World,
    red: PathBuf,
}

impl Trap {
    fn new() -> Trap {
        let world = World::new();
        for file in ["victim", "other", "sub/inside", "sub/deep/below"] {
            world.write(file, format!("content of {file}"));
        }
        fs::hard_link(world.source().join("other"), world.source().join("sub/twin")).unwrap();
        fs::create_dir(world.place("outside")).unwrap();
        fs::write(world.place("outside").join("inside"), "not ours").unwrap();
        symlink(world.place("outside"), world.source().join("link")).unwrap();
        let red = world.add_disk("red", None);
        world.update_and_back_up("red");
        Trap { world, red }
    }

    /// Changes the catalog on the disk.
    fn set(&self, sql: &str) {
        meddle(&self.red.join("distbackup.sqlite"), sql);
    }

    /// Recovers on another computer and restores there, with and without `--overwrite`; nothing outside of the
    /// destination may be touched by it, whatever the catalog says. Returns the runs.
    #[track_caller]
    fn spring(&self) -> Vec<Run> {
        let jail = self.world.place("jail");
        let to = jail.join("a/b/c/restored");
        let (source, outside) = (self.world.source(), self.world.place("outside"));
        let watched: [&Path; 3] = [&source, &outside, &self.red];
        let before = Frozen::of(&watched);
        let victim = self.world.dsb.another_pc();
        let recover = victim.run(["recover", self.red.to_str().unwrap()]).harmless();
        let mut runs = vec![recover];
        if runs[0].exit_code() == Some(0) {
            for more in [["--quiet"].as_slice(), &["--overwrite"]] {
                let arguments = [["restore", "--to", to.to_str().unwrap()].as_slice(), more].concat();
                runs.push(victim.run(arguments).harmless());
                self.nothing_escaped(&jail, &to, &runs);
            }
            for look in [["ls"].as_slice(), &["status"], &["verify", "--check", "red"]] {
                runs.push(victim.run(look).harmless());
            }
        }
        assert!(!stolen(&victim), "nothing is written beside the catalog");
        before.is_untouched(&watched, format_args!("{runs:#?}"));
        let _ = fs::remove_dir_all(&jail);
        runs
    }

    #[track_caller]
    fn nothing_escaped(&self, jail: &Path, to: &Path, runs: &[Run]) {
        for path in tree::paths(jail).unwrap_or_default() {
            assert!(path.starts_with(to) || to.starts_with(&path), "{} escaped: {runs:#?}", path.display());
        }
        // Below the destination there is nothing but what a mapping of `/data` makes.
        for entry in fs::read_dir(to).into_iter().flatten().flatten() {
            assert_eq!(entry.file_name(), "data", "{runs:#?}");
        }
    }

    /// Expects that recovering or restoring is refused with the code of a damaged catalog.
    #[track_caller]
    fn is_refused(&self) {
        let runs = self.spring();
        let codes: Vec<_> = runs.iter().take(3).map(Run::exit_code).collect();
        assert!(codes.contains(&Some(10)) && codes[1..].iter().all(|code| *code == Some(10)), "{runs:#?}");
    }
}

/// Whether a computer's home has something in it that no catalog brings.
fn stolen(dsb: &Dsb) -> bool {
    tree::paths(dsb.home()).unwrap().iter().any(|path| path.to_string_lossy().contains("evil"))
}

#[test]
fn c7_a_name_that_leads_out_of_its_folder_is_never_used() {
    let trap = Trap::new();
    let outside = trap.world.place("outside");
    let absolute = format!("{}/evil", outside.display());
    let names = ["..", ".", "../evil", "../../../../evil", "sub/evil", absolute.as_str(), "link/evil", ""];
    let good = clone_of(&trap.red, &trap.world.place("good"));
    for name in names {
        for kind in
            ["name = CAST('victim' AS BLOB)", "name = CAST('sub' AS BLOB)", "name = CAST('data' AS BLOB)"]
        {
            trap.set(&format!("UPDATE entry SET name = CAST('{name}' AS BLOB) WHERE {kind}"));
            trap.is_refused();
            fs::copy(good.join("distbackup.sqlite"), trap.red.join("distbackup.sqlite")).unwrap();
        }
    }
    trap.set("UPDATE entry SET name = x'6100622f' WHERE name = CAST('victim' AS BLOB)");
    trap.is_refused();
}

#[test]
fn c7_a_catalog_that_would_run_something_is_refused() {
    for sql in [
        "CREATE TRIGGER evil AFTER UPDATE ON disk BEGIN DELETE FROM entry; END",
        "CREATE TRIGGER evil AFTER INSERT ON run BEGIN UPDATE source SET path = CAST('/evil' AS BLOB); END",
        "CREATE VIEW evil AS SELECT * FROM entry",
        "ALTER TABLE entry RENAME TO evil; CREATE VIEW entry AS SELECT * FROM evil",
    ] {
        let trap = Trap::new();
        trap.set(sql);
        let runs = trap.spring();
        assert_eq!(runs.len(), 1, "{sql}: it was recovered: {runs:#?}");
        assert_eq!(runs[0].exit_code(), Some(10), "{runs:#?}");
        // A good catalog is not replaced by it either.
        let own = trap.world.dsb.catalog().join("distbackup.sqlite");
        let before = Frozen::of(&[&own]);
        trap.world.dsb.run(["recover", trap.red.to_str().unwrap(), "--yes"]).code(10);
        before.is_untouched(&[&own], sql);
    }
}

#[test]
fn c7_a_folder_below_a_symlink_of_the_same_name_is_not_written_through_it() {
    for born in [0, 2] {
        let trap = Trap::new();
        // Both names are true now; the folder's files would land where the link points to.
        trap.set(&format!(
            "UPDATE entry SET name = CAST('sub' AS BLOB), born = {born} WHERE name = CAST('link' AS BLOB)"
        ));
        let runs = trap.spring();
        assert!(runs[1].exit_code() == Some(3) || runs[1].exit_code() == Some(10), "{runs:#?}");
    }
}

#[test]
fn c7_what_a_symlink_points_to_gets_neither_its_mode_nor_its_owner_nor_its_times() {
    let trap = Trap::new();
    trap.set(
        "UPDATE entry SET mtime_ns = 5, metadata = (SELECT metadata FROM entry WHERE name = CAST('victim' AS BLOB))
            WHERE name = CAST('link' AS BLOB);
         UPDATE metadata SET mode = 2047, uid = 4321, gid = 4321, user_name = NULL, group_name = NULL",
    );
    trap.spring();
}

#[test]
fn c7_folders_that_contain_each_other_end_in_an_error() {
    let trap = Trap::new();
    for folder in ["deep", "sub", "data"] {
        trap.set(&format!(
            "UPDATE entry SET node = (SELECT node FROM entry WHERE name = CAST('data' AS BLOB))
                WHERE name = CAST('{folder}' AS BLOB)"
        ));
        if folder != "data" {
            trap.is_refused();
        }
    }
    trap.set("UPDATE entry SET node = 1 WHERE name = CAST('data' AS BLOB)");
    trap.is_refused();
}

#[test]
fn c7_absurd_numbers_end_in_an_error_and_not_in_a_crash() {
    let trap = Trap::new();
    let good = clone_of(&trap.red, &trap.world.place("good"));
    for sql in [
        "UPDATE entry SET size = 9223372036854775807",
        "UPDATE entry SET size = -1 WHERE kind = 'f'",
        "UPDATE object SET size = 9223372036854775807",
        "UPDATE object SET id = 4611686018427387904 WHERE id = 1",
        "UPDATE entry SET mtime_ns = 9223372036854775807",
        "UPDATE entry SET mtime_ns = -9223372036854775807 - 1",
        "UPDATE metadata SET mode = 4294967295, uid = -1, gid = 99999999999",
        "UPDATE metadata SET xattrs = x'ffff00'",
        "UPDATE entry SET holes = x'ffffffffffffffffff01ffffffffffffffffff01' WHERE kind = 'f'",
        "UPDATE entry SET holes = x'ffff' WHERE kind = 'f'",
        "UPDATE entry SET kind = 'x' WHERE name = CAST('victim' AS BLOB)",
        "UPDATE entry SET kind = 'b', target = CAST('8:0' AS BLOB) WHERE name = CAST('victim' AS BLOB)",
        "UPDATE entry SET link = 7, object = NULL WHERE kind = 'f'",
        "UPDATE entry SET object = 99999 WHERE kind = 'f'",
        "UPDATE entry SET died = 0 WHERE kind = 'd'",
        "UPDATE disk SET capacity = -1, total = -1, free = 9223372036854775807, unit = 0, file_max = -1",
        "UPDATE disk SET relative_path = CAST('../../../..' AS BLOB), name = char(27) || '[2J'",
        "UPDATE disk SET last_path = NULL, copy_sha256 = x'00', stamp_counter = -1",
        "UPDATE catalog SET newest_ns = 9223372036854775807, confirmed_ns = 9223372036854775807",
        "UPDATE catalog SET generation = 9223372036854775807",
        "UPDATE snapshot SET id = 9223372036854775807",
        "DELETE FROM catalog",
        "DELETE FROM snapshot",
        "DELETE FROM metadata",
        "DROP TABLE copy",
        "UPDATE setting SET value = 'evil'",
    ] {
        fs::copy(good.join("distbackup.sqlite"), trap.red.join("distbackup.sqlite")).unwrap();
        trap.set(&format!("PRAGMA ignore_check_constraints = ON; {sql}"));
        eprintln!("{sql}");
        for run in trap.spring() {
            assert!(run.exit_code().is_some(), "{sql}: a signal ended it: {run}");
            let answered = run.exit_code() == Some(0) || !run.stderr().is_empty();
            assert!(answered, "{sql}: it failed without a word: {run}");
        }
    }
}
