//! Operations: one use case per file, ports in, outcome out.
//!
//! They never print, prompt or exit. What went wrong with one file is an event and a line of the
//! outcome; only what ends the operation is an error (DESIGN 7.8).

mod ahead;
pub mod backup;
pub mod carry;
pub mod config_file;
pub mod disks;
pub mod eject;
mod error;
mod filesystems;
pub mod forget;
pub mod guard;
pub mod health;
pub mod import_v1;
mod mapping;
pub mod page;
mod part;
mod problems;
mod readers;
pub mod recover;
pub mod reread;
pub mod restore;
pub mod rot;
pub mod shelf;
pub mod sources;
pub mod suggest;
pub mod tempdir;
pub mod tools;
pub mod update;
pub mod verify;

pub use error::OpError;
pub use part::Part;
pub use problems::{Problem, Problems};
