//! What happens in a history: one step after another, as the seed chooses.

use distbackup_core::model::{Bytes, DAY_NS, ObjectId, VirtualPath};
use distbackup_engine::disk::Disk;
use distbackup_engine::disk::simulated::{Failure, Planted, PowerCut};
use distbackup_engine::ops::backup::BackupOptions;
use distbackup_engine::ops::update::UpdateOptions;
use distbackup_engine::ops::verify::VerifyOptions;
use distbackup_engine::ops::{disks, sources};

use crate::visits::Trouble;
use crate::world::World;

const HOUR_NS: i64 = DAY_NS / 24;

/// Disks below which none is lost.
const DISKS_MIN: usize = 2;

impl World {
    /// One step.
    pub fn step(&mut self) {
        self.figures.steps += 1;
        let hours = self.random.within(1, 60) as i64;
        self.pass(hours * HOUR_NS);
        match self.random.below(100) {
            0..18 => self.step_change(),
            18..32 => self.step_update(),
            32..64 => self.step_visit(),
            64..69 => self.step_verify(),
            69..77 => self.step_harm_objects(),
            77..79 => self.step_clone(),
            79..82 => self.step_save(),
            82..84 => self.step_roll_back(),
            84..87 => self.step_recover(),
            87 => self.step_lose_disk(),
            88..90 => self.step_fill(),
            90..92 => self.step_rot_source(),
            92..95 => self.step_configure(),
            95..97 => self.step_leap(),
            97 => {
                let what = self.source.delete_many(&mut self.random);
                self.say(what);
            }
            98 => {
                self.say("update --accept".into());
                self.update_plainly(true);
            }
            _ => {
                self.say("restore".into());
                self.restore();
            }
        }
    }

    fn step_change(&mut self) {
        for _ in 0..self.random.within(1, 6) {
            let what = self.source.change(&mut self.random);
            self.say(what);
        }
    }

    /// Numbers of which small ones are as frequent as large ones.
    fn of_any_size(&mut self, max: u32) -> u64 {
        let bits = self.random.below(max as usize) as u32;
        1 + self.random.next() % (1 << bits)
    }

    fn step_update(&mut self) {
        let options = UpdateOptions { scan_only: self.random.percent(20), ..UpdateOptions::default() };
        let trouble = match self.random.below(10) {
            0 => Some(Trouble::Kill { after: self.of_any_size(9), cut: None }),
            1 => Some(Trouble::Stop { after: self.of_any_size(8) }),
            _ => None,
        };
        self.say(format!("update, scan only: {}, {trouble:?}", options.scan_only));
        self.update(options, trouble);
    }

    fn power_cut(&mut self) -> PowerCut {
        match self.random.percent(30) {
            true => PowerCut::LoseAll,
            false => PowerCut::Keep { seed: self.random.next() },
        }
    }

    fn trouble(&mut self) -> Option<Trouble> {
        let after = self.of_any_size(7);
        let how = self.random.pick([Failure::Eio, Failure::Enospc, Failure::Erofs])?;
        Some(match self.random.below(16) {
            0 | 1 => Trouble::Kill { after, cut: None },
            2 | 3 => Trouble::Kill { after, cut: Some(self.power_cut()) },
            4 => Trouble::Yank { after, cut: self.power_cut() },
            5 => Trouble::Fail { after, how, reading: false },
            6 => Trouble::Fail { after, how: Failure::Eio, reading: true },
            7 => Trouble::Stop { after: self.of_any_size(13) },
            _ => return None,
        })
    }

    /// A disk of the shelf, and which of its clones: mostly the one that was used last.
    fn any_disk(&mut self) -> (usize, usize) {
        let alive = self.alive();
        let bay = self.random.pick(alive).unwrap();
        let which = match self.random.percent(25) {
            true => self.random.below(self.bays[bay].physical.len()),
            false => self.bays[bay].current,
        };
        (bay, which)
    }

