//! A comparison that overlooks something makes every restore test worthless: each attribute is
//! changed once, and has to be the one difference that is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use distbackup_testkit::compare::{Compare, assert_same_trees, compare_trees};
use distbackup_testkit::folder::Folder;
use distbackup_testkit::{is_root, skipped, tree};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use tempfile::TempDir;

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let moment = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: moment, last_modification: moment };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A little tree that can be built twice and is the same both times.
fn build(root: &Path) {
    fs::create_dir_all(root.join("folder/empty")).unwrap();
    fs::write(root.join("file"), b"some bytes").unwrap();
    fs::write(root.join("folder/linked"), b"linked").unwrap();
    fs::hard_link(root.join("folder/linked"), root.join("link 1")).unwrap();
    fs::write(root.join("link 2"), b"linked").unwrap();
    symlink("file", root.join("symlink")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"end", (1 << 20) - 3).unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    if is_root() {
        let device = rustix::fs::makedev(1, 3);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, root.join("device"), FileType::CharacterDevice, mode, device).unwrap();
    }
    settle(root);
}

/// Sets all times of the tree to one moment.
fn settle(root: &Path) {
    for path in tree::paths(root).unwrap() {
        set_mtime(&path, 1_000_000_000, 500);
    }
    set_mtime(root, 1_000_000_000, 500);
}

/// Changes a copy of the tree, and expects exactly `expected`, as `path: what`.
fn notices(expected: &[&str], change: impl FnOnce(&Path)) {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    build(first.path());
    build(second.path());
    change(second.path());
    let found = compare_trees(first.path(), second.path(), Compare::as_far_as_possible());
    let found: Vec<String> =
        found.iter().map(|d| format!("{}: {}", String::from_utf8_lossy(&d.path), d.what)).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_same_tree_built_twice_is_the_same() {
    notices(&[], |_| ());
}

#[test]
fn a_missing_and_an_added_name_are_noticed() {
    notices(&["folder/empty: there"], |root| {
        fs::remove_dir(root.join("folder/empty")).unwrap();
        settle(root);
    });
    notices(&["more: there"], |root| {
        fs::write(root.join("more"), b"").unwrap();
        settle(root);
    });
}

#[test]
fn another_type_is_noticed() {
    notices(&["file: type"], |root| {
        fs::remove_file(root.join("file")).unwrap();
        fs::create_dir(root.join("file")).unwrap();
        settle(root);
    });
}

#[test]
fn other_bytes_of_the_same_length_are_noticed() {
    notices(&["file: bytes"], |root| {
        fs::write(root.join("file"), b"some bytez").unwrap();
        settle(root);
    });
}

#[test]
fn a_longer_file_is_noticed() {
    notices(&["file: size", "file: bytes"], |root| {
        fs::write(root.join("file"), b"some bytes more").unwrap();
        settle(root);
    });
}

#[test]
fn a_hole_that_was_filled_is_noticed() {
    notices(&["sparse: allocated"], |root| {
        let bytes = fs::read(root.join("sparse")).unwrap();
        fs::write(root.join("sparse"), bytes).unwrap();
        settle(root);
    });
}

#[test]
fn modes_of_files_and_folders_are_noticed() {
    notices(&["file: mode"], |root| {
        fs::set_permissions(root.join("file"), Permissions::from_mode(0o4644)).unwrap();
    });
    notices(&["folder/empty: mode"], |root| {
        fs::set_permissions(root.join("folder/empty"), Permissions::from_mode(0o1755)).unwrap();
    });
    notices(&[": mode"], |root| fs::set_permissions(root, Permissions::from_mode(0o711)).unwrap());
}

#[test]
fn a_nanosecond_is_noticed_on_file_folder_symlink_and_root() {
    for name in ["file", "folder", "symlink", "fifo"] {
        notices(&[&format!("{name}: mtime")], |root| set_mtime(&root.join(name), 1_000_000_000, 501));
    }
    notices(&[": mtime"], |root| set_mtime(root, 1_000_000_001, 500));
}

#[test]
fn a_symlink_to_elsewhere_is_noticed() {
    notices(&["symlink: target"], |root| {
        fs::remove_file(root.join("symlink")).unwrap();
        symlink("folder", root.join("symlink")).unwrap();
        settle(root);
    });
}

#[test]
fn attributes_are_noticed_by_name_and_value() {
    notices(&["file: xattrs"], |root| xattr::set(root.join("file"), "user.a", b"").unwrap());
    notices(&["folder: xattrs"], |root| xattr::set(root.join("folder"), "user.a", b"1").unwrap());
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for (folder, value) in [(&first, b"1"), (&second, b"2")] {
        build(folder.path());
        xattr::set(folder.path().join("file"), "user.a", value).unwrap();
    }
    assert_eq!(compare_trees(first.path(), second.path(), Compare::ORDINARY_USER).len(), 1);
    assert_eq!(compare_trees(first.path(), second.path(), Compare::CONTENT), []);
}

#[test]
fn a_broken_a_made_and_a_moved_hard_link_are_noticed() {
    notices(&["folder/linked: hard links", "link 1: hard links"], |root| {
        fs::remove_file(root.join("link 1")).unwrap();
        fs::write(root.join("link 1"), b"linked").unwrap();
        settle(root);
    });
    notices(&["folder/linked: hard links", "link 1: hard links", "link 2: hard links"], |root| {
        fs::remove_file(root.join("link 2")).unwrap();
        fs::hard_link(root.join("link 1"), root.join("link 2")).unwrap();
        settle(root);
    });
    notices(&["folder/linked: hard links", "link 1: hard links", "link 2: hard links"], |root| {
        fs::remove_file(root.join("link 1")).unwrap();
        fs::write(root.join("link 1"), b"linked").unwrap();
        fs::remove_file(root.join("folder/linked")).unwrap();
        fs::hard_link(root.join("link 2"), root.join("folder/linked")).unwrap();
        settle(root);
    });
}

#[test]
fn owners_devices_and_what_only_root_sees_are_noticed() {
    if !is_root() {
        return skipped("needs root");
    }
    notices(&["file: owner"], |root| lchown(root.join("file"), Some(1), None).unwrap());
    notices(&["symlink: owner"], |root| lchown(root.join("symlink"), None, Some(1)).unwrap());
    notices(&["device: device"], |root| {
        fs::remove_file(root.join("device")).unwrap();
        let (device, mode) = (rustix::fs::makedev(1, 5), Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(CWD, root.join("device"), FileType::CharacterDevice, mode, device).unwrap();
        settle(root);
    });
    notices(&["file: xattrs"], |root| xattr::set(root.join("file"), "trusted.a", b"1").unwrap());
    notices(&["file: xattrs"], |root| xattr::set(root.join("file"), "security.a", b"1").unwrap());
    notices(&["symlink: xattrs"], |root| xattr::set(root.join("symlink"), "trusted.a", b"1").unwrap());
}

#[test]
fn an_acl_is_noticed() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    tree::metadata(first.path()).unwrap();
    tree::metadata(second.path()).unwrap();
    settle(first.path());
    settle(second.path());
    assert_same_trees(first.path(), second.path(), Compare::as_far_as_possible());
    if xattr::remove(second.path().join("folder with ACLs"), "system.posix_acl_default").is_err() {
        return skipped("no ACLs here");
    }
    let found = compare_trees(first.path(), second.path(), Compare::as_far_as_possible());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].what, "xattrs");
}

