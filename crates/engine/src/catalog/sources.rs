//! Sources, the filesystems they live on, and the configuration of paths.

use std::path::PathBuf;

use distbackup_core::model::{FilesystemNo, SourceNo, VirtualPath};
use distbackup_core::rules::PathConfig;

use super::{CatalogError, Reader, Writer, columns};
use crate::platform::{bytes_of_path, path_of_bytes};

/// A source: a real folder mounted at a virtual path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// Its number.
    pub source: SourceNo,
    /// Where it appears in the virtual tree.
    pub vpath: VirtualPath,
    /// The real folder.
    pub path: PathBuf,
    /// The filesystem its root was on at the last complete scan.
    pub filesystem: Option<FilesystemNo>,
    /// When it was last scanned.
    pub scanned_ns: Option<i64>,
}

impl Reader<'_> {
    /// All sources, by virtual path.
    pub fn sources(&self) -> Result<Vec<SourceRow>, CatalogError> {
        const SQL: &str = "SELECT id, vpath, path, filesystem, scanned_ns FROM source ORDER BY vpath";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map([], |row| {
                Ok(SourceRow {
                    source: SourceNo(row.get(0)?),
                    vpath: columns::virtual_path(row, 1)?,
                    path: path_of_bytes(&row.get::<_, Vec<u8>>(2)?),
                    filesystem: row.get::<_, Option<i64>>(3)?.map(FilesystemNo),
                    scanned_ns: row.get(4)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the sources", source))
    }

    /// All filesystems known, with their identity and whether their inode numbers are stable.
    pub fn filesystems(&self) -> Result<Vec<(FilesystemNo, String, bool)>, CatalogError> {
        let read = || {
            let mut statement =
                self.connection.prepare_cached("SELECT id, identity, stable_inodes FROM filesystem")?;
            let rows =
                statement.query_map([], |row| Ok((FilesystemNo(row.get(0)?), row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the filesystems", source))
    }

    /// What is configured for virtual paths, in path order.
    pub fn path_configs(&self) -> Result<Vec<(VirtualPath, PathConfig)>, CatalogError> {
        const SQL: &str = "
            SELECT vpath, priority, mincopies, maxcopies, lock, hide, noinherit, rules, follow_symlinks
              FROM path_config ORDER BY vpath";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map([], |row| {
                let small = |column| match row.get::<_, Option<i64>>(column)? {
                    None => Ok(None),
                    Some(_) => columns::small(row, column).map(Some),
                };
                let config = PathConfig {
                    priority: small(1)?,
                    mincopies: small(2)?,
                    maxcopies: small(3)?,
                    lock: row.get(4)?,
                    hide: row.get(5)?,
                    noinherit: row.get(6)?,
                    rules: columns::texts(row, 7)?,
                    follow_symlinks: row.get(8)?,
                };
                Ok((columns::virtual_path(row, 0)?, config))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("read the configuration of paths", source))
    }
}

impl Writer<'_> {
    /// Records a mapping; one at the same virtual path is replaced.
    pub fn record_source(&self, vpath: &VirtualPath, path: &std::path::Path) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT INTO source (vpath, path) VALUES (?1, ?2)
            ON CONFLICT (vpath) DO UPDATE SET path = excluded.path, filesystem = NULL, scanned_ns = NULL";
        self.connection
            .execute(SQL, (vpath.as_bytes(), bytes_of_path(path)))
            .map_err(|source| CatalogError::sql("record a source", source))?;
        self.advance_generation()
    }

    /// Removes a mapping; tells whether there was one. Its entries become history at the next update.
    pub fn remove_source(&self, vpath: &VirtualPath) -> Result<bool, CatalogError> {
        let removed = self
            .connection
            .execute("DELETE FROM source WHERE vpath = ?1", [vpath.as_bytes()])
            .map_err(|source| CatalogError::sql("remove a source", source))?;
        self.advance_generation()?;
        Ok(removed > 0)
    }

    /// Records that a source was scanned whole, and where its root is.
    pub fn record_source_scanned(
        &self,
        source: SourceNo,
        filesystem: FilesystemNo,
        time_ns: i64,
    ) -> Result<(), CatalogError> {
        const SQL: &str = "UPDATE source SET filesystem = ?2, scanned_ns = ?3 WHERE id = ?1";
        self.connection
            .execute(SQL, (source.0, filesystem.0, time_ns))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record a scan", source))
    }

    /// Records a filesystem that was met for the first time, under the number it was given.
    pub fn record_filesystem(
        &self,
        number: FilesystemNo,
        identity: &str,
        kind: &str,
        stable_inodes: bool,
    ) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT OR IGNORE INTO filesystem (id, identity, kind, stable_inodes) VALUES (?1, ?2, ?3, ?4)";
        self.connection
            .execute(SQL, (number.0, identity, kind, stable_inodes))
            .map(|_| ())
            .map_err(|source| CatalogError::sql("record a filesystem", source))
    }

    /// Records what is configured for a path; an empty configuration removes the row.
    pub fn record_path_config(&self, vpath: &VirtualPath, config: &PathConfig) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT INTO path_config (vpath, priority, mincopies, maxcopies, lock, hide, noinherit, rules,
                                     follow_symlinks)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
            ON CONFLICT (vpath) DO UPDATE SET priority = excluded.priority, mincopies = excluded.mincopies,
                maxcopies = excluded.maxcopies, lock = excluded.lock, hide = excluded.hide,
                noinherit = excluded.noinherit, rules = excluded.rules,
                follow_symlinks = excluded.follow_symlinks";
        let outcome = if *config == PathConfig::default() {
            self.connection.execute("DELETE FROM path_config WHERE vpath = ?1", [vpath.as_bytes()])
        } else {
            let rules = config.rules.as_ref().map(|rules| serde_json::Value::from(rules.clone()).to_string());
            self.connection.execute(
                SQL,
                rusqlite::params![
                    vpath.as_bytes(),
                    config.priority,
                    config.mincopies,
                    config.maxcopies,
                    config.lock,
                    config.hide,
                    config.noinherit,
                    rules,
                    config.follow_symlinks,
                ],
            )
        };
        outcome.map_err(|source| CatalogError::sql("record the configuration of a path", source))?;
        self.advance_generation()
    }
}
