//! Which entries rules are about: what would leave the tree, and what is taken with a priority of its own.

use distbackup_core::model::{Bytes, Kind, VirtualPath};
use distbackup_core::plan::Tally;
use distbackup_core::rules::{ConfigTree, Policy, RuleVerdict};

use crate::browse::{BrowseError, Selection, Step, walk};
use crate::catalog::{At, EntryRow, Reader};

/// One entry that a rule, or its own configuration, is about.
#[derive(Debug, Clone)]
pub struct Hit<'a> {
    /// Its path.
    pub path: &'a VirtualPath,
    /// What it is.
    pub kind: Kind,
    /// Its size.
    pub size: Bytes,
    /// The rule; `None`: the path is configured to be left out.
    pub rule: Option<&'a str>,
    /// What happens to it.
    pub verdict: RuleVerdict,
}

/// A folder on the way down.
struct Level<'c> {
    config: Option<&'c ConfigTree>,
    policy: Policy,
}

/// Goes through the tree as it is now and calls `each` for what rules are about; returns the files that would leave the
/// tree at the next update, with those in folders that are left out.
pub fn rule_hits<E: From<BrowseError>>(
    reader: Reader<'_>,
    config: &ConfigTree,
    each: &mut dyn FnMut(Hit<'_>) -> Result<(), E>,
) -> Result<Tally, E> {
    let selection = Selection::parse(&[])?;
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut left_out: Option<VirtualPath> = None;
    let mut leaving = Tally::default();
    walk(reader, At::Now, &selection, &mut |step| -> Result<(), E> {
        let (path, entry) = match step {
            Step::Leave { .. } => {
                levels.pop();
                return Ok(());
            }
            Step::Passing { .. } => return Ok(()),
            Step::Entry { path, entry } => (path, entry),
        };
        let Some(above) = levels.last() else {
            levels.push(Level { config: Some(config), policy: Policy::default().below(config.own()) });
            return Ok(());
        };
        let own = above.config.and_then(|config| config.child(&entry.name));
        let within = left_out.as_ref().is_some_and(|folder| path.is_within(folder));
        if !within {
            let configured = own.and_then(ConfigTree::own);
            let hidden = above.policy.hides(&entry.name, configured);
            let rule = above.policy.rule(&entry.name);
            // A path that is configured itself is not left out by a rule, and not taken by one.
            let rule = rule.filter(|rule| hidden == (rule.verdict() == RuleVerdict::Ignore));
            let verdict = rule.map(|rule| rule.verdict()).or(hidden.then_some(RuleVerdict::Ignore));
            left_out = hidden.then(|| path.clone());
            if let Some(verdict) = verdict {
                let (kind, size) = (entry.kind, Bytes(entry.stamp.size));
                each(Hit { path, kind, size, rule: rule.map(|rule| rule.text()), verdict })?;
            }
        }
        if left_out.is_some() && entry.kind == Kind::File {
            leaving.add(Bytes(entry.stamp.size));
        }
        descend(&mut levels, own, entry);
        Ok(())
    })?;
    Ok(leaving)
}

fn descend<'c>(levels: &mut Vec<Level<'c>>, config: Option<&'c ConfigTree>, entry: &EntryRow) {
    if entry.node.is_some()
        && let Some(above) = levels.last()
    {
        let policy = above.policy.below(config.and_then(ConfigTree::own));
        levels.push(Level { config, policy });
    }
}
