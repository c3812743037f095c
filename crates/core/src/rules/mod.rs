//! What is configured for paths of the virtual tree, and how it is handed down.
//!
//! Rules look at names and say what is taken; the first that matches decides, those of an inner folder
//! before those of an outer one (PARITY, "source"). Beside them a path may be hidden, locked, or have
//! a priority and a number of copies of its own.

mod config;
mod rule;

pub use config::{ConfigTree, Configured, PathConfig, Policy};
pub use rule::{Rule, RuleError, RuleVerdict, Rules};
