//! The brake: what leaves the tree in masses keeps its copies until the user says that it is right (S3).

#![allow(clippy::unwrap_used, reason = "a test that fails here says so")]

use std::fs;
use std::path::PathBuf;

use distbackup_testkit::dsb::{Dsb, Run};
use tempfile::TempDir;

/// Two hundred files, backed up to a disk with room for little more, and history that is given up at once.
struct Set {
    dsb: Dsb,
    folder: TempDir,
}

impl Set {
    fn new() -> Set {
        let set = Set { dsb: Dsb::new(env!("CARGO_BIN_EXE_dsb")), folder: TempDir::new().unwrap() };
        fs::create_dir(set.path("files")).unwrap();
        fs::create_dir(set.path("red")).unwrap();
        (0..200).for_each(|number| set.write(number, "photo"));
        set.run("config set keep-deleted 0", None).ok();
        set.run("source map /files", Some("files")).ok();
        set.run("disk add --size 1800k red", Some("red")).ok();
        set.run("backup --update red", None).ok();
        assert_eq!(set.objects(), 200);
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, number: u32, what: &str) {
        fs::write(self.path("files").join(number.to_string()), format!("{what} {number}")).unwrap();
    }

    fn run(&self, words: &str, path: Option<&str>) -> Run {
        let mut arguments: Vec<std::ffi::OsString> = words.split(' ').map(Into::into).collect();
        arguments.extend(path.map(|name| self.path(name).into_os_string()));
        self.dsb.run(arguments)
    }

    fn objects(&self) -> usize {
        let folders = fs::read_dir(self.path("red/distbackup-objects")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }
}

#[test]
fn s3_when_everything_is_overwritten_the_old_contents_stay_until_the_user_accepts_it() {
    let set = Set::new();
    (0..200).for_each(|number| set.write(number, "encrypted"));
    set.run("update", None).code(14).warns("200 of 200 files").warns("dsb update --accept");
    set.run("backup red", None).code(14);
    assert!(set.objects() >= 200, "the old ones are all there");
    let to = set.path("restored");
    set.dsb.run(["restore".as_ref(), "--at".as_ref(), "1".as_ref(), "--to".as_ref(), to.as_os_str()]).ok();
    assert_eq!(fs::read_to_string(to.join("files/7")).unwrap(), "photo 7");
    // Looking again does not wear the brake down.
    set.run("update", None).code(14);
    set.run("backup red", None).code(14);
    set.run("update --accept", None).ok();
    set.run("backup red", None).ok();
    assert_eq!(set.objects(), 200, "the new ones");
    set.run("verify red", None).ok();
}

#[test]
fn s3_many_small_steps_between_two_visits_are_one_large_one() {
    let set = Set::new();
    for step in 0..4 {
        (step * 30..(step + 1) * 30).for_each(|number: u32| {
            fs::remove_file(set.path("files").join(number.to_string())).unwrap();
        });
        let run = set.run("update", None);
        // The shares of files and of bytes are equal here: a quarter of 200 is 50.
        run.code(if step == 0 { 0 } else { 14 });
    }
    set.run("backup red", None).code(14);
    assert_eq!(set.objects(), 200);
}

#[test]
fn a_change_under_the_limit_is_accepted_by_the_next_visit() {
    let set = Set::new();
    for step in 0..5_u32 {
        (step * 30..(step + 1) * 30).for_each(|number| {
            fs::remove_file(set.path("files").join(number.to_string())).unwrap();
            set.write(1000 + number, "new photo");
        });
        set.run("backup --update red", None).ok();
        assert_eq!(set.objects(), 200, "step {step}");
    }
}

#[test]
fn moving_everything_is_no_mass_change() {
    let set = Set::new();
    fs::create_dir(set.path("files/moved")).unwrap();
    for number in 0..200 {
        fs::rename(
            set.path("files").join(number.to_string()),
            set.path("files/moved").join(number.to_string()),
        )
        .unwrap();
    }
    set.run("backup --update red", None).ok();
}

#[test]
fn a_plan_that_would_empty_a_quarter_of_a_disk_waits_for_the_users_word() {
    let set = Set::new();
    fs::create_dir(set.path("blue")).unwrap();
    set.run("disk add --size 1800k blue", Some("blue")).ok();
    set.run("backup blue", None).ok();
    // From now on one copy is enough: one disk could give up everything.
    set.run("source set -m 1 /files", None).ok();
    set.run("backup red", None).code(14).warns("200 copies of 200");
    assert_eq!(set.objects(), 200);
    set.run("backup --accept red", None).ok();
    assert_eq!(set.objects(), 0);
}
