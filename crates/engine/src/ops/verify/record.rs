//! Verdicts become findings, and findings are recorded: claims renewed, or struck out and left to `heal`.

use std::time::Duration;

use distbackup_core::model::{Bytes, ObjectId};

use super::Pass;
use super::read::Verdict;
use crate::catalog::{CatalogError, HeldObject, Orphan, ProofKind};
use crate::ops::OpError;
use crate::ops::backup::name_of;
use crate::progress::Event;

/// Findings are recorded when there are so many, or after so long: that much is read again after a crash.
const RECORD_OBJECTS: usize = 10_000;
const RECORD_AFTER: Duration = Duration::from_secs(10);

/// What is to be recorded of one object.
pub(super) enum Finding {
    /// A claim is true.
    Good(HeldObject),
    /// A claim is not, because of this; what is there all the same has this size.
    Lost(HeldObject, &'static str, Option<Bytes>),
    /// Nothing claims it, and its content does not match its name.
    UnknownBad(ObjectId, Bytes),
}

const DIFFERS: &str = "its content differs (bit rot or a failing disk)";

impl Pass<'_> {
    /// Judges one object that was read. `claimed` if the catalog says that it is here, `size` as it was listed.
    ///
    /// Returns `false` if the reading was stopped.
    pub(super) fn judge(
        &mut self,
        id: ObjectId,
        claimed: Option<HeldObject>,
        size: Bytes,
        verdict: Verdict,
        findings: &mut Vec<Finding>,
    ) -> Result<bool, OpError> {
        match (verdict, claimed) {
            (Verdict::Stopped, _) => return Ok(false),
            (Verdict::Good, Some(held)) => findings.push(Finding::Good(held)),
            (Verdict::Good, None) => self.outcome.unknown.add(size),
            (Verdict::Gone, None) => {}
            (Verdict::Gone, Some(held)) => findings.push(self.missing(held)?),
            (Verdict::Bad(found, length), claimed) => {
                let name = self.name(id, claimed)?;
                let what = match claimed {
                    Some(held) if held.size != length => format!("size={}", length.0),
                    _ => format!("hash={}", found.hex()),
                };
                self.tell_damaged(id, claimed.map_or(size, |held| held.size), &name, &what);
                self.outcome.bad.add(&name, format!("object {id}: {DIFFERS}"));
                findings.push(match claimed {
                    Some(held) => self.lost(held, DIFFERS, Some(length))?,
                    None => Finding::UnknownBad(id, length),
                });
                if self.options.quarantine && !self.options.check_only {
                    self.disk.quarantine(id).map_err(OpError::disk(&self.row.name))?;
                    self.outcome.quarantined += 1;
                }
            }
            (Verdict::Unreadable(why), claimed) => {
                let name = self.name(id, claimed)?;
                let size = claimed.map_or(size, |held| held.size);
                self.tell_damaged(id, size, &name, &format!("error={why}"));
                self.outcome.unreadable.add(&name, format!("object {id}: {why}"));
                if let Some(held) = claimed {
                    findings.push(self.lost(held, "it cannot be read", Some(size))?);
                }
            }
        }
        Ok(true)
    }

    /// A claimed object that is not there.
    pub(super) fn missing(&mut self, held: HeldObject) -> Result<Finding, OpError> {
        let name = self.name(held.id, Some(held))?;
        self.tell_damaged(held.id, held.size, &name, "missing");
        self.outcome.missing.add(&name, "it is not on the disk");
        self.lost(held, "it is not on the disk", None)
    }

    fn name(&self, id: ObjectId, claimed: Option<HeldObject>) -> Result<Vec<u8>, CatalogError> {
        let name = |held: HeldObject| name_of(&self.catalog.read(), held.object);
        claimed.map_or_else(|| Ok(id.hex().into_bytes()), name)
    }

    fn tell_damaged(&self, id: ObjectId, size: Bytes, path: &[u8], what: &str) {
        self.observer.event(Event::Damaged { id, size, path, what });
    }

    /// Looks who else has an object whose claim is lost.
    fn lost(
        &mut self,
        held: HeldObject,
        why: &'static str,
        there: Option<Bytes>,
    ) -> Result<Finding, OpError> {
        let reader = self.catalog.read();
        let good = &mut self.outcome.good_copies;
        let mut others = 0;
        for disk in reader.holders(held.object)?.into_iter().filter(|disk| *disk != self.row.disk) {
            *good.disks.entry(disk).or_default() += 1;
            others += 1;
        }
        if reader.references(held.object, 1)?.first().is_some_and(|name| name.live) {
            good.at_source += 1;
        } else if others == 0 {
            good.nowhere.try_add(|| name_of(&reader, held.object), why)?;
        }
        self.outcome.lost += 1;
        Ok(Finding::Lost(held, why, there))
    }

    /// Takes findings over into the sums, to be recorded with the next batch.
    pub(super) fn take(&mut self, findings: Vec<Finding>) {
        for finding in &findings {
            match finding {
                Finding::Good(held) => {
                    self.progress.good += 1;
                    self.progress.bytes += held.size.0;
                    self.outcome.good.add(held.size);
                }
                Finding::Lost(..) | Finding::UnknownBad(..) => self.progress.bad += 1,
            }
        }
        self.waiting.extend(findings);
    }

    /// Whether enough is waiting to be recorded.
    pub(super) fn is_time_to_record(&self) -> bool {
        self.waiting.len() >= RECORD_OBJECTS || self.recorded_at.elapsed() >= RECORD_AFTER
    }

    /// Records what is waiting, and with `keep_progress` how far it has come.
    pub(super) fn record(&mut self, keep_progress: bool) -> Result<(), OpError> {
        self.recorded_at = std::time::Instant::now();
        let findings = std::mem::take(&mut self.waiting);
        if self.options.check_only || (findings.is_empty() && !keep_progress) {
            return Ok(());
        }
        let (disk, run, now_ns) = (self.row.disk, self.run, self.time.now_ns);
        let (quarantine, progress) = (self.options.quarantine, self.progress);
        self.catalog.write("record what was verified", |writer| -> Result<(), CatalogError> {
            let proof = writer.record_proof(run, now_ns, ProofKind::Read)?;
            let snapshot = writer.newest_snapshot()?.map_or(0, |row| row.snapshot.0);
            let orphan = |id, size| Orphan { id, size, first_ns: now_ns, snapshot, damaged: true };
            let mut good = Vec::new();
            for finding in findings {
                match finding {
                    Finding::Good(held) => good.push((held.object, proof)),
                    Finding::Lost(held, why, there) => {
                        writer.lose_copy(held.object, disk, now_ns, why)?;
                        if let Some(size) = there.filter(|_| !quarantine) {
                            writer.record_orphan(disk, &orphan(held.id, size))?;
                        }
                    }
                    Finding::UnknownBad(id, size) if !quarantine => {
                        writer.record_orphan(disk, &orphan(id, size))?;
                    }
                    Finding::UnknownBad(id, _) => writer.forget_orphan(disk, &id)?,
                }
            }
            writer.claim_copies(disk, good)?;
            if keep_progress {
                writer.record_verify_progress(disk, &progress)?;
            }
            writer.advance_generation()
        })?;
        Ok(())
    }
}
