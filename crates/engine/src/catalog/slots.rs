//! Where facts about objects are gathered: a place for each object, by its number.
//!
//! Numbers are given out in order, so they usually are places themselves. But a catalog that anybody may have written can
//! hold one object with the number four thousand million, and a table by numbers would then take all memory (C7).

use super::{CatalogError, Reader};

/// What an object takes in the catalog's file, at least: its SHA-256, in the table and in the index.
const OBJECT_BYTES: i64 = 64;

/// Places for this many times the objects that fit the file, at most, are given away by number: room enough for gaps that
/// forgotten objects leave.
const GAPS: i64 = 4;

/// Which place belongs to which object.
#[derive(Debug)]
pub enum Slots {
    /// The number is the place; there are so many.
    ByNumber(usize),
    /// The numbers in ascending order, where few of many are in use.
    Sorted(Vec<i64>),
}

impl Slots {
    /// For all objects of a catalog; memory in proportion to its file.
    pub fn of(reader: &Reader<'_>) -> Result<Self, CatalogError> {
        const SQL: &str = "
            SELECT coalesce((SELECT max(id) FROM object), 0), page_count * page_size
              FROM pragma_page_count, pragma_page_size";
        let read = || -> rusqlite::Result<Slots> {
            let (highest, bytes): (i64, i64) =
                reader.connection.query_row(SQL, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if highest <= bytes / OBJECT_BYTES * GAPS {
                return Ok(Slots::ByNumber(usize::try_from(highest).unwrap_or(0) + 1));
            }
            let mut statement = reader.connection.prepare("SELECT id FROM object ORDER BY id")?;
            let numbers = statement.query_map([], |row| row.get(0))?;
            Ok(Slots::Sorted(numbers.collect::<rusqlite::Result<_>>()?))
        };
        read().map_err(|source| CatalogError::sql("number the objects", source))
    }

    /// Number of places; some may belong to no object.
    pub fn len(&self) -> usize {
        match self {
            Slots::ByNumber(count) => *count,
            Slots::Sorted(numbers) => numbers.len(),
        }
    }

    /// The place of an object; `None` if there is no such object.
    pub fn place(&self, number: i64) -> Option<usize> {
        match self {
            Slots::ByNumber(count) => usize::try_from(number).ok().filter(|place| place < count),
            Slots::Sorted(numbers) => numbers.binary_search(&number).ok(),
        }
    }

    /// The object of a place.
    pub fn number(&self, place: usize) -> i64 {
        match self {
            Slots::ByNumber(_) => i64::try_from(place).unwrap_or(i64::MAX),
            Slots::Sorted(numbers) => numbers.get(place).copied().unwrap_or(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn slots_of(numbers: &[i64]) -> Slots {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
        for number in numbers {
            let sql = "INSERT INTO object (id, sha256, size) VALUES (?1, randomblob(32), 1)";
            catalog.read().connection.execute(sql, [number]).unwrap();
        }
        Slots::of(&catalog.read()).unwrap()
    }

    #[test]
    fn numbers_in_a_row_are_places() {
        let slots = slots_of(&[1, 2, 5]);
        assert!(matches!(slots, Slots::ByNumber(6)), "{slots:?}");
        assert_eq!((slots.place(5), slots.number(5), slots.place(6)), (Some(5), 5, None));
        assert_eq!(slots.place(-1), None);
    }

    #[test]
    fn c7_a_number_beyond_all_others_takes_no_more_memory_than_its_row() {
        let slots = slots_of(&[3, 4_294_967_290]);
        assert_eq!(slots.len(), 2);
        assert_eq!((slots.place(3), slots.place(4_294_967_290), slots.place(4)), (Some(0), Some(1), None));
        assert_eq!((slots.number(0), slots.number(1)), (3, 4_294_967_290));
    }
}
