//! Catalogs of distbackup 1.x, read: schema 21 to 31, of which only the columns are read that all of these have.
//!
//! As with every catalog that we did not write, nothing in its schema is run, and no value is believed unseen (C7).

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::{CatalogError, migrations};

/// The oldest schema that is read.
const SCHEMA_MIN: i32 = 21;
/// Tables that are read.
const TABLES: [&str; 6] = ["path_map", "path_config", "file_tree", "symbolic_link", "object", "disk"];

/// An open catalog of distbackup 1.x.
#[derive(Debug)]
pub struct Version1 {
    connection: Connection,
    /// Its schema.
    pub schema: i32,
}

/// A disk in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version1Disk {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its place in the names of sets of disks.
    pub index: usize,
    /// Its folder below the mount point, raw bytes.
    pub relative_path: Vec<u8>,
    /// Bytes that may be used; 0: not said.
    pub size: u64,
}

/// An object in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version1Object {
    /// Its SHA-256 as it stands there.
    pub hash: Vec<u8>,
    /// Its size in bytes.
    pub size: i64,
    /// Which disks have it: a `1` at the index of each.
    pub disks: Vec<u8>,
    /// A file that had it.
    pub last_path: Vec<u8>,
    /// When that was changed, milliseconds since 1970.
    pub last_modified_ms: i64,
}

/// A file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version1File {
    /// Virtual path.
    pub path: Vec<u8>,
    /// Milliseconds since 1970.
    pub modified_ms: i64,
    /// SHA-256 as it stands there; empty: not known, `None`: the file is empty.
    pub hash: Option<Vec<u8>>,
    /// Its inode.
    pub inode: i64,
    /// Its size in bytes.
    pub size: i64,
}

/// A mapping in it: virtual path and real path, raw bytes.
pub type Version1Source = (Vec<u8>, Vec<u8>);

/// Text or bytes; anything else is nothing.
fn bytes(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        _ => Vec::new(),
    })
}

/// A whole number; anything else is 0. Tables were not strict before schema 27.
fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<i64> {
    Ok(match row.get_ref(at)? {
        ValueRef::Integer(number) => number,
        ValueRef::Real(number) => number as i64,
        _ => 0,
    })
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(&bytes(row, at)?).into_owned())
}

impl Version1 {
    /// Opens a file that nobody else writes to. One that is no catalog of distbackup 1.x is an error that says what it is.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        migrations::check_file(path)?;
        let sql = |source| CatalogError::from_sql("open a catalog of distbackup 1.x", path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
        super::bound_values(&connection).map_err(sql)?;
        connection
            .execute_batch(
                "PRAGMA trusted_schema = OFF; PRAGMA query_only = ON; PRAGMA cell_size_check = ON;",
            )
            .map_err(sql)?;
        let schema = match migrations::schema_of(&connection, path) {
            Err(CatalogError::Version1 { version, .. }) if version >= SCHEMA_MIN => version,
            Err(error) => return Err(error),
            Ok(_) => return Err(CatalogError::NotVersion1 { path: path.to_owned() }),
        };
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
        if verdict != "ok" {
            return Err(CatalogError::Damaged { path: path.to_owned(), why: verdict });
        }
        for table in TABLES {
            const SQL: &str = "SELECT count(*) FROM sqlite_schema WHERE name = ?1 AND type = 'table'
                                AND sql NOT LIKE 'CREATE VIRTUAL%'";
            let count: i64 = connection.query_row(SQL, [table], |row| row.get(0)).map_err(sql)?;
            if count != 1 {
                return Err(CatalogError::Damaged {
                    path: path.to_owned(),
                    why: format!("it has no table {table}"),
                });
            }
        }
        Ok(Version1 { connection, schema })
    }

    fn each<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
        mut each: impl FnMut(T) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        let wrap = |source| CatalogError::sql("read a catalog of distbackup 1.x", source);
        let mut statement = self.connection.prepare(sql).map_err(wrap)?;
        let mut rows = statement.query([]).map_err(wrap)?;
        while let Some(row) = rows.next().map_err(wrap)? {
            each(read(row).map_err(wrap)?)?;
        }
        Ok(())
    }

    fn all<T>(
        &self,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, CatalogError> {
        let mut all = Vec::new();
        self.each(sql, read, |one| {
            all.push(one);
            Ok(())
        })?;
        Ok(all)
    }

    /// All mappings.
    pub fn sources(&self) -> Result<Vec<Version1Source>, CatalogError> {
        let sql = "SELECT virtual_path, real_path FROM path_map ORDER BY virtual_path";
        self.all(sql, |row| Ok((bytes(row, 0)?, bytes(row, 1)?)))
    }

    /// Configured paths: virtual path and JSON.
    pub fn configs(&self) -> Result<Vec<(Vec<u8>, String)>, CatalogError> {
        let sql = "SELECT virtual_path, config FROM path_config ORDER BY virtual_path";
        self.all(sql, |row| Ok((bytes(row, 0)?, text(row, 1)?)))
    }

    /// Disks that were not deleted.
    pub fn disks(&self) -> Result<Vec<Version1Disk>, CatalogError> {
        let sql = "SELECT uuid, name, nexus_index, relative_path, size FROM disk WHERE name NOTNULL ORDER BY nexus_index";
        self.all(sql, |row| {
            Ok(Version1Disk {
                uuid: text(row, 0)?,
                name: text(row, 1)?,
                index: usize::try_from(number(row, 2)?).unwrap_or(usize::MAX),
                relative_path: bytes(row, 3)?,
                size: u64::try_from(number(row, 4)?).unwrap_or(0),
            })
        })
    }

    /// Files, symlinks and objects, counted.
    pub fn totals(&self) -> Result<(u64, u64, u64), CatalogError> {
        let count = |table: &str| -> Result<u64, CatalogError> {
            let sql = format!("SELECT count(*) FROM {table}");
            let count: i64 = self
                .connection
                .query_row(&sql, [], |row| row.get(0))
                .map_err(|source| CatalogError::sql("read a catalog of distbackup 1.x", source))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        Ok((count("file_tree")?, count("symbolic_link")?, count("object")?))
    }

    /// All objects.
    pub fn each_object(
        &self,
        each: impl FnMut(Version1Object) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        let sql = "SELECT hash, size, nexus, last_path, last_modtime FROM object";
        let read = |row: &Row<'_>| {
            Ok(Version1Object {
                hash: bytes(row, 0)?,
                size: number(row, 1)?,
                disks: bytes(row, 2)?,
                last_path: bytes(row, 3)?,
                last_modified_ms: number(row, 4)?,
            })
        };
        self.each(sql, read, each)
    }

    /// All files, in the order of their paths.
    pub fn each_file(
        &self,
        each: impl FnMut(Version1File) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        let sql = "SELECT virtual_path, last_modified, hash, ino, size FROM file_tree ORDER BY virtual_path";
        let read = |row: &Row<'_>| {
            let hash = match row.get_ref(2)? {
                ValueRef::Null => None,
                _ => Some(bytes(row, 2)?),
            };
            Ok(Version1File {
                path: bytes(row, 0)?,
                modified_ms: number(row, 1)?,
                hash,
                inode: number(row, 3)?,
                size: number(row, 4)?,
            })
        };
        self.each(sql, read, each)
    }

    /// All symlinks: virtual path and target.
    pub fn each_link(
        &self,
        mut each: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        let sql = "SELECT virtual_path, target FROM symbolic_link ORDER BY virtual_path";
        self.each(sql, |row| Ok((bytes(row, 0)?, bytes(row, 1)?)), |(path, target)| each(path, target))
    }
}
