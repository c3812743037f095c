//! The choice inside a bucket that does not fit (PLACEMENT 5.4).
//!
//! First copies: large ones that only this disk can take before all, then many small ones. Further
//! copies: from every class in proportion, so that copies are spread over many pairs of disks, but
//! corrected so that the others are left what they can hold.

use std::cmp::Reverse;

use crate::model::BLOCK;
use crate::plan::Row;
use crate::planner::exchange::exchange;
use crate::planner::visit::{Class, Key, Visit};

impl Visit<'_> {
    /// Plans first copies; returns what found no room.
    pub(super) fn choose_first_copies(&mut self, key: Key, classes: Vec<Class>) -> Vec<Class> {
        let wanted: u64 = classes.iter().map(|class| class.bytes).sum();
        let rows: Vec<Row> = classes.into_iter().flat_map(|class| class.rows).collect();
        let room = self.usable(key);
        // More than half a percent of the disk is a rock.
        let rock = (self.shelf.capacity(self.shelf.here) / 200).max(2 * BLOCK);
        let (sand, mut rocks): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|&row| self.shelf.bill_row(row) <= rock);
        rocks.sort_unstable_by_key(|&row| (Reverse(self.shelf.bill_row(row)), row));
        let rock_bytes: u64 = rocks.iter().map(|&row| self.shelf.bill_row(row)).sum();
        let sand = self.siblings_first(sand);

        let total = u128::from(room) + self.elsewhere.iter().map(|&room| u128::from(room)).sum::<u128>();
        let largest = rocks.first().map_or(0, |&row| self.shelf.bill_row(row));
        let ample = u128::from(wanted) * 21 / 20 + u128::from(largest) * self.elsewhere.len() as u128;
        let (sand, grout) = if total < ample { self.hold_back(sand) } else { (sand, Vec::new()) };
        let order: Vec<Row> = if total < u128::from(wanted) {
            // Not everything can have a copy: as many files as possible.
            sand.into_iter().chain(rocks.into_iter().rev()).collect()
        } else if total < ample {
            let share = u128::from(room) * u128::from(rock_bytes) / u128::from(wanted.max(1));
            let (mine, later) = self.fill(rocks, u64::try_from(share).unwrap_or(room));
            mine.into_iter().chain(sand).chain(later).collect()
        } else {
            let (only_here, elsewhere) = self.place_elsewhere(rocks);
            only_here.into_iter().chain(sand).chain(elsewhere).collect()
        };
        let (mut taken, mut rest) = self.fill(order, room);
        let used: u64 = taken.iter().map(|&row| self.shelf.bill_row(row)).sum();
        let left = exchange(self.shelf, &mut taken, &mut rest, room - used);
        let (filling, grout) = self.fill(grout, left);
        let used: u64 = filling.iter().map(|&row| self.shelf.bill_row(row)).sum();
        taken.extend(filling);
        rest.extend(grout);
        exchange(self.shelf, &mut taken, &mut rest, left - used);
        taken.sort_unstable();
        self.take_all(&taken);
        self.class_of_rest(rest)
    }

    /// Splits off small objects at the end of the order, a hundredth of the disk, to go last: where room is short, the
    /// last disk would have only rocks left otherwise, and nothing to fill the gaps between them.
    fn hold_back(&self, mut sand: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
        let mut left = self.shelf.capacity(self.shelf.here) / 100;
        let mut at = sand.len();
        while at > 0 && self.shelf.bill_row(sand[at - 1]) <= left {
            at -= 1;
            left -= self.shelf.bill_row(sand[at]);
        }
        let grout = sand.split_off(at);
        (sand, grout)
    }

    /// Dry run: puts rocks, largest first, on the other disks; returns those without place, and the others.
    fn place_elsewhere(&self, rocks: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
        let mut bins: Vec<(u64, usize)> =
            self.elsewhere.iter().enumerate().map(|(disk, &room)| (room, disk)).collect();
        rocks.into_iter().partition(|&row| {
            let bill = self.shelf.bill_row(row);
            let blocks = self.shelf.input.objects[row as usize].blocks;
            let best = bins
                .iter_mut()
                .filter(|(_, disk)| blocks <= self.shelf.blocks_max[*disk])
                .max_by_key(|(room, disk)| (*room, Reverse(*disk)));
            match best {
                // The last twentieth of a disk is not to be relied on.
                Some((room, _)) if u128::from(*room) * 19 / 20 >= u128::from(bill) => {
                    *room -= bill;
                    false
                }
                _ => true,
            }
        })
    }

    /// Plans second and further copies; returns what found no room.
    pub(super) fn choose_spread_copies(&mut self, key: Key, classes: Vec<Class>) -> Vec<Class> {
        let here = self.shelf.here;
        let room = self.usable(key);
        let wanted: u64 = classes.iter().map(|class| class.bytes).sum();
        let mut flow = self.flow(key, &classes, true);
        for (number, class) in classes.iter().enumerate() {
            let share = u128::from(room) * u128::from(class.bytes) / u128::from(wanted.max(1));
            flow.put(number, here, u64::try_from(share).unwrap_or(room));
        }
        flow.maximise();
        let mut left = room;
        let mut taken: Vec<Row> = Vec::new();
        let mut rest: Vec<Row> = Vec::new();
        for (number, class) in classes.into_iter().enumerate() {
            let rows = self.siblings_first(class.rows);
            let (mine, others) = self.fill(rows, flow.on(number, here).min(left));
            left -= mine.iter().map(|&row| self.shelf.bill_row(row)).sum::<u64>();
            taken.extend(mine);
            rest.extend(others);
        }
        // A sweep, largest first, over what still fits; what is larger than the room never will.
        let (mut fitting, mut rest): (Vec<Row>, Vec<Row>) =
            rest.into_iter().partition(|&row| self.shelf.bill_row(row) <= left);
        fitting.sort_unstable_by_key(|&row| {
            (!self.victims.is_evicted(row), Reverse(self.shelf.bill_row(row)), row)
        });
        let (more, others) = self.fill(fitting, left);
        left -= more.iter().map(|&row| self.shelf.bill_row(row)).sum::<u64>();
        taken.extend(more);
        rest.extend(others);
        // Victims that keep their copy are not exchanged: that would be a write.
        let (kept, mut fresh): (Vec<Row>, Vec<Row>) =
            taken.into_iter().partition(|&row| self.victims.is_evicted(row));
        exchange(self.shelf, &mut fresh, &mut rest, left);
        fresh.extend(kept);
        fresh.sort_unstable();
        self.take_all(&fresh);
        self.class_of_rest(rest)
    }

    /// Takes rows in order while they fit into `limit`; what does not fit is skipped.
    fn fill(&self, rows: Vec<Row>, limit: u64) -> (Vec<Row>, Vec<Row>) {
        let mut left = limit;
        rows.into_iter().partition(|&row| {
            let bill = self.shelf.bill_row(row);
            let fits = bill <= left;
            if fits {
                left -= bill;
            }
            fits
        })
    }

    /// Orders rows in directory order: what is on the disk already, then what has siblings here.
    fn siblings_first(&self, rows: Vec<Row>) -> Vec<Row> {
        let mut shelves: [Vec<Row>; 6] = Default::default();
        let mut run = 0;
        for row in rows {
            if self.victims.is_evicted(row) {
                shelves[0].push(row);
                continue;
            }
            run = self.directories.find(row, run);
            shelves[5 - usize::from(self.directories.presence(run))].push(row);
        }
        shelves.concat()
    }

    /// Groups what found no room by set of disks again.
    fn class_of_rest(&self, rest: Vec<Row>) -> Vec<Class> {
        let mut classes: std::collections::BTreeMap<(u32, u16), Class> = std::collections::BTreeMap::new();
        for row in rest {
            let object = &self.shelf.input.objects[row as usize];
            let held = &self.shelf.held[object.nexus as usize];
            let set = if held.here { held.set_without } else { held.set };
            let rank = self.shelf.rank(object.blocks);
            let class =
                classes.entry((set, rank)).or_insert_with(|| Class { set, rows: Vec::new(), bytes: 0 });
            class.bytes += self.shelf.bill(object.blocks);
            class.rows.push(row);
        }
        classes.into_values().collect()
    }
}
