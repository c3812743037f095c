//! Snapshots forgotten because the user says so.

use distbackup_core::model::SnapshotNo;
use distbackup_core::plan::Tally;

use super::{CatalogError, Reader, Writer, columns};

/// What went with snapshots that were forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Entries that only they had.
    pub entries: u64,
    /// Contents on disks that no entry names any more; they leave at the disks' next visits.
    pub unnamed: Tally,
}

impl Reader<'_> {
    /// Contents on disks that no entry names.
    fn unnamed(&self) -> Result<Tally, CatalogError> {
        const SQL: &str = "
            SELECT count(*), coalesce(sum(size), 0) FROM object
             WHERE EXISTS (SELECT 1 FROM copy WHERE copy.object = object.id)
               AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.object = object.id)";
        self.connection
            .query_row(SQL, [], |row| {
                Ok(Tally { objects: columns::unsigned(row, 0)?, bytes: columns::bytes(row, 1)? })
            })
            .map_err(|source| CatalogError::sql("count what nothing names", source))
    }
}

impl Writer<'_> {
    /// Forgets these snapshots, and every entry that was dead by `limit` and that no snapshot which is kept has.
    pub fn forget_snapshots(
        &self,
        snapshots: &[SnapshotNo],
        limit: SnapshotNo,
    ) -> Result<Forgotten, CatalogError> {
        const ENTRIES: &str = "
            DELETE FROM entry WHERE died <= ?1
               AND NOT EXISTS (SELECT 1 FROM snapshot
                                WHERE snapshot.id >= entry.born AND snapshot.id < entry.died)";
        let unnamed_before = self.unnamed()?;
        let work = || {
            let mut statement = self.connection.prepare_cached("DELETE FROM snapshot WHERE id = ?1")?;
            for snapshot in snapshots {
                statement.execute([snapshot.0])?;
            }
            self.connection.execute(ENTRIES, [limit.0])
        };
        let entries = work().map_err(|source| CatalogError::sql("forget snapshots", source))?;
        let unnamed = self.unnamed()?;
        self.forget_unused_objects()?;
        self.advance_generation()?;
        Ok(Forgotten {
            entries: entries as u64,
            unnamed: Tally {
                objects: unnamed.objects.saturating_sub(unnamed_before.objects),
                bytes: unnamed.bytes - unnamed_before.bytes,
            },
        })
    }
}
