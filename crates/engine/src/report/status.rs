//! Status: how safe the set is, by number of copies and by disk.

use distbackup_core::model::{Bytes, COPIES_WANTED, DiskNo};
use distbackup_core::plan::Tally;

use super::Prospect;
use crate::catalog::{Answer, CatalogError, Counted, DiskRow, Pending, Reader, SnapshotRow};

/// Live data with one number of copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Files (names) of the current tree.
    pub files: u64,
    /// Their distinct contents.
    pub objects: u64,
    /// Their distinct contents, in bytes.
    pub bytes: Bytes,
}

/// One disk.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskStatus {
    /// What is known of it.
    pub row: DiskRow,
    /// Objects on it.
    pub objects: u64,
    /// Their bytes.
    pub bytes: Bytes,
    /// Bytes of live objects that only this disk holds.
    pub alone: Bytes,
    /// What it should hold and has lost: `heal` brings it back.
    pub lost: Tally,
}

/// How safe the set is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// `levels[n]`: live data with exactly `n` copies.
    pub levels: Vec<Level>,
    /// Files whose content is in no object yet: unprotected.
    pub pending: Level,
    /// Empty files, which need no copy.
    pub empty_files: u64,
    /// All disks.
    pub disks: Vec<DiskStatus>,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotRow>,
    /// Live objects that are larger than every disk (D18).
    pub too_large: Level,
    /// Live objects and pending files with fewer copies than `mincopies` asks for, 2 unless set.
    pub below_target: Tally,
}

impl Status {
    /// All live data.
    pub fn total(&self) -> Level {
        self.levels.iter().chain([&self.pending]).fold(Level::default(), |sum, level| Level {
            files: sum.files + level.files,
            objects: sum.objects + level.objects,
            bytes: sum.bytes + level.bytes,
        })
    }
}

fn level(counted: &Counted) -> Level {
    Level { files: counted.files, objects: counted.objects, bytes: Bytes(counted.bytes) }
}

/// The largest object that some disk has a place for.
fn largest_place(disks: &[DiskRow]) -> Bytes {
    let staying = disks.iter().filter(|row| !row.retiring);
    staying.map(|row| row.capacity.min(row.file_max)).max().unwrap_or_default()
}

/// What takes long in [`status`], worked out ahead by who may not write; to be kept by who may.
pub fn status_ahead(reader: &Reader<'_>) -> Result<Vec<Answer>, CatalogError> {
    let levels = reader.work_out_levels(largest_place(&reader.disks()?))?.1;
    let below = if has_own_targets(reader)? { work_out_below(reader)?.1 } else { None };
    Ok(levels.into_iter().chain(below).collect())
}

/// Whether [`status`] has nothing to count, because nothing has changed since it was asked.
pub fn status_is_ready(reader: &Reader<'_>) -> Result<bool, CatalogError> {
    Ok(reader.levels_are_kept(largest_place(&reader.disks()?))?
        && (!has_own_targets(reader)? || reader.kept_answer(BELOW_TARGET)?.is_some()))
}

/// Answers how safe the set is. Reads the tables once each, in their order.
pub fn status(reader: &Reader<'_>) -> Result<Status, CatalogError> {
    let rows = reader.disks()?;
    let counted = reader.levels(largest_place(&rows))?;
    let mut status = Status {
        levels: counted.levels.iter().map(level).collect(),
        empty_files: counted.empty_files,
        snapshot: reader.newest_snapshot()?,
        ..Status::default()
    };
    if !rows.is_empty() {
        status.too_large = level(&counted.too_large);
    }
    let (files, bytes) = reader.pending_total(Pending::Unknown)?;
    status.pending = Level { files, objects: files, bytes: Bytes(bytes) };
    status.below_target = below_target(reader, &status)?;
    for row in rows {
        let held = |disk: DiskNo| counted.held.get(&disk).copied().unwrap_or_default();
        let (objects, bytes, alone) = held(row.disk);
        let (lost, lost_bytes) = reader.lost_total(row.disk)?;
        let lost = Tally { objects: lost, bytes: lost_bytes };
        status.disks.push(DiskStatus { row, objects, bytes: Bytes(bytes), alone: Bytes(alone), lost });
    }
    Ok(status)
}

/// What [`below_own_targets`] asks.
const BELOW_TARGET: &str = "below target";

/// Whether some path has a target of its own.
fn has_own_targets(reader: &Reader<'_>) -> Result<bool, CatalogError> {
    Ok(reader.path_configs()?.iter().any(|(_, config)| config.mincopies.is_some()))
}

/// Where no path has a target of its own the levels tell; otherwise every object has to be looked at.
fn below_target(reader: &Reader<'_>, status: &Status) -> Result<Tally, CatalogError> {
    let mut below = Tally { objects: status.pending.files, bytes: status.pending.bytes };
    if has_own_targets(reader)? {
        below.merge(below_own_targets(reader)?);
        return Ok(below);
    }
    for level in status.levels.iter().take(usize::from(COPIES_WANTED)) {
        below.merge(Tally { objects: level.objects, bytes: level.bytes });
    }
    Ok(below)
}

/// Live objects below the targets of their paths: as they were counted last if nothing has changed since.
fn below_own_targets(reader: &Reader<'_>) -> Result<Tally, CatalogError> {
    let kept = reader.kept_answer(BELOW_TARGET)?;
    if let Some((objects, bytes)) = kept.and_then(|answer| serde_json::from_str(&answer).ok()) {
        return Ok(Tally { objects, bytes: Bytes(bytes) });
    }
    let (below, answer) = work_out_below(reader)?;
    // A catalog that cannot be written just now is asked again next time.
    let _kept = answer.is_some_and(|answer| reader.keep(&answer));
    Ok(below)
}

fn work_out_below(reader: &Reader<'_>) -> Result<(Tally, Option<Answer>), CatalogError> {
    let changes = reader.changes()?;
    let below = Prospect::load(reader, 0, &[])?.by_state().below_target;
    let answer = serde_json::to_string(&(below.objects, below.bytes.0)).ok();
    Ok((below, answer.map(|answer| Answer { question: BELOW_TARGET.to_owned(), changes, answer })))
}
