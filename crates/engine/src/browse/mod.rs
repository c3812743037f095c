//! Browsing: the tree of a moment, as far as patterns select it, for whoever asks or restores.

mod selection;
mod walk;

pub use selection::Selection;
pub use walk::{Step, walk};

use crate::catalog::CatalogError;

/// Why the tree could not be browsed.
#[derive(Debug, thiserror::Error)]
pub enum BrowseError {
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A pattern that means nothing.
    #[error("pattern {pattern:?}: {why}")]
    BadPattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A name that no catalog of ours contains: it could lead out of a destination (rule 7, C7).
    #[error("the catalog contains the name {name:?}, which is no file's; nothing is taken from there")]
    HostileName {
        /// Escaped.
        name: String,
    },
    /// Folders that contain each other, or stand at several places.
    #[error("the catalog is damaged: folders contain each other, or stand at several places, at {path}")]
    Circle {
        /// Where.
        path: String,
    },
    /// There is nothing at a path.
    #[error("there is nothing at {path} in the tree")]
    NotThere {
        /// The path.
        path: String,
    },
}
