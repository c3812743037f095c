//! The copy of the catalog for a disk, and the reading of copies that come from disks.

use std::path::Path;

use distbackup_core::model::SetUuid;
use rusqlite::{Connection, OpenFlags};

use super::{Catalog, CatalogError, Reader, migrations};

/// A catalog copy that was opened read-only and checked.
#[derive(Debug)]
pub struct CheckedCopy {
    connection: Connection,
    /// The set it belongs to.
    pub set: SetUuid,
    /// Its generation: of two copies of one set, the larger one knows more.
    pub generation: i64,
    /// Newest catalog time in it.
    pub newest_ns: i64,
}

impl CheckedCopy {
    /// Checks every page of it and every key of its indices, which reads the file once.
    pub fn check_all(&self, path: &Path) -> Result<(), CatalogError> {
        let sql = |source| CatalogError::from_sql("check the catalog", path, source);
        let verdict: String =
            self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sql)?;
        match verdict.as_str() {
            "ok" => Ok(()),
            _ => Err(CatalogError::Damaged { path: path.to_owned(), why: verdict }),
        }
    }

    /// Answers questions from the copy.
    pub fn read(&self) -> Reader<'_> {
        Reader { connection: &self.connection }
    }

    /// Refuses numbers that no shelf can have: the sum of such sizes overflows, and a table by such numbers fits no
    /// memory (C7). Names are looked at for their length, for a walk holds several hundred of each folder.
    pub fn refuse_absurd_numbers(&self, path: &Path) -> Result<(), CatalogError> {
        /// More than any shelf has. Files may be sparse and never read, so they claim more than objects hold.
        const OBJECTS_MAX: f64 = (1u64 << 60) as f64;
        const FILES_MAX: f64 = (1u64 << 62) as f64;
        const DISKS_MAX: f64 = 1000.0;
        /// Longer than any name (4032 bytes) and any target of a symlink.
        const NAME_MAX: f64 = 4096.0;
        const TARGET_MAX: f64 = 65_536.0;
        let ask = |query: &str| -> Result<f64, CatalogError> {
            let sql = |source| CatalogError::from_sql("open a catalog copy", path, source);
            self.connection.query_row(query, [], |row| row.get(0)).map_err(sql)
        };
        let absurd = ask("SELECT total(max(size, 0)) FROM object")? > OBJECTS_MAX
            || ask("SELECT total(max(size, 0)) FROM entry")? > FILES_MAX
            || ask("SELECT total(id) FROM (SELECT max(id) AS id FROM object)")? > f64::from(u32::MAX)
            || ask("SELECT total(count) FROM (SELECT count(*) AS count FROM disk)")? > DISKS_MAX
            || ask("SELECT total(length) FROM (SELECT max(length(name)) AS length FROM entry)")? > NAME_MAX
            || ask("SELECT total(length) FROM (SELECT max(length(target)) AS length FROM entry)")?
                > TARGET_MAX;
        if absurd {
            let why = "its files, names or disks are larger, or more, than there can be".to_owned();
            return Err(CatalogError::Damaged { path: path.to_owned(), why });
        }
        Ok(())
    }
}

impl Catalog {
    /// Writes a consistent snapshot of the catalog to a new file, which must not exist, and checks it.
    ///
    /// By `VACUUM INTO`, so the copy is no WAL database and opens on read-only media (DESIGN 6).
    pub fn write_copy(&self, to: &Path) -> Result<(), CatalogError> {
        use std::os::unix::ffi::OsStrExt;
        let sql = |source| CatalogError::sql("copy the catalog", source);
        self.connection
            .prepare("VACUUM INTO CAST(?1 AS TEXT)")
            .and_then(|mut statement| statement.execute([to.as_os_str().as_bytes()]))
            .map_err(sql)?;
        crate::platform::make_private(to).map_err(|source| CatalogError::Io {
            action: "protect",
            path: to.to_owned(),
            source,
        })?;
        inspect(to, true).map(|_| ())
    }
}

/// Opens a catalog copy as untrusted input: read-only, nothing in its schema is run (C7, N12).
///
/// With `whole` every page is checked, which reads the file once.
pub fn inspect(path: &Path, whole: bool) -> Result<CheckedCopy, CatalogError> {
    migrations::check_file(path)?;
    let sql = |source| CatalogError::from_sql("open a catalog copy", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    check(Connection::open_with_flags(path, flags).map_err(sql)?, path, whole)
}

/// Opens the catalog that is in use for a short look, without a lock and without leaving anything beside it: SQLite would
/// leave an empty journal behind. Where there is a journal, somebody works with it, and it is read as well.
pub fn peek(path: &Path) -> Result<CheckedCopy, CatalogError> {
    use std::os::unix::ffi::OsStrExt;
    let journal = std::fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |metadata| metadata.len());
    if journal > 0 {
        return inspect(path, false);
    }
    migrations::check_file(path)?;
    let sql = |source| CatalogError::from_sql("open the catalog", path, source);
    let absolute = std::path::absolute(path).map_err(|source| CatalogError::Io {
        action: "find",
        path: path.to_owned(),
        source,
    })?;
    let mut name = "file:".to_owned();
    for &byte in absolute.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                name.push(char::from(byte))
            }
            _ => name += &format!("%{byte:02X}"),
        }
    }
    name += "?immutable=1";
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    check(Connection::open_with_flags(name, flags).map_err(sql)?, path, false)
}

fn check(connection: Connection, path: &Path, whole: bool) -> Result<CheckedCopy, CatalogError> {
    let sql = |source| CatalogError::from_sql("open a catalog copy", path, source);
    super::bound_values(&connection).map_err(sql)?;
    connection
        .execute_batch("PRAGMA trusted_schema = OFF; PRAGMA query_only = ON; PRAGMA cell_size_check = ON;")
        .map_err(sql)?;
    migrations::schema_of(&connection, path)?;
    if whole {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
        if verdict != "ok" {
            return Err(CatalogError::Damaged { path: path.to_owned(), why: verdict });
        }
    }
    refuse_what_runs(&connection, path)?;
    let head = connection.query_row("SELECT set_uuid, generation, newest_ns FROM catalog", [], |row| {
        Ok((SetUuid(row.get(0)?), row.get(1)?, row.get(2)?))
    });
    let (set, generation, newest_ns) = head.map_err(sql)?;
    Ok(CheckedCopy { connection, set, generation, newest_ns })
}

/// Our catalogs have neither views nor triggers nor virtual tables: a copy that does was made to run something (C7).
fn refuse_what_runs(connection: &Connection, path: &Path) -> Result<(), CatalogError> {
    const SQL: &str = "
        SELECT count(*) FROM sqlite_schema
         WHERE type NOT IN ('table', 'index') OR (type = 'table' AND sql LIKE 'CREATE VIRTUAL%')";
    let count: i64 = connection
        .query_row(SQL, [], |row| row.get(0))
        .map_err(|source| CatalogError::from_sql("open a catalog copy", path, source))?;
    if count > 0 {
        let why = "it contains views, triggers or virtual tables, which no catalog has".to_owned();
        return Err(CatalogError::Damaged { path: path.to_owned(), why });
    }
    Ok(())
}
