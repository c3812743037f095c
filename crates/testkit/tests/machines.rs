//! The disks and processes that other tests borrow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use distbackup_testkit::compare::{Compare, assert_same_trees};
use distbackup_testkit::dsb::{Dsb, NOBODY};
use distbackup_testkit::mounts::{Filesystem, LoopDisk, Tmpfs, fill};
use distbackup_testkit::{is_root, or_skip, skipped, tree};

#[test]
fn a_loop_disk_holds_the_odd_tree_and_vanishes_without_a_trace() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
        let Some(disk) = LoopDisk::new(filesystem, 400 << 20) else { continue };
        let from = disk.path().join("from");
        tree::odd_tree(&from, 1).unwrap();
        assert_same_trees(&from, &from, Compare::EVERYTHING);
        let (path, image) = (disk.path(), disk.image());
        drop(disk);
        assert!(!path.exists() && !image.exists());
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(path.to_str().unwrap()));
    }
}

#[test]
fn a_disk_can_be_full_grow_turn_read_only_and_be_pulled_out() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs] {
        let Some(mut disk) = LoopDisk::new(filesystem, 64 << 20) else { continue };
        fill(&disk.path().join("filler"));
        assert_eq!(
            fs::write(disk.path().join("more"), [1; 65_536]).unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        disk.grow(640 << 20);
        fs::write(disk.path().join("more"), [1; 65_536]).unwrap();

        disk.set_read_only(true);
        assert_eq!(File::create(disk.path().join("no")).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        disk.set_read_only(false);
        let mut open = File::create(disk.path().join("open")).unwrap();
        disk.pull_out();
        assert!(!disk.path().join("more").exists(), "the mount point is empty");
        open.write_all(b"still goes somewhere").unwrap();
        drop(open);
        disk.mount();
        assert!(disk.path().join("more").exists());
    }
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
        let Some(mut disk) = LoopDisk::new(filesystem, 64 << 20) else { continue };
        let (safe, lost) = (disk.path().join("safe"), disk.path().join("lost"));
        let mut file = File::create(&safe).unwrap();
        file.write_all(b"safe").unwrap();
        file.sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        drop(file);
        fs::write(&lost, b"lost").unwrap();
        if disk.power_cut() {
            assert_eq!(fs::read(&safe).unwrap(), b"safe");
            assert!(!lost.exists(), "not synced, and yet there");
        }
    }
}

#[test]
fn a_tmpfs_is_full_at_its_size() {
    let disk = or_skip!(Tmpfs::new(1 << 20));
    let written = fill(&disk.path().join("filler"));
    assert_eq!(written, 1 << 20);
}

#[test]
fn a_run_has_a_home_of_its_own_and_tells_code_and_output() {
    let shell = Dsb::new("/bin/sh").with_env("EXTRA", "yes");
    let run = shell.run(["-c", "echo $HOME $DISTBACKUP_PATH $EXTRA $USER; echo oops >&2; exit 3"]).code(3);
    let expected = format!("{} {} yes\n", shell.home().display(), shell.catalog().display());
    assert_eq!(run.stdout(), expected);
    let run = run.warns("oops").silent_about("panic").harmless();
    assert!(run.memory_bytes_max() > 100_000, "{}", run.memory_bytes_max());
    shell.run_with_input(["-c", "read answer; echo got $answer"], "yes\n").ok().says("got yes");
}

#[test]
fn a_run_can_be_killed_after_a_while_or_at_a_moment() {
    let shell = Dsb::new("/bin/sh");
    assert!(shell.start(["-c", "exec sleep 60"]).kill_after(Duration::from_millis(20)).was_killed());
    let sign = shell.home().join("sign");
    let run = shell.start(["-c", "touch sign; while :; do :; done"]).kill_when(|| sign.exists());
    assert!(run.was_killed());
    let ended = shell.start(["-c", "exit 5"]).kill_when(|| false);
    assert_eq!(ended.exit_code(), Some(5));
    let mut asked = shell.start(["-c", "trap 'exit 130' INT; touch ready; while :; do :; done"]);
    let ready = shell.home().join("ready");
    assert!(asked.wait_until(|| ready.exists()));
    asked.interrupt();
    asked.wait().code(130);
}

#[test]
fn an_ordinary_user_runs_with_his_own_number_and_no_other_group() {
    if !is_root() {
        return skipped("needs root to become somebody else");
    }
    let shell = Dsb::new("/bin/sh").as_user(NOBODY);
    let run = shell.run(["-c", "id -u; id -G; touch \"$HOME/mine\""]).ok();
    assert_eq!(run.stdout(), "65534\n65534\n");
}
