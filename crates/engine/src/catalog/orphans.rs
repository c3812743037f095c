//! Orphans: objects on a disk that neither the tree nor kept history refers to.
//!
//! They keep their room until the retention time has passed since they were first seen (DESIGN 6).

use distbackup_core::model::{Bytes, DiskNo, ObjectId, billed};

use super::{CatalogError, Reader, Writer, columns};

/// An object on a disk that nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// Its name on the disk.
    pub id: ObjectId,
    /// Its size.
    pub size: Bytes,
    /// Catalog time when it was first seen.
    pub first_ns: i64,
    /// Number of the newest snapshot at that time.
    pub snapshot: i64,
    /// Its content does not match its name.
    pub damaged: bool,
}

impl Reader<'_> {
    /// The orphans of a disk whose name begins with the 12 bits `prefix`, ascending.
    pub fn orphans_in_folder(&self, disk: DiskNo, prefix: u16) -> Result<Vec<Orphan>, CatalogError> {
        const SQL: &str = "
            SELECT sha256, size, first_ns, snapshot, damaged FROM orphan
             WHERE disk = ?1 AND sha256 >= ?2 AND sha256 < ?3 ORDER BY sha256";
        let bound = |prefix: u32| {
            if prefix > 0xfff { vec![0xff; 33] } else { vec![(prefix >> 4) as u8, (prefix << 4) as u8] }
        };
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let bounds = (disk.0, bound(u32::from(prefix)), bound(u32::from(prefix) + 1));
            let rows = statement.query_map(bounds, |row| {
                Ok(Orphan {
                    id: columns::object_id(row, 0)?,
                    size: columns::bytes(row, 1)?,
                    first_ns: row.get(2)?,
                    snapshot: row.get(3)?,
                    damaged: row.get(4)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the orphans of a disk", source))
    }

    /// Billed bytes of a disk's orphans: they keep their room until they expire.
    pub fn orphans_billed(&self, disk: DiskNo, unit: u64) -> Result<Bytes, CatalogError> {
        let read = || -> rusqlite::Result<Bytes> {
            let mut statement = self.connection.prepare_cached("SELECT size FROM orphan WHERE disk = ?1")?;
            let rows = statement.query_map([disk.0], |row| columns::bytes(row, 0))?;
            rows.map(|size| Ok(billed(size?, unit))).sum()
        };
        read().map_err(|source| CatalogError::sql("add up the orphans of a disk", source))
    }
}

impl Writer<'_> {
    /// Records an orphan; one that is known keeps the time when it was first seen.
    pub fn record_orphan(&self, disk: DiskNo, orphan: &Orphan) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT INTO orphan (disk, sha256, size, first_ns, snapshot, damaged) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (disk, sha256) DO UPDATE SET size = excluded.size, damaged = excluded.damaged";
        let values = (
            disk.0,
            &orphan.id.0,
            columns::to_signed(orphan.size.0),
            orphan.first_ns,
            orphan.snapshot,
            orphan.damaged,
        );
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record an orphan", source))
    }

    /// An orphan is none any more: gone from the disk, or adopted.
    pub fn forget_orphan(&self, disk: DiskNo, id: &ObjectId) -> Result<(), CatalogError> {
        self.connection
            .prepare_cached("DELETE FROM orphan WHERE disk = ?1 AND sha256 = ?2")
            .and_then(|mut statement| statement.execute((disk.0, &id.0)))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("forget an orphan", source))
    }

    /// Records, before the unlink, that an expired orphan goes (N2).
    pub fn release_orphan(&self, disk: DiskNo, id: &ObjectId) -> Result<(), CatalogError> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO removal (disk, sha256) VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute((disk.0, &id.0)))
            .map_err(|source| CatalogError::sql("record a removal", source))?;
        self.forget_orphan(disk, id)
    }
}
