//! The planner's classes: priority and copies of every place, handed down the tree (PLACEMENT 1).

use std::collections::HashMap;

use distbackup_core::model::{COPIES_WANTED, DirNo};
use distbackup_core::planner::Class;
use distbackup_core::rules::{Configured, PathConfig, Policy};

use super::{At, CatalogError, Reader};

/// A class, and the copies that its objects should have at least.
type ClassAndTarget = (Class, u16);

/// What a sidecar says: priority, and most copies (0: no limit).
type Said = (Option<u32>, Option<u32>);

/// Where nothing is configured.
const DEFAULT_CLASS: ClassAndTarget = (Class { priority: 1, copies_max: None }, COPIES_WANTED);

/// What holds in one directory: its class, and the rules for the names in it, by their indexes.
#[derive(Debug, Clone, Copy)]
struct Place {
    class: u16,
    policy: u32,
}

/// Resolves the class of a directory or file from configured paths and from rules that give priorities.
pub struct Classes {
    classes: Vec<ClassAndTarget>,
    policies: Vec<Policy>,
    of_directory: HashMap<i64, Place>,
    configured_directories: HashMap<i64, Configured>,
    configured_files: HashMap<(i64, Vec<u8>), PathConfig>,
    sidecars: HashMap<(i64, Vec<u8>), Said>,
    /// Some rule gives a priority, so a class may depend on every name.
    ranked: bool,
}

impl Classes {
    /// Finds the configured paths in the tree as it is now.
    pub fn load(reader: &Reader<'_>) -> Result<Self, CatalogError> {
        let mut classes = Classes {
            classes: Vec::new(),
            policies: Vec::new(),
            of_directory: HashMap::new(),
            configured_directories: HashMap::new(),
            configured_files: HashMap::new(),
            sidecars: HashMap::new(),
            ranked: false,
        };
        let mut root = Configured::default();
        for (path, config) in reader.path_configs()? {
            // A rule that cannot be read is an error of the next update; it gives no priority here.
            let own = Configured::new(config.clone())
                .or_else(|_| Configured::new(PathConfig { rules: None, ..config.clone() }))
                .unwrap_or_default();
            classes.ranked |= own.ranks();
            let Some((folder, name)) = path.parent() else {
                root = own;
                continue;
            };
            let Some(directory) = reader.directory_at(&folder, At::Now)? else { continue };
            match reader.entry(directory, name, At::Now)?.map(|entry| entry.node) {
                Some(Some(node)) => {
                    classes.configured_directories.insert(node.0, own);
                }
                Some(None) => {
                    classes.configured_files.insert((directory.0, name.to_vec()), config);
                }
                None => {}
            }
        }
        for said in reader.ranking_sidecars()? {
            classes.sidecars.insert((said.directory.0, said.name), (said.priority, said.maxcopies));
        }
        let class = classes.intern(derive(DEFAULT_CLASS, &root.config));
        classes.policies.push(Policy::default().below(Some(&root)));
        classes.of_directory.insert(DirNo::ROOT.0, Place { class, policy: 0 });
        Ok(classes)
    }

    /// Whether two files of one directory may have different classes.
    pub fn depend_on_names(&self) -> bool {
        self.ranked || !self.configured_files.is_empty() || !self.sidecars.is_empty()
    }

    /// The class of a file or directory in a directory.
    pub fn of_file(&mut self, reader: &Reader<'_>, directory: i64, name: &[u8]) -> Result<u16, CatalogError> {
        let place = self.of_directory(reader, directory)?;
        let mut class = self.ranked_by_rule(place, name);
        if self.configured_files.is_empty() && self.sidecars.is_empty() {
            return Ok(class);
        }
        let file = (directory, name.to_vec());
        if let Some(&said) = self.sidecars.get(&file) {
            let served = served_as_said(self.class(class), said);
            class = self.intern(served);
        }
        match self.configured_files.get(&file).cloned() {
            None => Ok(class),
            Some(config) => {
                let derived = derive(self.class(class), &config);
                Ok(self.intern(derived))
            }
        }
    }

    /// An object with several names takes the highest of everything among them (PLACEMENT 1).
    pub fn highest(&mut self, one: u16, other: u16) -> u16 {
        if one == other {
            return one;
        }
        let ((a, a_min), (b, b_min)) = (self.class(one), self.class(other));
        let copies_max = match (a.copies_max, b.copies_max) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
        self.intern((Class { priority: a.priority.max(b.priority), copies_max }, a_min.max(b_min)))
    }

    /// All classes by index, and the copies that each asks for.
    pub fn into_parts(self) -> (Vec<Class>, Vec<u16>) {
        self.classes.into_iter().unzip()
    }

    fn intern(&mut self, class: ClassAndTarget) -> u16 {
        let at = self.classes.iter().position(|known| *known == class).unwrap_or_else(|| {
            self.classes.push(class);
            self.classes.len() - 1
        });
        u16::try_from(at).unwrap_or(0)
    }

    fn class(&self, index: u16) -> ClassAndTarget {
        self.classes.get(usize::from(index)).copied().unwrap_or(DEFAULT_CLASS)
    }

    fn ranked_by_rule(&mut self, place: Place, name: &[u8]) -> u16 {
        let policy = self.policies.get(place.policy as usize).filter(|_| self.ranked);
        let Some(priority) = policy.and_then(|policy| policy.priority(name)) else { return place.class };
        let (class, copies_min) = self.class(place.class);
        self.intern((Class { priority, ..class }, copies_min))
    }

    fn of_directory(&mut self, reader: &Reader<'_>, directory: i64) -> Result<Place, CatalogError> {
        let root = self.of_directory.get(&DirNo::ROOT.0).copied().unwrap_or(Place { class: 0, policy: 0 });
        if self.configured_directories.is_empty() && !self.ranked {
            return Ok(root);
        }
        let mut way = Vec::new();
        let mut at = directory;
        let mut place = loop {
            if let Some(&place) = self.of_directory.get(&at) {
                break place;
            }
            match reader.place_of(DirNo(at))? {
                Some((parent, name)) if way.len() < 100_000 && parent.0 > 0 => {
                    way.push((at, name));
                    at = parent.0;
                }
                _ => break root,
            }
        };
        for (node, name) in way.into_iter().rev() {
            place.class = self.ranked_by_rule(place, &name);
            if let Some(own) = self.configured_directories.get(&node).cloned() {
                let derived = derive(self.class(place.class), &own.config);
                place.class = self.intern(derived);
                let policy = self.policies.get(place.policy as usize).cloned().unwrap_or_default();
                self.policies.push(policy.below(Some(&own)));
                place.policy = self.policies.len() as u32 - 1;
            }
            self.of_directory.insert(node, place);
        }
        Ok(place)
    }
}

/// What a sidecar says counts more than rules and folders, and less than what is configured for the path itself.
fn served_as_said((class, copies_min): ClassAndTarget, said: Said) -> ClassAndTarget {
    let copies_max = match said.1 {
        Some(0) => None,
        Some(number) => u16::try_from(number).ok(),
        None => class.copies_max,
    };
    (Class { priority: said.0.unwrap_or(class.priority), copies_max }, copies_min)
}

fn derive((inherited, copies_min): ClassAndTarget, config: &PathConfig) -> ClassAndTarget {
    let class = Class {
        priority: config.priority.unwrap_or(inherited.priority),
        copies_max: match config.maxcopies {
            Some(number) => u16::try_from(number).ok(),
            None => inherited.copies_max,
        },
    };
    (class, config.mincopies.map_or(copies_min, |number| u16::try_from(number).unwrap_or(u16::MAX)))
}
