//! Source files that are read again: when each was read last, and which were seen to be rotten.
//!
//! Neither changes what a disk's catalog copy must know: both say something of this computer's sources only.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use distbackup_core::model::{Bytes, DirNo, LinkNo, ObjectId, ObjectNo, Stamp};
use distbackup_core::plan::Tally;

use super::verify::count_ages;
use super::{Age, CatalogError, PendingKey, Reader, Writer, columns};

/// A source file whose content was read before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFileRow {
    /// Folder and name.
    pub key: PendingKey,
    /// What `stat` said when it was read.
    pub stamp: Stamp,
    /// Its content.
    pub object: ObjectNo,
    /// The same by its hash.
    pub id: ObjectId,
    /// Hard-link group.
    pub link: Option<LinkNo>,
    /// Catalog time when it was read last.
    pub read_ns: i64,
}

/// A source file that was seen to be rotten, and has neither changed nor been repaired since (S4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RottenSource {
    /// Folder and name.
    pub key: PendingKey,
    /// What its content should be.
    pub object: ObjectNo,
    /// Catalog time when it was seen last.
    pub seen_ns: i64,
}

/// Files whose content is known, with the time of their last reading: when their entry was born, unless it is known.
/// One that was read and found rotten was read: what is known already must not be read before all else each time.
const FILES: &str = "
    FROM entry
    LEFT JOIN source_read AS again ON again.directory = entry.directory AND again.name = entry.name
    LEFT JOIN source_rot AS rot ON rot.directory = entry.directory AND rot.name = entry.name
    LEFT JOIN snapshot ON snapshot.id = entry.born
    JOIN object ON object.id = entry.object
   WHERE entry.died IS NULL AND entry.pending = 0";
const READ_NS: &str = "max(coalesce(again.read_ns, snapshot.created_ns, 0), coalesce(rot.seen_ns, 0))";

/// Rows that still say something: the file is what it was when it was found rotten.
/// CROSS keeps the order of the tables: there are a few such rows, and SQLite would rather look each entry up among them.
const ROTTEN: &str = "
    FROM source_rot AS rot
    CROSS JOIN entry ON entry.directory = rot.directory AND entry.name = rot.name AND entry.died IS NULL
   WHERE entry.object = rot.object AND entry.ctime_ns = rot.ctime_ns AND entry.pending = 0";

