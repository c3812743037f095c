//! Every name that the set has ever had, for finding files by a part of their names.

use distbackup_core::model::{Bytes, DirNo, Kind, ObjectNo, SnapshotNo};

use super::{CatalogError, Reader, columns};

/// One state of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRow {
    /// The folder it stands in.
    pub directory: DirNo,
    /// The name; raw bytes.
    pub name: Vec<u8>,
    /// First snapshot that has it like this.
    pub born: SnapshotNo,
    /// First snapshot that has it like this no longer; `None`: it is current.
    pub died: Option<SnapshotNo>,
    /// What it is.
    pub kind: Kind,
    /// Its content, if that is known.
    pub object: Option<ObjectNo>,
    /// Its content was never read.
    pub pending: bool,
    /// Its size.
    pub size: Bytes,
    /// When it was changed last.
    pub mtime_ns: i64,
}

/// Whether a name in a folder is wanted.
type Wanted<'a, E> = dyn FnMut(DirNo, &[u8]) -> Result<bool, E> + 'a;

impl Reader<'_> {
    /// All states of all names that `wanted` takes: name by name, the oldest state first. Streams.
    pub fn names_ever<E: From<CatalogError>>(
        &self,
        now_only: bool,
        wanted: &mut Wanted<'_, E>,
        each: &mut dyn FnMut(NameRow) -> Result<(), E>,
    ) -> Result<(), E> {
        const ALL: &str = "
            SELECT directory, name, born, died, kind, object, pending, size, mtime_ns FROM entry
             ORDER BY directory, name, born";
        const NOW: &str = "
            SELECT directory, name, born, died, kind, object, pending, size, mtime_ns FROM entry
             WHERE died IS NULL ORDER BY directory, name, born";
        let failed = |source| E::from(CatalogError::sql("look through all names", source));
        let mut statement = self.connection.prepare(if now_only { NOW } else { ALL }).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let directory = DirNo(row.get(0).map_err(failed)?);
            // Most names are not wanted: they are looked at where they lie.
            let name = row.get_ref(1).and_then(|value| Ok(value.as_bytes()?)).map_err(failed)?;
            if !wanted(directory, name)? {
                continue;
            }
            let read = || -> rusqlite::Result<NameRow> {
                Ok(NameRow {
                    directory,
                    name: row.get(1)?,
                    born: SnapshotNo(row.get(2)?),
                    died: row.get::<_, Option<i64>>(3)?.map(SnapshotNo),
                    kind: columns::kind(row, 4)?,
                    object: row.get::<_, Option<i64>>(5)?.map(ObjectNo),
                    pending: row.get(6)?,
                    size: columns::bytes(row, 7)?,
                    mtime_ns: row.get(8)?,
                })
            };
            each(read().map_err(failed)?)?;
        }
        Ok(())
    }
}
