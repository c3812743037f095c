//! Schemas and the way from one to the next: numbered, forward only, each step one transaction.
//!
//! `user_version` holds the number of the schema. A step that changes a schema gets a file in
//! `schema/`, a line in [`STEPS`], and a test that starts from a catalog of every earlier number.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;

use super::{APPLICATION_ID, CatalogError};

/// First schema of distbackup 2.
const FIRST: i32 = 100;

/// What leads from one schema to the next, in order; the n-th step ends at `FIRST + n`.
const STEPS: &[&str] = &[
    include_str!("schema/0100.sql"),
    include_str!("schema/0101.sql"),
    include_str!("schema/0102.sql"),
    include_str!("schema/0103.sql"),
    include_str!("schema/0104.sql"),
    include_str!("schema/0105.sql"),
];

/// Newest schema.
pub const NEWEST: i32 = FIRST + STEPS.len() as i32 - 1;

/// What an SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Fills an empty file with the newest schema and a new set.
pub fn create(connection: &Connection, now_ns: i64) -> Result<(), CatalogError> {
    let set = crate::platform::new_uuid();
    let work = || -> rusqlite::Result<()> {
        let transaction = connection.unchecked_transaction()?;
        for step in STEPS {
            transaction.execute_batch(step)?;
        }
        transaction.execute(
            "INSERT INTO catalog (one, set_uuid, created_ns, generation, newest_ns, confirmed_ns, leap_ns)
             VALUES (1, ?1, ?2, 1, ?2, ?2, NULL)",
            (&set, now_ns),
        )?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", NEWEST)?;
        transaction.commit()
    };
    work().map_err(|source| CatalogError::sql("create the catalog", source))
}

/// Looks at the first bytes of the file, before SQLite would take an empty one for a new database (C3).
pub fn check_file(path: &Path) -> Result<(), CatalogError> {
    let io = |source| CatalogError::Io { action: "read", path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CatalogError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(io(error)),
    };
    let damaged = |why: &str| CatalogError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let length = file.metadata().map_err(io)?.len();
    if length == 0 {
        return Err(damaged("the file is empty"));
    }
    let mut head = [0u8; 100];
    if file.read_exact(&mut head).is_err() {
        return Err(damaged("the file is cut off"));
    }
    if head[..16] != MAGIC[..] {
        let why = if head.iter().all(|&byte| byte == 0) {
            "it is filled with zeros"
        } else {
            "it is no SQLite database"
        };
        return Err(damaged(why));
    }
    Ok(())
}

/// Which kind of database this is: `Ok` with the schema number if it is ours.
pub fn schema_of(connection: &Connection, path: &Path) -> Result<i32, CatalogError> {
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
            .map_err(|source| CatalogError::from_sql("read the catalog's header", path, source))
    };
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    match (application, version) {
        (APPLICATION_ID, FIRST..=NEWEST) => Ok(version),
        (APPLICATION_ID, version) if version > NEWEST => {
            Err(CatalogError::Newer { path: path.to_owned(), version })
        }
        (APPLICATION_ID, _) => {
            Err(CatalogError::Damaged { path: path.to_owned(), why: "its schema number is missing".into() })
        }
        (0, 13..=31) => Err(CatalogError::Version1 { path: path.to_owned(), version }),
        _ => Err(CatalogError::Foreign { path: path.to_owned() }),
    }
}

/// Checks an opened catalog and brings it to the newest schema, after saving a copy of the older one beside it.
pub fn check_and_migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    let version = schema_of(connection, path)?;
    check_structure(connection, path)?;
    if version == NEWEST {
        return Ok(());
    }
    let saved = path.with_extension(format!("schema-{version}.sqlite"));
    if !saved.exists() {
        save(connection, &saved)?;
    }
    migrate(connection, version).map_err(|source| CatalogError::sql("migrate the catalog", source))
}

/// Copies the catalog into a new file, which nobody else may read at any time (C8).
fn save(connection: &Connection, to: &Path) -> Result<(), CatalogError> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;
    let io = |source| CatalogError::Io { action: "create", path: to.to_owned(), source };
    // SQLite takes an empty file for a missing one, and leaves its mode.
    File::options().write(true).create_new(true).mode(0o600).open(to).map_err(io)?;
    connection
        .execute("VACUUM INTO CAST(?1 AS TEXT)", [to.as_os_str().as_bytes()])
        .map(drop)
        .map_err(|source| CatalogError::sql("save a copy before migrating the catalog", source))
}

