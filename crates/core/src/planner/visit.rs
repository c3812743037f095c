//! One visit in the making: room, future room of the other disks, buckets in order of need.
//!
//! The state that all steps share. A step changes only this model; what comes out at the end is
//! written down by `steps`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::BLOCK;
use crate::plan::Row;
use crate::planner::directories::Directories;
use crate::planner::flow::Flow;
use crate::planner::groups::{Group, Groups};
use crate::planner::input::State;
use crate::planner::reach::Reach;
use crate::planner::relocation::Pressure;
use crate::planner::shelf::Shelf;
use crate::planner::victims::Victims;

/// The order in which objects are served (PLACEMENT 5.2): least protected first, known before
/// provisional, then priority, then what needs most distinct disks, then what gains another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub level: u16,
    pub provisional: bool,
    pub priority: Reverse<u32>,
    demand: Reverse<u16>,
    same_place: bool,
    /// A copy here does not raise the level: worth free room, but no eviction.
    pub idle: bool,
}

/// What is served together.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Groups of candidates.
    groups: Vec<usize>,
    /// Victims that lost their copy in this plan and may get it back.
    returned: Vec<Row>,
}

/// Objects of a bucket that lie on the same disks and fit on the same ones, in directory order.
pub(super) struct Class {
    /// Index into [`Shelf::sets`].
    pub set: u32,
    pub rows: Vec<Row>,
    pub bytes: u64,
}

/// The visit in the making. All room is in billed bytes of the connected disk.
pub(super) struct Visit<'a> {
    pub shelf: &'a Shelf<'a>,
    pub groups: &'a Groups,
    pub reach: &'a Reach,
    pub pressure: &'a Pressure,
    pub directories: Directories,
    /// Room for copies: what is free now and what redundant history would free. Below zero if the
    /// disk is smaller than what lies on it.
    pub room: i64,
    /// What of it is free without touching history: all that provisional objects may use.
    pub free_now: i64,
    /// Room that others have for what is left over here; 0 for the connected disk.
    pub elsewhere: Vec<u64>,
    pub victims: Victims,
    /// Rows that redundant history frees, not yet used.
    pub history: std::vec::IntoIter<Row>,
    /// Last copies of history that the user gave up, in order.
    pub given_up: Vec<Row>,
    pub copies: Vec<Row>,
    buckets: BTreeMap<Key, Bucket>,
}

impl<'a> Visit<'a> {
    /// A visit before anything is planned, with room as `start` found it.
    pub fn new(
        shelf: &'a Shelf<'a>,
        groups: &'a Groups,
        reach: &'a Reach,
        pressure: &'a Pressure,
        directories: Directories,
        victims: Victims,
    ) -> Self {
        let elsewhere = (0..shelf.input.disks.len())
            .map(|disk| if disk == shelf.here || shelf.is_away(disk) { 0 } else { reach.room(disk) })
            .collect();
        Visit {
            shelf,
            groups,
            reach,
            pressure,
            directories,
            room: reach.room_here,
            free_now: reach.room_here,
            elsewhere,
            victims,
            history: Vec::new().into_iter(),
            given_up: Vec::new(),
            copies: Vec::new(),
            buckets: BTreeMap::new(),
        }
    }

    /// Makes redundant copies of history count as room.
    pub fn count_history(&mut self, rows: Vec<Row>) {
        self.room += rows.iter().map(|&row| self.shelf.bill_row(row) as i64).sum::<i64>();
        self.history = rows.into_iter();
    }

    /// Enters a group of candidates into its bucket.
    pub fn enter(&mut self, number: usize) {
        let group = &self.groups.all[number];
        let key = self.key(group, false);
        self.buckets.entry(key).or_default().groups.push(number);
    }

    /// Whether a group wants a copy on the connected disk and may have one.
    pub fn is_candidate(shelf: &Shelf<'_>, group: &Group) -> bool {
        let held = group.held(shelf);
        let cap = shelf.class_cap(group.class).min(shelf.options.copies_max.unwrap_or(u16::MAX));
        matches!(group.state, State::Live | State::Provisional)
            && !held.here
            && held.claims < cap
            && group.sample <= shelf.blocks_max[shelf.here]
    }

    /// The bucket of a group; `returned`: of its objects that lost the copy here in this plan.
    fn key(&self, group: &Group, returned: bool) -> Key {
        let held = group.held(self.shelf);
        let (level, count) = if returned {
            (self.shelf.level_without(held, group.sample), held.others)
        } else {
            (self.shelf.level(held, group.sample), held.claims)
        };
        let priority = self.shelf.input.classes[usize::from(group.class)].priority;
        let wanted = group.cap(self.shelf).min(self.reach.floor(priority).saturating_add(1));
        Key {
            level,
            provisional: group.state == State::Provisional,
            priority: Reverse(priority),
            demand: Reverse(wanted.saturating_sub(count)),
            same_place: held.same_place,
            idle: self.shelf.level_with(held, group.sample) <= level,
        }
    }

