//! Advice: which disk to connect next, worked out once and kept until something changes.
//!
//! To plan every disk takes seconds for each million of files, so the answer is kept (`catalog::kept`). Besides the
//! tables it depends on how the disks stand today: on their room and their doubts, on which of them have been away for too
//! long, and on which evidence is too old. All that is part of the question, so another day may be another question.

use std::fmt::Write as _;

use distbackup_core::model::{Bytes, DiskNo};
use distbackup_core::plan::Tally;
use distbackup_core::planner::{AWAY_DAYS, Outlook};
use serde::{Deserialize, Serialize};

use super::Prospect;
use crate::catalog::{Answer, CatalogError, CatalogTime, Reader, Scope};

/// What a visit of one disk would bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Index of the disk among all of the catalog.
    pub disk: usize,
    /// Copies to make, by the number before.
    pub copies: Vec<Tally>,
    /// Live objects by number of copies afterwards.
    pub after: Vec<Tally>,
    /// Claims on other disks, by their index, that are too old to be relied on and keep files from room here (N3).
    pub stale: Vec<(usize, Tally)>,
}

/// All disks, compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advice {
    /// What helps most comes first (PLACEMENT 5.7).
    pub visits: Vec<Suggestion>,
    /// What the disks hold and can hold.
    pub outlook: Outlook,
    /// Some files are not hashed yet.
    pub pending: bool,
    /// Everything has as many copies as it should.
    pub reached: bool,
}

/// A [`Tally`] as it is kept: objects and bytes.
type KeptTally = (u64, u64);

/// [`Suggestion`] as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptSuggestion {
    disk: usize,
    copies: Vec<KeptTally>,
    after: Vec<KeptTally>,
    stale: Vec<(usize, KeptTally)>,
}

/// [`Advice`] as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    visits: Vec<KeptSuggestion>,
    live: u64,
    levels: Vec<u64>,
    bound: Vec<u64>,
    pending: bool,
    reached: bool,
}

/// Which disk to connect next, as of `now_ns`: as it was worked out last if nothing has changed since.
pub fn advice(reader: &Reader<'_>, now_ns: i64) -> Result<Advice, CatalogError> {
    let scope = scope(reader, now_ns)?;
    let question = question(reader, &scope)?;
    let kept = reader.kept_answer(&question)?;
    if let Some(kept) = kept.and_then(|answer| serde_json::from_str::<Kept>(&answer).ok()) {
        let advice = Advice::from(kept);
        debug_assert_eq!(advice, Advice::of(reader, &scope)?, "something changed that says it does not");
        return Ok(advice);
    }
    let (advice, answer) = work_out(reader, &scope, question)?;
    // A catalog that cannot be written just now is asked again next time.
    let _kept = answer.is_some_and(|answer| reader.keep(&answer));
    Ok(advice)
}

/// Whether [`advice`] has nothing to work out, because nothing has changed since it was asked.
pub fn advice_is_ready(reader: &Reader<'_>, now_ns: i64) -> Result<bool, CatalogError> {
    Ok(reader.kept_answer(&question(reader, &scope(reader, now_ns)?)?)?.is_some())
}

/// The same ahead, for when the visit of `visited` that is under way has ended.
pub fn advice_after_visit(
    reader: &Reader<'_>,
    now_ns: i64,
    visited: DiskNo,
) -> Result<Option<Answer>, CatalogError> {
    let mut scope = scope(reader, now_ns)?;
    let row = reader.disks()?.into_iter().find(|row| row.disk == visited);
    if let Some(disk) = scope.disks.iter_mut().find(|disk| disk.number == Some(visited)) {
        disk.doubtful = row.is_some_and(|row| row.doubt.is_some());
    }
    let question = question(reader, &scope)?;
    Ok(work_out(reader, &scope, question)?.1)
}

