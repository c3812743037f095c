//! What is left of an errand, and which disk to connect for it.

use distbackup_core::model::DiskNo;
use distbackup_core::plan::Tally;
use distbackup_engine::catalog::DiskRow;
use distbackup_engine::ops::carry::{Carried, Errand, Remaining};
use distbackup_engine::ops::shelf::Connected;

use super::{Task, objects};
use crate::args::StagingArgs;
use crate::context::Context;
use crate::render::words::shell_word;

/// Everything that the next step follows from.
pub struct Steps<'s> {
    pub task: &'s Task,
    pub rows: &'s [DiskRow],
    pub connected: &'s [Connected],
    pub staging: &'s StagingArgs,
    pub carried: &'s Carried,
}

impl Steps<'_> {
    /// Says what is left and what to do next; at most one line for each disk, and one step.
    pub fn say(&self, context: &Context<'_>) {
        let render = context.render;
        if self.carried.interrupted {
            render.note("Stopped as asked; what was carried is recorded. The same command goes on.");
            return;
        }
        for one in &self.carried.remaining {
            render.say(&self.left(context, one));
        }
        if context.global.dry_run {
            render.say("Nothing was changed.");
            return;
        }
        match self.best() {
            Some(step) => render.say(&format!("Next: {step}")),
            None => self.say_done(context),
        }
    }

    fn left(&self, context: &Context<'_>, one: &Remaining) -> String {
        let to = match one.disk {
            Some(disk) => format!("Still to be brought to {}", self.name(disk)),
            None => "Still to be brought to another disk".to_owned(),
        };
        let mut parts = Vec::new();
        let mut part = |size: Tally, what: &str| {
            if size.objects > 0 {
                parts.push(format!("{} {what}", objects(context, size)));
            }
        };
        part(one.at_hand, "from the sources or the staging folder");
        part(one.here, "from a connected disk");
        part(one.away, "from disks that are not connected");
        if !one.lost.is_empty() {
            parts.push(format!("{} that nothing has any more", one.lost.count));
        }
        format!("{to}: {}.", parts.join(", "))
    }

    fn say_done(&self, context: &Context<'_>) {
        let render = context.render;
        let (arrived, left) = (self.carried.arrived(), self.carried.left());
        if left.objects > 0 || !self.carried.failed.is_empty() {
            return;
        }
        match (&self.task.errand, &self.task.goes) {
            (Errand::Retire(_), Some(name)) => render.say(&format!(
                "Everything on {name} is on other disks as well. To take it out of the set: dsb disk del {name}"
            )),
            (Errand::Replace { to, .. }, Some(name)) => render.say(&format!(
                "{} holds everything that {name} held. To take {name} out of the set: dsb disk del {name}",
                self.name(*to)
            )),
            _ if arrived.objects > 0 => render.say("Everything that was lost on the disks is back."),
            _ => render.say("Nothing to heal: no disk has lost anything that is known of."),
        }
    }

    /// The most useful step: what is ready goes first, it makes room in the staging folder.
    fn best(&self) -> Option<String> {
        let ready = |one: &&Remaining| one.at_hand.objects > 0 && !self.is_here(one.disk);
        let command = self.command(self.staging.staging.is_some());
        if let Some(one) = self.carried.remaining.iter().filter(ready).max_by_key(|one| one.at_hand.bytes) {
            return Some(match self.receiver(one.disk) {
                Some(name) => format!("connect {name}, then: {command}"),
                None => self.no_receiver(),
            });
        }
        if let Some(one) =
            self.carried.remaining.iter().find(|one| one.here.objects > 0 && !self.is_here(one.disk))
        {
            return Some(match self.receiver(one.disk) {
                None => self.no_receiver(),
                Some(name) if self.staging.staging.is_some() => format!(
                    "the staging folder is too small for any of it; name a larger one, or connect {name} beside: {command}"
                ),
                Some(name) => format!(
                    "connect {name} as well, then: {command}; with a single bay: {}",
                    self.command(true)
                ),
            });
        }
        let most =
            |one: &Remaining| one.from.iter().max_by_key(|(_, size)| size.bytes).map(|(disk, _)| *disk);
        if let Some(holder) = self.carried.remaining.iter().find_map(most) {
            let holder = self.name(holder);
            return Some(match self.staging.staging.is_some() || self.connected.is_empty() {
                true => format!("connect {holder}, then: {command}"),
                false => format!(
                    "connect {holder} as well, then: {command}; with a single bay: {}",
                    self.command(true)
                ),
            });
        }
        let stuck = |one: &&Remaining| one.at_hand.objects + one.here.objects > 0;
        let one = self.carried.remaining.iter().find(stuck)?;
        Some(match one.disk {
            Some(disk) if self.carried.deliveries.iter().any(|one| one.no_room.objects > 0) => format!(
                "make room on {}, or leave it to dsb backup to spread what there is over all disks",
                self.name(disk)
            ),
            _ if self.carried.deliveries.iter().any(|one| one.no_room.objects > 0) => self.no_receiver(),
            _ => format!("see what could not be read, then: {command}"),
        })
    }

    /// The disk to connect so that it receives: this one, or of all that stay and are absent the one with the most room.
    fn receiver(&self, disk: Option<DiskNo>) -> Option<String> {
        if let Some(disk) = disk {
            return Some(self.name(disk));
        }
        let absent = |row: &&DiskRow| !row.retiring && !self.is_here(Some(row.disk));
        self.rows.iter().filter(absent).max_by_key(|row| row.free).map(|row| row.name.clone())
    }

    fn no_receiver(&self) -> String {
        let goes = self.task.goes.as_deref().unwrap_or("it");
        format!("the other disks have no room for what only {goes} holds; add one: dsb disk add NAME PATH")
    }

    fn is_here(&self, disk: Option<DiskNo>) -> bool {
        match disk {
            Some(disk) => self.connected.iter().any(|one| one.row.disk == disk),
            None => self.rows.iter().all(|row| row.retiring || self.is_here(Some(row.disk))),
        }
    }

    fn name(&self, disk: DiskNo) -> String {
        self.rows
            .iter()
            .find(|row| row.disk == disk)
            .map_or_else(|| disk.0.to_string(), |row| row.name.clone())
    }

    /// The command that goes on, with the staging folder that was given, or a word for one.
    fn command(&self, with_staging: bool) -> String {
        let mut command = self.task.command.clone();
        if with_staging {
            let folder = self.staging.staging.as_ref();
            let folder = folder
                .map_or_else(|| "FOLDER".to_owned(), |folder| shell_word(&folder.display().to_string()));
            command += &format!(" --staging {folder}");
            if let Some(size) = &self.staging.staging_size {
                command += &format!(" --staging-size {}", shell_word(size));
            }
        }
        command
    }
}
