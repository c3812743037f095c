//! Status: how safe the set is, by number of copies and by disk.

use distbackup_core::model::{Bytes, DiskNo};

use crate::catalog::{CatalogError, DiskRow, Reader, SnapshotRow};

/// Live data with one number of copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Files (names) of the current tree.
    pub files: u64,
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
}

impl Status {
    /// All live data.
    pub fn total(&self) -> Level {
        self.levels.iter().chain([&self.pending]).fold(Level::default(), |sum, level| Level {
            files: sum.files + level.files,
            bytes: sum.bytes + level.bytes,
        })
    }
}

/// Answers how safe the set is. Reads the tables once each, in their order.
pub fn status(reader: &Reader<'_>) -> Result<Status, CatalogError> {
    let rows = reader.disks()?;
    let largest = rows.iter().map(|row| row.capacity.0.min(row.file_max.0)).max().unwrap_or(0);
    let counted = reader.count_levels(Bytes(largest))?;
    let mut status = Status {
        levels: counted.levels.iter().map(|&(files, bytes)| Level { files, bytes: Bytes(bytes) }).collect(),
        empty_files: counted.empty_files,
        snapshot: reader.newest_snapshot()?,
        ..Status::default()
    };
    if !rows.is_empty() {
        status.too_large = Level { files: counted.too_large.0, bytes: Bytes(counted.too_large.1) };
    }
    let (files, bytes) = reader.pending_total(true)?;
    status.pending = Level { files, bytes: Bytes(bytes) };
    for row in rows {
        let held = |disk: DiskNo| counted.held.get(&disk).copied().unwrap_or_default();
        let (objects, bytes, alone) = held(row.disk);
        status.disks.push(DiskStatus { row, objects, bytes: Bytes(bytes), alone: Bytes(alone) });
    }
    Ok(status)
}
