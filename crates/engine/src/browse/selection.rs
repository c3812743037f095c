//! Which entries are meant: glob patterns over whole virtual paths.
//!
//! As in distbackup 1.x `*` crosses `/`, and a match on a folder takes everything below it (PARITY).

use distbackup_core::model::VirtualPath;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::BrowseError;
use crate::platform::path_of_bytes;

/// The entries that a user named; everything if nothing was named.
#[derive(Debug, Clone)]
pub struct Selection {
    globs: Option<GlobSet>,
}

impl Selection {
    /// Reads patterns. One that does not begin with `/` may match anywhere in a path.
    pub fn parse(patterns: &[Vec<u8>]) -> Result<Self, BrowseError> {
        if patterns.is_empty() {
            return Ok(Selection { globs: None });
        }
        let mut globs = GlobSetBuilder::new();
        for pattern in patterns {
            let text = String::from_utf8_lossy(pattern);
            let bad = |why: String| BrowseError::BadPattern { pattern: text.clone().into_owned(), why };
            let trimmed = if text.len() > 1 { text.trim_end_matches('/') } else { &text };
            let whole = if trimmed.starts_with('/') { trimmed.to_owned() } else { format!("**/{trimmed}") };
            let glob = GlobBuilder::new(&whole)
                .literal_separator(false)
                .backslash_escape(true)
                .build()
                .map_err(|error| bad(error.to_string()))?;
            globs.add(glob);
        }
        let globs = globs.build().map_err(|error| {
            let pattern =
                patterns.iter().map(|raw| String::from_utf8_lossy(raw)).collect::<Vec<_>>().join(" ");
            BrowseError::BadPattern { pattern, why: error.to_string() }
        })?;
        Ok(Selection { globs: Some(globs) })
    }

    /// Whether a path itself is named; what stands below it is then meant too.
    pub fn names(&self, path: &VirtualPath) -> bool {
        match &self.globs {
            None => true,
            Some(globs) => globs.is_match(path_of_bytes(path.as_bytes())),
        }
    }

    /// Whether everything is meant.
    pub fn is_everything(&self) -> bool {
        self.globs.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str, path: &str) -> bool {
        let selection = Selection::parse(&[pattern.as_bytes().to_vec()]).unwrap();
        selection.names(&VirtualPath::parse(path.as_bytes()).unwrap())
    }

    #[test]
    fn a_star_crosses_folders_as_in_1x() {
        assert!(names("/photos/*.nef", "/photos/2011/rome/a.nef"));
        assert!(names("*.nef", "/photos/2011/a.nef"));
        assert!(names("/photos", "/photos"));
        assert!(names("/photos/", "/photos"));
        assert!(!names("/photos", "/photos2"));
        assert!(!names("photos", "/myphotos"));
    }
}
