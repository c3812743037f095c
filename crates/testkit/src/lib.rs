//! Trees, disks and accidents for distbackup's tests.
//!
//! Everything here is real: files on a real filesystem, disks that are mounted images, the program
//! as a process of its own. What is missing on a machine (root, a `mkfs`, a filesystem of the kernel)
//! makes a test skip with one loud line on stderr, which [`skipped`] writes past the test harness.
//!
//! - [`tree`] builds source trees: ordinary, many small files, large ones, and everything odd.
//! - [`generate`] makes a set of a million files in seconds.
//! - [`compare`] says in what two trees differ, down to holes, ACLs and hard links.
//! - [`mounts`] lends disks that can be full, read-only, pulled out or lose their power.
//! - [`dsb`] runs the program in a home of its own, waits for it or kills it.
//! - [`fuzz`] takes any bytes for everything that a disk or a user can hand in.
//! - [`faults`] lets a single system call of the program fail, or kills it there.
//! - [`rng`] gives numbers from a printed seed.

// A test that cannot build its world has nothing to handle: it stops and says where.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;

pub mod compare;
pub mod dsb;
pub mod faults;
pub mod folder;
pub mod fuzz;
pub mod generate;
pub mod mounts;
pub mod rng;
pub mod tree;

/// Says that a test, or a part of one, was not run, and why.
///
/// Written to stderr directly: the test harness hides what the print macros say in a green test.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED: {name}: {why}");
}

/// Whether this process may mount, change owners and read everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The value of an `Option`, or an early return from the test: whoever returned `None` has already
/// said why, with [`skipped`].
///
/// ```no_run
/// use distbackup_testkit::mounts::{Filesystem, LoopDisk};
/// fn a_full_disk_ends_the_visit() {
///     let disk = distbackup_testkit::or_skip!(LoopDisk::new(Filesystem::Ext4, 64 << 20));
///     assert!(disk.path().is_dir());
/// }
/// ```
#[macro_export]
macro_rules! or_skip {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return,
        }
    };
}
