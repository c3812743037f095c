//! Copies: which object is on which disk, and what proves it.
//!
//! A row of `copy` is a claim that must survive a power cut (N1). Rows are written in one place, after
//! the disk has made the batch durable, and struck out in one place, before the file is unlinked (N2).

use distbackup_core::evidence::Warrant;
use distbackup_core::model::{Bytes, DiskNo, ObjectId, ObjectNo, ProofNo, RunNo};

use super::{CatalogError, Reader, Writer, columns};

/// How a copy was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofKind {
    /// Hashed while it was written, then made durable.
    Written,
    /// Read whole and hashed.
    Read,
    /// Found on a disk and believed by name and size; not evidence until it was read.
    Adopted,
    /// Taken over from another catalog; not evidence until it was read.
    Imported,
}

impl ProofKind {
    fn word(self) -> &'static str {
        match self {
            ProofKind::Written => "written",
            ProofKind::Read => "read",
            ProofKind::Adopted => "adopted",
            ProofKind::Imported => "imported",
        }
    }
}

/// One copy of an object, for a person who asks where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRow {
    /// Which disk.
    pub disk: DiskNo,
    /// When it was last written or read in full.
    pub proven_ns: i64,
    /// `written`, `read`, `adopted` or `imported`.
    pub how: String,
    /// Why it is in doubt, if it is.
    pub doubt: Option<String>,
}

/// An object that a disk claims to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldObject {
    /// Its row.
    pub object: ObjectNo,
    /// Its identity.
    pub id: ObjectId,
    /// Its size.
    pub size: Bytes,
}

/// What would be lost with a disk, by its claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WithoutDisk {
    /// Bytes that other disks hold as well, those that are to leave the set not counted.
    pub elsewhere: Bytes,
    /// Bytes that only this disk holds.
    pub only_here: Bytes,
    /// Objects that only this disk holds.
    pub only_here_objects: u64,
    /// Of those, bytes of objects that the current tree refers to: the sources have them.
    pub in_sources: Bytes,
}

