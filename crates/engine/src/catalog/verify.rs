//! How far a verify has come, so that it goes on where it was interrupted; and how old the evidence of copies is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use distbackup_core::model::{Bytes, DiskNo, ObjectNo, ProofNo};
use distbackup_core::plan::Tally;
use rusqlite::OptionalExtension;

use super::{CatalogError, HeldObject, Reader, Writer, columns};

/// What is equally old: copies by their evidence, or source files by when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Catalog time of the evidence; 0 if there is none that counts.
    pub at_ns: i64,
    /// How many, and how large.
    pub tally: Tally,
}

/// A copy with the age of its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgedCopy {
    /// The copy's object.
    pub held: HeldObject,
    /// As [`Age::at_ns`].
    pub at_ns: i64,
}

/// Ages of anything, counted; ascending.
pub(super) fn count_ages(
    each: impl Iterator<Item = rusqlite::Result<(i64, Bytes)>>,
) -> rusqlite::Result<Vec<Age>> {
    let mut ages: BTreeMap<i64, Tally> = BTreeMap::new();
    for one in each {
        let (at_ns, size) = one?;
        ages.entry(at_ns).or_default().add(size);
    }
    Ok(ages.into_iter().map(|(at_ns, tally)| Age { at_ns, tally }).collect())
}

/// When a copy was proven; 0 for one that is believed by its name or in doubt (N3).
const AGE_OF_COPY: &str = "
    CASE WHEN proof.how IN ('written', 'read')
              AND NOT EXISTS (SELECT 1 FROM copy_doubt
                               WHERE copy_doubt.object = copy.object AND copy_doubt.disk = copy.disk)
         THEN proof.at_ns ELSE 0 END";

/// How far the verify of a disk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Catalog time when it began.
    pub started_ns: i64,
    /// The next of the 4096 folders.
    pub next: u16,
    /// Good objects so far.
    pub good: u64,
    /// Bad and missing objects so far.
    pub bad: u64,
    /// Bytes of good objects so far.
    pub bytes: u64,
}

impl Reader<'_> {
    /// How far the verify of a disk had come when it was interrupted.
    pub fn verify_progress(&self, disk: DiskNo) -> Result<Option<VerifyProgress>, CatalogError> {
        const SQL: &str = "SELECT started_ns, next, good, bad, bytes FROM verify_progress WHERE disk = ?1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement
                    .query_row([disk.0], |row| {
                        Ok(VerifyProgress {
                            started_ns: row.get(0)?,
                            next: row.get(1)?,
                            good: columns::unsigned(row, 2)?,
                            bad: columns::unsigned(row, 3)?,
                            bytes: columns::unsigned(row, 4)?,
                        })
                    })
                    .optional()
            })
            .map_err(|source| CatalogError::sql("read the progress of a verify", source))
    }

    /// The newest proof: what a run proves from now on has later ones.
    pub fn newest_proof(&self) -> Result<ProofNo, CatalogError> {
        self.connection
            .query_row("SELECT coalesce(max(id), 0) FROM proof", [], |row| row.get(0).map(ProofNo))
            .map_err(|source| CatalogError::sql("find the newest proof", source))
    }

    /// How old the evidence of a disk's copies is, oldest first. Streams: memory grows with the number of different times.
    pub fn copy_ages(&self, disk: DiskNo) -> Result<Vec<Age>, CatalogError> {
        let sql = format!(
            "SELECT {AGE_OF_COPY}, object.size
               FROM copy CROSS JOIN object ON object.id = copy.object CROSS JOIN proof ON proof.id = copy.proof
              WHERE copy.disk = ?1"
        );
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map([disk.0], |row| Ok((row.get(0)?, columns::bytes(row, 1)?)))?;
            count_ages(rows)
        };
        read().map_err(|source| CatalogError::sql("count the ages of copies", source))
    }

    /// As [`Reader::held_in_folder`], but only copies whose evidence is of such times and not newer than a proof.
    pub fn held_of_age(
        &self,
        disk: DiskNo,
        prefix: u16,
        times: &RangeInclusive<i64>,
        newest: ProofNo,
    ) -> Result<Vec<AgedCopy>, CatalogError> {
        let sql = format!(
            "SELECT * FROM
                (SELECT object.id, object.sha256, object.size, {AGE_OF_COPY} AS at_ns
                   FROM object CROSS JOIN copy ON copy.object = object.id AND copy.disk = ?1
                        CROSS JOIN proof ON proof.id = copy.proof
                  WHERE object.sha256 >= ?2 AND object.sha256 < ?3 AND copy.proof <= ?4)
              WHERE at_ns BETWEEN ?5 AND ?6 ORDER BY sha256"
        );
        let read = || {
            let (from, to) = columns::prefix_bounds(prefix);
            let mut statement = self.connection.prepare_cached(&sql)?;
            let values = (disk.0, from, to, newest.0, times.start(), times.end());
            let rows = statement.query_map(values, |row| {
                let held = HeldObject {
                    object: ObjectNo(row.get(0)?),
                    id: columns::object_id(row, 1)?,
                    size: columns::bytes(row, 2)?,
                };
                Ok(AgedCopy { held, at_ns: row.get(3)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list what a disk holds by age", source))
    }
}

impl Writer<'_> {
    /// Records how far the verify of a disk has come.
    pub fn record_verify_progress(
        &self,
        disk: DiskNo,
        progress: &VerifyProgress,
    ) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT OR REPLACE INTO verify_progress (disk, started_ns, next, good, bad, bytes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = (
            disk.0,
            progress.started_ns,
            progress.next,
            columns::to_signed(progress.good),
            columns::to_signed(progress.bad),
            columns::to_signed(progress.bytes),
        );
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record the progress of a verify", source))
    }

    /// The verify of a disk is complete.
    pub fn forget_verify_progress(&self, disk: DiskNo) -> Result<(), CatalogError> {
        self.connection
            .execute("DELETE FROM verify_progress WHERE disk = ?1", [disk.0])
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record the end of a verify", source))
    }
}
