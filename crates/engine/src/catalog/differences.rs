//! What two moments of the tree do not have in common, row by row.

use distbackup_core::model::{DirNo, ObjectNo, VirtualPath};
use rusqlite::{OptionalExtension, Statement, named_params};

use super::snapshots::At;
use super::tree_read::{COLUMNS, EntryRow, entry_row};
use super::{CatalogError, Reader, columns};

/// Rows that one moment has and another has not. Both sets of a name stand next to each other.
const ONLY_IN: &str = "born <= :from_born AND (died IS NULL OR died > :from_died)
    AND NOT (born <= :to_born AND (died IS NULL OR died > :to_died))";

/// Names of one content that are looked at to find out under which name it stands now. A content with more names than
/// these is not followed: its names count as added and removed.
const NAMES_MAX: u32 = 1000;

/// One row that is in one of two moments only.
#[derive(Debug, Clone)]
pub struct OneSided {
    /// It is in the second moment, not in the first.
    pub arrived: bool,
    /// The row.
    pub entry: EntryRow,
}

impl Reader<'_> {
    /// Hands out every row that one moment has and the other has not, folder by folder and in order of the names; of
    /// two rows with one name the older comes first. Reads the tree's rows once, holds one.
    ///
    /// Ends with the first error, of the catalog or of `each`.
    pub fn one_sided<E: From<CatalogError>>(
        &self,
        from: At,
        to: At,
        each: &mut dyn FnMut(OneSided) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |source| CatalogError::sql("compare two snapshots", source);
        let sql = format!(
            "SELECT {COLUMNS},
                    born <= ?1 AND (died IS NULL OR died > ?2) AS before,
                    born <= ?3 AND (died IS NULL OR died > ?4) AS after
               FROM entry WHERE before <> after ORDER BY directory, name, born"
        );
        let ((from_born, from_died), (to_born, to_died)) = (from.bounds(), to.bounds());
        let mut statement = self.connection.prepare(&sql).map_err(failed)?;
        let mut rows = statement.query((from_born, from_died, to_born, to_died)).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let arrived: bool = row.get("after").map_err(failed)?;
            each(OneSided { arrived, entry: entry_row(row).map_err(failed)? })?;
        }
        Ok(())
    }

    /// Where a directory stood at a moment.
    pub fn place_at(&self, node: DirNo, at: At) -> Result<Option<(DirNo, Vec<u8>)>, CatalogError> {
        const SQL: &str = "
            SELECT directory, name FROM entry
             WHERE node = ?1 AND born <= ?2 AND (died IS NULL OR died > ?3) LIMIT 1";
        let (born, died) = at.bounds();
        self.connection
            .prepare_cached(SQL)
            .and_then(|mut statement| {
                statement
                    .query_row((node.0, born, died), |row| Ok((DirNo(row.get(0)?), row.get(1)?)))
                    .optional()
            })
            .map_err(|source| CatalogError::sql("find a folder's place", source))
    }

    /// The virtual path a directory had at a moment. Damage that would make a circle ends in an error.
    pub fn path_at(&self, node: DirNo, at: At) -> Result<VirtualPath, CatalogError> {
        /// Deeper trees than this do not exist; a longer way up is a circle.
        const DEPTH_MAX: usize = 100_000;
        let mut names = Vec::new();
        let mut here = node;
        while here.0 > DirNo::ROOT.0 {
            let Some((parent, name)) = self.place_at(here, at)? else { break };
            names.push(name);
            if names.len() > DEPTH_MAX {
                return Err(CatalogError::DamagedRow { what: "folders that contain each other" });
            }
            here = parent;
        }
        let mut path = VirtualPath::root();
        names.iter().rev().for_each(|name| path.push(name));
        Ok(path)
    }

    /// The places of a file's content that only one of two moments has, and whose name the other has not at all, in
    /// order. Nothing where the content has too many names to be followed.
    pub fn moved_names(
        &self,
        object: ObjectNo,
        from: At,
        to: At,
    ) -> Result<Vec<(DirNo, Vec<u8>)>, CatalogError> {
        let few = "SELECT count(*) FROM (SELECT 1 FROM entry WHERE object = ?1 LIMIT ?2)";
        let sql = format!(
            "SELECT directory, name FROM entry WHERE object = :object AND {ONLY_IN}
                AND NOT EXISTS (SELECT 1 FROM entry AS other
                                 WHERE other.directory = entry.directory AND other.name = entry.name
                                   AND other.born <= :to_born AND (other.died IS NULL OR other.died > :to_died))
              ORDER BY directory, name"
        );
        let ((from_born, from_died), (to_born, to_died)) = (from.bounds(), to.bounds());
        let read = || {
            let names: u64 = self
                .connection
                .prepare_cached(few)?
                .query_row((object.0, NAMES_MAX + 1), |row| columns::unsigned(row, 0))?;
            if names > u64::from(NAMES_MAX) {
                return Ok(Vec::new());
            }
            let mut statement = self.connection.prepare_cached(&sql)?;
            let bound = named_params! { ":object": object.0, ":from_born": from_born, ":from_died": from_died,
            ":to_born": to_born, ":to_died": to_died };
            places(&mut statement, bound)
        };
        read().map_err(|source| CatalogError::sql("follow a content to its new name", source))
    }
}

fn places(
    statement: &mut Statement<'_>,
    bound: &[(&str, &dyn rusqlite::ToSql)],
) -> rusqlite::Result<Vec<(DirNo, Vec<u8>)>> {
    statement.query_map(bound, |row| Ok((DirNo(row.get(0)?), row.get(1)?)))?.collect()
}
