//! The copy of the catalog for a disk, and the reading of copies that come from disks.

use std::os::unix::fs::FileExt;
use std::path::Path;

use distbackup_core::model::SetUuid;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use super::{Catalog, CatalogError, Reader, Written, migrations};

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
    /// Writes a consistent snapshot of the catalog to a new file, which must not exist; [`inspect`] checks it.
    ///
    /// The copy is no WAL database, so it opens on read-only media (DESIGN 6).
    pub fn write_copy(&self, to: &Path) -> Result<(), CatalogError> {
        let by_pages = Size::of(&self.connection)?.is_mostly_used();
        let copied = if by_pages { self.copy_pages(to) } else { self.copy_rows(to) };
        copied.map_err(|source| CatalogError::sql("copy the catalog", source))?;
        crate::platform::make_private(to).map_err(|source| CatalogError::Io {
            action: "protect",
            path: to.to_owned(),
            source,
        })
    }

    /// Copies page by page, as fast as files are copied: row by row, ten million files take minutes.
    fn copy_pages(&self, to: &Path) -> rusqlite::Result<()> {
        const ALL: i32 = -1;
        let mut copy = Connection::open(to)?;
        // Nobody else sees it, and it goes if this fails: nothing needs to be undone in it.
        copy.execute_batch("PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;")?;
        // Anything but done, such as a lock that somebody else holds, leaves a part of it.
        if Backup::new(&self.connection, &mut copy)?.step(ALL)? != StepResult::Done {
            return Err(busy("another program has it locked"));
        }
        // What was copied still says of itself that it has a journal beside it.
        let mode: String = copy.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))?;
        match mode.as_str() {
            "delete" => copy.close().map_err(|(_, error)| error),
            _ => Err(busy("the copy cannot be made a database without a log")),
        }
    }

    /// Copies row by row, which leaves out all that is free.
    fn copy_rows(&self, to: &Path) -> rusqlite::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let mut statement = self.connection.prepare("VACUUM INTO CAST(?1 AS TEXT)")?;
        statement.execute([to.as_os_str().as_bytes()]).map(drop)
    }
}

impl Written<'_> {
    /// Writes what will be committed to a new file, as [`Catalog::write_copy`] does. `false`, and there is no file: it has to be
    /// copied when it is committed, for it is too large to be held in memory, or much of it is free.
    pub fn write_copy(&mut self, to: &Path) -> Result<bool, CatalogError> {
        /// A quarter of a million files. With more of them the copy is a small part of what a visit does.
        const IN_MEMORY_MAX: i64 = 64 << 20;
        /// Where a database says that it has a log beside it, and what it says without one (SQLite, file format, 1.3.3).
        const VERSIONS: (u64, [u8; 2]) = (18, [1, 1]);
        let size = Size::of(self.connection)?;
        if size.pages.saturating_mul(size.page) > IN_MEMORY_MAX || !size.is_mostly_used() {
            return Ok(false);
        }
        let image = self.connection.serialize(MAIN_DB);
        let image = image.map_err(|source| CatalogError::sql("copy the catalog", source))?;
        // SQLite does not tell which pages it could not read: it leaves zeros there. So does nothing else but a rare value.
        let page = usize::try_from(size.page).unwrap_or(1).max(1);
        if image.chunks(page).any(|page| page.iter().all(|&byte| byte == 0)) {
            return Ok(false);
        }
        let write = || {
            let file = std::fs::OpenOptions::new().write(true).create_new(true).open(to)?;
            crate::platform::make_private(to)?;
            file.write_all_at(&image, 0)?;
            file.write_all_at(&VERSIONS.1, VERSIONS.0)
        };
        write().map_err(|source| CatalogError::Io { action: "write", path: to.to_owned(), source })?;
        Ok(true)
    }
}

/// How large a catalog is.
struct Size {
    /// Bytes of a page.
    page: i64,
    pages: i64,
    /// Pages that nothing is in.
    free: i64,
}

impl Size {
    fn of(connection: &Connection) -> Result<Self, CatalogError> {
        const SQL: &str = "
            SELECT page_size, page_count, freelist_count
              FROM pragma_page_size, pragma_page_count, pragma_freelist_count";
        let size =
            |row: &rusqlite::Row<'_>| Ok(Size { page: row.get(0)?, pages: row.get(1)?, free: row.get(2)? });
        connection
            .query_row(SQL, [], size)
            .map_err(|source| CatalogError::sql("look at the size of the catalog", source))
    }

