//! Runs of the program: updates, visits and verifies, and whatever comes in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use distbackup_core::model::ObjectId;
use distbackup_engine::catalog::{Catalog, DiskRow};
use distbackup_engine::disk::Disk;
use distbackup_engine::disk::simulated::{Action, Failure, PowerCut, Strike};
use distbackup_engine::ops::backup::{self, BackupOptions, VisitOutcome};
use distbackup_engine::ops::update::{self, UpdateOptions};
use distbackup_engine::ops::verify::{self, VerifyOptions};
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::progress::{Observer, Silent};

use crate::known::Known;
use crate::outside::{Outside, copy_catalog};
use crate::world::{Watcher, World};

/// What comes in between.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// The process is killed at an operation; afterwards the power goes as well, or not.
    Kill { after: u64, cut: Option<PowerCut> },
    /// The disk is pulled out.
    Yank { after: u64, cut: PowerCut },
    /// An operation fails.
    Fail { after: u64, how: Failure, reading: bool },
    /// The user asks to stop.
    Stop { after: u64 },
}

/// Whatever is more than reading and listing.
fn does_something(action: Action) -> bool {
    action.changes() || action == Action::Sync
}

fn reads(action: Action) -> bool {
    action == Action::Read
}

/// How a run ended.
enum End<T> {
    /// The process was killed.
    Killed,
    Returned(Result<T, OpError>),
}

impl World {
    /// An update that nothing disturbs.
    pub fn update_plainly(&mut self, accept: bool) {
        self.update(UpdateOptions { accept, ..UpdateOptions::default() }, None);
    }

    /// An update.
    pub fn update(&mut self, options: UpdateOptions, trouble: Option<Trouble>) {
        self.figures.updates += 1;
        let first = self.known.snapshot == 0;
        let tree = self.known.next_tree(&self.source);
        self.known.run_at(self.now_ns());
        let mut catalog = self.open();
        let (left, killed) = (self.new_home(), Arc::new(AtomicBool::new(false)));
        let watcher: Box<dyn Observer> = match trouble {
            Some(Trouble::Kill { after, .. }) => {
                let (from, to, killed) = (self.home.clone(), left.clone(), Arc::clone(&killed));
                Box::new(Watcher::kills(after, move || {
                    copy_catalog(&from, &to);
                    killed.store(true, Ordering::SeqCst);
                }))
            }
            Some(Trouble::Stop { after }) => Box::new(Watcher::stops(after)),
            _ => Box::new(Silent),
        };
        let clock = Arc::clone(&self.clock);
        let result = update::update(&mut catalog, &*clock, None, &options, &*watcher);
        drop(watcher);
        let killed = killed.load(Ordering::SeqCst);
        if killed {
            drop(catalog);
            self.move_to(left);
            self.figures.kills += 1;
            self.tell("killed");
        } else {
            catalog.close().unwrap();
            self.tell(&match &result {
                Ok(outcome) => format!(
                    "snapshot {:?}: {} added, {} changed, {} removed, {} moved; held: {}",
                    outcome.snapshot,
                    outcome.added,
                    outcome.changed,
                    outcome.removed,
                    outcome.moved,
                    outcome.held.is_some()
                ),
                Err(error) => format!("{error}"),
            });
            assert!(
                trouble.is_some() || result.as_ref().is_ok_and(|outcome| outcome.complete()),
                "{result:?}"
            );
        }
        // A scan counts as a whole or not at all: its snapshot tells.
        let snapshot = Outside::look(&self.home).snapshot;
        let plain = !killed && result.is_ok() && trouble.is_none();
        if snapshot > self.known.snapshot || plain {
            self.known.updated(tree, snapshot);
        }
        let outside = Outside::look(&self.home);
        self.known.note_captured(&outside);
        if plain && !options.scan_only {
            let unread = self.known.tree.iter().filter(|(_, leaf)| !leaf.captured);
            let unread: Vec<&String> = unread.map(|(path, _)| path).collect();
            assert!(unread.is_empty(), "an update that ended in order left unread: {unread:?}, {result:?}");
        }
        match (plain, options.accept || first) {
            (true, true) => self.known.accepted = Some(self.known.tree.clone()),
            (false, true) => self.known.accepted = None,
            _ => {}
        }
        self.known.expire();
        self.check();
    }