fn migrate(connection: &mut Connection, from: i32) -> rusqlite::Result<()> {
    for (number, step) in (FIRST..).zip(STEPS).skip_while(|(number, _)| *number <= from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// A quick look for damage: the header row must be there, and the schema readable.
///
/// Whole-file checks take seconds at 10 million files; they belong to `verify` and to the check of
/// every copy that goes to a disk. Damaged pages that are met later are errors of the query that meets them.
fn check_structure(connection: &Connection, path: &Path) -> Result<(), CatalogError> {
    let rows = connection
        .query_row("SELECT count(*) FROM catalog", [], |row| row.get::<_, i64>(0))
        .map_err(|source| CatalogError::from_sql("read the catalog", path, source))?;
    if rows != 1 {
        return Err(CatalogError::Damaged { path: path.to_owned(), why: "its head row is missing".into() });
    }
    let size: i64 = connection
        .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
            row.get(0)
        })
        .map_err(|source| CatalogError::from_sql("read the catalog", path, source))?;
    let on_disk = std::fs::metadata(path)
        .map_err(|source| CatalogError::Io { action: "read", path: path.to_owned(), source })?
        .len();
    // In WAL mode the newest pages may stand in the journal only; without one the file must be whole.
    let journal = std::fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |metadata| metadata.len());
    if journal == 0 && u64::try_from(size).is_ok_and(|size| size > on_disk) {
        return Err(CatalogError::Damaged { path: path.to_owned(), why: "the file is cut off".into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_earlier_schema_can_be_reached_by_the_steps() {
        for start in FIRST..=NEWEST {
            let mut connection = Connection::open_in_memory().unwrap();
            for step in &STEPS[..=(start - FIRST) as usize] {
                connection.execute_batch(step).unwrap();
            }
            connection.pragma_update(None, "user_version", start).unwrap();
            migrate(&mut connection, start).unwrap();
            let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
            assert_eq!(version, NEWEST);
        }
    }

    #[test]
    fn c8_what_is_saved_before_a_migration_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distbackup.sqlite");
        std::fs::write(&path, b"").unwrap();
        let old = Connection::open(&path).unwrap();
        old.execute_batch(STEPS[0]).unwrap();
        old.execute(
            "INSERT INTO catalog (one, set_uuid, created_ns, generation, newest_ns, confirmed_ns) VALUES (1, 'x', 1, 1, 1, 1)",
            [],
        )
        .unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", FIRST).unwrap();
        drop(old);
        super::super::Catalog::open(&path).unwrap().close().unwrap();
        let saved = folder.path().join("distbackup.schema-100.sqlite");
        assert_eq!(saved.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let copy = Connection::open(&saved).unwrap();
        assert_eq!(schema_of(&copy, &saved).unwrap(), FIRST);
    }

    #[test]
    fn c3_an_empty_zeroed_or_foreign_file_is_never_taken_for_a_new_catalog() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distbackup.sqlite");
        assert!(matches!(super::super::Catalog::open(&path), Err(CatalogError::Missing { .. })));
        for (content, label) in [(vec![], "empty"), (vec![0; 8192], "zeroed"), (b"hello".repeat(50), "text")]
        {
            std::fs::write(&path, content).unwrap();
            let error = super::super::Catalog::open(&path).unwrap_err();
            assert!(matches!(error, CatalogError::Damaged { .. }), "{label}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        let foreign = Connection::open(&path).unwrap();
        foreign.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 5;").unwrap();
        drop(foreign);
        assert!(matches!(super::super::Catalog::open(&path), Err(CatalogError::Foreign { .. })));
        let old = Connection::open(&path).unwrap();
        old.execute_batch("PRAGMA user_version = 31;").unwrap();
        drop(old);
        assert!(matches!(
            super::super::Catalog::open(&path),
            Err(CatalogError::Version1 { version: 31, .. })
        ));
    }

    #[test]
    fn c3_a_truncated_catalog_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("distbackup.sqlite");
        drop(super::super::Catalog::create(&path, 1).unwrap());
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
        let error = super::super::Catalog::open(&path).unwrap_err();
        assert!(matches!(error, CatalogError::Damaged { .. }), "{error}");
    }
}
