//! The pure heart of distbackup: its words as types, its rules and its plans.
//!
//! Nothing here reads a file, asks the clock, starts a thread or draws a random number, so every
//! decision the program takes can be tested in memory (DESIGN 5).

pub mod brake;
pub mod diff;
pub mod evidence;
pub mod model;
pub mod plan;
pub mod planner;
pub mod restore_planner;
pub mod rules;