    /// What the catalog knows of a disk, with its room as it is now.
    fn row(&self, catalog: &Catalog, bay: usize) -> DiskRow {
        let mut row = catalog.read().disk(self.bays[bay].number()).unwrap().unwrap();
        let space = self.bays[bay].now().disk.space().unwrap();
        let reader = catalog.read();
        let own = reader.held_billed(row.disk, space.unit).unwrap()
            + reader.orphans_billed(row.disk, space.unit).unwrap();
        shelf::take_space(&mut row, space, own, shelf::for_itself(catalog).unwrap()).unwrap();
        row
    }

    /// Another physical disk stands in the bay: what is claimed and not on it is an accident.
    fn connect(&mut self, bay: usize, which: usize) {
        if self.bays[bay].current != which {
            self.bays[bay].current = which;
            let claimed = self.outside.claimed(self.bays[bay].row);
            let false_claims: Vec<ObjectId> =
                claimed.difference(&self.bays[bay].now().whole).copied().collect();
            self.known.disk(self.bays[bay].row).excused.extend(false_claims);
        }
    }

    /// Runs something on the connected disk of a bay, with trouble, and puts everything away afterwards.
    fn run_on<T>(
        &mut self,
        bay: usize,
        trouble: Option<Trouble>,
        run: impl FnOnce(&World, &mut Catalog, DiskRow, &dyn Observer) -> Result<T, OpError>,
    ) -> End<T> {
        let mut catalog = self.open();
        let row = self.row(&catalog, bay);
        let (left, killed) = (self.new_home(), Arc::new(AtomicBool::new(false)));
        let disk = &self.bays[bay].now().disk;
        match trouble {
            Some(Trouble::Kill { after, .. }) => {
                let (from, to, killed) = (self.home.clone(), left.clone(), Arc::clone(&killed));
                let look = move || {
                    copy_catalog(&from, &to);
                    killed.store(true, Ordering::SeqCst);
                };
                disk.strike_after(after, does_something, Strike::Crash(Box::new(look)));
            }
            Some(Trouble::Yank { after, .. }) => disk.strike_after(after, does_something, Strike::Vanish),
            Some(Trouble::Fail { after, how, reading }) => {
                disk.strike_after(after, if reading { reads } else { does_something }, Strike::Fail(how));
            }
            Some(Trouble::Stop { .. }) | None => {}
        }
        let watcher: Box<dyn Observer> = match trouble {
            Some(Trouble::Stop { after }) => Box::new(Watcher::stops(after)),
            _ => Box::new(Silent),
        };
        let result = run(self, &mut catalog, row, &*watcher);
        let killed = killed.load(Ordering::SeqCst);
        if killed {
            drop(catalog)
        } else {
            catalog.close().unwrap()
        }
        let disk = &self.bays[bay].now().disk;
        let spared = disk.spare();
        disk.vanish(false);
        let cut = match trouble {
            Some(Trouble::Kill { cut, .. }) if !spared => cut,
            Some(Trouble::Yank { cut, .. }) if !spared => Some(cut),
            // What was said to be done survives a power cut right afterwards (D2).
            _ if self.random.percent(50) => Some(PowerCut::LoseAll),
            _ => None,
        };
        self.bays[bay].now_mut().unplug(cut);
        if killed {
            self.move_to(left);
            self.figures.kills += 1;
        } else if !spared && trouble.is_some() {
            self.figures.faults += 1;
        }
        if killed { End::Killed } else { End::Returned(result) }
    }

