//! The virtual tree, read: folders entry by entry, places of directories, work still to do.

use distbackup_core::model::{
    DirNo, FilesystemNo, Holes, Kind, LinkNo, Metadata, ObjectId, ObjectNo, Owner, SnapshotNo, Stamp,
    VirtualPath,
};
use rusqlite::{CachedStatement, OptionalExtension, Row, Rows};

use super::snapshots::At;
use super::{CatalogError, Reader, columns};

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// The folder it stands in.
    pub directory: DirNo,
    /// Its name; raw bytes.
    pub name: Vec<u8>,
    /// First snapshot that has it like this.
    pub born: SnapshotNo,
    /// First snapshot that has it like this no longer; `None`: it is current.
    pub died: Option<SnapshotNo>,
    /// What it is.
    pub kind: Kind,
    /// A directory's own number.
    pub node: Option<DirNo>,
    /// A file's content.
    pub object: Option<ObjectNo>,
    /// The content is still to be read, or was never captured.
    pub pending: bool,
    /// What `stat` said.
    pub stamp: Stamp,
    /// Row of its metadata.
    pub metadata: i64,
    /// Hard-link group.
    pub link: Option<LinkNo>,
    /// Target of a symlink, or `major:minor` of a device.
    pub target: Option<Vec<u8>>,
    /// Holes of a sparse file.
    pub holes: Holes,
}

pub(super) const COLUMNS: &str =
    "directory, name, born, died, kind, node, object, pending, size, mtime_ns, ctime_ns,
    filesystem, inode, metadata, link, target, holes";

pub(super) fn entry_row(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        directory: DirNo(row.get(0)?),
        name: row.get(1)?,
        born: SnapshotNo(row.get(2)?),
        died: row.get::<_, Option<i64>>(3)?.map(SnapshotNo),
        kind: columns::kind(row, 4)?,
        node: row.get::<_, Option<i64>>(5)?.map(DirNo),
        object: row.get::<_, Option<i64>>(6)?.map(ObjectNo),
        pending: row.get(7)?,
        stamp: columns::stamp(row, 8)?,
        metadata: row.get(13)?,
        link: row.get::<_, Option<i64>>(14)?.map(LinkNo),
        target: row.get(15)?,
        holes: columns::holes(row, 16)?,
    })
}

/// A file of the tree as it is now, which has a content that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOf {
    /// Its place.
    pub key: PendingKey,
    /// What `stat` said of it.
    pub stamp: Stamp,
    /// The content's name.
    pub id: ObjectId,
}

impl Reader<'_> {
    /// At most `limit` files of the tree as it is now that have the content of an object, in the order of the tree.
    pub fn files_of(&self, object: ObjectNo, limit: u32) -> Result<Vec<FileOf>, CatalogError> {
        // In the order of the index; and no join, or each row would look the object up.
        const SQL: &str = "
            SELECT directory, name, size, mtime_ns, ctime_ns, filesystem, inode,
                   (SELECT sha256 FROM object WHERE id = ?1)
              FROM entry INDEXED BY entry_by_object
             WHERE object = ?1 AND died IS NULL ORDER BY directory, name LIMIT ?2";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map((object.0, limit), file_of)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the files of an object", source))
    }

    /// The files with a known content among the next `limit` rows of a folder, from a name on; each with its object.
    pub fn files_from(&self, from: &PendingKey, limit: u32) -> Result<Vec<(ObjectNo, FileOf)>, CatalogError> {
        // Rows are limited before they are looked at: thousands of dead ones may follow each other.
        const SQL: &str = "
            SELECT directory, name, entry.size, mtime_ns, ctime_ns, filesystem, inode, sha256, object.id
              FROM (SELECT directory, name, size, mtime_ns, ctime_ns, filesystem, inode, object, died FROM entry
                     WHERE directory = ?1 AND name >= ?2 ORDER BY name, born LIMIT ?3) AS entry
              CROSS JOIN object ON object.id = entry.object
             WHERE died IS NULL";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map((from.directory.0, &from.name, limit), |row| {
                Ok((ObjectNo(row.get(8)?), file_of(row)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list the files of a folder", source))
    }
}

/// The first columns of a row: its place, its stamp, and the name of its content.
fn file_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<FileOf> {
    Ok(FileOf {
        key: PendingKey { directory: DirNo(row.get(0)?), name: row.get(1)? },
        stamp: columns::stamp(row, 2)?,
        id: columns::object_id(row, 7)?,
    })
}

/// A prepared question for the entries of folders; ask it with [`Entries::of`].
pub struct Entries<'c> {
    statement: CachedStatement<'c>,
    at: At,
}

