//! Operations: one use case per file, ports in, outcome out.
//!
//! They never print, prompt or exit. What went wrong with one file is an event and a line of the
//! outcome; only what ends the operation is an error (DESIGN 7.8).

mod error;
mod problems;

pub use error::OpError;
pub use problems::{Problem, Problems};
