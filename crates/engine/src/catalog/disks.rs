//! Disks: the shelf.

use std::path::PathBuf;

use distbackup_core::model::{Bytes, DiskNo, DiskUuid};
use rusqlite::{OptionalExtension, Row};

use super::{CatalogError, Reader, Writer, columns};
use crate::platform::{bytes_of_path, path_of_bytes};
use distbackup_core::model::DiskStamp;

/// A disk of the set.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskRow {
    /// Its number, never used again.
    pub disk: DiskNo,
    /// The identity on its `distbackup-disk.json`.
    pub uuid: DiskUuid,
    /// Its name.
    pub name: String,
    /// How its capacity is given, as `SizeRule` spells it.
    pub size_rule: String,
    /// Billed bytes for objects when it was last seen.
    pub capacity: Bytes,
    /// Size of its filesystem.
    pub total: Bytes,
    /// Free there when last seen.
    pub free: Bytes,
    /// Allocation unit.
    pub unit: u64,
    /// Largest file that it takes.
    pub file_max: Bytes,
    /// Stable identity of its filesystem, if it has one.
    pub filesystem: Option<String>,
    /// Its folder, relative to the mount point; raw bytes.
    pub relative_path: Vec<u8>,
    /// Where it was found last.
    pub last_path: Option<PathBuf>,
    /// Where it is kept.
    pub location: Option<String>,
    /// The owner's note.
    pub note: Option<String>,
    /// When it joined the set.
    pub added_ns: i64,
    /// When it was last connected.
    pub seen_ns: Option<i64>,
    /// When the last visit of it ended in order.
    pub visited_ns: Option<i64>,
    /// When the last complete verify of it ended.
    pub verified_ns: Option<i64>,
    /// Stamp on its identity file after the last writing visit (N5).
    pub stamp: DiskStamp,
    /// Stamp that a visit in progress may have written.
    pub pending_stamp: Option<DiskStamp>,
    /// Accepts any stamp once, after `recover` or an import.
    pub unproven: bool,
    /// Why its claims do not stand.
    pub doubt: Option<String>,
    /// A visit of it began and has not ended in order, nor was it compared since.
    pub open_visit: bool,
    /// Generation of the catalog copy on it.
    pub copy_generation: Option<i64>,
    /// SHA-256 of that copy.
    pub copy_sha256: Option<distbackup_core::model::ObjectId>,
    /// It is to leave the set: nothing counts as stored because of its copies, and it receives none.
    pub retiring: bool,
}

/// What is known of a disk when it joins.
#[derive(Debug, Clone)]
pub struct NewDisk<'a> {
    /// Identity.
    pub uuid: &'a DiskUuid,
    /// Name.
    pub name: &'a str,
    /// How its capacity is given.
    pub size_rule: &'a str,
    /// Where it is kept.
    pub location: Option<&'a str>,
    /// Catalog time.
    pub added_ns: i64,
    /// Accept any stamp once.
    pub unproven: bool,
}

const COLUMNS: &str =
    "id, uuid, name, size_rule, capacity, total, free, unit, file_max, filesystem, relative_path,
    last_path, location, note, added_ns, seen_ns, visited_ns, verified_ns, stamp_counter, stamp_random,
    pending_counter, pending_random, unproven, doubt, open_visit, copy_generation, copy_sha256, retiring";

/// Most room of a disk, 4.5 PB, and largest allocation unit, 64 MiB, that are believed: some network filesystems and strangers'
/// catalogs (C7) claim more, and sums over all disks have to fit 63 bits.
const ROOM_MAX: Bytes = Bytes(1 << 52);
const UNIT_MAX: u64 = 1 << 26;

fn disk_row(row: &Row<'_>) -> rusqlite::Result<DiskRow> {
    let pending = match row.get::<_, Option<i64>>(20)? {
        None => None,
        Some(_) => Some(DiskStamp { counter: columns::unsigned(row, 20)?, random: columns::bits(row, 21)? }),
    };
    let copy_sha256 = match row.get::<_, Option<Vec<u8>>>(26)? {
        None => None,
        Some(_) => Some(columns::object_id(row, 26)?),
    };
    Ok(DiskRow {
        disk: DiskNo(row.get(0)?),
        uuid: DiskUuid(row.get(1)?),
        name: row.get(2)?,
        size_rule: row.get(3)?,
        capacity: columns::bytes(row, 4)?.min(ROOM_MAX),
        total: columns::bytes(row, 5)?.min(ROOM_MAX),
        free: columns::bytes(row, 6)?.min(ROOM_MAX),
        unit: columns::unsigned(row, 7)?.min(UNIT_MAX),
        file_max: columns::bytes(row, 8)?,
        filesystem: row.get(9)?,
        relative_path: row.get(10)?,
        last_path: row.get::<_, Option<Vec<u8>>>(11)?.map(|raw| path_of_bytes(&raw)),
        location: row.get(12)?,
        note: row.get(13)?,
        added_ns: row.get(14)?,
        seen_ns: row.get(15)?,
        visited_ns: row.get(16)?,
        verified_ns: row.get(17)?,
        stamp: DiskStamp { counter: columns::unsigned(row, 18)?, random: columns::bits(row, 19)? },
        pending_stamp: pending,
        unproven: row.get(22)?,
        doubt: row.get(23)?,
        open_visit: row.get(24)?,
        copy_generation: row.get(25)?,
        copy_sha256,
        retiring: row.get(27)?,
    })
}