fn scope(reader: &Reader<'_>, now_ns: i64) -> Result<Scope, CatalogError> {
    reader.scope(CatalogTime { now_ns, confirmed_ns: now_ns, leap: false }, None, true)
}

fn work_out(
    reader: &Reader<'_>,
    scope: &Scope,
    question: String,
) -> Result<(Advice, Option<Answer>), CatalogError> {
    let changes = reader.changes()?;
    let advice = Advice::of(reader, scope)?;
    let answer = serde_json::to_string(&Kept::from(&advice)).ok();
    let answer = answer.map(|answer| Answer { question, changes, answer });
    Ok((advice, answer))
}

/// What the answer depends on besides the tables.
fn question(reader: &Reader<'_>, scope: &Scope) -> Result<String, CatalogError> {
    let mut question = format!("next, {} proofs stand", reader.standing_proofs(scope)?);
    for known in &scope.disks {
        let disk = &known.disk;
        let _writing_to_memory = write!(
            question,
            "; {:?} {:?} {} {} {} {} {} {} {}",
            known.number.map(|number| number.0),
            disk.location,
            disk.capacity.0,
            disk.occupied_otherwise.0,
            disk.unit,
            disk.file_max.0,
            known.doubtful,
            known.retiring,
            disk.days_away > AWAY_DAYS,
        );
    }
    Ok(question)
}

impl Advice {
    /// Loads the whole set and plans every disk.
    fn of(reader: &Reader<'_>, scope: &Scope) -> Result<Self, CatalogError> {
        let prospect = Prospect::load_scope(reader, scope)?;
        let state = prospect.by_state();
        let suggestion = |visit: super::Visitable| {
            let planned = visit.planned;
            let stale = planned.stale.into_iter().map(|(disk, tally)| (usize::from(disk), tally)).collect();
            Suggestion { disk: visit.disk, copies: planned.copies.0, after: planned.after, stale }
        };
        Ok(Advice {
            visits: prospect.next().into_iter().map(suggestion).collect(),
            outlook: prospect.outlook(),
            pending: state.pending.objects > 0,
            reached: state.below_target.objects == 0,
        })
    }
}

fn kept(tally: &Tally) -> KeptTally {
    (tally.objects, tally.bytes.0)
}

fn tally(&(objects, bytes): &KeptTally) -> Tally {
    Tally { objects, bytes: Bytes(bytes) }
}

impl From<&Advice> for Kept {
    fn from(advice: &Advice) -> Self {
        let suggestion = |visit: &Suggestion| KeptSuggestion {
            disk: visit.disk,
            copies: visit.copies.iter().map(kept).collect(),
            after: visit.after.iter().map(kept).collect(),
            stale: visit.stale.iter().map(|(disk, tally)| (*disk, kept(tally))).collect(),
        };
        let bytes = |levels: &[Bytes]| levels.iter().map(|level| level.0).collect();
        Kept {
            visits: advice.visits.iter().map(suggestion).collect(),
            live: advice.outlook.live.0,
            levels: bytes(&advice.outlook.levels),
            bound: bytes(&advice.outlook.bound),
            pending: advice.pending,
            reached: advice.reached,
        }
    }
}

impl From<Kept> for Advice {
    fn from(kept: Kept) -> Self {
        let suggestion = |visit: KeptSuggestion| Suggestion {
            disk: visit.disk,
            copies: visit.copies.iter().map(tally).collect(),
            after: visit.after.iter().map(tally).collect(),
            stale: visit.stale.iter().map(|(disk, kept)| (*disk, tally(kept))).collect(),
        };
        let bytes = |levels: Vec<u64>| levels.into_iter().map(Bytes).collect();
        Advice {
            visits: kept.visits.into_iter().map(suggestion).collect(),
            outlook: Outlook { live: Bytes(kept.live), levels: bytes(kept.levels), bound: bytes(kept.bound) },
            pending: kept.pending,
            reached: kept.reached,
        }
    }
}