    /// Serves all buckets, the neediest first. Each victim enters a later bucket than the one it
    /// makes room for, and none twice in a row, so this ends.
    pub fn serve(&mut self) {
        while let Some((key, bucket)) = self.buckets.pop_first() {
            self.serve_bucket(key, bucket);
        }
    }

    fn serve_bucket(&mut self, key: Key, bucket: Bucket) {
        let mut classes = self.classes(&bucket);
        let wanted: u64 = classes.iter().map(|class| class.bytes).sum();
        let evicted = self.make_room(key, &classes, wanted);
        if wanted <= self.usable(key) {
            let mut rows: Vec<Row> = classes.drain(..).flat_map(|class| class.rows).collect();
            rows.sort();
            self.take_all(&rows);
            return;
        }
        let rest = match self.usable(key) {
            room if room < 2 * BLOCK => classes,
            _ if key.level == 0 => self.choose_first_copies(key, classes),
            _ => self.choose_spread_copies(key, classes),
        };
        self.give_back(evicted);
        self.leave_to_others(&rest);
    }

    /// Room that a bucket may use: the reserve is only for what the set can give to everything of a priority.
    pub fn usable(&self, key: Key) -> u64 {
        let room = if key.provisional { self.room.min(self.free_now) } else { self.room };
        let beyond = key.level >= self.reach.floor(key.priority.0);
        let kept = if beyond && key.level > 0 { self.shelf.options.reserve.0 } else { 0 };
        (room.max(0) as u64).saturating_sub(kept)
    }

    /// The objects of a bucket by set of disks, sets ascending.
    fn classes(&self, bucket: &Bucket) -> Vec<Class> {
        let mut rows: BTreeMap<(u32, u16), Vec<&[Row]>> = BTreeMap::new();
        for &number in &bucket.groups {
            let group = &self.groups.all[number];
            let set = group.held(self.shelf).set;
            rows.entry((set, group.rank)).or_default().push(self.groups.rows(number));
        }
        let mut returned: BTreeMap<(u32, u16), Vec<Row>> = BTreeMap::new();
        for &row in bucket.returned.iter().filter(|&&row| self.victims.is_evicted(row)) {
            let object = &self.shelf.input.objects[row as usize];
            let set = self.shelf.held[object.nexus as usize].set_without;
            returned.entry((set, self.shelf.rank(object.blocks))).or_default().push(row);
        }
        for list in returned.values_mut() {
            // Evicted, given back and evicted again: it entered twice.
            list.sort_unstable();
            list.dedup();
        }
        for (key, list) in &returned {
            rows.entry(*key).or_default().push(list);
        }
        rows.into_iter()
            .map(|((set, _), parts)| {
                let mut rows = parts.concat();
                if parts.len() > 1 {
                    rows.sort(); // merges runs that are in order
                }
                let bytes = rows.iter().map(|&row| self.shelf.bill_row(row)).sum();
                Class { set, rows, bytes }
            })
            .collect()
    }

    /// Evicts for a bucket what it needs and may have (PLACEMENT 5.3); returns the victims.
    fn make_room(&mut self, key: Key, classes: &[Class], wanted: u64) -> Vec<Row> {
        if wanted <= self.usable(key) || key.provisional || key.idle {
            return Vec::new();
        }
        let missing = i128::from(wanted) - i128::from(self.room);
        let need = if key.level == 0 {
            // Urgent: other disks may never come.
            u64::try_from(missing).unwrap_or(0)
        } else {
            let mut flow = self.flow(key, classes, true);
            flow.maximise();
            // What is missing to begin with on a disk that is overfull has to go first.
            match flow.unplaced() {
                0 => 0,
                unplaced => unplaced.saturating_add(self.room.min(0).unsigned_abs()),
            }
        };
        let evicted = if need == 0 { Vec::new() } else { self.evict(key, need) };
        for &row in &evicted {
            let object = &self.shelf.input.objects[row as usize];
            let bill = self.shelf.bill(object.blocks) as i64;
            self.room += bill;
            self.free_now += bill;
            let run = self.directories.find(row, 0);
            self.directories.leave(run, object.blocks);
            let returns_to = self.key_of_victim(row);
            self.buckets.entry(returns_to).or_default().returned.push(row);
        }
        if key.level == 0 {
            let gained: u64 = evicted.iter().map(|&row| self.shelf.bill_row(row)).sum();
            self.give_up_history(need.saturating_sub(gained));
        }
        evicted
    }

    /// The bucket in which a victim may win back its copy.
    fn key_of_victim(&self, row: Row) -> Key {
        let object = &self.shelf.input.objects[row as usize];
        let group = Group::of(object, self.shelf.rank(object.blocks));
        // Known by now, whatever it was: it has copies.
        Key { provisional: false, ..self.key(&group, true) }
    }

