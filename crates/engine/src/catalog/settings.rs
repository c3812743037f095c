//! Settings of the set, and what each means when it was never set.

use distbackup_core::model::{SetUuid, parse_duration_days};
use rusqlite::OptionalExtension;

use super::{CatalogError, Reader, Writer};

/// How long what left the tree is kept (DESIGN 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Days after which history expires; `None`: never; 0: at once.
    pub days: Option<u32>,
    /// Besides, so many newest snapshots keep their history; `None`: all.
    pub snapshots: Option<u32>,
}

/// What `keep-deleted` is when nobody has set it.
const KEEP_DAYS: u32 = 90;

/// How many days evidence is trusted when nobody has set it: two years (DESIGN 7.4).
const TRUST_DAYS: u32 = 730;

impl Reader<'_> {
    /// The identity of the set.
    pub fn set_uuid(&self) -> Result<SetUuid, CatalogError> {
        self.connection
            .query_row("SELECT set_uuid FROM catalog", [], |row| row.get(0).map(SetUuid))
            .map_err(|source| CatalogError::sql("read the set's identity", source))
    }

    /// Grows with every change that a disk's copy of the catalog must know.
    pub fn generation(&self) -> Result<i64, CatalogError> {
        self.connection
            .query_row("SELECT generation FROM catalog", [], |row| row.get(0))
            .map_err(|source| CatalogError::sql("read the catalog's generation", source))
    }

    /// A setting as it was written; `None` if it never was.
    pub fn setting(&self, name: &str) -> Result<Option<String>, CatalogError> {
        self.connection
            .prepare_cached("SELECT value FROM setting WHERE name = ?1")
            .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
            .map_err(|source| CatalogError::sql("read a setting", source))
    }

    /// The retention in force.
    pub fn retention(&self) -> Result<Retention, CatalogError> {
        let days = match self.setting("keep-deleted")?.as_deref() {
            None => Some(KEEP_DAYS),
            Some("off") => None,
            Some(text) => Some(
                parse_duration_days(text)
                    .map_err(|_| CatalogError::DamagedRow { what: "setting keep-deleted" })?,
            ),
        };
        let snapshots = match self.setting("keep-snapshots")?.as_deref() {
            None => Some(0),
            Some("off") => None,
            Some(text) => {
                Some(text.parse().map_err(|_| CatalogError::DamagedRow { what: "setting keep-snapshots" })?)
            }
        };
        Ok(Retention { days, snapshots })
    }

    /// Days for which a copy's evidence is trusted (DESIGN 7.4).
    pub fn trust_days(&self) -> Result<u32, CatalogError> {
        match self.setting("trust-time")? {
            None => Ok(TRUST_DAYS),
            Some(text) => parse_duration_days(&text)
                .map_err(|_| CatalogError::DamagedRow { what: "setting trust-time" }),
        }
    }
}

impl Writer<'_> {
    /// Notes that something changed which the disks' copies must know.
    pub fn advance_generation(&self) -> Result<(), CatalogError> {
        self.connection
            .execute("UPDATE catalog SET generation = generation + 1", [])
            .map(|_| ())
            .map_err(|source| CatalogError::sql("advance the generation", source))
    }

    /// Records a setting; the caller has checked its value.
    pub fn record_setting(&self, name: &str, value: &str) -> Result<(), CatalogError> {
        self.connection
            .execute("INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)", [name, value])
            .map_err(|source| CatalogError::sql("record a setting", source))?;
        self.advance_generation()
    }
}
