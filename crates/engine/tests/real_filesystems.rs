//! Filesystems on loop-mounted images: are they recognised, and do their limits come through?
//!
//! Needs root, loop devices and the `mkfs` of each; says loudly which of them was skipped.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test that cannot prepare its ground may end at once.

use std::path::{Path, PathBuf};
use std::process::Command;

use distbackup_engine::platform::{FilesystemId, identify_path, space_at};

/// A mounted filesystem; unmounted when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.as_os_str()]);
    }
}

fn run<S: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[S]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

fn mount(dir: &Path, options: &str, what: &Path, at: &str) -> Option<Mounted> {
    let point = dir.join(at);
    std::fs::create_dir_all(&point).unwrap();
    let arguments = ["-o".as_ref(), options.as_ref(), what.as_os_str(), point.as_os_str()];
    // A loop device that was just given back may still be busy.
    for _ in 0..40 {
        if run("mount", &arguments) {
            return Some(Mounted(point));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    None
}

/// A formatted image, or a loud reason to skip the test.
fn image(dir: &Path, program: &str, arguments: &[&str], size: u64) -> Option<PathBuf> {
    let path = dir.join("image");
    std::fs::File::create(&path).unwrap().set_len(size).unwrap();
    let mut all: Vec<&str> = arguments.to_vec();
    all.push(path.to_str().unwrap());
    if run(program, &all) && mount(dir, "loop", &path, "probe").is_some() {
        return Some(path);
    }
    eprintln!("SKIPPED: needs root, loop devices, {program} and the kernel's driver");
    None
}

fn identity(mounted: &Mounted) -> FilesystemId {
    identify_path(&mounted.0).unwrap()
}

/// A new UUID and the identity made of it: `mkfs.btrfs` refuses one that it has seen before.
fn new_uuid() -> (String, String) {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim().to_owned();
    let identity = uuid.replace('-', "");
    (uuid, identity)
}

#[test]
fn s6_ext4_and_xfs_are_recognised_by_their_uuid_wherever_they_are_mounted() {
    let (uuid, wanted) = new_uuid();
    let uuid_option = format!("uuid={uuid}");
    for (program, arguments, size) in
        [("mkfs.ext4", ["-q", "-U", &uuid], 64 << 20), ("mkfs.xfs", ["-q", "-m", &uuid_option], 512 << 20)]
    {
        let dir = tempfile::tempdir().unwrap();
        let Some(image) = image(dir.path(), program, &arguments, size) else { continue };
        let first = identity(&mount(dir.path(), "loop", &image, "first").unwrap());
        let second = identity(&mount(dir.path(), "loop,ro", &image, "second place").unwrap());
        assert_eq!(first, second);
        if !first.has_uuid {
            eprintln!("SKIPPED: neither this kernel nor udev tells UUIDs");
            continue;
        }
        assert_eq!(first.identity, wanted);
        assert!(first.stable_inodes && program.ends_with(&first.kind), "{first:?}");
    }
}

#[test]
fn s6_subvolumes_of_one_btrfs_are_different_filesystems_and_stay_so() {
    let dir = tempfile::tempdir().unwrap();
    let (uuid, wanted) = new_uuid();
    let Some(image) = image(dir.path(), "mkfs.btrfs", &["-q", "-U", &uuid], 256 << 20) else { return };
    let whole = mount(dir.path(), "loop", &image, "whole").unwrap();
    for name in ["a", "b"] {
        assert!(run("btrfs", &["subvolume".as_ref(), "create".as_ref(), whole.0.join(name).as_os_str()]));
    }
    let seen: Vec<_> = ["", "a", "b"].map(|name| identify_path(&whole.0.join(name)).unwrap()).into();
    drop(whole);
    assert!(seen.iter().all(|id| id.identity.starts_with(&wanted) && id.kind == "btrfs"), "{seen:?}");
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2], "{seen:?}");
    let alone = mount(dir.path(), "loop,subvol=a", &image, "elsewhere").unwrap();
    assert_eq!(identity(&alone), seen[1], "the same subvolume, mounted by itself");
}

#[test]
fn s6_a_filesystem_in_memory_has_no_identity_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mount_tmpfs = |at: &str| {
        std::fs::create_dir_all(dir.path().join(at)).unwrap();
        let point = dir.path().join(at);
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "dsb".as_ref(), point.as_os_str()])
            .then_some(Mounted(point))
    };
    let Some(first) = mount_tmpfs("a") else {
        eprintln!("SKIPPED: needs root to mount");
        return;
    };
    let one = identity(&first);
    assert!(!one.has_uuid && one.kind == "tmpfs");
    drop(first);
    // The kernel gives each tmpfs a random UUID: it must not look like another filesystem after a reboot.
    assert_eq!(identity(&mount_tmpfs("a").unwrap()), one);
    assert_ne!(identity(&mount_tmpfs("b").unwrap()), one);
}

#[test]
fn d4_room_and_limits_of_a_small_disk_are_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    // A tenth is reserved for root: not for us, although this test is root.
    let Some(image) = image(dir.path(), "mkfs.ext4", &["-q", "-b", "1024", "-m", "10"], 64 << 20) else {
        return;
    };
    let disk = mount(dir.path(), "loop", &image, "disk").unwrap();
    let space = space_at(&disk.0).unwrap();
    assert_eq!(space.unit, 1024);
    assert!(space.total.0 < 64 << 20 && space.free.0 < space.total.0 * 92 / 100, "{space:?}");
    assert_eq!(space.file_max.0, u64::from(u32::MAX) * 1024);
}