    /// The flow of classes to disks, `with_here` or to the others only.
    pub fn flow(&self, key: Key, classes: &[Class], with_here: bool) -> Flow {
        let mut room = self.elsewhere.clone();
        room[self.shelf.here] = if with_here { self.usable(key) } else { 0 };
        let mut flow = Flow::new(room);
        for class in classes {
            let set = &self.shelf.sets[class.set as usize];
            let sample = class.rows.first().map_or(0, |&row| self.shelf.input.objects[row as usize].blocks);
            let eligible = (0..self.elsewhere.len())
                .filter(|&disk| {
                    let open = if disk == self.shelf.here { with_here } else { self.elsewhere[disk] > 0 };
                    open && sample <= self.shelf.blocks_max[disk]
                        && set.binary_search(&(disk as u16)).is_err()
                })
                .map(|disk| disk as u16)
                .collect();
            flow.class(class.bytes, eligible);
        }
        flow
    }

    /// Plans a copy, or lets a victim keep its one.
    pub fn take(&mut self, row: Row, hint: usize) -> usize {
        let object = &self.shelf.input.objects[row as usize];
        let bill = self.shelf.bill(object.blocks) as i64;
        self.room -= bill;
        self.free_now -= bill;
        if !self.victims.keep(row) {
            self.copies.push(row);
            while self.free_now < 0 {
                let Some(old) = self.history.next() else { break };
                self.victims.order.push(old);
                self.free_now += self.shelf.bill_row(old) as i64;
            }
        }
        let run = self.directories.find(row, hint);
        self.directories.arrive(run, object.blocks);
        run
    }

    /// Takes many rows, best in ascending order.
    pub fn take_all(&mut self, rows: &[Row]) {
        let mut run = 0;
        for &row in rows {
            run = self.take(row, run);
        }
    }

    /// Gives back victims whose room was not needed: those with most to lose first.
    fn give_back(&mut self, mut evicted: Vec<Row>) {
        evicted.retain(|&row| self.victims.is_evicted(row));
        let loss = |row: Row| {
            let object = &self.shelf.input.objects[row as usize];
            let held = &self.shelf.held[object.nexus as usize];
            (self.shelf.level_without(held, object.blocks), Reverse(object.blocks), row)
        };
        evicted.sort_unstable_by_key(|&row| loss(row));
        for row in evicted {
            if self.shelf.bill_row(row) as i64 <= self.room {
                self.take(row, 0);
            }
        }
        while let Some(&row) = self.given_up.last() {
            let bill = self.shelf.bill_row(row) as i64;
            if bill > self.room {
                break;
            }
            self.given_up.pop();
            self.room -= bill;
            self.free_now -= bill;
        }
    }

    /// Keeps the room that the rest of a bucket will need on the other disks out of later buckets.
    fn leave_to_others(&mut self, rest: &[Class]) {
        if rest.is_empty() {
            return;
        }
        let key = Key {
            level: 0,
            provisional: false,
            priority: Reverse(0),
            demand: Reverse(0),
            same_place: false,
            idle: false,
        };
        let mut flow = self.flow(key, rest, false);
        flow.maximise();
        for (disk, room) in self.elsewhere.iter_mut().enumerate() {
            *room = room.saturating_sub(flow.load(disk));
        }
    }

    /// Victims that stay victims, first to go first: history, then live ones.
    pub fn final_victims(&self) -> Vec<Row> {
        let is_history = |row: Row| self.shelf.input.objects[row as usize].state == State::History;
        let mut seen = vec![0u64; self.shelf.input.objects.len().div_ceil(64)];
        let mut rows: Vec<Row> = Vec::new();
        for &row in &self.victims.order {
            let bits = &mut seen[row as usize / 64];
            let fresh = *bits >> (row % 64) & 1 == 0;
            *bits |= 1 << (row % 64);
            if fresh && (is_history(row) || self.victims.is_evicted(row)) {
                rows.push(row);
            }
        }
        rows.sort_by_key(|&row| !is_history(row));
        rows
    }

    /// Last copies of history, oldest first, for first copies, if the user allowed it (DESIGN 7.1).
    fn give_up_history(&mut self, need: u64) {
        if !self.shelf.options.allow_history_loss {
            return;
        }
        let mut left = need;
        for &row in &self.shelf.input.history_oldest_first {
            if left == 0 {
                break;
            }
            let Some(object) = self.shelf.input.objects.get(row as usize) else { continue };
            let Some(held) = self.shelf.held(object) else { continue };
            let last = held.here && held.others_standing == 0 && object.state == State::History;
            if last && !self.given_up.contains(&row) {
                let bill = self.shelf.bill(object.blocks);
                self.given_up.push(row);
                self.room += bill as i64;
                self.free_now += bill as i64;
                left = left.saturating_sub(bill);
            }
        }
    }
}
