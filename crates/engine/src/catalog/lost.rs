//! Copies that a disk should have and has not: what `heal` brings back.
//!
//! A row is written when a claim is struck out because the copy was damaged, cut off, unreadable or gone, and goes
//! when the copy is claimed again. Readers pass over rows of objects that nothing refers to any more.

use distbackup_core::model::{Bytes, DiskNo, ObjectId, ObjectNo};

use super::{CatalogError, Reader, Writer, columns};

/// A copy that a disk should have and has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCopy {
    /// The object.
    pub object: ObjectNo,
    /// Its identity.
    pub id: ObjectId,
    /// Its size.
    pub size: Bytes,
    /// Why the copy was struck out, in words.
    pub why: String,
}

/// What of `lost_copy` still matters: the tree or kept history refers to the object.
const NEEDED: &str = "EXISTS (SELECT 1 FROM entry WHERE entry.object = lost_copy.object)";

impl Reader<'_> {
    /// At most `limit` lost copies of a disk whose objects have a higher number than `after`, ascending by object.
    pub fn lost_copies(
        &self,
        disk: DiskNo,
        after: ObjectNo,
        limit: u32,
    ) -> Result<Vec<LostCopy>, CatalogError> {
        let sql = format!(
            "SELECT object.id, object.sha256, object.size, lost_copy.why
               FROM lost_copy CROSS JOIN object ON object.id = lost_copy.object
              WHERE lost_copy.disk = ?1 AND lost_copy.object > ?2 AND {NEEDED}
              ORDER BY lost_copy.object LIMIT ?3"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map((disk.0, after.0, limit), |row| {
                Ok(LostCopy {
                    object: ObjectNo(row.get(0)?),
                    id: columns::object_id(row, 1)?,
                    size: columns::bytes(row, 2)?,
                    why: row.get(3)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list lost copies", source))
    }

    /// Objects and bytes of the lost copies of a disk.
    pub fn lost_total(&self, disk: DiskNo) -> Result<(u64, Bytes), CatalogError> {
        let sql = format!(
            "SELECT count(*), coalesce(sum(object.size), 0)
               FROM lost_copy JOIN object ON object.id = lost_copy.object
              WHERE lost_copy.disk = ?1 AND {NEEDED}"
        );
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row([disk.0], |row| Ok((columns::unsigned(row, 0)?, columns::bytes(row, 1)?)))
            })
            .map_err(|source| CatalogError::sql("count lost copies", source))
    }
}

impl Writer<'_> {
    /// Strikes out a copy that is damaged, cut off, unreadable or gone, and records that it is to be healed.
    /// The generation is the caller's to advance.
    pub fn lose_copy(
        &self,
        object: ObjectNo,
        disk: DiskNo,
        now_ns: i64,
        why: &str,
    ) -> Result<(), CatalogError> {
        self.strike_out_copy(object, disk)?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO lost_copy (disk, object, since_ns, why) VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut statement| statement.execute((disk.0, object.0, now_ns, why)))
            .map(drop)
            .map_err(|source| CatalogError::sql("record a lost copy", source))
    }

    /// Forgets lost copies of objects that are about to be forgotten: their numbers may be used again.
    pub(super) fn forget_unneeded_losses(&self) -> Result<(), CatalogError> {
        self.connection
            .execute(&format!("DELETE FROM lost_copy WHERE NOT {NEEDED}"), [])
            .map(drop)
            .map_err(|source| CatalogError::sql("forget lost copies", source))
    }
}

#[cfg(test)]
mod tests {
    use distbackup_core::model::DiskUuid;

    use super::*;
    use crate::catalog::{Catalog, NewDisk, ProofKind};

    /// A catalog with one disk that claims one object, to which an entry refers.
    fn set(folder: &std::path::Path) -> (Catalog, DiskNo, ObjectNo) {
        let mut catalog = Catalog::create(&folder.join("catalog.sqlite"), 1).unwrap();
        let (disk, object) = catalog
            .write("set up", |writer| -> Result<_, CatalogError> {
                let uuid = DiskUuid("u".into());
                let new = NewDisk {
                    uuid: &uuid,
                    name: "red",
                    size_rule: "auto",
                    location: None,
                    added_ns: 1,
                    unproven: false,
                };
                let disk = writer.record_disk(&new)?;
                let object = writer.intern_object(&ObjectId([7; 32]), Bytes(50))?;
                let proof = writer.record_proof(None, 1, ProofKind::Written)?;
                writer.claim_copy(object, disk, proof)?;
                const ENTRY: &str = "
                    INSERT INTO entry (directory, name, born, kind, object, pending, size, mtime_ns, ctime_ns,
                                       filesystem, inode, metadata)
                    VALUES (1, x'61', 1, 'f', ?1, 0, 50, 0, 0, 0, 0, 0)";
                writer.connection.execute(ENTRY, [object.0]).unwrap();
                Ok((disk, object))
            })
            .unwrap();
        (catalog, disk, object)
    }

    #[test]
    fn a_lost_copy_is_no_claim_until_it_is_claimed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut catalog, disk, object) = set(folder.path());
        catalog.write("lose", |writer| writer.lose_copy(object, disk, 2, "missing")).unwrap();
        assert!(!catalog.read().holds(disk, object).unwrap());
        assert_eq!(catalog.read().lost_total(disk).unwrap(), (1, Bytes(50)));
        let lost = catalog.read().lost_copies(disk, ObjectNo(0), 10).unwrap();
        assert_eq!(
            (lost.len(), lost[0].object, lost[0].id, lost[0].why.as_str()),
            (1, object, ObjectId([7; 32]), "missing")
        );
        assert!(catalog.read().lost_copies(disk, object, 10).unwrap().is_empty());

        catalog
            .write("claim", |writer| -> Result<(), CatalogError> {
                let proof = writer.record_proof(None, 3, ProofKind::Written)?;
                writer.claim_copy(object, disk, proof)
            })
            .unwrap();
        assert_eq!(catalog.read().lost_total(disk).unwrap(), (0, Bytes(0)));
    }

    #[test]
    fn what_nothing_refers_to_is_not_lost_and_its_number_carries_no_loss_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut catalog, disk, object) = set(folder.path());
        catalog.write("lose", |writer| writer.lose_copy(object, disk, 2, "missing")).unwrap();
        catalog
            .write("forget", |writer| -> Result<(), CatalogError> {
                writer.connection.execute("DELETE FROM entry", []).unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(catalog.read().lost_total(disk).unwrap(), (0, Bytes(0)));
        assert_eq!(catalog.write("forget", |writer| writer.forget_unused_objects()).unwrap(), 1);
        let rows: i64 =
            catalog.connection.query_row("SELECT count(*) FROM lost_copy", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
    }
}
