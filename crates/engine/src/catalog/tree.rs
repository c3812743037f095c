//! The virtual tree, written: births, deaths, moves, captured contents.
//!
//! A scan is one transaction, so the tree goes from one update's state to the next as a whole. What
//! died in it is remembered in temporary tables until its end, to recognise moved files by their
//! inode without reading them again (DESIGN 7.6).

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use distbackup_core::model::{DirNo, Holes, Kind, LinkNo, Metadata, ObjectNo, SnapshotNo, Stamp};
use rusqlite::{OptionalExtension, params};

use super::tree_read::PendingKey;
use super::{CatalogError, Writer, columns};

/// A new row of the tree.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The folder.
    pub directory: DirNo,
    /// The name in it.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// A directory's own number.
    pub node: Option<DirNo>,
    /// Content, if it is known or presumed.
    pub object: Option<ObjectNo>,
    /// The content has to be read (or confirmed).
    pub pending: bool,
    /// What `stat` said.
    pub stamp: Stamp,
    /// Permissions, owner, attributes.
    pub metadata: Metadata,
    /// Symlinks and devices.
    pub target: Option<Vec<u8>>,
    /// Holes, where the content is taken over from the row before.
    pub holes: Holes,
}

/// A name with more than one hard link.
#[derive(Debug, Clone)]
pub struct LinkName {
    /// The folder.
    pub directory: DirNo,
    /// The name in it.
    pub name: Vec<u8>,
    /// Its inode.
    pub stamp: Stamp,
    /// The group that this name was in before.
    pub before: Option<LinkNo>,
}

/// Content of a file, as it was read.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The content; `None`: the file is empty.
    pub object: Option<ObjectNo>,
    /// What `stat` said before and after the reading.
    pub stamp: Stamp,
    /// Its holes.
    pub holes: Holes,
    /// Metadata at that time, if the ctime is another than at the scan.
    pub metadata: Option<Metadata>,
}

/// Counts of a scan, for its outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanTotals {
    /// Files found moved or linked, whose content was taken over.
    pub moved: u64,
    /// Entries that died with their folders.
    pub died: u64,
    /// Bytes of files among them.
    pub died_bytes: u64,
}

thread_local! {
    /// Rows of `metadata` met lately. Cleared when it is full: entries of one tree share few rows.
    static METADATA_ROWS: RefCell<HashMap<Metadata, i64>> = RefCell::new(HashMap::new());
}

/// Bounds the memory of [`METADATA_ROWS`].
const METADATA_ROWS_MAX: usize = 16_384;

