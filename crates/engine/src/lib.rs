//! The engine of distbackup: scans sources, keeps the catalog, writes and reads disks.
//!
//! It does things and returns what happened as typed outcomes; it never prints, prompts or exits
//! (DESIGN 5). `ops` holds one use case per file; everything else serves them.

pub mod browse;
pub mod catalog;
pub mod clock;
pub mod content;
pub mod disk;
pub mod hash;
pub mod metadata;
pub mod ops;
pub mod platform;
pub mod progress;
pub mod report;
pub mod scan;
