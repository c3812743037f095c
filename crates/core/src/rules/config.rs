//! The configuration of paths as a tree, and what of it holds below.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rule::{Rule, RuleError, RuleVerdict, Rules};
use crate::model::VirtualPath;

/// What is configured for a virtual path itself; `None`: nothing, so what is above it counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathConfig {
    /// Served first inside a level; 0 leaves it out.
    pub priority: Option<u32>,
    /// Target that `status` checks.
    pub mincopies: Option<u32>,
    /// Copies beyond it are not made.
    pub maxcopies: Option<u32>,
    /// It and all below is taken to be unchanged: nobody looks, and its entries stay.
    pub lock: Option<bool>,
    /// It and all below is left out.
    pub hide: Option<bool>,
    /// Symlinks in this folder, not below, are taken as what they lead to.
    pub follow_symlinks: Option<bool>,
    /// Rules from above do not hold here and below.
    pub noinherit: Option<bool>,
    /// Rules for the names below, in order.
    pub rules: Option<Vec<String>>,
}

/// The configuration of one path, its rules read.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// As it was given.
    pub config: PathConfig,
    rules: Option<Arc<Rules>>,
}

impl Configured {
    /// Reads the rules of a configuration.
    pub fn new(config: PathConfig) -> Result<Self, RuleError> {
        let rules = config.rules.as_deref().filter(|texts| !texts.is_empty());
        let rules = rules.map(Rules::parse).transpose()?.map(Arc::new);
        Ok(Configured { config, rules })
    }

    /// Whether a rule gives a priority.
    pub fn ranks(&self) -> bool {
        let ranking = |rule: &Rule| matches!(rule.verdict(), RuleVerdict::Include { priority: Some(_) });
        self.rules.iter().flat_map(|rules| rules.iter()).any(ranking)
    }
}

/// All configured paths, by their names from the root down.
#[derive(Debug, Default)]
pub struct ConfigTree {
    own: Option<Configured>,
    children: BTreeMap<Vec<u8>, ConfigTree>,
}

impl ConfigTree {
    /// The tree of all configured paths; a rule that cannot be read is an error, with its path.
    pub fn of(
        configs: impl IntoIterator<Item = (VirtualPath, PathConfig)>,
    ) -> Result<Self, (VirtualPath, RuleError)> {
        let mut root = ConfigTree::default();
        for (path, config) in configs {
            let mut at = &mut root;
            for name in path.components() {
                at = at.children.entry(name.to_vec()).or_default();
            }
            at.own = Some(Configured::new(config).map_err(|error| (path, error))?);
        }
        Ok(root)
    }

    /// What is configured for this path itself.
    pub fn own(&self) -> Option<&Configured> {
        self.own.as_ref()
    }

    /// The part of the tree below a name.
    pub fn child(&self, name: &[u8]) -> Option<&ConfigTree> {
        self.children.get(name)
    }

    /// Whether this path or one below it is locked.
    pub fn holds_lock(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.config.lock == Some(true))
            || self.children.values().any(ConfigTree::holds_lock)
    }
}

/// The rules of one path, before those of the paths above.
#[derive(Debug)]
struct Link {
    rules: Arc<Rules>,
    above: Option<Arc<Link>>,
}

/// What holds for the names in a folder.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    chain: Option<Arc<Link>>,
    locked: bool,
}

impl Policy {
    /// What holds below a path of this configuration, in a folder where `self` holds.
    pub fn below(&self, own: Option<&Configured>) -> Policy {
        let Some(own) = own else { return self.clone() };
        let above = if own.config.noinherit == Some(true) { None } else { self.chain.clone() };
        let chain = match &own.rules {
            Some(rules) => Some(Arc::new(Link { rules: Arc::clone(rules), above })),
            None => above,
        };
        Policy { chain, locked: self.locked || own.config.lock == Some(true) }
    }

    /// Whether everything here is taken to be unchanged.
    pub fn locked(&self) -> bool {
        self.locked
    }

