//! What a catalog should know: a plain model in memory that shares no code with it.
//!
//! It is cloned with each copy of the catalog, and comes back with it. Where the program may be more careful than it
//! has to, the model is as lenient as the rules allow: it never asks for more than they promise.

use std::collections::{BTreeMap, BTreeSet};

use distbackup_core::model::{DAY_NS, ObjectId};

use crate::outside::Outside;
use crate::source::{Held, Source};

/// How long evidence is trusted (DESIGN 7.4).
const TRUST_DAYS: i64 = 730;

/// A file of the tree as the last update saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    pub id: ObjectId,
    pub size: u64,
    /// Its content has been read, so that the catalog knows it.
    pub captured: bool,
}

/// A content that left the tree under one name.
#[derive(Debug, Clone)]
pub struct Gone {
    pub id: ObjectId,
    /// When, in catalog time.
    since_ns: i64,
    /// With which snapshot.
    snapshot: i64,
}

/// What is known of one disk.
#[derive(Debug, Clone, Default)]
pub struct DiskKnown {
    /// When each of its copies was last written or read in full.
    pub proofs: BTreeMap<ObjectId, i64>,
    /// Its last visit ended in order, or it was compared since.
    pub settled: bool,
    pub doubt: bool,
    /// Takes any stamp: the catalog was recovered.
    pub unproven: bool,
    /// Counter of its stamp.
    pub counter: u64,
    /// The counter that the catalog is sure of. It is smaller after a visit that ended before its stamp was confirmed: until the
    /// next one, a disk with either is the right one.
    pub confirmed: u64,
    /// Claims that accidents made false and that nobody could have noticed yet.
    pub excused: BTreeSet<ObjectId>,
}

/// What a catalog should know.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub tree: BTreeMap<String, Leaf>,
    pub history: Vec<Gone>,
    /// Contents whose names came from another catalog of the set: kept for ever.
    pub merged: BTreeSet<ObjectId>,
    /// Contents that were ever in this catalog's tree.
    pub ever: BTreeSet<ObjectId>,
    /// The tree that was accepted last (S3); `None`: a visit that did not end may have accepted another.
    pub accepted: Option<BTreeMap<String, Leaf>>,
    pub newest_ns: i64,
    pub snapshot: i64,
    /// Days that history is kept; `None`: for ever.
    pub keep_days: Option<i64>,
    pub disks: BTreeMap<i64, DiskKnown>,
}

impl Known {
    pub fn disk(&mut self, disk: i64) -> &mut DiskKnown {
        self.disks.entry(disk).or_default()
    }

    /// A run sees this clock.
    pub fn run_at(&mut self, clock_ns: i64) {
        self.newest_ns = self.newest_ns.max(clock_ns);
    }

    /// The tree that an update of this source should find.
    pub fn next_tree(&self, source: &Source) -> BTreeMap<String, Leaf> {
        let leaf = |(path, held): (&String, &Held)| {
            let captured = self.tree.get(path).is_some_and(|old| old.id == held.id && old.captured);
            (path.clone(), Leaf { id: held.id, size: held.size, captured })
        };
        source.files.iter().map(leaf).collect()
    }

    /// An update has recorded this tree as a snapshot.
    pub fn updated(&mut self, tree: BTreeMap<String, Leaf>, snapshot: i64) {
        let old = std::mem::replace(&mut self.tree, tree);
        for (path, leaf) in old {
            let stays = self.tree.get(&path).is_some_and(|new| new.id == leaf.id);
            if !stays && leaf.captured && leaf.size > 0 {
                self.history.push(Gone { id: leaf.id, since_ns: self.newest_ns, snapshot });
            }
        }
        self.snapshot = snapshot;
    }

    /// What has been read by now, as the catalog says; whether that is right is checked elsewhere.
    pub fn note_captured(&mut self, outside: &Outside) {
        for (path, leaf) in &mut self.tree {
            leaf.captured = outside.live.get(&format!("files/{path}")).is_some_and(|file| !file.pending);
            if leaf.captured && leaf.size > 0 {
                self.ever.insert(leaf.id);
            }
        }
    }