    /// A visit of one physical disk of a bay.
    pub fn visit(&mut self, bay: usize, which: usize, options: &BackupOptions, trouble: Option<Trouble>) {
        self.figures.visits += 1;
        let settles = !self.known.disk(self.bays[bay].row).leaves;
        let clock_ns = self.now_ns();
        self.visit_by(bay, which, settles, trouble, |world, catalog, row, observer| {
            let disk = &world.bays[bay].now().disk;
            backup::visit(catalog, disk, row, clock_ns, None, options, observer)
        });
    }

    /// Runs something that is a visit of one physical disk of a bay; `settles`: it may accept what has left the tree.
    pub fn visit_by(
        &mut self,
        bay: usize,
        which: usize,
        settles: bool,
        trouble: Option<Trouble>,
        run: impl FnOnce(&World, &mut Catalog, DiskRow, &dyn Observer) -> Result<VisitOutcome, OpError>,
    ) -> Option<VisitOutcome> {
        self.connect(bay, which);
        let row = self.bays[bay].row;
        let counter = self.bays[bay].now().counter();
        let expected = self.known.disk(row).clone();
        let (older, newer) = (counter < expected.confirmed, counter > expected.counter);
        let before = (self.known.clone(), self.outside.clone(), self.bays[bay].now().whole.clone());
        self.known.run_at(self.now_ns());
        let now_ns = self.known.newest_ns;
        self.see_unknown(bay, now_ns);
        let changes = self.bays[bay].now().disk.changes();
        let end = self.run_on(bay, trouble, run);
        let wrote = self.bays[bay].now().disk.changes() > changes;
        let done = match &end {
            End::Killed => {
                self.tell("killed");
                None
            }
            End::Returned(Ok(outcome)) => {
                self.tell(&told(outcome));
                Some(outcome.clone())
            }
            End::Returned(Err(error)) => {
                self.tell(&error.to_string());
                let refused = matches!(error, OpError::StampMismatch { catalog_is_old: true, .. });
                self.figures.refused += u64::from(refused);
                assert!(!refused || !wrote, "N5: a disk was refused, and written to");
                assert!(refused || trouble.is_some(), "a visit that nothing disturbed failed: {error}");
                assert!(!refused || !older, "N5: {error}");
                None
            }
        };
        if !expected.unproven && newer {
            assert!(done.is_none(), "N5: the disk was written by a newer catalog, and visited all the same");
        }
        if let Some(outcome) = &done {
            self.figures.copied += outcome.copied.total().objects;
            self.figures.evicted += outcome.evicted.objects;
            self.figures.held += u64::from(outcome.held.is_some());
            let full = matches!(trouble, Some(Trouble::Fail { how: Failure::Enospc, .. }));
            assert!(!outcome.full || full, "I4: the disk was filled beyond its room: {outcome:?}");
            assert!(
                outcome.in_doubt || expected.unproven || !older || outcome.interrupted && !wrote,
                "N5: an older disk was trusted: {outcome:?}"
            );
        }
        self.settle_visit(bay, done.as_ref(), settles, wrote, &before.2);
        let accepted = done.as_ref().filter(|_| settles);
        self.nothing_dies(bay, &before, accepted, older && !expected.unproven);
        self.check();
        if done.as_ref().is_some_and(|outcome| !outcome.interrupted) {
            self.everything_was_found(bay);
        }
        done
    }

    /// When objects that the catalog never knew were seen first.
    fn see_unknown(&mut self, bay: usize, now_ns: i64) {
        let (ever, physical) = (&self.known.ever, self.bays[bay].now_mut());
        for id in physical.present.difference(ever) {
            physical.first_seen.entry(*id).or_insert(now_ns);
        }
    }

