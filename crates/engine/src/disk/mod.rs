//! Disks: the port through which operations see one connected disk, and its implementations.
//!
//! [`port`](Disk) states the laws and `laws` checks them; `folder` is the real disk, `simulated` its
//! twin that can lose, fail and vanish; `layout` and `identity` are the format, `locate` finds known disks.

mod folder;
pub mod identity;
#[cfg(any(test, feature = "testing"))]
pub mod laws;
pub mod layout;
pub mod legacy;
pub mod locate;
mod port;
mod reader;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod system;

pub use folder::FolderDisk;
pub use port::*;

/// Reads the identity of the disk at a folder; [`DiskError::NotADisk`] if it is none.
pub fn read_identity(folder: &std::path::Path) -> Result<Identity, DiskError> {
    FolderDisk::open(folder)?.identity()
}
