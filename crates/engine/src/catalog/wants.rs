//! Objects that a disk is to have although no plan of a visit brings them: what `heal`, `disk retire` and
//! `disk replace` carry. History counts like the current tree; what nothing refers to is not carried.

use distbackup_core::model::{Bytes, DiskNo, ObjectNo};
use distbackup_core::plan::Tally;

use super::{CatalogError, HeldObject, Reader, columns};

/// Which objects are to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wants {
    /// What this disk should have and has lost.
    LostBy(DiskNo),
    /// What this disk holds and no disk that stays in the set.
    OnlyOn(DiskNo),
    /// What one disk holds or has lost, and the other does not hold.
    Moving {
        /// The disk that goes.
        from: DiskNo,
        /// The disk that takes its place.
        to: DiskNo,
    },
}

impl Wants {
    /// The numbers of the objects, as a query with `?1` and `?2` for the disks; `bound` limits the column `object`.
    fn sql(self, bound: &str) -> String {
        const REFERENCED: &str = "EXISTS (SELECT 1 FROM entry WHERE entry.object = had.object)";
        let had = |table: &str| format!("SELECT object FROM {table} AS had WHERE disk = ?1 AND {bound}");
        match self {
            Wants::LostBy(_) => format!("{} AND ?2 = 0 AND {REFERENCED}", had("lost_copy")),
            Wants::OnlyOn(_) => format!(
                "{} AND ?2 = 0 AND {REFERENCED}
                   AND NOT EXISTS (SELECT 1 FROM copy AS other JOIN disk ON disk.id = other.disk
                                    WHERE other.object = had.object AND other.disk <> ?1 AND disk.retiring = 0)",
                had("copy")
            ),
            Wants::Moving { .. } => {
                let rest = format!(
                    "{REFERENCED} AND NOT EXISTS (SELECT 1 FROM copy AS other
                                                   WHERE other.object = had.object AND other.disk = ?2)"
                );
                format!("{} AND {rest} UNION {} AND {rest}", had("copy"), had("lost_copy"))
            }
        }
    }

    fn disks(self) -> (i64, i64) {
        match self {
            Wants::LostBy(disk) | Wants::OnlyOn(disk) => (disk.0, 0),
            Wants::Moving { from, to } => (from.0, to.0),
        }
    }
}

impl Reader<'_> {
    /// At most `limit` wanted objects with a higher number than `after`, ascending by number.
    pub fn wanted(&self, wants: Wants, after: ObjectNo, limit: u32) -> Result<Vec<HeldObject>, CatalogError> {
        let sql = format!(
            "SELECT object.id, object.sha256, object.size FROM ({}) AS wanted
               CROSS JOIN object ON object.id = wanted.object ORDER BY object.id LIMIT ?4",
            wants.sql("had.object > ?3")
        );
        let (one, other) = wants.disks();
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map((one, other, after.0, limit), |row| {
                Ok(HeldObject {
                    object: ObjectNo(row.get(0)?),
                    id: columns::object_id(row, 1)?,
                    size: columns::bytes(row, 2)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list what is to be carried", source))
    }

    /// How much is wanted.
    pub fn wanted_total(&self, wants: Wants) -> Result<Tally, CatalogError> {
        let sql = format!(
            "SELECT count(*), coalesce(sum(object.size), 0) FROM ({}) AS wanted
               CROSS JOIN object ON object.id = wanted.object",
            wants.sql("TRUE")
        );
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row(wants.disks(), |row| {
                    Ok(Tally { objects: columns::unsigned(row, 0)?, bytes: columns::bytes(row, 1)? })
                })
            })
            .map_err(|source| CatalogError::sql("count what is to be carried", source))
    }

    /// Whether an object is among what is wanted.
    pub fn is_wanted(&self, wants: Wants, object: ObjectNo) -> Result<bool, CatalogError> {
        let sql = format!("SELECT EXISTS ({})", wants.sql("had.object = ?3"));
        let (one, other) = wants.disks();
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row((one, other, object.0), |row| row.get(0)))
            .map_err(|source| CatalogError::sql("ask whether an object is to be carried", source))
    }

    /// Bytes that lie on a disk under an object's name without being a copy: damaged, and to be replaced.
    pub fn orphaned_bytes(&self, disk: DiskNo, object: ObjectNo) -> Result<Bytes, CatalogError> {
        const SQL: &str = "
            SELECT coalesce(sum(orphan.size), 0) FROM object JOIN orphan ON orphan.sha256 = object.sha256
             WHERE object.id = ?2 AND orphan.disk = ?1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.query_row((disk.0, object.0), |row| columns::bytes(row, 0)))
            .map_err(|source| CatalogError::sql("look for an orphan", source))
    }
}
