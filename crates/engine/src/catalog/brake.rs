//! The tree that the user last accepted, and what has left it since (DESIGN 7.3).

use distbackup_core::brake::Gone;
use distbackup_core::model::SnapshotNo;
use distbackup_core::plan::Tally;

use super::{CatalogError, Reader, Writer, columns};

/// The setting that names the snapshot which was accepted last, or visited under the limit.
const ACCEPTED: &str = "accepted-snapshot";

impl Reader<'_> {
    /// The snapshot that was accepted last; `None` before the first update.
    pub fn accepted_snapshot(&self) -> Result<Option<SnapshotNo>, CatalogError> {
        let Some(text) = self.setting(ACCEPTED)? else { return Ok(None) };
        let number = text.parse().map_err(|_| CatalogError::DamagedRow { what: "the accepted snapshot" })?;
        Ok(Some(SnapshotNo(number)))
    }

    /// What has gone since a snapshot: files of it whose content no file of the current tree has. What was moved or
    /// copied has not gone.
    pub fn gone_since(&self, accepted: SnapshotNo) -> Result<Gone, CatalogError> {
        const GONE: &str = "
            SELECT count(*), coalesce(sum(size), 0) FROM entry
             WHERE died > ?1 AND born <= ?1 AND object IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM entry AS live WHERE live.object = entry.object AND live.died IS NULL)";
        const ALL: &str = "
            SELECT count(*), coalesce(sum(size), 0) FROM entry
             WHERE born <= ?1 AND (died IS NULL OR died > ?1) AND kind = 'f' AND size > 0";
        let gone = self.count_files(GONE, accepted)?;
        // The whole tree is only counted where there is something to compare with it.
        let of = if gone.objects == 0 { Tally::default() } else { self.count_files(ALL, accepted)? };
        Ok(Gone { gone, of })
    }

    fn count_files(&self, sql: &str, accepted: SnapshotNo) -> Result<Tally, CatalogError> {
        self.connection
            .query_row(sql, [accepted.0], |row| {
                Ok(Tally { objects: columns::unsigned(row, 0)?, bytes: columns::bytes(row, 1)? })
            })
            .map_err(|source| CatalogError::sql("count what has left the tree", source))
    }
}

impl Writer<'_> {
    /// Records that the tree of a snapshot is accepted.
    pub fn record_accepted_snapshot(&self, snapshot: SnapshotNo) -> Result<(), CatalogError> {
        self.record_setting(ACCEPTED, &snapshot.0.to_string())
    }
}