    /// The rule that decides about a name: the innermost path's come first.
    pub fn rule(&self, name: &[u8]) -> Option<&Rule> {
        let mut at = self.chain.as_deref();
        while let Some(link) = at {
            if let Some(rule) = link.rules.first_match(name) {
                return Some(rule);
            }
            at = link.above.as_deref();
        }
        None
    }

    /// Whether a name is left out: by its own configuration, or else by a rule.
    pub fn hides(&self, name: &[u8], own: Option<&Configured>) -> bool {
        match own.map(|own| (own.config.hide, own.config.priority)) {
            Some((Some(hide), _)) => hide,
            Some((None, Some(0))) => true,
            _ => self.rule(name).is_some_and(|rule| rule.verdict() == RuleVerdict::Ignore),
        }
    }

    /// The priority that a rule gives to a name.
    pub fn priority(&self, name: &[u8]) -> Option<u32> {
        match self.rule(name)?.verdict() {
            RuleVerdict::Include { priority } => priority,
            RuleVerdict::Ignore => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text.as_bytes()).unwrap()
    }

    fn rules(texts: &[&str]) -> PathConfig {
        PathConfig {
            rules: Some(texts.iter().map(|&text| text.to_owned()).collect()),
            ..PathConfig::default()
        }
    }

    /// The policy in a folder of a tree.
    fn policy(tree: &ConfigTree, folder: &str) -> Policy {
        let mut at = Some(tree);
        let mut policy = Policy::default().below(tree.own());
        for name in path(folder).components() {
            at = at.and_then(|tree| tree.child(name));
            policy = policy.below(at.and_then(ConfigTree::own));
        }
        policy
    }

    #[test]
    fn rules_of_an_inner_folder_come_before_those_of_an_outer_one() {
        let tree =
            ConfigTree::of([(path("/"), rules(&["*.tmp"])), (path("/a/b"), rules(&["!keep.tmp"]))]).unwrap();
        assert!(policy(&tree, "/a").hides(b"keep.tmp", None));
        assert!(!policy(&tree, "/a/b/c").hides(b"keep.tmp", None));
        assert!(policy(&tree, "/a/b/c").hides(b"x.tmp", None), "the outer rules still hold");
    }

    #[test]
    fn a_folder_can_refuse_what_it_inherits() {
        let own = PathConfig { noinherit: Some(true), ..PathConfig::default() };
        let tree = ConfigTree::of([(path("/"), rules(&["*.tmp"])), (path("/a"), own)]).unwrap();
        assert!(!policy(&tree, "/a").hides(b"x.tmp", None));
        assert!(policy(&tree, "/b").hides(b"x.tmp", None));
    }

    #[test]
    fn the_configuration_of_a_path_counts_more_than_rules_about_its_name() {
        let shown = PathConfig { hide: Some(false), ..PathConfig::default() };
        let nothing = PathConfig { priority: Some(0), ..PathConfig::default() };
        let tree =
            ConfigTree::of([(path("/"), rules(&["*.tmp"])), (path("/x.tmp"), shown), (path("/y"), nothing)]);
        let tree = tree.unwrap();
        let root = policy(&tree, "/");
        let hides = |name: &[u8]| root.hides(name, tree.child(name).and_then(ConfigTree::own));
        assert!(!hides(b"x.tmp"));
        assert!(hides(b"y"), "priority 0 leaves a path out, as in 1.x");
        assert!(hides(b"z.tmp") && !hides(b"z"));
    }

    #[test]
    fn a_lock_holds_for_all_that_lies_below() {
        let locked = PathConfig { lock: Some(true), ..PathConfig::default() };
        let tree = ConfigTree::of([(path("/a/b"), locked)]).unwrap();
        assert!(policy(&tree, "/a/b/c").locked() && !policy(&tree, "/a").locked());
        assert!(tree.child(b"a").unwrap().holds_lock() && tree.child(b"x").is_none());
    }
}