    /// Whether so few pages are free that a copy need not leave them out.
    fn is_mostly_used(&self) -> bool {
        self.free < self.pages / 4
    }
}

fn busy(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
        Some(why.to_owned()),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes 18 and 19 of a database: 1 without a write-ahead log, 2 with one (SQLite, file format, 1.3.3).
    fn versions(path: &Path) -> [u8; 2] {
        let head = std::fs::read(path).unwrap();
        [head[18], head[19]]
    }

    fn settings(path: &Path) -> Vec<String> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut statement =
            connection.prepare("SELECT name || '=' || value FROM setting ORDER BY 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_copy_has_what_was_just_recorded_and_no_log_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distbackup.sqlite");
        let mut catalog = Catalog::create(&path, 1).unwrap();
        catalog.write("test", |writer| writer.record_setting("note", "x")).unwrap();
        assert_eq!(versions(&path), [2, 2], "the catalog itself has a log");
        let by_pages = folder.path().join("by pages");
        let by_rows = folder.path().join("by rows");
        assert!(Size::of(&catalog.connection).unwrap().is_mostly_used());
        catalog.write_copy(&by_pages).unwrap();
        catalog.copy_rows(&by_rows).unwrap();
        for copy in [&by_pages, &by_rows] {
            assert_eq!(versions(copy), [1, 1]);
            assert!(settings(copy).contains(&"note=x".to_owned()), "{:?}", settings(copy));
        }
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|name| name.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().starts_with("by pages-")), "{names:?}");
    }

    #[test]
    fn what_was_deleted_from_a_catalog_takes_no_room_in_its_copy() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
        let long = "x".repeat(1 << 20);
        catalog.write("test", |writer| writer.record_setting("note", &long)).unwrap();
        catalog.write("test", |writer| writer.record_setting("note", "short")).unwrap();
        assert!(!Size::of(&catalog.connection).unwrap().is_mostly_used());
        let copy = folder.path().join("copy");
        catalog.write_copy(&copy).unwrap();
        assert!(std::fs::metadata(&copy).unwrap().len() < 1 << 19);
    }

    /// Copies a catalog while a note of its is not committed yet. Tells whether there is a copy.
    fn copy_before_commit(catalog: &mut Catalog, note: &str, to: &Path) -> bool {
        let mut copied = false;
        let look = |written: &mut Written<'_>| -> Result<(), CatalogError> {
            copied = written.write_copy(to)?;
            Ok(())
        };
        catalog.write_and_look("test", |writer| writer.record_setting("note", note), look).unwrap();
        assert_eq!(copied, to.exists());
        copied
    }

    #[test]
    fn a_copy_that_is_made_before_a_commit_is_the_one_that_would_be_made_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        assert!(copy_before_commit(&mut catalog, "x", &before));
        catalog.write_copy(&after).unwrap();
        let checked = inspect(&before, true).unwrap();
        checked.check_all(&before).unwrap();
        assert_eq!(checked.generation, catalog.read().generation().unwrap());
        assert_eq!((versions(&before), settings(&before)), (versions(&after), settings(&after)));
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&before), size(&after));
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&before).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it names every file");
    }

    #[test]
    fn what_is_too_large_for_memory_or_mostly_free_or_may_be_unread_is_copied_after_the_commit() {
        let (half, long) = ("x".repeat(33 << 20), "x".repeat(1 << 20));
        // Pages of zeros are what SQLite leaves of those that it cannot read.
        let zeros = "\0".repeat(1 << 20);
        let cases = [
            ("y", &*long, true),
            (&*half, &*half, false),
            (&*long, "mostly free", false),
            ("y", &*zeros, false),
        ];
        for (before, note, copied) in cases {
            let folder = tempfile::tempdir().unwrap();
            let mut catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
            catalog.write("test", |writer| writer.record_setting("before", before)).unwrap();
            if before == long {
                catalog.write("test", |writer| writer.record_setting("before", "short")).unwrap();
            }
            assert_eq!(copy_before_commit(&mut catalog, note, &folder.path().join("copy")), copied);
        }
    }
}