    fn step_visit(&mut self) {
        let (bay, which) = self.any_disk();
        let options = BackupOptions {
            take_pending: self.random.percent(30),
            limit: self.random.percent(15).then(|| Bytes(self.random.within(0, 100_000) as u64)),
            copies_max: self.random.percent(10).then(|| self.random.within(1, 4) as u16),
            accept: self.random.percent(30),
            streams: 1,
            ..BackupOptions::default()
        };
        let trouble = self.trouble();
        let name = self.bays[bay].name.clone();
        let limit = options.limit;
        self.say(format!(
            "backup {name}, clone {which}, pending: {}, limit {limit:?}, {trouble:?}",
            options.take_pending
        ));
        self.visit(bay, which, &options, trouble);
        self.give_way_to_newer(bay);
    }

    /// A disk that knows more than the PC is taken for a recover, mostly.
    fn give_way_to_newer(&mut self, bay: usize) {
        let row = self.bays[bay].row;
        let known = self.known.disk(row).clone();
        let newer = self.bays[bay].now().counter() > known.counter && !known.unproven;
        if newer && self.random.percent(70) {
            self.say(format!("recover {} as advised", self.bays[bay].name));
            self.recover(bay);
        }
    }

    fn step_verify(&mut self) {
        let (bay, which) = self.any_disk();
        let options = VerifyOptions {
            part: distbackup_engine::ops::Part::default(),
            restart: self.random.percent(20),
            check_only: self.random.percent(20),
            quarantine: self.random.percent(20),
            streams: 1,
        };
        let trouble = match self.random.below(5) {
            0 => Some(Trouble::Stop { after: self.of_any_size(9) }),
            1 => Some(Trouble::Fail { after: self.of_any_size(7), how: Failure::Eio, reading: true }),
            _ => None,
        };
        self.say(format!("verify {}, clone {which}, {options:?}, {trouble:?}", self.bays[bay].name));
        self.verify(bay, which, &options, trouble);
    }

    /// Objects rot, are cut off, or are deleted by somebody.
    fn step_harm_objects(&mut self) {
        let (bay, which) = self.any_disk();
        let how = self.random.pick(["rot", "rot", "delete", "delete", "cut off"]).unwrap();
        let ids: Vec<ObjectId> = self.bays[bay].physical[which].whole.iter().copied().collect();
        let count = self.random.within(1, 6);
        for _ in 0..count {
            let Some(id) = self.random.pick(ids.iter().copied()) else { return };
            let bay = &mut self.bays[bay];
            let physical = &mut bay.physical[which];
            match how {
                "rot" => {
                    // Twice would be as good as never.
                    if physical.rotten.insert(id) {
                        physical.disk.rot(id);
                    }
                }
                "delete" => physical.disk.delete_by_hand(id),
                _ => {
                    physical.disk.cut_off(id, Bytes(0));
                    physical.rotten.remove(&id);
                }
            }
            physical.look();
            if bay.current == which && self.outside.claims(bay.row, &id) {
                self.known.disk(bay.row).excused.insert(id);
            }
            let what = format!("{how} {id} on {}, clone {which}", bay.name);
            self.say(what);
        }
    }

    fn step_clone(&mut self) {
        let (bay, which) = self.any_disk();
        let bay = &mut self.bays[bay];
        if bay.physical.len() < 3 {
            let clone = bay.physical[which].cloned();
            bay.physical.push(clone);
            let what = format!("clone {} number {which}", bay.name);
            self.say(what);
        }
    }

    fn step_save(&mut self) {
        self.say("keep a copy of the catalog".into());
        self.save();
    }

    fn step_roll_back(&mut self) {
        self.say("put back an older catalog".into());
        self.roll_back();
    }

    fn step_recover(&mut self) {
        let (bay, _) = self.any_disk();
        self.say(format!("lose the catalog, recover from {}", self.bays[bay].name));
        if !self.recover(bay) {
            self.tell("it has none: the catalog was not lost after all");
        }
    }

    fn step_lose_disk(&mut self) {
        if self.alive().len() <= DISKS_MIN {
            return;
        }
        let (bay, _) = self.any_disk();
        let (name, row) = (self.bays[bay].name.clone(), self.bays[bay].row);
        self.bays[bay].lost = true;
        self.say(format!("lose {name}"));
        if self.random.percent(70) {
            self.say(format!("disk drop {name}"));
            let mut catalog = self.open();
            disks::drop_copies(&mut catalog, &name).unwrap();
            catalog.close().unwrap();
            self.known.note_claims(row, &Default::default(), false);
        }
        self.check();
    }

