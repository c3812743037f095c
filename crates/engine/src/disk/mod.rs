//! Disks: the port through which operations see one connected disk, and its implementations.

mod port;

pub use port::*;
