//! How many copies and how many names each object has, as far as a filter lets it count.

use distbackup_core::model::{DiskNo, ObjectNo};

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
        let seen =
            usize::try_from(object.0).ok().and_then(|at| self.seen.get(at)).copied().unwrap_or_default();
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
        let count = || -> rusqlite::Result<CopyCounts> {
            let highest: i64 =
                self.connection.query_row("SELECT coalesce(max(id), 0) FROM object", [], |row| row.get(0))?;
            let mut seen = vec![Seen::default(); usize::try_from(highest).unwrap_or(0) + 1];
            let slot = |object: i64| usize::try_from(object).ok().filter(|&at| at <= highest as usize);
            let mut statement = self.connection.prepare_cached("SELECT object, disk FROM copy")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (object, disk) = (row.get(0)?, DiskNo(row.get(1)?));
                if filter.dropped.contains(&disk) {
                    continue;
                }
                let Some(seen) = slot(object).and_then(|at| seen.get_mut(at)) else { continue };
                seen.copies = seen.copies.saturating_add(1);
                seen.on = seen.on.saturating_add(u8::from(filter.on.contains(&disk)));
                seen.not_on = seen.not_on.saturating_add(u8::from(filter.not_on.contains(&disk)));
            }
            let mut statement = self
                .connection
                .prepare_cached("SELECT object FROM entry WHERE died IS NULL AND +object IS NOT NULL")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(seen) = slot(row.get(0)?).and_then(|at| seen.get_mut(at)) {
                    seen.names = seen.names.saturating_add(1);
                }
            }
            Ok(CopyCounts { seen, none_pass: filter.admits(0, 0, 0) })
        };
        count().map_err(|source| CatalogError::sql("count copies", source))
    }
}
