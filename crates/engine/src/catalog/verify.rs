//! How far a verify has come, so that it goes on where it was interrupted.

use distbackup_core::model::DiskNo;
use rusqlite::OptionalExtension;

use super::{CatalogError, Reader, Writer, columns};

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
