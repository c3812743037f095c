//! Where sources stand in the virtual tree, and which real path a virtual one has.
//!
//! Sources nest: a source mapped below another hides what the outer one has at that place, and each
//! place is scanned once (S13). Folders on the way to a mapping that no source provides are virtual.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use distbackup_core::model::VirtualPath;
use distbackup_core::rules::PathConfig;

use crate::catalog::{CatalogError, Reader, SourceRow};
use crate::platform::path_of_bytes;

/// A place in the tree of mappings.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The source mapped here.
    pub source: Option<SourceRow>,
    /// Names below that lead to further mappings.
    pub children: BTreeMap<Vec<u8>, Mapping>,
    /// Of the root: folders whose symlinks are taken as what they lead to.
    follows: BTreeSet<VirtualPath>,
}

impl Mapping {
    /// The tree of all mappings.
    pub fn of(sources: Vec<SourceRow>) -> Self {
        let mut root = Mapping::default();
        for source in sources {
            let mut at = &mut root;
            for name in source.vpath.components().map(<[u8]>::to_vec).collect::<Vec<_>>() {
                at = at.children.entry(name).or_default();
            }
            at.source = Some(source);
        }
        root
    }

    /// The tree of all mappings of a catalog.
    pub fn load(reader: &Reader<'_>) -> Result<Self, CatalogError> {
        Ok(Mapping::of(reader.sources()?).following(&reader.path_configs()?))
    }

    /// The same, with the symlinks followed that are to be followed by this configuration.
    pub fn following(mut self, configs: &[(VirtualPath, PathConfig)]) -> Self {
        let follows = configs.iter().filter(|(_, config)| config.follow_symlinks == Some(true));
        self.follows = follows.map(|(path, _)| path.clone()).collect();
        self
    }

    /// The real folders of all sources.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        let below = self.children.values().flat_map(|child| {
            let folders: Box<dyn Iterator<Item = &Path>> = Box::new(child.folders());
            folders
        });
        self.source.iter().map(|source| source.path.as_path()).chain(below)
    }

    /// Whether symlinks are followed anywhere.
    pub fn follows_links(&self) -> bool {
        !self.follows.is_empty()
    }

    /// The real path of a virtual one: below the innermost source that contains it. Where a symlink stands that is to
    /// be followed, the path of what it leads to.
    pub fn real_path(&self, path: &VirtualPath) -> Option<PathBuf> {
        let real = self.path_as_named(path)?;
        let follow = path.parent().is_some_and(|(folder, _)| self.follows.contains(&folder));
        // A link that leads nowhere stays what it is; nothing else stands there to be opened.
        Some(if follow { std::fs::canonicalize(&real).unwrap_or(real) } else { real })
    }

    fn path_as_named(&self, path: &VirtualPath) -> Option<PathBuf> {
        let mut at = Some(self);
        let mut real = self.source.as_ref().map(|source| source.path.clone());
        for name in path.components() {
            at = at.and_then(|mapping| mapping.children.get(name));
            match at.and_then(|mapping| mapping.source.as_ref()) {
                Some(source) => real = Some(source.path.clone()),
                None => {
                    if let Some(real) = &mut real {
                        real.push(path_of_bytes(name));
                    }
                }
            }
        }
        real
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use distbackup_core::model::SourceNo;

    fn source(vpath: &str, path: &str) -> SourceRow {
        SourceRow {
            source: SourceNo(1),
            vpath: VirtualPath::parse(vpath.as_bytes()).unwrap(),
            path: path.into(),
            filesystem: None,
            scanned_ns: None,
            elsewhere: None,
        }
    }

    #[test]
    fn s13_the_inner_mapping_wins() {
        let mapping =
            Mapping::of(vec![source("/photos", "/home/a/Photos"), source("/photos/2020", "/mnt/new")]);
        let real = |text: &str| mapping.real_path(&VirtualPath::parse(text.as_bytes()).unwrap());
        assert_eq!(real("/photos/2019/a"), Some("/home/a/Photos/2019/a".into()));
        assert_eq!(real("/photos/2020/a"), Some("/mnt/new/a".into()));
        assert_eq!(real("/photos/2020"), Some("/mnt/new".into()));
        assert_eq!(real("/videos"), None);
    }

    #[test]
    fn the_root_can_be_a_source() {
        let mapping = Mapping::of(vec![source("/", "/data")]);
        assert_eq!(mapping.real_path(&VirtualPath::root()), Some("/data".into()));
    }
}