impl Writer<'_> {
    fn run(
        &self,
        what: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<usize, CatalogError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map_err(|source| CatalogError::sql(what, source))
    }

    /// Prepares the temporary tables of a scan.
    pub fn begin_scan(&self) -> Result<(), CatalogError> {
        METADATA_ROWS.with_borrow_mut(HashMap::clear);
        self.connection
            .execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS gone (
                     filesystem INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER,
                     object INTEGER, holes BLOB, confirm INTEGER, directory INTEGER, name BLOB, born INTEGER,
                     ctime_ns INTEGER, PRIMARY KEY (filesystem, inode)) WITHOUT ROWID;
                 CREATE TEMP TABLE IF NOT EXISTS linked (
                     filesystem INTEGER, inode INTEGER, directory INTEGER, name BLOB, link INTEGER,
                     PRIMARY KEY (filesystem, inode, directory, name)) WITHOUT ROWID;
                 DELETE FROM gone; DELETE FROM linked;",
            )
            .map_err(|source| CatalogError::sql("prepare a scan", source))
    }

    /// Makes an entry true from `snapshot` on.
    pub fn insert_entry(&self, entry: &NewEntry, snapshot: SnapshotNo) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT INTO entry (directory, name, born, kind, node, object, pending, size, mtime_ns, ctime_ns,
                               filesystem, inode, metadata, link, target, holes)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, NULL, ?14, ?15)";
        let metadata = self.intern_metadata(&entry.metadata)?;
        let holes = (!entry.holes.0.is_empty()).then(|| entry.holes.encode());
        let values = params![
            entry.directory.0,
            entry.name,
            snapshot.0,
            entry.kind.letter().to_string(),
            entry.node.map(|node| node.0),
            entry.object.map(|object| object.0),
            entry.pending,
            columns::to_signed(entry.stamp.size),
            entry.stamp.mtime_ns,
            entry.stamp.ctime_ns,
            entry.stamp.filesystem.0,
            columns::to_bits(entry.stamp.inode),
            metadata,
            entry.target,
            holes,
        ];
        self.run("record an entry", SQL, values).map(|_| ())
    }

    /// Ends the current entry of a name: from `snapshot` on it is true no longer. Its content can be
    /// found again under another name of the same inode; with `confirm`, only to be read once more.
    pub fn end_entry(
        &self,
        directory: DirNo,
        name: &[u8],
        snapshot: SnapshotNo,
        confirm: bool,
    ) -> Result<(), CatalogError> {
        const REMEMBER: &str = "
            INSERT OR IGNORE INTO gone
                   (filesystem, inode, size, mtime_ns, object, holes, confirm, directory, name, born, ctime_ns)
            SELECT filesystem, inode, size, mtime_ns, object, holes, max(?3, pending), directory, name, born, ctime_ns
              FROM entry
             WHERE directory = ?1 AND name = ?2 AND died IS NULL AND object IS NOT NULL AND inode <> 0";
        const END: &str = "UPDATE entry SET died = ?3 WHERE directory = ?1 AND name = ?2 AND died IS NULL";
        self.run("remember an ended entry", REMEMBER, (directory.0, name, confirm))?;
        self.run("end an entry", END, (directory.0, name, snapshot.0)).map(|_| ())
    }

    /// Takes over what `stat` says now where it means no change (a folder's ctime, a new device).
    pub fn refresh_entry(&self, directory: DirNo, name: &[u8], stamp: &Stamp) -> Result<(), CatalogError> {
        const SQL: &str = "
            UPDATE entry SET ctime_ns = ?3, filesystem = ?4, inode = ?5
             WHERE directory = ?1 AND name = ?2 AND died IS NULL";
        let values = (directory.0, name, stamp.ctime_ns, stamp.filesystem.0, columns::to_bits(stamp.inode));
        self.run("refresh an entry", SQL, values).map(|_| ())
    }

    /// Ends everything below a directory that has vanished, except directories that `moved` elsewhere.
    pub fn end_subtree(
        &self,
        node: DirNo,
        snapshot: SnapshotNo,
        moved: &dyn Fn(DirNo) -> bool,
        totals: &mut ScanTotals,
    ) -> Result<(), CatalogError> {
        const CHILDREN: &str = "
            SELECT node FROM entry WHERE directory = ?1 AND died IS NULL AND node IS NOT NULL";
        const COUNT: &str =
            "SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE directory = ?1 AND died IS NULL";
        const REMEMBER: &str = "
            INSERT OR IGNORE INTO gone
                   (filesystem, inode, size, mtime_ns, object, holes, confirm, directory, name, born, ctime_ns)
            SELECT filesystem, inode, size, mtime_ns, object, holes, pending, directory, name, born, ctime_ns
              FROM entry
             WHERE directory = ?1 AND died IS NULL AND object IS NOT NULL AND inode <> 0";
        const END: &str = "UPDATE entry SET died = ?2 WHERE directory = ?1 AND died IS NULL";
        let mut folders = vec![node];
        while let Some(folder) = folders.pop() {
            let children = || -> rusqlite::Result<Vec<i64>> {
                self.connection
                    .prepare_cached(CHILDREN)?
                    .query_map([folder.0], |row| row.get(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            };
            let children = children().map_err(|source| CatalogError::sql("list vanished folders", source))?;
            folders.extend(children.into_iter().map(DirNo).filter(|&child| !moved(child)));
            let (count, bytes) = self
                .connection
                .prepare_cached(COUNT)
                .and_then(|mut statement| {
                    statement.query_row([folder.0], |row| {
                        Ok((columns::unsigned(row, 0)?, columns::unsigned(row, 1)?))
                    })
                })
                .map_err(|source| CatalogError::sql("count vanished entries", source))?;
            totals.died += count;
            totals.died_bytes += bytes;
            self.run("remember vanished entries", REMEMBER, [folder.0])?;
            self.run("end vanished entries", END, (folder.0, snapshot.0))?;
        }
        Ok(())
    }

    /// Finds new names whose inode, size and mtime a vanished entry had: they have moved, and keep
    /// their content unread. Hard links of a file that is to be confirmed are confirmed with it.
    /// What becomes a sidecar by its new name is read all the same.
    pub fn adopt_moved(&self, snapshot: SnapshotNo) -> Result<u64, CatalogError> {
        let any: bool = self
            .connection
            .query_row("SELECT EXISTS (SELECT 1 FROM gone)", [], |row| row.get(0))
            .map_err(|source| CatalogError::sql("look for moved files", source))?;
        if !any {
            return Ok(0);
        }
        const FIND: &str = "
            CREATE TEMP TABLE moved AS
            SELECT entry.directory, entry.name, entry.ctime_ns, gone.object, gone.holes,
                   gone.confirm OR (substr(entry.name, -9) = CAST('.meta-inf' AS BLOB)
                       AND gone.object NOT IN (SELECT object FROM sidecar)) AS confirm,
                   gone.directory AS old_directory, gone.name AS old_name, gone.born AS old_born,
                   gone.ctime_ns AS old_ctime_ns
              FROM entry INDEXED BY entry_pending
              JOIN gone ON gone.filesystem = entry.filesystem AND gone.inode = entry.inode
             WHERE entry.pending = 1 AND entry.died IS NULL AND entry.born = ?1 AND entry.object IS NULL
               AND entry.inode <> 0 AND gone.size = entry.size AND gone.mtime_ns = entry.mtime_ns";
        const ADOPT: &str = "
            UPDATE entry SET object = moved.object, holes = moved.holes, pending = moved.confirm
              FROM moved
             WHERE entry.directory = moved.directory AND entry.name = moved.name AND entry.born = ?1";
        let work = || -> rusqlite::Result<usize> {
            self.connection.execute_batch("DROP TABLE IF EXISTS temp.moved")?;
            self.connection.execute(FIND, [snapshot.0])?;
            let count = self.connection.execute(ADOPT, [snapshot.0])?;
            self.carry_readings()?;
            self.connection.execute_batch("DROP TABLE temp.moved")?;
            Ok(count)
        };
        work().map(|count| count as u64).map_err(|source| CatalogError::sql("take over moved files", source))
    }

    /// Remembers a name with several hard links until the end of the scan.
    pub fn note_link(&self, link: &LinkName) -> Result<(), CatalogError> {
        const SQL: &str = "
            INSERT OR REPLACE INTO linked (filesystem, inode, directory, name, link) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = (
            link.stamp.filesystem.0,
            columns::to_bits(link.stamp.inode),
            link.directory.0,
            &link.name,
            link.before.map(|link| link.0),
        );
        self.run("remember a hard link", SQL, values).map(|_| ())
    }

    /// Gives the names of one inode one group number: the one they had, or a new one from `next` on.
    /// A name alone in the sources is no group.
    pub fn group_links(&self, snapshot: SnapshotNo, next: LinkNo) -> Result<(), CatalogError> {
        const GROUPS: &str = "
            CREATE TEMP TABLE linkgroup AS
            SELECT filesystem, inode,
                   coalesce(min(link), ?1 + row_number() OVER (ORDER BY filesystem, inode)) AS link
              FROM linked GROUP BY filesystem, inode HAVING count(*) > 1";
        const ASSIGN: &str = "
            UPDATE entry SET link = linkgroup.link
              FROM linked JOIN linkgroup USING (filesystem, inode)
             WHERE entry.directory = linked.directory AND entry.name = linked.name AND entry.born = ?1";
        let work = || -> rusqlite::Result<()> {
            self.connection.execute_batch("DROP TABLE IF EXISTS temp.linkgroup")?;
            self.connection.execute(GROUPS, [next.0])?;
            self.connection.execute(ASSIGN, [snapshot.0])?;
            self.connection.execute_batch("DROP TABLE temp.linkgroup")
        };
        work().map_err(|source| CatalogError::sql("group hard links", source))
    }

    /// Fills in the content of a pending file, and of all pending names of the same hard-link group.
    ///
    /// The interval stays: the file has been like this since it was found. Tells whether the row was still there.
    pub fn capture(
        &self,
        key: &PendingKey,
        born: SnapshotNo,
        link: Option<LinkNo>,
        captured: &Captured,
    ) -> Result<bool, CatalogError> {
        const SQL: &str = "
            UPDATE entry SET object = ?4, pending = 0, size = ?5, mtime_ns = ?6, ctime_ns = ?7, filesystem = ?8,
                             inode = ?9, holes = ?10, metadata = coalesce(?11, metadata)
             WHERE directory = ?1 AND name = ?2 AND born = ?3 AND pending = 1";
        const GROUP: &str = "
            UPDATE entry SET object = ?2, pending = 0, size = ?3, mtime_ns = ?4, ctime_ns = ?5, filesystem = ?6,
                             inode = ?7, holes = ?8, metadata = coalesce(?9, metadata)
             WHERE link = ?1 AND died IS NULL AND pending = 1 AND filesystem = ?6 AND inode = ?7";
        let metadata =
            captured.metadata.as_ref().map(|metadata| self.intern_metadata(metadata)).transpose()?;
        let holes = (!captured.holes.0.is_empty()).then(|| captured.holes.encode());
        let object = captured.object.map(|object| object.0);
        let stamp = &captured.stamp;
        let (size, inode) = (columns::to_signed(stamp.size), columns::to_bits(stamp.inode));
        let updated = self.run(
            "record a content",
            SQL,
            params![
                key.directory.0,
                key.name,
                born.0,
                object,
                size,
                stamp.mtime_ns,
                stamp.ctime_ns,
                stamp.filesystem.0,
                inode,
                holes,
                metadata
            ],
        )?;
        if let Some(link) = link {
            let (filesystem, mtime, ctime) = (stamp.filesystem.0, stamp.mtime_ns, stamp.ctime_ns);
            self.run(
                "record the content of a link group",
                GROUP,
                params![link.0, object, size, mtime, ctime, filesystem, inode, holes, metadata],
            )?;
        }
        self.forget_source_read(key, link)?;
        Ok(updated > 0)
    }

    /// As [`Writer::capture`], for a row whose hard-link group the caller does not know.
    pub fn capture_linked(
        &self,
        key: &PendingKey,
        born: SnapshotNo,
        captured: &Captured,
    ) -> Result<bool, CatalogError> {
        let link: Option<Option<i64>> = self
            .connection
            .prepare_cached("SELECT link FROM entry WHERE directory = ?1 AND name = ?2 AND born = ?3")
            .and_then(|mut statement| {
                statement.query_row((key.directory.0, &key.name, born.0), |row| row.get(0)).optional()
            })
            .map_err(|source| CatalogError::sql("find a pending file", source))?;
        self.capture(key, born, link.flatten().map(LinkNo), captured)
    }

    /// The row of permissions, owner and attributes, made if it is new.
    pub fn intern_metadata(&self, metadata: &Metadata) -> Result<i64, CatalogError> {
        if let Some(row) = METADATA_ROWS.with_borrow(|rows| rows.get(metadata).copied()) {
            return Ok(row);
        }
        const FIND: &str = "
            SELECT id FROM metadata WHERE digest = ?1 AND mode = ?2 AND uid = ?3 AND gid = ?4
               AND user_name IS ?5 AND group_name IS ?6 AND xattrs = ?7";
        const INSERT: &str = "
            INSERT INTO metadata (digest, mode, uid, gid, user_name, group_name, xattrs)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        // Only for finding equal rows: another program version may compute another digest, at the
        // price of a row that stands twice.
        let mut hasher = DefaultHasher::new();
        metadata.hash(&mut hasher);
        let owner = &metadata.owner;
        let xattrs = columns::encode_xattrs(&metadata.xattrs);
        let values = params![
            columns::to_bits(hasher.finish()),
            metadata.mode,
            owner.uid,
            owner.gid,
            owner.user,
            owner.group,
            xattrs
        ];
        let work = || -> rusqlite::Result<i64> {
            let found =
                self.connection.prepare_cached(FIND)?.query_row(values, |row| row.get(0)).optional()?;
            match found {
                Some(row) => Ok(row),
                None => self.connection.prepare_cached(INSERT)?.insert(values),
            }
        };
        let row = work().map_err(|source| CatalogError::sql("record metadata", source))?;
        METADATA_ROWS.with_borrow_mut(|rows| {
            if rows.len() >= METADATA_ROWS_MAX {
                rows.clear();
            }
            rows.insert(metadata.clone(), row);
        });
        Ok(row)
    }
}