/// The entries of one folder, in order of their names, one at a time.
pub struct EntryCursor<'s> {
    rows: Rows<'s>,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("at", &self.at).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for EntryCursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntryCursor")
    }
}

impl<'c> Entries<'c> {
    /// Begins to read the folder with this number.
    pub fn of(&mut self, directory: DirNo) -> Result<EntryCursor<'_>, CatalogError> {
        let outcome = match self.at {
            At::Now => self.statement.query([directory.0]),
            At::Snapshot(_) => {
                let (born, died) = self.at.bounds();
                self.statement.query([directory.0, born, died])
            }
        };
        outcome.map(|rows| EntryCursor { rows }).map_err(|source| CatalogError::sql("read a folder", source))
    }
}

impl EntryCursor<'_> {
    /// The next entry, or `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<EntryRow>, CatalogError> {
        let mut next = || self.rows.next()?.map(entry_row).transpose();
        next().map_err(|source| CatalogError::sql("read a folder", source))
    }
}

/// Which pending files are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// All of them.
    All,
    /// Those whose content nobody even presumes.
    Unknown,
    /// Those that an update reads in any case: what is presumed to be what it was, and sidecars, which say
    /// how their partners are to be served.
    Needed,
}

impl Pending {
    fn condition(self) -> &'static str {
        match self {
            Pending::All => "pending = 1 AND died IS NULL",
            Pending::Unknown => "pending = 1 AND died IS NULL AND object IS NULL",
            Pending::Needed => {
                "pending = 1 AND died IS NULL
                 AND (object IS NOT NULL OR substr(name, -9) = CAST('.meta-inf' AS BLOB))"
            }
        }
    }
}

/// Where the walk over pending files stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKey {
    /// Folder.
    pub directory: DirNo,
    /// Name.
    pub name: Vec<u8>,
}

/// A file whose content is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// Folder and name.
    pub key: PendingKey,
    /// First snapshot that has it.
    pub born: SnapshotNo,
    /// What `stat` said.
    pub stamp: Stamp,
    /// The content it is presumed to have; to be confirmed.
    pub presumed: Option<ObjectNo>,
    /// Hard-link group.
    pub link: Option<LinkNo>,
}

