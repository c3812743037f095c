//! Sidecars: what a file `NAME.meta-inf` says about the file NAME beside it, as in distbackup 1.x.
//!
//! They are files like all others. What they say is kept by their content, so nothing of it has to follow a move,
//! a second name or a change: whichever current file has the content, has its word.

use distbackup_core::model::{DirNo, ObjectId, ObjectNo};
use rusqlite::OptionalExtension;

use super::{CatalogError, Reader, Writer, columns};

/// What the names of sidecars end with.
pub const SIDECAR_SUFFIX: &[u8] = b".meta-inf";

/// What a sidecar says about its partner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sidecar {
    /// The whole text, JSON.
    pub text: String,
    /// The partner's content, as a hint.
    pub hash: Option<ObjectId>,
    /// The partner's priority.
    pub priority: Option<u32>,
    /// Copies beyond which no more are made; 0: no limit.
    pub maxcopies: Option<u32>,
}

/// Where a sidecar ranks its partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedBySidecar {
    /// Folder of both.
    pub directory: DirNo,
    /// The partner's name.
    pub name: Vec<u8>,
    /// Its priority.
    pub priority: Option<u32>,
    /// Copies beyond which no more are made; 0: no limit.
    pub maxcopies: Option<u32>,
}

/// The partner's name, if this is a sidecar's.
pub fn partner_of(name: &[u8]) -> Option<&[u8]> {
    name.strip_suffix(SIDECAR_SUFFIX).filter(|partner| !partner.is_empty())
}

impl Reader<'_> {
    /// Whether any sidecar is known.
    pub fn knows_sidecars(&self) -> Result<bool, CatalogError> {
        self.connection
            .query_row("SELECT EXISTS (SELECT 1 FROM sidecar)", [], |row| row.get(0))
            .map_err(|source| CatalogError::sql("look for sidecars", source))
    }

    /// The sidecars of current files that say something about priority or copies. Memory grows with their number.
    pub fn ranking_sidecars(&self) -> Result<Vec<RankedBySidecar>, CatalogError> {
        const SQL: &str = "
            SELECT entry.directory, entry.name, sidecar.priority, sidecar.maxcopies
              FROM sidecar CROSS JOIN entry ON entry.object = sidecar.object
             WHERE entry.died IS NULL AND entry.kind = 'f'
               AND (sidecar.priority IS NOT NULL OR sidecar.maxcopies IS NOT NULL)";
        let read = || {
            let mut statement = self.connection.prepare(SQL)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let name: Vec<u8> = row.get(1)?;
                let Some(partner) = partner_of(&name) else { continue };
                found.push(RankedBySidecar {
                    directory: DirNo(row.get(0)?),
                    name: partner.to_vec(),
                    priority: row.get(2)?,
                    maxcopies: row.get(3)?,
                });
            }
            Ok(found)
        };
        read().map_err(|source| CatalogError::sql("read sidecars", source))
    }

    /// What the sidecar of a file says its content is, where that is known not to be so.
    pub fn contradicted_by_sidecar(
        &self,
        directory: DirNo,
        name: &[u8],
    ) -> Result<Option<ObjectId>, CatalogError> {
        const SQL: &str = "
            SELECT sidecar.sha256
              FROM entry AS beside
              JOIN sidecar ON sidecar.object = beside.object
              JOIN entry ON entry.directory = beside.directory AND entry.name = ?3 AND entry.died IS NULL
              JOIN object ON object.id = entry.object
             WHERE beside.directory = ?1 AND beside.name = ?2 AND beside.died IS NULL
               AND entry.pending = 0 AND sidecar.sha256 <> object.sha256";
        let beside = [name, SIDECAR_SUFFIX].concat();
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement.query_row((directory.0, beside, name), |row| columns::object_id(row, 0)).optional()
            })
            .map_err(|source| CatalogError::sql("compare a file with its sidecar", source))
    }
}

impl Writer<'_> {
    /// Records what a sidecar with this content says.
    pub fn record_sidecar(&self, object: ObjectNo, sidecar: &Sidecar) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT OR REPLACE INTO sidecar (object, text, sha256, priority, maxcopies) VALUES (?1, ?2, ?3, ?4, ?5)";
        let hash = sidecar.hash.map(|id| id.0);
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement.execute((object.0, &sidecar.text, hash, sidecar.priority, sidecar.maxcopies))
            })
            .map(drop)
            .map_err(|source| CatalogError::sql("record a sidecar", source))
    }

    /// Forgets what was said by contents that are forgotten.
    pub(super) fn forget_unneeded_sidecars(&self) -> Result<(), CatalogError> {
        const SQL: &str = "
            DELETE FROM sidecar WHERE NOT EXISTS (SELECT 1 FROM entry WHERE entry.object = sidecar.object)";
        self.connection
            .execute(SQL, [])
            .map(drop)
            .map_err(|source| CatalogError::sql("forget sidecars", source))
    }
}