    /// Takes over what a visit has made of things, as far as it shows from outside.
    fn settle_visit(
        &mut self,
        bay: usize,
        done: Option<&VisitOutcome>,
        settles: bool,
        wrote: bool,
        whole_before: &BTreeSet<ObjectId>,
    ) {
        let outside = Outside::look(&self.home);
        self.known.note_captured(&outside);
        let row = self.bays[bay].row;
        let in_order = done.is_some_and(|outcome| !outcome.interrupted);
        let tree = self.known.tree.clone();
        match done {
            _ if !settles => {}
            Some(outcome) if in_order && outcome.held.is_none() => self.known.accepted = Some(tree),
            Some(_) if in_order => {}
            _ => self.known.accepted = None,
        }
        self.known.expire();
        let claimed = outside.claimed(row);
        let ever = self.known.ever.clone();
        if let Some(physical) = self.bays.get(bay).map(|bay| bay.now()) {
            let adopted = claimed.intersection(&outside.referenced);
            let new: Vec<ObjectId> = adopted
                .filter(|id| physical.precious.contains(*id) && !ever.contains(*id))
                .copied()
                .collect();
            self.known.merged.extend(new);
        }
        // What was struck out and copied again in one visit is proven anew.
        let anew = self.bays[bay].now().whole.difference(whole_before).copied().collect();
        self.known.disk(row).proofs.retain(|id, _| !BTreeSet::contains(&anew, id));
        self.known.note_claims(row, &claimed, false);
        let physical = self.bays[bay].now();
        let (rotten, counter, hash) =
            (physical.rotten.clone(), physical.counter(), physical.disk.catalog_hash());
        let known = self.known.disk(row);
        if wrote {
            // What was only looked at, such as an older clone, is not what the catalog expects from now on.
            (known.counter, known.confirmed) =
                (counter, outside.stamps.get(&row).copied().unwrap_or(0).min(counter));
        }
        assert!(
            !in_order || !wrote || known.confirmed == counter,
            "N5: a visit ended in order, its stamp is not confirmed"
        );
        if in_order {
            known.settled = true;
            known.excused = known.excused.intersection(&rotten).copied().collect();
            known.unproven &= !wrote;
        } else if wrote {
            // It may have ended after the comparison, with nothing written but unlinked leftovers.
            known.settled = !outside.open.contains(&row);
        }
        known.doubt |= done.is_some_and(|outcome| outcome.in_doubt);
        if let Some(hash) = hash {
            self.published.entry(hash).or_insert_with(|| self.known.clone());
        }
    }

    /// N3 and N7: what has gone from the disk could be spared.
    fn nothing_dies(
        &mut self,
        bay: usize,
        (known, outside, whole): &(Known, Outside, BTreeSet<ObjectId>),
        done: Option<&VisitOutcome>,
        older: bool,
    ) {
        let (row, name) = (self.bays[bay].row, self.bays[bay].name.clone());
        let gone: Vec<ObjectId> = whole.difference(&self.bays[bay].now().whole).copied().collect();
        self.figures.removed += gone.len() as u64;
        assert!(!older || gone.is_empty(), "N5: {gone:?} went from {name}, which may be a clone");
        let mut kept = self.known.kept();
        let massive = known.massively_gone();
        if let Some(outcome) = done
            && let Some(massive) = massive
        {
            assert!(outcome.held.is_some() || outcome.interrupted, "S3: {} contents went", massive.len());
            kept.extend(massive);
        }
        for id in gone {
            let standing = known.standing(outside, row, &id);
            let precious = self.bays[bay].now().precious.contains(&id);
            if kept.contains(&id) {
                assert!(
                    standing > 0,
                    "N3: {id} went from {name}, and no other copy of it stands:{}",
                    known.holders(outside, &id)
                );
            } else if precious && !known.ever.contains(&id) {
                panic!("N7: {id} went from {name}: only the catalog there knew its name");
            } else if !known.ever.contains(&id) && !known.merged.contains(&id) {
                let removal = outside.removals.get(&row).is_some_and(|removals| removals.contains(&id));
                let first = self.bays[bay].now().first_seen.get(&id).copied().unwrap_or(i64::MAX);
                let days = self.known.newest_ns.saturating_sub(first) / distbackup_core::model::DAY_NS;
                let passed = self.known.keep_days.is_some_and(|keep| days >= keep);
                assert!(
                    removal || passed,
                    "N7: {id}, which nothing knew, went from {name} after {days} days"
                );
            }
        }
    }