impl<'c> Reader<'c> {
    /// Prepares to read folders as they were at a moment.
    pub fn entries(&self, at: At) -> Result<Entries<'c>, CatalogError> {
        let condition = match at {
            At::Now => "died IS NULL",
            At::Snapshot(_) => "born <= ?2 AND (died IS NULL OR died > ?3)",
        };
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE directory = ?1 AND {condition} ORDER BY name");
        self.connection
            .prepare_cached(&sql)
            .map(|statement| Entries { statement, at })
            .map_err(|source| CatalogError::sql("read folders", source))
    }

    /// The next `limit` entries of a folder after the name `after`, in order of their names.
    pub fn entries_after(
        &self,
        directory: DirNo,
        after: Option<&[u8]>,
        at: At,
        limit: u32,
    ) -> Result<Vec<EntryRow>, CatalogError> {
        // Two texts, so that the names already seen are skipped by the key and not one by one.
        let beyond = if after.is_some() { "AND name > ?5" } else { "AND ?5 IS NULL" };
        let sql = format!(
            "SELECT {COLUMNS} FROM entry
              WHERE directory = ?1 AND born <= ?2 AND (died IS NULL OR died > ?3) {beyond}
              ORDER BY name LIMIT ?4"
        );
        let (born, died) = at.bounds();
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map((directory.0, born, died, limit, after), entry_row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("read a folder", source))
    }

    /// One entry by its folder and name.
    pub fn entry(&self, directory: DirNo, name: &[u8], at: At) -> Result<Option<EntryRow>, CatalogError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM entry
              WHERE directory = ?1 AND name = ?2 AND born <= ?3 AND (died IS NULL OR died > ?4)
              ORDER BY born DESC LIMIT 1"
        );
        let (born, died) = at.bounds();
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row((directory.0, name, born, died), entry_row).optional()
            })
            .map_err(|source| CatalogError::sql("find an entry", source))
    }

    /// Where a directory stands: the newest place it has or had.
    pub fn place_of(&self, node: DirNo) -> Result<Option<(DirNo, Vec<u8>)>, CatalogError> {
        const SQL: &str = "
            SELECT directory, name FROM entry WHERE node = ?1
             ORDER BY died IS NULL DESC, born DESC LIMIT 1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement.query_row([node.0], |row| Ok((DirNo(row.get(0)?), row.get(1)?))).optional()
            })
            .map_err(|source| CatalogError::sql("find a folder's place", source))
    }

    /// The virtual path of a directory. Damage that would make a circle ends in an error.
    pub fn path_of(&self, node: DirNo) -> Result<VirtualPath, CatalogError> {
        /// Deeper trees than this do not exist; a longer way up is a circle.
        const DEPTH_MAX: usize = 100_000;
        let mut names = Vec::new();
        let mut at = node;
        while at != DirNo::ROOT && at.0 > DirNo::ROOT.0 {
            let Some((parent, name)) = self.place_of(at)? else { break };
            names.push(name);
            if names.len() > DEPTH_MAX {
                return Err(CatalogError::DamagedRow { what: "folders that contain each other" });
            }
            at = parent;
        }
        let mut path = VirtualPath::root();
        names.iter().rev().for_each(|name| path.push(name));
        Ok(path)
    }

    /// The directory that was last seen with this inode, and its place: it may have been moved.
    pub fn directory_by_inode(
        &self,
        filesystem: FilesystemNo,
        inode: u64,
    ) -> Result<Option<(DirNo, DirNo, Vec<u8>)>, CatalogError> {
        const SQL: &str = "
            SELECT node, directory, name FROM entry
             WHERE filesystem = ?1 AND inode = ?2 AND node IS NOT NULL AND died IS NULL LIMIT 1";
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement
                    .query_row((filesystem.0, columns::to_bits(inode)), |row| {
                        Ok((DirNo(row.get(0)?), DirNo(row.get(1)?), row.get(2)?))
                    })
                    .optional()
            })
            .map_err(|source| CatalogError::sql("find a moved folder", source))
    }

    /// Permissions, owner and attributes by their row.
    pub fn metadata(&self, row: i64) -> Result<Metadata, CatalogError> {
        const SQL: &str = "SELECT mode, uid, gid, user_name, group_name, xattrs FROM metadata WHERE id = ?1";
        let found = self
            .connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement
                    .query_row([row], |row| {
                        Ok(Metadata {
                            mode: columns::small(row, 0)?,
                            owner: Owner {
                                uid: columns::small(row, 1)?,
                                gid: columns::small(row, 2)?,
                                user: row.get(3)?,
                                group: row.get(4)?,
                            },
                            xattrs: columns::xattrs(row, 5)?,
                        })
                    })
                    .optional()
            })
            .map_err(|source| CatalogError::sql("read metadata", source))?;
        found.ok_or(CatalogError::DamagedRow { what: "an entry without metadata" })
    }

    /// The next `limit` pending files after `after`, in tree order.
    pub fn pending_after(
        &self,
        which: Pending,
        after: Option<&PendingKey>,
        limit: u32,
    ) -> Result<Vec<PendingRow>, CatalogError> {
        let sql = format!(
            "SELECT directory, name, born, size, mtime_ns, ctime_ns, filesystem, inode, object, link
               FROM entry INDEXED BY entry_pending
              WHERE {} AND (directory, name) > (?1, ?2)
              ORDER BY directory, name LIMIT ?3",
            which.condition()
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let (directory, name) = after.map_or((i64::MIN, &[][..]), |key| (key.directory.0, &key.name[..]));
            let rows = statement.query_map((directory, name, limit), |row| {
                Ok(PendingRow {
                    key: PendingKey { directory: DirNo(row.get(0)?), name: row.get(1)? },
                    born: SnapshotNo(row.get(2)?),
                    stamp: columns::stamp(row, 3)?,
                    presumed: row.get::<_, Option<i64>>(8)?.map(ObjectNo),
                    link: row.get::<_, Option<i64>>(9)?.map(LinkNo),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list pending files", source))
    }

    /// Number and bytes of pending files.
    pub fn pending_total(&self, which: Pending) -> Result<(u64, u64), CatalogError> {
        let sql = format!(
            "SELECT count(*), coalesce(sum(size), 0) FROM entry INDEXED BY entry_pending WHERE {}",
            which.condition()
        );
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement.query_row([], |row| Ok((columns::unsigned(row, 0)?, columns::unsigned(row, 1)?)))
            })
            .map_err(|source| CatalogError::sql("count pending files", source))
    }

    /// At most `limit` names of the current tree in a folder that begin with `prefix`, in order, with their kinds.
    pub fn names_with_prefix(
        &self,
        directory: DirNo,
        prefix: &[u8],
        limit: u32,
    ) -> Result<Vec<(Vec<u8>, Kind)>, CatalogError> {
        const SQL: &str = "
            SELECT name, kind FROM entry
             WHERE directory = ?1 AND name >= ?2 AND (?3 IS NULL OR name < ?3) AND died IS NULL
             ORDER BY name LIMIT ?4";
        // The first name that does not begin with it: the last byte that can grow does, what is behind it goes.
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let end = (!end.is_empty()).then_some(end);
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map((directory.0, prefix, end, limit), |row| {
                Ok((row.get(0)?, columns::kind(row, 1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list names of a folder", source))
    }

    /// Whether a folder has any current entry.
    pub fn has_entries(&self, directory: DirNo) -> Result<bool, CatalogError> {
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM entry WHERE directory = ?1 AND died IS NULL)")
            .and_then(|mut statement| statement.query_row([directory.0], |row| row.get(0)))
            .map_err(|source| CatalogError::sql("look into a folder", source))
    }

    /// Rows of the tree, of now and of history: no walk can meet more entries than these.
    pub fn entry_count(&self) -> Result<u64, CatalogError> {
        self.connection
            .query_row("SELECT count(*) FROM entry", [], |row| columns::unsigned(row, 0))
            .map_err(|source| CatalogError::sql("count the tree", source))
    }

    /// First directory number and first hard-link group number that were never used.
    pub fn next_numbers(&self) -> Result<(DirNo, LinkNo), CatalogError> {
        const SQL: &str = "
            SELECT coalesce((SELECT max(node) FROM entry WHERE node IS NOT NULL), 1),
                   coalesce((SELECT max(link) FROM entry WHERE link IS NOT NULL), 0)";
        self.connection
            .query_row(SQL, [], |row| {
                Ok((DirNo(row.get::<_, i64>(0)?.max(1) + 1), LinkNo(row.get::<_, i64>(1)? + 1)))
            })
            .map_err(|source| CatalogError::sql("number folders", source))
    }
}
