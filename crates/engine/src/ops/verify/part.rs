//! A verify of a part: claimed objects only, those with the oldest evidence first.

use std::ops::RangeInclusive;
use std::time::Instant;

use distbackup_core::model::{Bytes, ProofNo};
use distbackup_core::plan::Tally;

use super::{FOLDERS, PartOutcome, Pass};
use crate::catalog::{Age, AgedCopy, CatalogError};
use crate::ops::OpError;
use crate::ops::part::Draw;
use crate::progress::{Event, Phase};

/// Objects are handed to the readers so many at a time, or as many as a folder adds.
const OBJECTS_AT_ONCE: usize = 256;

/// What is being read, and what became of it.
struct Round {
    /// What was proven before this run, and only that.
    newest: ProofNo,
    draw: Draw,
    deadline: Option<Instant>,
    ages: Vec<Age>,
    /// Evidence from before this time is due in this round of parts.
    since_ns: i64,
    due: Tally,
}

impl Pass<'_> {
    /// Reads the part that the options say.
    pub(super) fn part(&mut self) -> Result<(), OpError> {
        let part = self.options.part;
        let deadline = part.deadline();
        let reader = self.catalog.read();
        let saved = reader.verify_progress(self.row.disk)?;
        let (newest, ages) = (reader.newest_proof()?, reader.copy_ages(self.row.disk)?);
        let since_ns = saved.map_or(self.time.now_ns, |saved| saved.started_ns);
        let mut round =
            Round { newest, draw: Draw::new(&part), deadline, since_ns, due: Tally::default(), ages };
        let before = |age: &&Age| age.at_ns < since_ns;
        round.ages.iter().filter(before).for_each(|age| round.due.merge(age.tally));
        if let Some(saved) = saved {
            self.progress = saved;
        }
        let limit_ns = part.newest_ns(self.time.now_ns);
        let chosen = part.chosen(&round.ages, limit_ns);
        self.observer.event(Event::Begin {
            phase: Phase::Verify,
            files: chosen.objects,
            bytes: chosen.bytes,
        });
        let finished = self.look_beside().and_then(|()| self.slices(&mut round, limit_ns));
        self.observer.event(Event::End);
        let out_of_time = !finished? && !self.observer.stop_requested();
        self.outcome.complete = !out_of_time && !self.observer.stop_requested();
        self.close(round, chosen, out_of_time)
    }

    /// Tells whether everything chosen was read.
    fn slices(&mut self, round: &mut Round, limit_ns: i64) -> Result<bool, OpError> {
        let first = round.draw.first(FOLDERS);
        for times in self.options.part.slices(&round.ages, limit_ns, round.since_ns) {
            let mut queue: Vec<AgedCopy> = Vec::new();
            for prefix in (first..FOLDERS).chain(0..first) {
                queue.extend(self.chosen_in(round, prefix, &times)?);
                if queue.len() >= OBJECTS_AT_ONCE && !self.read_queue(round, &mut queue)? {
                    return Ok(false);
                }
            }
            if !self.read_queue(round, &mut queue)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn chosen_in(
        &self,
        round: &Round,
        prefix: u16,
        times: &RangeInclusive<i64>,
    ) -> Result<Vec<AgedCopy>, CatalogError> {
        let mut copies = self.catalog.read().held_of_age(self.row.disk, prefix, times, round.newest)?;
        copies.retain(|copy| round.draw.takes(&copy.held.id.0));
        Ok(copies)
    }

    /// Reads what is queued; `false` if it is time to end.
    fn read_queue(&mut self, round: &mut Round, queue: &mut Vec<AgedCopy>) -> Result<bool, OpError> {
        let copies = std::mem::take(queue);
        let ids: Vec<_> = copies.iter().map(|copy| copy.held.id).collect();
        let mut findings = Vec::with_capacity(copies.len());
        let mut going_on = true;
        for (AgedCopy { held, at_ns }, verdict) in
            copies.into_iter().zip(self.read_all(&ids, round.deadline)?)
        {
            if !self.judge(held.id, Some(held), held.size, verdict, &mut findings)? {
                going_on = false;
                continue;
            }
            round.read(at_ns, held.size);
        }
        self.take(findings);
        if self.is_time_to_record() {
            self.record(false)?;
        }
        // Between two batches as within one: nothing begins when time is up.
        Ok(going_on
            && !self.observer.stop_requested()
            && round.deadline.is_none_or(|deadline| Instant::now() < deadline))
    }

    /// Records the rest, and what is left of the disk.
    fn close(&mut self, round: Round, chosen: Tally, out_of_time: bool) -> Result<(), OpError> {
        let part = self.options.part;
        // Only who goes through the disk a piece at a time gets through it.
        let in_rounds = part.time.is_some() && part.older_than_ns.is_none() && part.sample_ppm.is_none();
        let over = in_rounds && round.due.objects == 0;
        self.record(in_rounds && !over)?;
        if over && !self.options.check_only {
            let (disk, now_ns) = (self.row.disk, self.time.now_ns);
            let (good, whole) = (self.progress.bad == 0, self.progress.next > 0);
            self.catalog.write("record a verify", |writer| -> Result<(), CatalogError> {
                // A whole verify that was interrupted has still to look for what the catalog does not know.
                if !whole {
                    writer.forget_verify_progress(disk)?;
                }
                writer.record_disk_verified(disk, now_ns, good)?;
                writer.advance_generation()
            })?;
        }
        let mut left = Tally::default();
        round.ages.iter().for_each(|age| left.merge(age.tally));
        let oldest = round.ages.iter().find(|age| age.tally.objects > 0);
        self.outcome.part = Some(PartOutcome {
            chosen,
            left,
            due: in_rounds.then_some(round.due),
            oldest_ns: oldest.map(|age| age.at_ns),
            out_of_time,
        });
        Ok(())
    }
}

impl Round {
    /// One copy with evidence of this time was read: it is not left, nor due.
    fn read(&mut self, at_ns: i64, size: Bytes) {
        let take = |tally: &mut Tally| {
            tally.objects = tally.objects.saturating_sub(1);
            tally.bytes = tally.bytes - size;
        };
        if let Ok(at) = self.ages.binary_search_by_key(&at_ns, |age| age.at_ns) {
            take(&mut self.ages[at].tally);
        }
        if at_ns < self.since_ns {
            take(&mut self.due);
        }
    }
}
