//! Disks: the port through which operations see one connected disk, and its implementations.
//!
//! [`port`](Disk) states the laws; `folder` is the real disk;
//! `layout` and `identity` are the format, `locate` finds known disks.

mod folder;
pub mod identity;
pub mod layout;
pub mod locate;
mod port;
mod reader;
mod system;

pub use folder::FolderDisk;
pub use port::*;
