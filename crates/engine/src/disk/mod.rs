//! Disks: the port through which operations see one connected disk, and its implementations.

pub mod identity;
pub mod layout;
mod port;

pub use port::*;
