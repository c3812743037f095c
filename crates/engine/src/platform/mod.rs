//! The operating system: the one place that knows what Linux really does, and all unsafe code.
//!
//! Everything here works on open folders and single names, never follows a symbolic link on its
//! own, and takes names as raw bytes (N12). Linux is complete (`linux`); on other systems the same
//! functions do what is portable and say `Unsupported` for the rest (`portable`). This is not a
//! port: nothing is simulated, and tests use real files.

mod accounts;
mod cached;
mod change;
mod computer;
mod direct;
mod drives;
mod durable;
mod far;
mod filesystem;
mod holders;
mod holes;
mod inherited;
mod lock;
mod mount_watch;
mod mounts;
mod names;
mod open;
mod paths;
mod process;
mod programs;
#[cfg(target_arch = "x86_64")]
mod sha256_lanes;
mod share;
mod stat;
mod unnamed;
mod within;
mod xattrs;

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "portable.rs"]
mod system;

pub use accounts::Accounts;
pub use cached::{forget_cached, is_forgotten};
pub use change::{Handle, make_node_at};
pub use computer::{Computer, this_computer};
pub use direct::{Growing, can_write_straight};
pub use drives::{BlockDevice, Devices, is_rotational};
pub use durable::{WritingOut, sync_data, sync_directory, sync_file, sync_filesystem, syncfs_reports_errors};
pub use filesystem::{FilesystemId, Space, identify, identify_path, space, space_at};
pub use holders::{Holder, holders};
pub use holes::{data_ranges, next_data};
pub use inherited::inherited_file;
pub use lock::{Access, DirectoryLock, LockError};
pub use mount_watch::MountWatch;
pub use mounts::{Mount, Mounts};
pub use names::{Names, read_names};
pub use open::{
    advise_sequential, create_beneath, open_beneath, open_folder, open_folder_at, open_folder_following,
    open_source, open_source_at, read_link_at,
};
pub use paths::{bytes_of_path, make_private, new_uuid, path_of_bytes, random_bits};
pub use process::{ask_to_stop, interrupted, is_superuser, raise_open_files_limit, watch_interrupts};
pub use programs::{find_program, run_program};
#[cfg(target_arch = "x86_64")]
pub use sha256_lanes::Lanes;
pub use share::{clone_content, clones_contents, is_open_for_writing, is_owner, make_own, make_read_only};
pub use stat::{FileKind, Stat, stat_at, stat_fd, stat_path};
pub use system::memory_available;
pub use unnamed::{UnnamedFile, unnamed_files_max};
pub use within::{link_at, make_directory_at, rename_at, rename_new_at, symlink_at, unlink_at};
pub use xattrs::{read_xattrs, read_xattrs_at, read_xattrs_of};
