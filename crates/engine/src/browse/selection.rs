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
    /// What the paths that each pattern names begin with.
    beginnings: Vec<Beginning>,
}

/// The part of a pattern before its first special character.
#[derive(Debug, Clone)]
struct Beginning {
    bytes: Vec<u8>,
    /// It is all of the pattern: one path is named.
    whole: bool,
}

impl Beginning {
    fn of(pattern: &str) -> Self {
        // The last one stands for bytes that are no UTF-8.
        let special = ['*', '?', '[', ']', '{', '}', '\\', '!', char::REPLACEMENT_CHARACTER];
        let end = pattern.find(special).unwrap_or(pattern.len());
        Beginning { bytes: pattern.as_bytes()[..end].to_vec(), whole: end == pattern.len() }
    }

    /// Whether a path that continues `above`, which ends with `/`, may be named.
    fn admits(&self, above: &[u8]) -> bool {
        self.bytes.starts_with(above) || (!self.whole && above.starts_with(&self.bytes))
    }
}

impl Selection {
    /// Reads patterns. One that does not begin with `/` may match anywhere in a path.
    pub fn parse(patterns: &[Vec<u8>]) -> Result<Self, BrowseError> {
        if patterns.is_empty() {
            return Ok(Selection { globs: None, beginnings: Vec::new() });
        }
        let mut globs = GlobSetBuilder::new();
        let mut beginnings = Vec::new();
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
            beginnings.push(Beginning::of(&whole));
        }
        let globs = globs.build().map_err(|error| {
            let pattern =
                patterns.iter().map(|raw| String::from_utf8_lossy(raw)).collect::<Vec<_>>().join(" ");
            BrowseError::BadPattern { pattern, why: error.to_string() }
        })?;
        Ok(Selection { globs: Some(globs), beginnings })
    }

    /// Whether a path itself is named; what stands below it is then meant too.
    pub fn names(&self, path: &VirtualPath) -> bool {
        match &self.globs {
            None => true,
            Some(globs) => globs.is_match(path_of_bytes(path.as_bytes())),
        }
    }

    /// Whether anything below a folder may be named, as far as the patterns' beginnings tell: where nothing is, nobody
    /// has to look.
    pub fn may_name_below(&self, folder: &VirtualPath) -> bool {
        let mut above = folder.as_bytes().to_vec();
        if above != b"/" {
            above.push(b'/');
        }
        self.globs.is_none() || self.beginnings.iter().any(|beginning| beginning.admits(&above))
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

    #[test]
    fn only_folders_on_the_way_are_looked_into() {
        let below = |pattern: &str, path: &str| {
            let selection = Selection::parse(&[pattern.as_bytes().to_vec()]).unwrap();
            selection.may_name_below(&VirtualPath::parse(path.as_bytes()).unwrap())
        };
        for path in ["/", "/photos", "/photos/2011"] {
            assert!(below("/photos/2011/rome", path), "{path}");
        }
        for path in ["/music", "/photos/2012", "/photos/201", "/photos/2011/rome2", "/photo"] {
            assert!(!below("/photos/2011/rome", path), "{path}");
        }
        // A star crosses folders, so everything that begins like it may be named.
        for path in ["/", "/photos", "/photos/2011", "/photos/2011/rome", "/photos/20"] {
            assert!(below("/photos/20*.nef", path), "{path}");
        }
        assert!(!below("/photos/20*.nef", "/photos/1999"));
        for pattern in ["*.nef", "rome", "/ph{oto,one}s/a", "/[p]hotos", "/ph\\otos/a", "/p?otos/a"] {
            assert!(below(pattern, "/photos"), "{pattern}");
        }
    }

    #[test]
    fn whatever_is_named_is_reached_through_folders_that_are_looked_into() {
        let seed = 20_260_101_u64;
        let mut state = seed;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let letters = ["a", "b", "/", "/", "*", "?", "[ab]", "{a,b}", "\\a", "!"];
        let mut named = 0;
        for _ in 0..20_000 {
            let pattern: String = (0..1 + draw(5)).map(|_| letters[draw(letters.len())]).collect();
            let Ok(selection) = Selection::parse(&[format!("/{pattern}").into_bytes()]) else { continue };
            let parts: Vec<&str> = (0..1 + draw(3)).map(|_| ["a", "b", "ab", "!"][draw(4)]).collect();
            let mut path = VirtualPath::root();
            let mut looked = true;
            for part in parts {
                looked &= selection.names(&path) || selection.may_name_below(&path);
                path.push(part.as_bytes());
            }
            if selection.names(&path) {
                named += 1;
                assert!(looked, "seed {seed}: {pattern} {}", path.display());
            }
        }
        assert!(named > 100, "{named}");
    }
}
