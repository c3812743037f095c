//! Disks: the port through which operations see one connected disk, and its implementations.
//!
//! [`port`](Disk) states the laws; `folder` is the real disk;
//! `layout` and `identity` are the format.

mod folder;
pub mod identity;
pub mod layout;
mod port;
mod reader;
mod system;

pub use folder::FolderDisk;
pub use port::*;