    /// Whether the retention time of something has passed (DESIGN 7.1).
    fn may_expire(&self, gone: &Gone) -> bool {
        match self.keep_days {
            None => false,
            Some(0) => true,
            Some(days) => {
                self.newest_ns - gone.since_ns >= days * DAY_NS && self.snapshot - gone.snapshot >= 2
            }
        }
    }

    /// What has expired may be given up from now on.
    pub fn expire(&mut self) {
        let history = std::mem::take(&mut self.history);
        self.history = history.into_iter().filter(|gone| !self.may_expire(gone)).collect();
    }

    /// Contents of the current tree.
    pub fn live(&self) -> BTreeSet<ObjectId> {
        let captured = self.tree.values().filter(|leaf| leaf.captured && leaf.size > 0);
        captured.map(|leaf| leaf.id).collect()
    }

    /// Contents that nobody may give up: in the tree, in kept history, or named by another catalog.
    pub fn kept(&self) -> BTreeSet<ObjectId> {
        let mut kept = self.live();
        kept.extend(self.history.iter().map(|gone| gone.id));
        kept.extend(&self.merged);
        kept
    }

    /// Contents of the accepted tree that are gone from the current one, if that is a mass change without doubt (S3).
    pub fn massively_gone(&self) -> Option<BTreeSet<ObjectId>> {
        let accepted = self.accepted.as_ref()?;
        let live: BTreeSet<ObjectId> = self.tree.values().map(|leaf| leaf.id).collect();
        let full = |leaf: &&Leaf| leaf.captured && leaf.size > 0;
        let all: u64 = accepted.values().map(|leaf| leaf.size).sum();
        let gone: Vec<&Leaf> =
            accepted.values().filter(full).filter(|leaf| !live.contains(&leaf.id)).collect();
        let bytes: u64 = gone.iter().map(|leaf| leaf.size).sum();
        (gone.len() >= 12 && bytes * 10 > all * 3).then(|| gone.iter().map(|leaf| leaf.id).collect())
    }

    /// Other disks than `disk` whose copy of `id` stands (N3).
    pub fn standing(&self, outside: &Outside, disk: i64, id: &ObjectId) -> usize {
        let stands = |(number, known): &(&i64, &DiskKnown)| {
            **number != disk
                && outside.claims(**number, id)
                && known.settled
                && !known.doubt
                && known.proofs.get(id).is_some_and(|at| self.newest_ns - at <= (TRUST_DAYS + 1) * DAY_NS)
        };
        self.disks.iter().filter(stands).count()
    }

    /// Who claims an object, in words.
    pub fn holders(&self, outside: &Outside, id: &ObjectId) -> String {
        let claims = self.disks.iter().filter(|(number, _)| outside.claims(**number, id));
        let words = |(number, known): (&i64, &DiskKnown)| {
            let days = known.proofs.get(id).map(|at| (self.newest_ns - at) / DAY_NS);
            format!(
                " disk {number}: settled {}, doubt {}, proven {days:?} days ago;",
                known.settled, known.doubt
            )
        };
        let live = if self.live().contains(id) { " it is live;" } else { " it is history;" };
        live.chars().chain(claims.map(words).collect::<String>().chars()).collect()
    }

    /// Takes over which copies are claimed on a disk now; those that are new were proven just now.
    pub fn note_claims(&mut self, disk: i64, claimed: &BTreeSet<ObjectId>, proven_again: bool) {
        let now_ns = self.newest_ns;
        let known = self.disk(disk);
        known.proofs.retain(|id, _| claimed.contains(id));
        known.excused.retain(|id| claimed.contains(id));
        for id in claimed {
            let at = known.proofs.entry(*id).or_insert(now_ns);
            if proven_again {
                *at = now_ns;
            }
        }
    }
}