#[test]
fn sockets_and_access_times_are_not_compared() {
    notices(&[], |root| {
        rustix::fs::mknodat(CWD, root.join("socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        settle(root);
        let file = File::open(root.join("file")).unwrap();
        let times = fs::FileTimes::new().set_accessed(SystemTime::now() + Duration::from_secs(99));
        file.set_times(times).unwrap();
    });
}

#[test]
fn what_cannot_be_read_is_never_the_same() {
    if is_root() {
        return skipped("root reads everything; run as an ordinary user too");
    }
    let tree = TempDir::new().unwrap();
    fs::write(tree.path().join("locked"), b"x").unwrap();
    fs::set_permissions(tree.path().join("locked"), Permissions::from_mode(0o0)).unwrap();
    assert_eq!(compare_trees(tree.path(), tree.path(), Compare::ORDINARY_USER).len(), 1);
}

/// The builder and the comparison against a judge from outside.
#[test]
fn the_odd_tree_copied_by_cp_is_the_same_and_names_are_shown_escaped() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    tree::odd_tree(&from, 1).unwrap();
    // cp cannot address what is deeper than a path may be long.
    fs::remove_dir_all(from.join("deep")).unwrap();
    assert!(
        Command::new("cp").arg("-a").arg("--sparse=auto").arg(&from).arg(&to).status().unwrap().success()
    );
    assert_same_trees(&from, &to, Compare::as_far_as_possible());

    fs::remove_file(to.join("names/\x1b[31mred\x1b[0m")).unwrap();
    fs::remove_file(to.join(std::ffi::OsStr::from_bytes(b"names/\xff"))).unwrap();
    let found = compare_trees(&from, &to, Compare { mtime: false, ..Compare::as_far_as_possible() });
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["./names/\\x1b[31mred\\x1b[0m: there: file | missing", "./names/\\xff: there: file | missing"]
    );
}

#[test]
fn trees_deeper_than_a_path_may_be_long_are_compared() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    tree::deep(first.path()).unwrap();
    tree::deep(second.path()).unwrap();
    let what = Compare { mtime: false, ..Compare::as_far_as_possible() };
    assert_same_trees(first.path(), second.path(), what);
    let mut bottom = Folder::open(second.path()).unwrap();
    while let Some(deeper) = bottom.names().unwrap().into_iter().find(|name| name.len() == 200) {
        bottom = bottom.child(&deeper).unwrap();
    }
    fs::write(bottom.at("at the bottom"), b"something else").unwrap();
    assert!(!compare_trees(first.path(), second.path(), what).is_empty());
    let same = compare_trees(first.path(), first.path(), Compare::ORDINARY_USER);
    assert_eq!(same, []);
}

#[test]
fn a_seed_makes_the_same_trees_again_and_another_makes_others() {
    let make = |seed| {
        let folder = TempDir::new().unwrap();
        let bytes = tree::many_small(&folder.path().join("small"), 250, seed).unwrap();
        tree::large(&folder.path().join("large"), 2, 100_000, seed).unwrap();
        assert!(bytes > 250 * 6000 && bytes < 250 * 10_000, "{bytes}");
        folder
    };
    let (first, again, other) = (make(1), make(1), make(2));
    assert_same_trees(first.path(), again.path(), Compare::CONTENT);
    assert!(compare_trees(first.path(), other.path(), Compare::CONTENT).len() > 200);
}