impl Reader<'_> {
    /// All disks, by number.
    pub fn disks(&self) -> Result<Vec<DiskRow>, CatalogError> {
        let read = || {
            let mut statement =
                self.connection.prepare_cached(&format!("SELECT {COLUMNS} FROM disk ORDER BY id"))?;
            statement.query_map([], disk_row)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the disks", source))
    }

    /// One disk by number.
    pub fn disk(&self, disk: DiskNo) -> Result<Option<DiskRow>, CatalogError> {
        self.connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM disk WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row([disk.0], disk_row).optional())
            .map_err(|source| CatalogError::sql("find a disk", source))
    }
}

impl Writer<'_> {
    fn update_disk(
        &self,
        what: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<(), CatalogError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|source| CatalogError::sql(what, source))
    }

    /// Records a disk that joins the set. Its number was never used before, so it claims nothing (D14).
    pub fn record_disk(&self, new: &NewDisk<'_>) -> Result<DiskNo, CatalogError> {
        const SQL: &str = "
            INSERT INTO disk (uuid, name, size_rule, capacity, total, free, unit, file_max, relative_path,
                              location, added_ns, unproven)
            VALUES (?1, ?2, ?3, 0, 0, 0, 4096, ?4, x'', ?5, ?6, ?7)";
        let values =
            (&new.uuid.0, new.name, new.size_rule, i64::MAX, new.location, new.added_ns, new.unproven);
        self.connection.execute(SQL, values).map_err(|source| CatalogError::sql("record a disk", source))?;
        let disk = DiskNo(self.connection.last_insert_rowid());
        self.advance_generation()?;
        Ok(disk)
    }

    /// Records where a connected disk is and what room it has: facts of the moment, no change of generation.
    pub fn record_disk_seen(&self, row: &DiskRow, time_ns: i64) -> Result<(), CatalogError> {
        const SQL: &str = "
            UPDATE disk SET capacity = ?2, total = ?3, free = ?4, unit = ?5, file_max = ?6, filesystem = ?7,
                            relative_path = ?8, last_path = ?9, seen_ns = ?10 WHERE id = ?1";
        let values = (
            row.disk.0,
            columns::to_signed(row.capacity.0),
            columns::to_signed(row.total.0),
            columns::to_signed(row.free.0),
            columns::to_signed(row.unit),
            columns::to_signed(row.file_max.0),
            &row.filesystem,
            &row.relative_path,
            row.last_path.as_deref().map(bytes_of_path),
            time_ns,
        );
        self.update_disk("record that a disk was seen", SQL, values)
    }

    /// Records what the owner says of a disk: name, size, location, note.
    pub fn record_disk_settings(&self, row: &DiskRow) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE disk SET name = ?2, size_rule = ?3, capacity = ?4, location = ?5, note = ?6 WHERE id = ?1";
        let capacity = columns::to_signed(row.capacity.0);
        let values = (row.disk.0, &row.name, &row.size_rule, capacity, &row.location, &row.note);
        self.update_disk("record the settings of a disk", SQL, values)?;
        self.advance_generation()
    }

    /// Records, before a visit writes, the stamp it is going to leave, and that it is open (N5, N3).
    pub fn record_visit_begin(&self, disk: DiskNo, next: DiskStamp) -> Result<(), CatalogError> {
        const SQL: &str =
            "UPDATE disk SET pending_counter = ?2, pending_random = ?3, open_visit = 1 WHERE id = ?1";
        let values = (disk.0, columns::to_signed(next.counter), columns::to_bits(next.random));
        self.update_disk("record the begin of a visit", SQL, values)?;
        self.advance_generation()
    }

    /// Records that the pending stamp is durably on the disk.
    pub fn record_stamp(&self, disk: DiskNo, stamp: DiskStamp) -> Result<(), CatalogError> {
        const SQL: &str = "
            UPDATE disk SET stamp_counter = ?2, stamp_random = ?3, pending_counter = NULL, pending_random = NULL,
                            unproven = 0 WHERE id = ?1";
        let values = (disk.0, columns::to_signed(stamp.counter), columns::to_bits(stamp.random));
        self.update_disk("record the stamp of a disk", SQL, values)
    }

    /// Records that names and sizes of a disk were compared whole: its claims stand again unless there is doubt.
    pub fn record_compared(&self, disk: DiskNo) -> Result<(), CatalogError> {
        self.update_disk("record a comparison", "UPDATE disk SET open_visit = 0 WHERE id = ?1", [disk.0])
    }

    /// Records that a visit ended in order.
    pub fn record_visit_end(&self, disk: DiskNo, time_ns: i64) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE disk SET visited_ns = ?2, open_visit = 0 WHERE id = ?1";
        self.update_disk("record the end of a visit", SQL, (disk.0, time_ns))
    }

    /// Records which catalog copy is on the disk; no change of generation, or no copy would ever be current.
    pub fn record_catalog_copy(
        &self,
        disk: DiskNo,
        generation: i64,
        hash: &distbackup_core::model::ObjectId,
    ) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE disk SET copy_generation = ?2, copy_sha256 = ?3 WHERE id = ?1";
        self.update_disk("record the catalog copy", SQL, (disk.0, generation, &hash.0))
    }

    /// The catalog copies on a disk are not as they should be: the next visit writes one, whatever else it does (C4).
    pub fn forget_catalog_copy(&self, disk: DiskNo) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE disk SET copy_generation = NULL, copy_sha256 = NULL WHERE id = ?1";
        self.update_disk("forget a catalog copy", SQL, [disk.0])
    }

    /// Records that a whole disk was verified; `clears_doubt` if everything on it was good.
    pub fn record_disk_verified(
        &self,
        disk: DiskNo,
        time_ns: i64,
        clears_doubt: bool,
    ) -> Result<(), CatalogError> {
        const SQL: &str =
            "UPDATE disk SET verified_ns = ?2, doubt = CASE WHEN ?3 THEN NULL ELSE doubt END WHERE id = ?1";
        self.update_disk("record a verify", SQL, (disk.0, time_ns, clears_doubt))
    }

    /// Raises doubt about all copies on a disk.
    pub fn doubt_disk(&self, disk: DiskNo, why: &str) -> Result<(), CatalogError> {
        self.update_disk("record a doubt", "UPDATE disk SET doubt = ?2 WHERE id = ?1", (disk.0, why))?;
        self.advance_generation()
    }

    /// Records that a disk is to leave the set, or that it stays.
    pub fn record_retiring(&self, disk: DiskNo, retiring: bool) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE disk SET retiring = ?2 WHERE id = ?1";
        self.update_disk("record that a disk is to leave", SQL, (disk.0, retiring))?;
        self.advance_generation()
    }

    /// Marks all disks as unproven: each accepts any stamp once (N5, after `recover`).
    pub fn mark_all_unproven(&self) -> Result<(), CatalogError> {
        const SQL: &str = "
            UPDATE disk SET unproven = 1, open_visit = 1, copy_generation = NULL, copy_sha256 = NULL,
                            pending_counter = NULL, pending_random = NULL";
        self.update_disk("mark the disks as unproven", SQL, [])?;
        self.advance_generation()
    }

    /// Forgets a disk and everything it was claimed to hold.
    pub fn remove_disk(&self, disk: DiskNo) -> Result<(), CatalogError> {
        for sql in [
            "DELETE FROM copy WHERE (object, disk) IN (SELECT object, disk FROM copy WHERE disk = ?1)",
            "DELETE FROM copy_doubt WHERE disk = ?1",
            "DELETE FROM removal WHERE disk = ?1",
            "DELETE FROM orphan WHERE disk = ?1",
            "DELETE FROM lost_copy WHERE disk = ?1",
            "DELETE FROM verify_progress WHERE disk = ?1",
            "DELETE FROM disk WHERE id = ?1",
        ] {
            self.update_disk("forget a disk", sql, [disk.0])?;
        }
        self.advance_generation()
    }

    /// Forgets everything a disk was claimed to hold, but keeps the disk (`disk drop`).
    pub fn forget_copies(&self, disk: DiskNo) -> Result<u64, CatalogError> {
        const SQL: &str =
            "DELETE FROM copy WHERE (object, disk) IN (SELECT object, disk FROM copy WHERE disk = ?1)";
        let count = self
            .connection
            .execute(SQL, [disk.0])
            .map_err(|source| CatalogError::sql("forget what a disk holds", source))?;
        self.update_disk("forget what a disk holds", "DELETE FROM copy_doubt WHERE disk = ?1", [disk.0])?;
        self.update_disk("forget what a disk holds", "DELETE FROM orphan WHERE disk = ?1", [disk.0])?;
        self.update_disk("forget what a disk holds", "DELETE FROM lost_copy WHERE disk = ?1", [disk.0])?;
        self.advance_generation()?;
        Ok(count as u64)
    }
}
