//! Victims: redundant live copies on the connected disk that may go for something more urgent.
//!
//! Those with most copies go first, then those of lowest priority, then directories with little
//! presence here, then large ones (PLACEMENT 5.2). A huge victim never goes for a tiny object if a
//! smaller one will do.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::plan::Row;
use crate::planner::groups::Groups;
use crate::planner::shelf::Shelf;
use crate::planner::visit::{Key, Visit};

/// Victims of one level and priority.
#[derive(Debug)]
struct Rank {
    /// Level before the visit, as far as standing copies on other disks support it.
    level: u16,
    priority: u32,
    /// With less than this level afterwards they would have to be written again.
    floor: u16,
    groups: Vec<usize>,
    /// In the order in which they go, once it is needed.
    rows: Option<Vec<Row>>,
}

/// What may go, and what goes.
#[derive(Debug, Default)]
pub(super) struct Victims {
    /// Most expendable first.
    ranks: Vec<Rank>,
    /// One bit per object: lost its copy here in this plan.
    evicted: Vec<u64>,
    /// All that were ever evicted, in that order, and redundant history before what needs it.
    pub order: Vec<Row>,
}

impl Victims {
    /// Ranks the groups that may lose their copy here at all.
    pub fn new(shelf: &Shelf<'_>, groups: &Groups, dropped: &[bool], floor: impl Fn(u32) -> u16) -> Self {
        let mut ranks: BTreeMap<(Reverse<u16>, u32, u16), Vec<usize>> = BTreeMap::new();
        for (number, group) in groups.all.iter().enumerate() {
            let held = group.held(shelf);
            // The last copy that stands never goes (I1, N3).
            if group.is_live() && held.here && held.others_standing > 0 && !dropped[number] {
                let level = shelf.level_certain(held, group.sample) + 1;
                let priority = shelf.input.classes[usize::from(group.class)].priority;
                let floor = floor(priority).min(shelf.class_cap(group.class));
                ranks.entry((Reverse(level), priority, floor)).or_default().push(number);
            }
        }
        let ranks = ranks
            .into_iter()
            .map(|((Reverse(level), priority, floor), groups)| Rank {
                level,
                priority,
                floor,
                groups,
                rows: None,
            })
            .collect();
        Victims { ranks, evicted: vec![0; shelf.input.objects.len().div_ceil(64)], order: Vec::new() }
    }

    /// Whether a row lost its copy here in this plan.
    pub fn is_evicted(&self, row: Row) -> bool {
        self.evicted.get(row as usize / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 1)
    }

    /// Lets an evicted row keep its copy; `false` if it was not evicted.
    pub fn keep(&mut self, row: Row) -> bool {
        let was = self.is_evicted(row);
        if was {
            self.evicted[row as usize / 64] &= !(1 << (row % 64));
        }
        was
    }

    fn mark(&mut self, row: Row) {
        self.evicted[row as usize / 64] |= 1 << (row % 64);
        self.order.push(row);
    }
}

impl Visit<'_> {
    /// Evicts up to `need` bytes for objects of a bucket, and returns who went.
    ///
    /// Only victims that keep more copies than the object will have, or as many at a lower
    /// priority (I2); unless it is for first copies, only those that stay at their floor.
    pub(super) fn evict(&mut self, key: Key, need: u64) -> Vec<Row> {
        let mut left = need;
        let mut gone = Vec::new();
        for at in 0..self.victims.ranks.len() {
            if left == 0 {
                break;
            }
            let rank = &self.victims.ranks[at];
            let allowed = (rank.level, Reverse(rank.priority)) > (key.level + 1, key.priority)
                && (key.level == 0 || rank.level > rank.floor);
            if !allowed {
                continue;
            }
            let rows = match self.victims.ranks[at].rows.take() {
                Some(rows) => rows,
                None => self.in_order(&self.victims.ranks[at].groups),
            };
            let mut smallest: Option<(u64, Row)> = None;
            for &row in rows.iter().filter(|&&row| !self.victims.is_evicted(row)) {
                let bill = self.shelf.bill_row(row);
                if bill <= left {
                    gone.push(row);
                    left -= bill;
                    if left == 0 {
                        break;
                    }
                } else if smallest.is_none_or(|known| (bill, row) < known) {
                    smallest = Some((bill, row));
                }
            }
            if let (Some((bill, row)), true) = (smallest, left > 0) {
                gone.push(row);
                left = left.saturating_sub(bill);
            }
            self.victims.ranks[at].rows = Some(rows);
        }
        for &row in &gone {
            self.victims.mark(row);
        }
        gone
    }

    /// Rows of groups: directories with little presence first, then large ones.
    fn in_order(&self, groups: &[usize]) -> Vec<Row> {
        let mut quarters: [Vec<u64>; 5] = Default::default();
        let mut run = 0;
        for &number in groups {
            for &row in self.groups.rows(number) {
                run = self.directories.find(row, run);
                let blocks = self.shelf.input.objects[row as usize].blocks;
                let quarter = usize::from(self.directories.presence(run));
                quarters[quarter].push(u64::from(!blocks) << 32 | u64::from(row));
            }
        }
        let mut rows = Vec::with_capacity(quarters.iter().map(Vec::len).sum());
        for mut quarter in quarters {
            quarter.sort_unstable();
            rows.extend(quarter.into_iter().map(|packed| packed as u32));
        }
        rows
    }
}
