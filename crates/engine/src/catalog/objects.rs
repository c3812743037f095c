//! Objects: which contents exist, and what refers to them.

use distbackup_core::model::{Bytes, DirNo, ObjectId, ObjectNo};
use rusqlite::OptionalExtension;

use super::{CatalogError, Reader, Writer, columns};

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its row.
    pub object: ObjectNo,
    /// Its identity.
    pub id: ObjectId,
    /// Bytes of content.
    pub size: Bytes,
}

/// A name that refers to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The folder.
    pub directory: DirNo,
    /// The name in it.
    pub name: Vec<u8>,
    /// In the current tree; else only in history.
    pub live: bool,
}

impl Reader<'_> {
    /// The object with this content.
    pub fn object_by_id(&self, id: &ObjectId) -> Result<Option<ObjectRow>, CatalogError> {
        self.connection
            .prepare_cached("SELECT id, sha256, size FROM object WHERE sha256 = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([&id.0], |row| {
                        Ok(ObjectRow {
                            object: ObjectNo(row.get(0)?),
                            id: columns::object_id(row, 1)?,
                            size: columns::bytes(row, 2)?,
                        })
                    })
                    .optional()
            })
            .map_err(|source| CatalogError::sql("find an object", source))
    }

    /// The object of a row.
    pub fn object(&self, object: ObjectNo) -> Result<Option<ObjectRow>, CatalogError> {
        self.connection
            .prepare_cached("SELECT sha256, size FROM object WHERE id = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([object.0], |row| {
                        Ok(ObjectRow {
                            object,
                            id: columns::object_id(row, 0)?,
                            size: columns::bytes(row, 1)?,
                        })
                    })
                    .optional()
            })
            .map_err(|source| CatalogError::sql("find an object", source))
    }

    /// The highest number of an object, and so no fewer than there are: found without counting them.
    pub fn highest_object(&self) -> Result<i64, CatalogError> {
        self.connection
            .query_row("SELECT coalesce(max(id), 0) FROM object", [], |row| row.get(0))
            .map_err(|source| CatalogError::sql("find the newest object", source))
    }

    /// Whether the tree or kept history refers to an object.
    pub fn is_referenced(&self, object: ObjectNo) -> Result<bool, CatalogError> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM entry WHERE object = ?1)")
            .and_then(|mut statement| statement.query_row([object.0], |row| row.get(0)))
            .map_err(|source| CatalogError::sql("look for references to an object", source))
    }

    /// At most `limit` names of an object, names of the current tree first.
    pub fn references(&self, object: ObjectNo, limit: u32) -> Result<Vec<Reference>, CatalogError> {
        const SQL: &str = "
            SELECT directory, name, died IS NULL AS live FROM entry
             WHERE object = ?1 ORDER BY live DESC, directory, name LIMIT ?2";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map((object.0, limit), |row| {
                Ok(Reference { directory: DirNo(row.get(0)?), name: row.get(1)?, live: row.get(2)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the names of an object", source))
    }
}

impl Writer<'_> {
    /// The row of a content, made if it is new.
    pub fn intern_object(&self, id: &ObjectId, size: Bytes) -> Result<ObjectNo, CatalogError> {
        // Most contents that come are new: to ask first would look for each of them twice.
        const INSERT: &str =
            "INSERT INTO object (sha256, size) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING";
        let failed = |source| CatalogError::sql("record an object", source);
        let new = self
            .connection
            .prepare_cached(INSERT)
            .and_then(|mut statement| statement.execute((&id.0, columns::to_signed(size.0))))
            .map_err(failed)?;
        if new == 1 {
            return Ok(ObjectNo(self.connection.last_insert_rowid()));
        }
        match self.object_by_id(id)? {
            Some(row) => Ok(row.object),
            None => Err(failed(rusqlite::Error::QueryReturnedNoRows)),
        }
    }

    /// Forgets objects that nothing refers to and no disk holds; returns how many.
    pub fn forget_unused_objects(&self) -> Result<usize, CatalogError> {
        const SQL: &str = "
            DELETE FROM object
             WHERE NOT EXISTS (SELECT 1 FROM copy WHERE copy.object = object.id)
               AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.object = object.id)";
        self.forget_unneeded_losses()?;
        self.forget_unneeded_sidecars()?;
        self.connection.execute(SQL, []).map_err(|source| CatalogError::sql("forget unused objects", source))
    }
}