impl Reader<'_> {
    /// Copies claimed on `disk` whose identity begins with the 12 bits `prefix`, ascending by identity.
    ///
    /// One of the 4096 folders of a disk at a time: that is how a disk is compared (N4).
    pub fn held_in_folder(&self, disk: DiskNo, prefix: u16) -> Result<Vec<HeldObject>, CatalogError> {
        // A range of identities through the unique index, then one look-up per object in `copy`:
        // CROSS JOIN keeps SQLite from going through the disk's copies once for each of 4096 folders.
        const SQL: &str = "
            SELECT object.id, object.sha256, object.size
              FROM object CROSS JOIN copy ON copy.object = object.id AND copy.disk = ?1
             WHERE object.sha256 >= ?2 AND object.sha256 < ?3
             ORDER BY object.sha256";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let (from, to) = columns::prefix_bounds(prefix);
            let rows = statement.query_map((disk.0, from, to), |row| {
                Ok(HeldObject {
                    object: ObjectNo(row.get(0)?),
                    id: columns::object_id(row, 1)?,
                    size: columns::bytes(row, 2)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list what a disk holds", source))
    }

    /// Whether anything is known to lie on a disk: copies that are claimed, or orphans.
    pub fn knows_any_on(&self, disk: DiskNo) -> Result<bool, CatalogError> {
        const SQL: &str = "
            SELECT EXISTS (SELECT 1 FROM copy WHERE disk = ?1) OR EXISTS (SELECT 1 FROM orphan WHERE disk = ?1)";
        self.connection
            .query_row(SQL, [disk.0], |row| row.get(0))
            .map_err(|source| CatalogError::sql("see whether a disk holds anything", source))
    }

    /// Who holds an object.
    pub fn copies(&self, object: ObjectNo) -> Result<Vec<CopyRow>, CatalogError> {
        const SQL: &str = "
            SELECT copy.disk, proof.at_ns, proof.how, copy_doubt.why
              FROM copy JOIN proof ON proof.id = copy.proof
              LEFT JOIN copy_doubt ON copy_doubt.object = copy.object AND copy_doubt.disk = copy.disk
             WHERE copy.object = ?1 ORDER BY copy.disk";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map([object.0], |row| {
                Ok(CopyRow {
                    disk: DiskNo(row.get(0)?),
                    proven_ns: row.get(1)?,
                    how: row.get(2)?,
                    doubt: row.get(3)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the copies of an object", source))
    }

    /// The disks that claim a copy of an object, by number.
    pub fn holders(&self, object: ObjectNo) -> Result<Vec<DiskNo>, CatalogError> {
        let read = || {
            let mut statement =
                self.connection.prepare_cached("SELECT disk FROM copy WHERE object = ?1 ORDER BY disk")?;
            let rows = statement.query_map([object.0], |row| row.get(0).map(DiskNo))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the holders of an object", source))
    }

    /// Whether `disk` claims a copy of `object`.
    pub fn holds(&self, disk: DiskNo, object: ObjectNo) -> Result<bool, CatalogError> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM copy WHERE object = ?1 AND disk = ?2)")
            .and_then(|mut statement| statement.query_row((object.0, disk.0), |row| row.get(0)))
            .map_err(|source| CatalogError::sql("look for a copy", source))
    }

    /// Objects and bytes that `disk` claims to hold.
    pub fn held_total(&self, disk: DiskNo) -> Result<(u64, Bytes), CatalogError> {
        const SQL: &str = "
            SELECT count(*), coalesce(sum(object.size), 0)
              FROM copy JOIN object ON object.id = copy.object WHERE copy.disk = ?1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement.query_row([disk.0], |row| Ok((columns::unsigned(row, 0)?, columns::bytes(row, 1)?)))
            })
            .map_err(|source| CatalogError::sql("count what a disk holds", source))
    }

    /// Billed bytes of what `disk` claims to hold, with allocation units of `unit` bytes (PLACEMENT 1).
    pub fn held_billed(&self, disk: DiskNo, unit: u64) -> Result<Bytes, CatalogError> {
        const SQL: &str = "
            SELECT coalesce(sum((object.size + ?2 - 1) / ?2 * ?2 + ?3), 0)
              FROM copy JOIN object ON object.id = copy.object WHERE copy.disk = ?1";
        let block = distbackup_core::model::BLOCK;
        let values = (disk.0, columns::to_signed(unit.max(block)), columns::to_signed(block));
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| statement.query_row(values, |row| columns::bytes(row, 0)))
            .map_err(|source| CatalogError::sql("count what a disk holds", source))
    }

    /// What only `disk` holds and what others hold as well.
    pub fn without_disk(&self, disk: DiskNo) -> Result<WithoutDisk, CatalogError> {
        const SQL: &str = "
            SELECT coalesce(sum(size) FILTER (WHERE others), 0), coalesce(sum(size) FILTER (WHERE NOT others), 0),
                   count(*) FILTER (WHERE NOT others), coalesce(sum(size) FILTER (WHERE NOT others AND live), 0)
              FROM (SELECT object.size AS size,
                           EXISTS (SELECT 1 FROM copy AS other JOIN disk ON disk.id = other.disk
                                    WHERE other.object = copy.object AND other.disk <> ?1
                                      AND disk.retiring = 0) AS others,
                           EXISTS (SELECT 1 FROM entry
                                    WHERE entry.object = copy.object AND entry.died IS NULL) AS live
                      FROM copy JOIN object ON object.id = copy.object WHERE copy.disk = ?1)";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement.query_row([disk.0], |row| {
                    Ok(WithoutDisk {
                        elsewhere: columns::bytes(row, 0)?,
                        only_here: columns::bytes(row, 1)?,
                        only_here_objects: columns::unsigned(row, 2)?,
                        in_sources: columns::bytes(row, 3)?,
                    })
                })
            })
            .map_err(|source| CatalogError::sql("count what only a disk holds", source))
    }

    /// Objects recorded as removed from `disk` whose file may still be there (N2).
    pub fn is_recorded_removal(&self, disk: DiskNo, id: &ObjectId) -> Result<bool, CatalogError> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM removal WHERE disk = ?1 AND sha256 = ?2)")
            .and_then(|mut statement| statement.query_row((disk.0, &id.0), |row| row.get(0)))
            .map_err(|source| CatalogError::sql("look for a recorded removal", source))
    }
}

