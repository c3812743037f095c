//! Copies that a disk should have and has not: `heal` brings them back.

use distbackup_core::model::{DiskNo, ObjectNo};

use super::{CatalogError, Writer};

impl Writer<'_> {
    /// Strikes out a copy that is damaged or gone, and records that the disk should have it; `why` in words.
    pub fn lose_copy(
        &self,
        object: ObjectNo,
        disk: DiskNo,
        now_ns: i64,
        why: &str,
    ) -> Result<(), CatalogError> {
        const SQL: &str =
            "INSERT OR REPLACE INTO lost_copy (disk, object, since_ns, why) VALUES (?1, ?2, ?3, ?4)";
        self.strike_out_copy(object, disk)?;
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.execute((disk.0, object.0, now_ns, why)))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record a lost copy", source))
    }
}