    /// N4: after a visit that ended in order, what is kept and lies on the disk is claimed there; but what could not be
    /// read once is believed only when it is read again.
    fn everything_was_found(&mut self, bay: usize) {
        let kept = self.known.kept();
        let (physical, row) = (self.bays[bay].now(), self.bays[bay].row);
        let damaged = self.outside.damaged.get(&row).cloned().unwrap_or_default();
        for id in physical.whole.difference(&damaged) {
            let claimed = self.outside.claims(row, id);
            assert!(claimed || !kept.contains(id), "N4: {id} is on {} and not claimed", self.bays[bay].name);
            let known = self.outside.referenced.contains(id);
            let lost = physical.precious.contains(id) && !known;
            assert!(!lost, "C1: {id} survived on {}, whose catalog knew its name", self.bays[bay].name);
        }
    }

    /// Reads everything on the disk of a bay.
    pub fn verify(&mut self, bay: usize, which: usize, options: &VerifyOptions, trouble: Option<Trouble>) {
        self.figures.verifies += 1;
        self.connect(bay, which);
        self.known.run_at(self.now_ns());
        let (row, claimed) = (self.bays[bay].row, self.outside.claimed(self.bays[bay].row));
        let physical = self.bays[bay].now();
        let missing = claimed.difference(&physical.present).count() as u64;
        let bad = physical.present.difference(&physical.whole).count() as u64;
        let whole = physical.whole.clone();
        let clock = Arc::clone(&self.clock);
        let end = self.run_on(bay, trouble, |world, catalog, row, observer| {
            let disk = &world.bays[bay].now().disk;
            verify::verify(catalog, disk, &row, &*clock, None, options, observer)
        });
        let lost = whole.difference(&self.bays[bay].now().whole).count();
        assert_eq!(lost, 0, "N10: a verify took good objects away");
        let outside = Outside::look(&self.home);
        let after = outside.claimed(row);
        self.known.note_claims(row, &after, true);
        match end {
            End::Killed => self.tell("killed"),
            End::Returned(Err(error)) => {
                self.tell(&error.to_string());
                assert!(trouble.is_some(), "a verify that nothing disturbed failed: {error}");
            }
            End::Returned(Ok(outcome)) => {
                self.tell(&format!(
                    "{} good, {} bad, {} missing, complete: {}",
                    outcome.good.objects, outcome.bad.count, outcome.missing.count, outcome.complete
                ));
                let whole_truth = outcome.complete && !outcome.resumed && trouble.is_none();
                if whole_truth {
                    assert_eq!((outcome.bad.count, outcome.missing.count), (bad, missing), "D7: {outcome:?}");
                }
                let known = self.known.disk(row);
                if outcome.complete && !options.check_only {
                    known.settled = true;
                    known.doubt &= !outcome.all_good();
                    if whole_truth {
                        known.excused.clear();
                    }
                }
            }
        }
        self.check();
    }
}

/// A visit in one line.
fn told(outcome: &VisitOutcome) -> String {
    let reconciled = &outcome.reconciled;
    let copied = outcome.copied.total();
    format!(
        "copied {}, cleaned {}, evicted {}; adopted {}, missing {}, wrong size {}, orphans {}, expired {}, removals \
         finished {}, merged {}; problems {}, held {}, doubt {}, full {}, interrupted {}, room left {}",
        copied.objects,
        outcome.cleaned.objects,
        outcome.evicted.objects,
        reconciled.adopted.objects,
        reconciled.missing.count,
        reconciled.wrong_size.count,
        reconciled.orphans.objects,
        reconciled.expired.objects,
        reconciled.finished_removals,
        reconciled.merged_names,
        outcome.problems.count,
        outcome.held.is_some(),
        outcome.in_doubt,
        outcome.full,
        outcome.interrupted,
        outcome.room_left
    )
}
