//! What can be wrong with a catalog.

use std::io;
use std::path::{Path, PathBuf};

/// What can be wrong with a catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is none.
    #[error("there is no catalog at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is there but cannot be a catalog: empty, zeroed, cut off, or with damaged pages (C3).
    #[error("the catalog {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A database of another program.
    #[error("{} is a database of another program", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A catalog of distbackup 1.x.
    #[error("{} is a catalog of distbackup 1.x (schema {version})", path.display())]
    Version1 {
        /// The file.
        path: PathBuf,
        /// Its schema.
        version: i32,
    },
    /// To be imported, but no catalog of distbackup 1.x.
    #[error("{} is no catalog of distbackup 1.x, but of this one", path.display())]
    NotVersion1 {
        /// The file.
        path: PathBuf,
    },
    /// The user asked to stop in the middle of something that leaves nothing behind.
    #[error("stopped as asked")]
    Stopped,
    /// Written by a newer program.
    #[error("the catalog {} was written by a newer dsb (schema {version})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        version: i32,
    },
    /// A row holds what no program of ours writes.
    #[error("the catalog holds a damaged row: {what}")]
    DamagedRow {
        /// Which value is impossible.
        what: &'static str,
    },
    /// The database refused.
    #[error("cannot {what}: {source}")]
    Sql {
        /// What was attempted.
        what: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl CatalogError {
    /// An SQL error while doing `what`.
    pub(super) fn sql(what: &'static str, source: rusqlite::Error) -> Self {
        CatalogError::Sql { what, source }
    }

    /// An SQL error on opening `path`: damage is told apart from other trouble.
    pub(super) fn from_sql(what: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match source.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => {
                CatalogError::Damaged { path: path.to_owned(), why: source.to_string() }
            }
            _ => CatalogError::Sql { what, source },
        }
    }

    /// The same said of another file, of which the one that was looked at is a copy.
    pub fn of_file(self, original: &Path) -> Self {
        let path = original.to_owned();
        match self {
            CatalogError::Missing { .. } => CatalogError::Missing { path },
            CatalogError::Damaged { why, .. } => CatalogError::Damaged { path, why },
            CatalogError::Foreign { .. } => CatalogError::Foreign { path },
            CatalogError::Version1 { version, .. } => CatalogError::Version1 { path, version },
            CatalogError::NotVersion1 { .. } => CatalogError::NotVersion1 { path },
            CatalogError::Newer { version, .. } => CatalogError::Newer { path, version },
            other => other,
        }
    }

    /// Whether the disk that holds the catalog is full.
    pub fn is_full(&self) -> bool {
        matches!(self, CatalogError::Sql { source, .. }
            if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }
}
