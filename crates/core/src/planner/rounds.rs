//! One round of planning, and how rounds are joined.
//!
//! Copies that a plan makes change what is redundant, so a second plan for the same disk may find
//! more to do. That would be written, and partly deleted again, by the next visit; joined into one
//! plan, what comes and goes again is never written.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Row, VisitPlan};
use crate::planner::directories::Directories;
use crate::planner::groups::{Group, Groups};
use crate::planner::input::{Input, Nexus, State};
use crate::planner::reach::Reach;
use crate::planner::relocation::Pressure;
use crate::planner::shelf::Shelf;
use crate::planner::victims::Victims;
use crate::planner::visit::Visit;

/// All figures about the state before a visit.
pub(super) struct Basis<'a> {
    pub shelf: &'a Shelf<'a>,
    pub groups: Groups,
    pub pressure: Pressure,
    pub reach: Reach,
    directories: Directories,
}

/// What a visit should change, without order between deletions and copies.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Excess copies that go, ascending.
    pub excess: Vec<Row>,
    /// Live and history copies that make room, first to go first.
    pub victims: Vec<Row>,
    /// Last copies of history that the user gave up, in order.
    pub given_up: Vec<Row>,
    /// Copies in the order in which they are made.
    pub copies: Vec<Row>,
}

impl<'a> Basis<'a> {
    /// Looks at everything and brings the rows together that a choice may need.
    pub fn new(shelf: &'a Shelf<'a>) -> Self {
        let (mut groups, directories) = Groups::new(shelf);
        let pressure = Pressure::new(shelf, &groups);
        let reach = Reach::new(shelf, &groups, &pressure.dropped);
        let wanted: Vec<bool> = groups
            .all
            .iter()
            .map(|group| {
                (group.held(shelf).here && (group.is_live() || group.state == State::Dead))
                    || is_redundant_history(shelf, group)
                    || Visit::is_candidate(shelf, group)
                    || pressure.relocates(shelf, group)
            })
            .collect();
        groups.collect(shelf, &wanted);
        Basis { shelf, groups, pressure, reach, directories }
    }

    /// Chooses for one visit.
    pub fn choose(&self) -> Choice {
        let floor = |priority| self.reach.floor(priority);
        let victims = Victims::new(self.shelf, &self.groups, &self.pressure.dropped, floor);
        let directories = self.directories.clone();
        let mut visit =
            Visit::new(self.shelf, &self.groups, &self.reach, &self.pressure, directories, victims);
        let mut history: Vec<Row> = Vec::new();
        for (number, group) in self.groups.all.iter().enumerate() {
            if is_redundant_history(self.shelf, group) {
                history.extend(self.groups.rows(number));
            }
            if Visit::is_candidate(self.shelf, group) {
                visit.enter(number);
            }
        }
        history.sort();
        visit.count_history(history);
        visit.serve();
        visit.relocate();
        let dropped = |number: usize| self.pressure.dropped[number];
        let excess = self.groups.rows_of(dropped);
        Choice { excess, victims: visit.final_victims(), given_up: visit.given_up, copies: visit.copies }
    }

    /// What a written plan really does: without victims that no copy needs, and without copies that
    /// found no room.
    pub fn done_by(&self, plan: &VisitPlan) -> Choice {
        let copies = plan.copies().map(|copy| copy.object).collect();
        let is_given_up = |row: &Row| {
            let object = &self.shelf.input.objects[*row as usize];
            object.state == State::History && self.shelf.held[object.nexus as usize].others_standing == 0
        };
        let (given_up, victims) = plan.victims().iter().partition(|row| is_given_up(row));
        Choice { excess: plan.excess.clone(), victims, given_up, copies }
    }

    /// Brings joined rounds into the order of execution: the neediest copies first, and for them the
    /// victims that only they may have.
    pub fn order(&self, choice: &mut Choice) {
        let of = |row: Row| {
            let object = &self.shelf.input.objects[row as usize];
            let priority = Reverse(self.shelf.input.classes[usize::from(object.class)].priority);
            (object, &self.shelf.held[object.nexus as usize], priority)
        };
        choice.copies.sort_by_key(|&row| {
            let (object, held, priority) = of(row);
            (self.shelf.level(held, object.blocks), object.state == State::Provisional, priority)
        });
        choice.victims.sort_by_key(|&row| {
            let (object, held, priority) = of(row);
            (object.state != State::History, self.shelf.level_certain(held, object.blocks), priority)
        });
    }

