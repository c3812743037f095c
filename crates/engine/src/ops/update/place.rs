//! What the user said about a place of the tree: mappings, and configuration.

use std::collections::BTreeMap;

use distbackup_core::rules::{ConfigTree, Policy};

use crate::ops::mapping::Mapping;

/// A file that keeps its folder's content out of the tree.
pub const SKIP_MARK: &[u8] = b".distbackup.skip";

/// One place of the virtual tree, with what is mapped and configured there and below.
#[derive(Debug, Clone)]
pub struct Place<'m> {
    mapping: Option<&'m Mapping>,
    config: Option<&'m ConfigTree>,
    /// Holds for the names in it.
    policy: Policy,
}

impl<'m> Place<'m> {
    /// The root of the virtual tree.
    pub fn root(mapping: &'m Mapping, config: &'m ConfigTree) -> Self {
        let policy = Policy::default().below(config.own());
        Place { mapping: Some(mapping), config: Some(config), policy }
    }

    /// A name in this place.
    pub fn child(&self, name: &[u8]) -> Self {
        let config = self.config_of(name);
        let mapping = self.mapping.and_then(|mapping| mapping.children.get(name));
        Place { mapping, config, policy: self.policy.below(config.and_then(ConfigTree::own)) }
    }

    /// What is mapped here or below.
    pub fn mapping(&self) -> Option<&'m Mapping> {
        self.mapping
    }

    /// Names in it that are mapped, or lead to mappings.
    pub fn mapped_names(&self) -> Option<&'m BTreeMap<Vec<u8>, Mapping>> {
        self.mapping.map(|mapping| &mapping.children).filter(|children| !children.is_empty())
    }

    /// Whether a name in it is left out of the tree, by its configuration or by a rule.
    pub fn hides(&self, name: &[u8]) -> bool {
        self.policy.hides(name, self.config_of(name).and_then(ConfigTree::own))
    }

    /// Whether this place itself is left out: what is mapped is not subject to rules about its name.
    pub fn is_hidden(&self) -> bool {
        Policy::default().hides(b"", self.config.and_then(ConfigTree::own))
    }

    /// Whether symlinks in it are taken as what they lead to.
    pub fn follows(&self) -> bool {
        let own = self.config.and_then(ConfigTree::own);
        own.is_some_and(|own| own.config.follow_symlinks == Some(true))
    }

    /// Whether it is taken to be unchanged.
    pub fn is_locked(&self) -> bool {
        self.policy.locked()
    }

    /// Whether a name in it is locked.
    pub fn locks(&self, name: &[u8]) -> bool {
        self.config_of(name).and_then(ConfigTree::own).is_some_and(|own| own.config.lock == Some(true))
    }

    /// Whether a name in it is locked, or holds something that is: then it does not vanish.
    pub fn keeps(&self, name: &[u8]) -> bool {
        self.config_of(name).is_some_and(ConfigTree::holds_lock)
    }

    fn config_of(&self, name: &[u8]) -> Option<&'m ConfigTree> {
        self.config.and_then(|config| config.child(name))
    }
}