    /// Somebody puts something else on a disk; the room that the next catalog copy needs is left.
    fn step_fill(&mut self) {
        let (bay, which) = self.any_disk();
        let catalog = std::fs::metadata(crate::outside::catalog_path(&self.home)).unwrap().len();
        let physical = &mut self.bays[bay].physical[which];
        let free = physical.disk.space().unwrap().free.0;
        let Some(most) = free.checked_sub(catalog * 2 + 500_000) else { return };
        let size = self.random.below(most as usize + 1);
        let content = self.random.bytes(size);
        physical.disk.plant(&format!("video {}", self.figures.steps), Planted::File, &content);
        physical.look();
        self.say(format!("fill {} with {size} bytes", self.bays[bay].name));
    }

    fn step_rot_source(&mut self) {
        let known = |(path, leaf): (&String, &crate::known::Leaf)| {
            let same = self.source.files.get(path).is_some_and(|held| held.id == leaf.id);
            (same && leaf.captured).then(|| path.clone())
        };
        let paths: Vec<String> = self.known.tree.iter().filter_map(known).collect();
        if let Some(path) = self.random.pick(paths)
            && self.source.rot(&path)
        {
            self.say(format!("rot the source file {path}"));
        }
    }

    fn step_configure(&mut self) {
        let mut catalog = self.open();
        let folder = self.random.pick(["/", "/files", "/files/folder 1", "/files/folder 2"]).unwrap();
        let path = VirtualPath::parse(folder.as_bytes()).unwrap();
        let maxcopies = self.random.pick([None, Some(1), Some(2), Some(3)]).unwrap();
        let priority = self.random.pick([None, Some(1), Some(5)]).unwrap();
        sources::configure(&mut catalog, &path, |config| {
            (config.maxcopies, config.priority) = (maxcopies, priority);
        })
        .unwrap();
        catalog.close().unwrap();
        self.say(format!("configure {folder}: maxcopies {maxcopies:?}, priority {priority:?}"));
        if self.random.percent(30) {
            let days = self.random.pick([None, Some(0), Some(5), Some(30), Some(90)]).unwrap();
            self.keep(days);
            self.say(format!("keep history for {days:?} days"));
        }
    }

    fn step_leap(&mut self) {
        let days = self.random.pick([-20, 10, 25, 40, 100, 400]).unwrap();
        self.pass(days * DAY_NS);
        self.say(format!("{days} days pass"));
    }

    /// The end of a history: everything is put in order, and what has a good copy comes back.
    pub fn fire_drill(&mut self) {
        self.source.rewrite_rotten(&mut self.random);
        self.say("fire drill: update --accept".into());
        self.update_plainly(true);
        let alive = self.alive();
        let options = BackupOptions { streams: 1, accept: true, ..BackupOptions::default() };
        for bay in alive.iter().copied() {
            let mut again = 0;
            while self.bays[bay].now().counter() > self.known.disk(self.bays[bay].row).counter
                && !self.known.disk(self.bays[bay].row).unproven
                && again < 10
            {
                self.say(format!("fire drill: recover {}", self.bays[bay].name));
                self.recover(bay);
                self.update_plainly(true);
                again += 1;
            }
        }
        for bay in alive.iter().copied() {
            self.say(format!("fire drill: backup {}", self.bays[bay].name));
            let which = self.bays[bay].current;
            self.visit(bay, which, &options, None);
            self.say(format!("fire drill: verify {}", self.bays[bay].name));
            self.verify(bay, which, &VerifyOptions { restart: true, streams: 1, ..Default::default() }, None);
        }
        self.say("fire drill: restore".into());
        self.restore();
        let last = self.random.pick(alive).unwrap();
        self.say(format!("fire drill: recover {} and restore", self.bays[last].name));
        if self.recover(last) {
            self.restore();
        }
    }
}
