//! How many copies and how many names each object has, as far as a filter lets it count.

use distbackup_core::model::{DiskNo, ObjectNo};

use super::slots::Slots;
use super::{CatalogError, Reader};

/// Which contents are meant, by where their copies are.
#[derive(Debug, Clone, Default)]
pub struct CopyFilter {
    /// At least so many copies.
    pub min: Option<u16>,
    /// At most so many.
    pub max: Option<u16>,
    /// All of these disks hold it.
    pub on: Vec<DiskNo>,
    /// None of these holds it.
    pub not_on: Vec<DiskNo>,
    /// As if these disks were dropped.
    pub dropped: Vec<DiskNo>,
}

impl CopyFilter {
    /// Whether everything is meant.
    pub fn is_empty(&self) -> bool {
        self.min.is_none() && self.max.is_none() && self.on.is_empty() && self.not_on.is_empty()
    }

    fn admits(&self, copies: u16, on: usize, not_on: usize) -> bool {
        self.min.is_none_or(|min| copies >= min)
            && self.max.is_none_or(|max| copies <= max)
            && on == self.on.len()
            && not_on == 0
    }
}

/// Copies and live names of each object.
#[derive(Debug)]
pub struct CopyCounts {
    slots: Slots,
    seen: Vec<Seen>,
    /// What has no copy at all passes the filter.
    none_pass: bool,
}

/// What is known of one object.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    names: u32,
    copies: u16,
    on: u8,
    not_on: u8,
}

impl CopyCounts {
    /// Copies and names of an object; `None` if the filter does not let it pass.
    pub fn of(&self, filter: &CopyFilter, object: ObjectNo) -> Option<(u16, u32)> {
        let seen = self.slots.place(object.0).and_then(|at| self.seen.get(at)).copied().unwrap_or_default();
        filter
            .admits(seen.copies, usize::from(seen.on), usize::from(seen.not_on))
            .then_some((seen.copies, seen.names.max(1)))
    }

    /// Whether contents without any copy, such as pending files, pass the filter.
    pub fn none_pass(&self) -> bool {
        self.none_pass
    }
}

impl Reader<'_> {
    /// Counts copies and live names of all objects; 8 bytes of memory for each.
    pub fn copy_counts(&self, filter: &CopyFilter) -> Result<CopyCounts, CatalogError> {
        let slots = Slots::of(self)?;
        let count = move || -> rusqlite::Result<CopyCounts> {
            let mut seen = vec![Seen::default(); slots.len()];
            let mut statement = self.connection.prepare_cached("SELECT object, disk FROM copy")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (object, disk) = (row.get(0)?, DiskNo(row.get(1)?));
                if filter.dropped.contains(&disk) {
                    continue;
                }
                let Some(seen) = slots.place(object).and_then(|at| seen.get_mut(at)) else { continue };
                seen.copies = seen.copies.saturating_add(1);
                seen.on = seen.on.saturating_add(u8::from(filter.on.contains(&disk)));
                seen.not_on = seen.not_on.saturating_add(u8::from(filter.not_on.contains(&disk)));
            }
            let mut statement = self
                .connection
                .prepare_cached("SELECT object FROM entry WHERE died IS NULL AND +object IS NOT NULL")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(seen) = slots.place(row.get(0)?).and_then(|at| seen.get_mut(at)) {
                    seen.names = seen.names.saturating_add(1);
                }
            }
            Ok(CopyCounts { slots, seen, none_pass: filter.admits(0, 0, 0) })
        };
        count().map_err(|source| CatalogError::sql("count copies", source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn c7_an_object_with_a_number_beyond_all_others_takes_no_more_memory_than_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::create(&folder.path().join("distbackup.sqlite"), 1).unwrap();
        for number in [3i64, 4_294_967_290] {
            let sql = "INSERT INTO object (id, sha256, size) VALUES (?1, randomblob(32), 1)";
            catalog.read().connection.execute(sql, [number]).unwrap();
            let sql = "INSERT INTO copy (object, disk, proof) VALUES (?1, 1, 1)";
            catalog.read().connection.execute(sql, [number]).unwrap();
        }
        let filter = CopyFilter::default();
        let counts = catalog.read().copy_counts(&filter).unwrap();
        assert_eq!(counts.seen.len(), 2);
        let filter = CopyFilter { min: Some(1), ..filter };
        assert_eq!(counts.of(&filter, ObjectNo(4_294_967_290)), Some((1, 1)));
        assert_eq!(counts.of(&filter, ObjectNo(4)), None, "there is no such object");
    }
}
