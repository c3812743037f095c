//! Scan: one folder of a source at a time, as sorted names with the facts about each.
//!
//! A folder stays open while it is looked at and its children are opened from it by name. So paths
//! may be longer than the system accepts, no link is followed at any depth (S14), and a folder that
//! is renamed meanwhile is not mistaken for another. Several threads may work at once, each with
//! its own folder. What cannot be listed is an error of the whole folder: half a listing would look
//! like deletions (N6, S12).

mod folder;
mod listing;

pub use folder::Folder;
pub use listing::{Batches, FolderListing, Found, read_folder};