impl Writer<'_> {
    /// Records what proves the copies of a batch.
    pub fn record_proof(
        &self,
        run: Option<RunNo>,
        time_ns: i64,
        how: ProofKind,
    ) -> Result<ProofNo, CatalogError> {
        self.connection
            .prepare_cached("INSERT INTO proof (run, at_ns, how) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.insert((run.map(|run| run.0), time_ns, how.word())))
            .map(ProofNo)
            .map_err(|source| CatalogError::sql("record a proof", source))
    }

    /// Claims a copy that is durably on the disk, or renews what proves it.
    pub fn claim_copy(&self, object: ObjectNo, disk: DiskNo, proof: ProofNo) -> Result<(), CatalogError> {
        self.claim_copies(disk, [(object, proof)])
    }

    /// Claims copies that are durably on a disk, or renews what proves them. What was noted against them goes.
    pub fn claim_copies(
        &self,
        disk: DiskNo,
        copies: impl IntoIterator<Item = (ObjectNo, ProofNo)>,
    ) -> Result<(), CatalogError> {
        const CLAIM: &str = "
            INSERT INTO copy (object, disk, proof) VALUES (?1, ?2, ?3)
            ON CONFLICT (object, disk) DO UPDATE SET proof = excluded.proof";
        // A removal that was recorded before must not touch a name that is taken again.
        const NOTES: [(&str, &str); 4] = [
            (
                "SELECT EXISTS (SELECT 1 FROM copy_doubt WHERE disk = ?1)",
                "DELETE FROM copy_doubt WHERE object = ?1 AND disk = ?2",
            ),
            (
                "SELECT EXISTS (SELECT 1 FROM orphan WHERE disk = ?1)",
                "DELETE FROM orphan WHERE disk = ?2 AND sha256 = (SELECT sha256 FROM object WHERE id = ?1)",
            ),
            (
                "SELECT EXISTS (SELECT 1 FROM removal WHERE disk = ?1)",
                "DELETE FROM removal WHERE disk = ?2 AND sha256 = (SELECT sha256 FROM object WHERE id = ?1)",
            ),
            (
                "SELECT EXISTS (SELECT 1 FROM lost_copy WHERE disk = ?1)",
                "DELETE FROM lost_copy WHERE disk = ?2 AND object = ?1",
            ),
        ];
        let work = || -> rusqlite::Result<()> {
            // Mostly nothing is noted against any copy of the disk: asked once, not for each of them.
            let mut forget = Vec::new();
            for (any, delete) in NOTES {
                if self.connection.prepare_cached(any)?.query_row([disk.0], |row| row.get(0))? {
                    forget.push(self.connection.prepare_cached(delete)?);
                }
            }
            let mut claim = self.connection.prepare_cached(CLAIM)?;
            for (object, proof) in copies {
                claim.execute((object.0, disk.0, proof.0))?;
                for statement in &mut forget {
                    statement.execute((object.0, disk.0))?;
                }
            }
            Ok(())
        };
        work().map_err(|source| CatalogError::sql("record copies", source))
    }

    /// Strikes out a copy that is not on the disk any more, or not whole.
    pub fn strike_out_copy(&self, object: ObjectNo, disk: DiskNo) -> Result<(), CatalogError> {
        let work = || -> rusqlite::Result<()> {
            self.connection
                .prepare_cached("DELETE FROM copy WHERE object = ?1 AND disk = ?2")?
                .execute((object.0, disk.0))?;
            self.connection
                .prepare_cached("DELETE FROM copy_doubt WHERE object = ?1 AND disk = ?2")?
                .execute((object.0, disk.0))?;
            Ok(())
        };
        work().map_err(|source| CatalogError::sql("strike out a copy", source))
    }

    /// Records, before the unlink, that an object goes from a disk (N2): the claim ends, and what is
    /// found of it later is known to be ours to remove.
    ///
    /// Only a warrant releases a copy, and it is asked for in the same transaction (N3).
    pub fn release_copy(&self, warrant: Warrant) -> Result<(), CatalogError> {
        let (object, disk) = (warrant.object(), warrant.disk());
        let record =
            "INSERT OR IGNORE INTO removal (disk, sha256) SELECT ?2, sha256 FROM object WHERE id = ?1";
        self.connection
            .prepare_cached(record)
            .and_then(|mut statement| statement.execute((object.0, disk.0)))
            .map_err(|source| CatalogError::sql("record a removal", source))?;
        self.strike_out_copy(object, disk)
    }

    /// Records that a removal is done: nothing of it is on the disk any more.
    pub fn record_removed(&self, disk: DiskNo, id: &ObjectId) -> Result<(), CatalogError> {
        self.connection
            .prepare_cached("DELETE FROM removal WHERE disk = ?1 AND sha256 = ?2")
            .and_then(|mut statement| statement.execute((disk.0, &id.0)))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record a finished removal", source))
    }

    /// Raises doubt about one copy: it still counts for wanting copies, no longer for permission to delete others.
    pub fn doubt_copy(
        &self,
        object: ObjectNo,
        disk: DiskNo,
        time_ns: i64,
        why: &str,
    ) -> Result<(), CatalogError> {
        self.connection
            .prepare_cached(
                "INSERT OR IGNORE INTO copy_doubt (object, disk, since_ns, why) VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut statement| statement.execute((object.0, disk.0, time_ns, why)))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record a doubt", source))
    }
}