impl Reader<'_> {
    /// How long ago source files were read, the longest first. Streams: memory grows with the number of different times.
    pub fn read_ages(&self) -> Result<Vec<Age>, CatalogError> {
        let sql = format!("SELECT {READ_NS}, entry.size {FILES}");
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, columns::bytes(row, 1)?)))?;
            count_ages(rows)
        };
        read().map_err(|source| CatalogError::sql("count when sources were read", source))
    }

    /// The times at which sources were read again. Memory grows with the number of different times.
    pub fn reread_times(&self) -> Result<BTreeSet<i64>, CatalogError> {
        const SQL: &str = "SELECT read_ns FROM source_read UNION SELECT seen_ns FROM source_rot";
        let read = || {
            let mut statement = self.connection.prepare(SQL)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<BTreeSet<i64>>>()
        };
        read().map_err(|source| CatalogError::sql("list when sources were read again", source))
    }

    /// The next `limit` files after `after`, in the order of the tree, that were last read at such times.
    pub fn source_files_after(
        &self,
        after: Option<&PendingKey>,
        times: &RangeInclusive<i64>,
        limit: u32,
    ) -> Result<Vec<SourceFileRow>, CatalogError> {
        let sql = format!(
            "SELECT entry.directory, entry.name, entry.size, entry.mtime_ns, entry.ctime_ns, entry.filesystem,
                    entry.inode, entry.object, object.sha256, entry.link, {READ_NS} {FILES}
                AND (entry.directory, entry.name) > (?1, ?2) AND {READ_NS} BETWEEN ?3 AND ?4
              ORDER BY entry.directory, entry.name LIMIT ?5"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let (directory, name) = after.map_or((i64::MIN, &[][..]), |key| (key.directory.0, &key.name[..]));
            let values = (directory, name, times.start(), times.end(), limit);
            let rows = statement.query_map(values, |row| {
                Ok(SourceFileRow {
                    key: PendingKey { directory: DirNo(row.get(0)?), name: row.get(1)? },
                    stamp: columns::stamp(row, 2)?,
                    object: ObjectNo(row.get(7)?),
                    id: columns::object_id(row, 8)?,
                    link: row.get::<_, Option<i64>>(9)?.map(LinkNo),
                    read_ns: row.get(10)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("list files by when they were read", source))
    }

    /// Whether a source file with this content is known to be rotten: no source is relied on for it then.
    pub fn has_rotten_source(&self, object: ObjectNo) -> Result<bool, CatalogError> {
        let sql = format!("SELECT EXISTS (SELECT 1 {ROTTEN} AND rot.object = ?1)");
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([object.0], |row| row.get(0)))
            .map_err(|source| CatalogError::sql("look for a rotten source", source))
    }

    /// Source files that are known to be rotten: at most `limit` of them, and how many there are.
    pub fn rotten_sources(&self, limit: u32) -> Result<(Vec<RottenSource>, Tally), CatalogError> {
        let rows = format!(
            "SELECT rot.directory, rot.name, rot.object, rot.seen_ns {ROTTEN} ORDER BY rot.directory, rot.name LIMIT ?1"
        );
        let total = format!("SELECT count(*), coalesce(sum(entry.size), 0) {ROTTEN}");
        let read = || {
            let mut statement = self.connection.prepare_cached(&rows)?;
            let rows = statement.query_map([limit], |row| {
                Ok(RottenSource {
                    key: PendingKey { directory: DirNo(row.get(0)?), name: row.get(1)? },
                    object: ObjectNo(row.get(2)?),
                    seen_ns: row.get(3)?,
                })
            })?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let total = self.connection.query_row(&total, [], |row| {
                Ok(Tally { objects: columns::unsigned(row, 0)?, bytes: Bytes(columns::unsigned(row, 1)?) })
            })?;
            Ok((rows, total))
        };
        read().map_err(|source| CatalogError::sql("list rotten sources", source))
    }
}

impl Writer<'_> {
    fn execute(
        &self,
        what: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<(), CatalogError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(|_| ())
            .map_err(|source| CatalogError::sql(what, source))
    }

    /// Records that a source file, with all names of its hard-link group, was read and found to be what it should be.
    pub fn record_source_read(
        &self,
        key: &PendingKey,
        link: Option<LinkNo>,
        read_ns: i64,
    ) -> Result<(), CatalogError> {
        const WHAT: &str = "record that a source was read";
        let one = "INSERT OR REPLACE INTO source_read (directory, name, read_ns) VALUES (?1, ?2, ?3)";
        self.execute(WHAT, one, (key.directory.0, &key.name, read_ns))?;
        let good = "DELETE FROM source_rot WHERE directory = ?1 AND name = ?2";
        self.execute(WHAT, good, (key.directory.0, &key.name))?;
        let Some(link) = link else { return Ok(()) };
        let group = "INSERT OR REPLACE INTO source_read (directory, name, read_ns)
                     SELECT directory, name, ?2 FROM entry WHERE link = ?1 AND died IS NULL";
        self.execute(WHAT, group, (link.0, read_ns))?;
        let good = "DELETE FROM source_rot WHERE (directory, name) IN
                     (SELECT directory, name FROM entry WHERE link = ?1 AND died IS NULL)";
        self.execute(WHAT, good, [link.0])
    }

    /// Records that a source file, with all names of its hard-link group, is rotten (S4). `ctime_ns` is the file's, which
    /// did not betray it.
    pub fn record_source_rot(
        &self,
        key: &PendingKey,
        object: ObjectNo,
        ctime_ns: i64,
        seen_ns: i64,
    ) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT OR REPLACE INTO source_rot (directory, name, object, ctime_ns, seen_ns)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        const GROUP: &str = "
            INSERT OR REPLACE INTO source_rot (directory, name, object, ctime_ns, seen_ns)
            SELECT other.directory, other.name, ?3, ?4, ?5
              FROM entry CROSS JOIN entry AS other ON other.link = entry.link AND other.died IS NULL
             WHERE entry.directory = ?1 AND entry.name = ?2 AND entry.died IS NULL";
        let values = (key.directory.0, &key.name, object.0, ctime_ns, seen_ns);
        self.execute("record a rotten source", SQL, values)?;
        self.execute("record a rotten source", GROUP, values)
    }

    /// Files that were found moved were not read for it: what is known of their last reading, and of rot, goes with them.
    /// Part of a scan, with its temporary table `moved`.
    pub(super) fn carry_readings(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "INSERT OR REPLACE INTO source_rot (directory, name, object, ctime_ns, seen_ns)
             SELECT moved.directory, moved.name, rot.object, moved.ctime_ns, rot.seen_ns
               FROM moved JOIN source_rot AS rot ON rot.directory = moved.old_directory AND rot.name = moved.old_name
              WHERE moved.confirm = 0 AND rot.object = moved.object AND rot.ctime_ns = moved.old_ctime_ns;
             INSERT OR REPLACE INTO source_read (directory, name, read_ns)
             SELECT moved.directory, moved.name, coalesce(again.read_ns, snapshot.created_ns, 0)
               FROM moved
               LEFT JOIN source_read AS again ON again.directory = moved.old_directory AND again.name = moved.old_name
               LEFT JOIN snapshot ON snapshot.id = moved.old_born
              WHERE moved.confirm = 0",
        )
    }

    /// The content of a file, with all names of its hard-link group, was read as that of a new entry: what an older
    /// reading said is over.
    pub(super) fn forget_source_read(
        &self,
        key: &PendingKey,
        link: Option<LinkNo>,
    ) -> Result<(), CatalogError> {
        const WHAT: &str = "forget when a source was read";
        let one = "DELETE FROM source_read WHERE directory = ?1 AND name = ?2";
        self.execute(WHAT, one, (key.directory.0, &key.name))?;
        let Some(link) = link else { return Ok(()) };
        let group = "DELETE FROM source_read WHERE (directory, name) IN
                      (SELECT directory, name FROM entry WHERE link = ?1 AND died IS NULL)";
        self.execute(WHAT, group, [link.0])
    }

    /// Forgets when files were read that are not in the tree any more, and rot of files that changed since.
    pub fn forget_old_source_reads(&self) -> Result<(), CatalogError> {
        const WHAT: &str = "forget old readings of sources";
        let gone = "DELETE FROM source_read WHERE NOT EXISTS
                     (SELECT 1 FROM entry WHERE entry.directory = source_read.directory
                         AND entry.name = source_read.name AND entry.died IS NULL)";
        self.execute(WHAT, gone, [])?;
        let over = format!(
            "DELETE FROM source_rot WHERE (directory, name) NOT IN (SELECT rot.directory, rot.name {ROTTEN})"
        );
        self.execute(WHAT, &over, [])
    }
}

#[cfg(test)]
mod tests {
    use super::ROTTEN;
    use crate::catalog::Catalog;

    #[test]
    fn what_is_rotten_is_looked_up_without_going_through_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
        let sql = format!("EXPLAIN QUERY PLAN SELECT count(*), sum(entry.size) {ROTTEN}");
        let reader = catalog.read();
        let mut statement = reader.connection.prepare(&sql).unwrap();
        let steps = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>().unwrap();
        assert!(steps[0].starts_with("SCAN rot"), "{steps:?}");
        assert!(steps[1].starts_with("SEARCH entry"), "{steps:?}");
    }
}
