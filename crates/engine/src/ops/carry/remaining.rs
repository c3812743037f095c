//! What is left of an errand: what could be carried at once, what needs which disk, and what is lost.

use std::collections::{BTreeMap, HashMap};

use distbackup_core::model::{Bytes, DiskNo, ObjectId, ObjectNo};
use distbackup_core::plan::Tally;

use super::{Errand, StagingFolder, holders};
use crate::catalog::{CatalogError, HeldObject, Reader, Wants};
use crate::ops::backup::{Givers, Holder, name_of};
use crate::ops::shelf::Connected;
use crate::ops::{OpError, Problems};

/// Objects looked up at a time.
const PAGE: u32 = 4096;

/// What one disk, or any of several, still is to receive.
#[derive(Debug, Clone, Default)]
pub struct Remaining {
    /// Which disk; `None`: any that stays in the set.
    pub disk: Option<DiskNo>,
    /// All of it.
    pub left: Tally,
    /// What the sources or the staging folder can give as soon as the disk is connected.
    pub at_hand: Tally,
    /// What only disks can give that are connected now.
    pub here: Tally,
    /// What only absent disks could give, by disk; what several claim is counted for each.
    pub from: BTreeMap<DiskNo, Tally>,
    /// The same, each object once.
    pub away: Tally,
    /// What nothing known has any more, by a path that has it.
    pub lost: Problems,
}

/// Sorts out what is left of an errand.
pub(super) fn remaining(
    reader: &Reader<'_>,
    errand: &Errand,
    connected: &[Connected],
    staging: Option<&StagingFolder>,
) -> Result<Vec<Remaining>, OpError> {
    let staged = staging.map_or_else(|| Ok(HashMap::new()), StagingFolder::list)?;
    let givers = Givers::new(reader)?;
    let mut all = Vec::new();
    for (disk, wants) in errand.wishes() {
        let look =
            Look { reader, givers: &givers, staged: &staged, holders: holders(connected, None, disk), disk };
        let remaining = look.at(wants)?;
        if remaining.left.objects > 0 {
            all.push(remaining);
        }
    }
    Ok(all)
}

struct Look<'l> {
    reader: &'l Reader<'l>,
    givers: &'l Givers,
    staged: &'l HashMap<ObjectId, Bytes>,
    holders: Vec<Holder<'l>>,
    disk: Option<DiskNo>,
}

impl Look<'_> {
    fn at(&self, wants: Wants) -> Result<Remaining, CatalogError> {
        let mut remaining = Remaining { disk: self.disk, ..Remaining::default() };
        let mut after = ObjectNo(0);
        loop {
            let page = self.reader.wanted(wants, after, PAGE)?;
            let Some(last) = page.last() else { return Ok(remaining) };
            after = last.object;
            for want in page {
                self.sort(want, &mut remaining)?;
            }
        }
    }

    fn sort(&self, want: HeldObject, remaining: &mut Remaining) -> Result<(), CatalogError> {
        remaining.left.add(want.size);
        if self.staged.contains_key(&want.id) || self.givers.source_has(self.reader, want.object)? {
            remaining.at_hand.add(want.size);
            return Ok(());
        }
        for holder in &self.holders {
            if holder.may_have(self.reader, want.object)? {
                remaining.here.add(want.size);
                return Ok(());
            }
        }
        let claims = self.reader.holders(want.object)?;
        let mut others = claims.into_iter().filter(|disk| Some(*disk) != self.disk).peekable();
        if others.peek().is_none() {
            let name = || name_of(self.reader, want.object);
            return remaining.lost.try_add(name, "neither a disk nor the sources have it");
        }
        remaining.away.add(want.size);
        others.for_each(|disk| remaining.from.entry(disk).or_default().add(want.size));
        Ok(())
    }
}