    /// Whether another plan may follow from a choice: if `maxcopies` is used, or if something on
    /// the disk would then have so many copies that it could go for something left out. Spares the
    /// second look where a disk is filled for the first time.
    pub fn may_go_on(&self, choice: &Choice, plan: &VisitPlan) -> bool {
        // A limit leaves work for the next visit on purpose.
        if choice.is_idle() || self.shelf.options.bytes_max.is_some() {
            return false;
        }
        if plan.copies().len() < choice.copies.len() {
            return true;
        }
        if !choice.victims.is_empty()
            || self.shelf.input.classes.iter().any(|class| class.copies_max.is_some())
        {
            return true;
        }
        let of = |row: Row| {
            let object = &self.shelf.input.objects[row as usize];
            let held = &self.shelf.held[object.nexus as usize];
            (held, object, Reverse(self.shelf.input.classes[usize::from(object.class)].priority))
        };
        let here = self.groups.all.iter().filter(|group| group.is_live() && group.held(self.shelf).here);
        let on_disk = here.filter(|group| group.held(self.shelf).others_standing > 0).map(|group| {
            let priority = self.shelf.input.classes[usize::from(group.class)].priority;
            (self.shelf.level_certain(group.held(self.shelf), group.sample) + 1, Reverse(priority))
        });
        let coming =
            choice.copies.iter().map(|&row| of(row)).filter(|(held, ..)| held.others_standing > 0).map(
                |(held, object, priority)| (self.shelf.level_certain(held, object.blocks) + 1, priority),
            );
        let Some(richest) = on_disk.chain(coming).max() else { return false };
        // Objects of a group come in directory order or not at all, so counting tells who is left.
        let mut taken: BTreeMap<(u32, u16, u16, u8), u64> = BTreeMap::new();
        for &row in &choice.copies {
            let (_, object, _) = of(row);
            let rank = self.shelf.rank(object.blocks);
            *taken.entry((object.nexus, object.class, rank, object.state as u8)).or_default() += 1;
        }
        self.groups.all.iter().filter(|group| Visit::is_candidate(self.shelf, group)).any(|group| {
            let copied = taken.get(&(group.nexus, group.class, group.rank, group.state as u8));
            let priority = self.shelf.input.classes[usize::from(group.class)].priority;
            let level = self.shelf.level(group.held(self.shelf), group.sample);
            copied.copied().unwrap_or(0) < group.count && richest > (level + 1, Reverse(priority))
        })
    }
}

impl Choice {
    /// Whether nothing changes.
    pub fn is_idle(&self) -> bool {
        self.excess.is_empty() && self.copies.is_empty()
    }

    /// Joins what a later round chose, from the state that this one leads to. What comes and goes
    /// again, or goes and comes back, is left as it was.
    pub fn join(&mut self, later: &Choice) {
        let gone: BTreeSet<Row> =
            later.excess.iter().chain(&later.victims).chain(&later.given_up).copied().collect();
        let came: BTreeSet<Row> = later.copies.iter().copied().collect();
        let ours: BTreeSet<Row> = self.copies.iter().copied().filter(|row| gone.contains(row)).collect();
        let back: BTreeSet<Row> = self
            .excess
            .iter()
            .chain(&self.victims)
            .chain(&self.given_up)
            .copied()
            .filter(|row| came.contains(row))
            .collect();
        let join =
            |mine: &mut Vec<Row>, theirs: &[Row], cancelled: &BTreeSet<Row>, undone: &BTreeSet<Row>| {
                mine.retain(|row| !cancelled.contains(row));
                mine.extend(theirs.iter().filter(|row| !undone.contains(row)));
            };
        join(&mut self.excess, &later.excess, &back, &ours);
        join(&mut self.victims, &later.victims, &back, &ours);
        join(&mut self.given_up, &later.given_up, &back, &ours);
        join(&mut self.copies, &later.copies, &ours, &back);
        self.excess.sort_unstable();
    }

    /// Changes the rows as a visit would: what comes and goes, and nothing is left of the dead.
    pub fn carry_out(&self, input: &mut Input, disk: u16) {
        let mut with: BTreeMap<(u32, bool), u32> = BTreeMap::new();
        let gone = self.excess.iter().chain(&self.victims).chain(&self.given_up).map(|&row| (row, false));
        for (row, comes) in gone.chain(self.copies.iter().map(|&row| (row, true))) {
            let Some(nexus) = input.objects.get(row as usize).map(|object| object.nexus) else { continue };
            let number = *with.entry((nexus, comes)).or_insert_with(|| {
                let mut changed: Nexus = input.nexuses[nexus as usize].clone();
                for list in [&mut changed.claimed, &mut changed.standing] {
                    list.retain(|&held| held != disk);
                    if comes {
                        list.push(disk);
                        list.sort_unstable();
                    }
                }
                input.nexuses.push(changed);
                input.nexuses.len() as u32 - 1
            });
            input.objects[row as usize].nexus = number;
        }
        for &row in &self.copies {
            if let Some(object) = input.objects.get_mut(row as usize)
                && object.state == State::Provisional
            {
                object.state = State::Live;
            }
        }
    }
}

/// Whether the objects of a group are history of which another copy stands elsewhere.
fn is_redundant_history(shelf: &Shelf<'_>, group: &Group) -> bool {
    let held = group.held(shelf);
    group.state == State::History && held.here && held.others_standing > 0
}
