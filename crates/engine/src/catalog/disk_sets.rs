//! Which disks hold each object, in few bytes: most objects of a set share a handful of combinations of disks.

use std::collections::HashMap;

use distbackup_core::model::{DiskNo, ObjectNo};

use super::slots::Slots;
use super::{CatalogError, Reader};

/// The combination of disks that claims each object.
#[derive(Debug)]
pub struct DiskSets {
    slots: Slots,
    of: Vec<u32>,
    sets: Vec<Vec<DiskNo>>,
}

impl DiskSets {
    /// The number of the combination that holds an object; 0: no disk does.
    pub fn of(&self, object: ObjectNo) -> usize {
        let place = self.slots.place(object.0);
        place.and_then(|place| self.of.get(place)).map_or(0, |&set| set as usize)
    }

    /// All combinations by number, each with its disks ascending; the first is empty.
    pub fn all(&self) -> &[Vec<DiskNo>] {
        &self.sets
    }
}

impl Reader<'_> {
    /// Reads all copies once; 4 bytes of memory for each object.
    pub fn disk_sets(&self) -> Result<DiskSets, CatalogError> {
        let slots = Slots::of(self)?;
        let read = || -> rusqlite::Result<(Vec<u32>, Vec<Vec<DiskNo>>)> {
            let mut of = vec![0u32; slots.len()];
            let mut known: HashMap<Vec<DiskNo>, u32> = HashMap::from([(Vec::new(), 0)]);
            let mut sets = vec![Vec::new()];
            let mut held: Vec<DiskNo> = Vec::new();
            let mut end = |object: i64, held: &mut Vec<DiskNo>| {
                if let Some(place) = slots.place(object).and_then(|place| of.get_mut(place)) {
                    *place = match known.get(held) {
                        Some(&number) => number,
                        None => {
                            let number = u32::try_from(sets.len()).unwrap_or(u32::MAX);
                            sets.push(held.clone());
                            known.insert(held.clone(), number);
                            number
                        }
                    };
                }
                held.clear();
            };
            let mut statement =
                self.connection.prepare_cached("SELECT object, disk FROM copy ORDER BY object, disk")?;
            let mut rows = statement.query([])?;
            let mut current = None;
            while let Some(row) = rows.next()? {
                let object: i64 = row.get(0)?;
                if let Some(before) = current.replace(object).filter(|&before| before != object) {
                    end(before, &mut held);
                }
                held.push(DiskNo(row.get(1)?));
            }
            if let Some(last) = current {
                end(last, &mut held);
            }
            Ok((of, sets))
        };
        let (of, sets) = read().map_err(|source| CatalogError::sql("see which disks hold what", source))?;
        Ok(DiskSets { slots, of, sets })
    }
}
