//! Counts of live data by number of copies, derived by reading each table once (DESIGN 4: no kept counters), and
//! remembered until something changes.

use std::collections::HashMap;

use distbackup_core::model::{Bytes, DiskNo};
use serde::{Deserialize, Serialize};

use super::kept::Answer;
use super::slots::Slots;
use super::{CatalogError, Reader, columns};

/// Files, their distinct contents, and the bytes of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Names.
    pub files: u64,
    /// Distinct contents.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Counted {
    /// One more content, with so many names.
    fn add(&mut self, size: u64, files: u32) {
        self.files += u64::from(files);
        self.objects += 1;
        self.bytes += size;
    }
}

/// What was counted. Copies on disks that are to leave the set are held there, and do not count otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels {
    /// Live objects with exactly so many copies.
    pub levels: Vec<Counted>,
    /// Files without content.
    pub empty_files: u64,
    /// Live objects larger than the limit given.
    pub too_large: Counted,
    /// By disk: objects, bytes, and bytes of live objects that only it holds.
    pub held: HashMap<DiskNo, (u64, u64, u64)>,
}

/// [`Levels`] as they are kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    levels: Vec<Counted>,
    empty_files: u64,
    too_large: Counted,
    held: Vec<(i64, u64, u64, u64)>,
}

impl Levels {
    fn to_kept(&self) -> Kept {
        Kept {
            levels: self.levels.clone(),
            empty_files: self.empty_files,
            too_large: self.too_large,
            held: self.held.iter().map(|(disk, &(a, b, c))| (disk.0, a, b, c)).collect(),
        }
    }
}

impl From<Kept> for Levels {
    fn from(kept: Kept) -> Self {
        Levels {
            levels: kept.levels,
            empty_files: kept.empty_files,
            too_large: kept.too_large,
            held: kept.held.into_iter().map(|(disk, a, b, c)| (DiskNo(disk), (a, b, c))).collect(),
        }
    }
}

fn question(large: Bytes) -> String {
    format!("levels, large from {}", large.0)
}

/// Gathered about one object.
#[derive(Clone, Copy, Default)]
struct Seen {
    size: u64,
    copies: u16,
    holder: u16,
    /// One more than the place of a disk that is to leave and holds it; 0: there is none.
    leaving: u16,
}

impl Reader<'_> {
    /// Bytes that each disk claims, by the number of disks that claim the same.
    pub fn levels_by_disk(&self) -> Result<Vec<(DiskNo, u64, Bytes)>, CatalogError> {
        const SQL: &str = "
            WITH counted AS (SELECT object, count(*) AS copies FROM copy GROUP BY object)
            SELECT copy.disk, counted.copies, sum(object.size)
              FROM copy JOIN counted ON counted.object = copy.object JOIN object ON object.id = copy.object
             GROUP BY copy.disk, counted.copies ORDER BY copy.disk, counted.copies";
        let read = || {
            let mut statement = self.connection.prepare_cached(SQL)?;
            let rows = statement.query_map([], |row| {
                Ok((DiskNo(row.get(0)?), columns::unsigned(row, 1)?, columns::bytes(row, 2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|source| CatalogError::sql("count the levels of disks", source))
    }

    /// Live data by number of copies: as it was counted last if nothing has changed since, else counted and kept.
    pub fn levels(&self, large: Bytes) -> Result<Levels, CatalogError> {
        let question = question(large);
        let kept = self.kept_answer(&question)?;
        if let Some(kept) = kept.and_then(|answer| serde_json::from_str::<Kept>(&answer).ok()) {
            let levels = Levels::from(kept);
            debug_assert_eq!(levels, self.count_levels(large)?, "something changed that says it does not");
            return Ok(levels);
        }
        let (levels, answer) = self.work_out_levels(large)?;
        // A catalog that cannot be written just now is asked again next time.
        let _kept = answer.is_some_and(|answer| self.keep(&answer));
        Ok(levels)
    }

    /// Whether [`Reader::levels`] has nothing to count.
    pub fn levels_are_kept(&self, large: Bytes) -> Result<bool, CatalogError> {
        Ok(self.kept_answer(&question(large))?.is_some())
    }

    /// Counts, and says what to keep of it. For who may not write, beside other work.
    pub fn work_out_levels(&self, large: Bytes) -> Result<(Levels, Option<Answer>), CatalogError> {
        let changes = self.changes()?;
        let levels = self.count_levels(large)?;
        let answer = serde_json::to_string(&levels.to_kept()).ok();
        let answer = answer.map(|answer| Answer { question: question(large), changes, answer });
        Ok((levels, answer))
    }

    /// Counts live data by number of copies; 20 bytes of memory for each object.
    pub fn count_levels(&self, large: Bytes) -> Result<Levels, CatalogError> {
        let failed = |source| CatalogError::sql("count copies", source);
        let slots = Slots::of(self)?;
        let ((names, empty_files), (seen, disks)) = self.both(
            |reader| reader.count_names(&slots).map_err(failed),
            |reader| reader.count_copies(&slots).map_err(failed),
        )?;
        let mut levels = Levels { levels: vec![Counted::default()], empty_files, ..Levels::default() };
        let mut held: Vec<(u64, u64, u64)> = disks.iter().map(|disk| (disk.objects, disk.bytes, 0)).collect();
        for (seen, files) in seen.iter().zip(names).filter(|(_, files)| *files > 0) {
            let at = usize::from(seen.copies);
            if levels.levels.len() <= at {
                levels.levels.resize(at + 1, Counted::default());
            }
            levels.levels[at].add(seen.size, files);
            if seen.size > large.0 {
                levels.too_large.add(seen.size, files);
            }
            let holder = match (seen.copies, seen.leaving) {
                (1, _) => usize::from(seen.holder),
                (0, leaving) if leaving > 0 => usize::from(leaving) - 1,
                _ => continue,
            };
            if let Some(held) = held.get_mut(holder) {
                held.2 += seen.size;
            }
        }
        levels.held = disks.iter().map(|disk| disk.disk).zip(held).collect();
        Ok(levels)
    }

    /// Live names of each object, and files without content.
    fn count_names(&self, slots: &Slots) -> rusqlite::Result<(Vec<u32>, u64)> {
        let (mut names, mut empty) = (vec![0u32; slots.len()], 0);
        let mut statement = self
            .connection
            .prepare_cached("SELECT object, pending FROM entry WHERE died IS NULL AND kind = 'f'")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            match row.get::<_, Option<i64>>(0)? {
                None => empty += u64::from(!row.get::<_, bool>(1)?),
                Some(object) => {
                    if let Some(names) = slots.place(object).and_then(|at| names.get_mut(at)) {
                        *names = names.saturating_add(1);
                    }
                }
            }
        }
        Ok((names, empty))
    }

    /// Size and copies of each object, and what each disk claims.
    fn count_copies(&self, slots: &Slots) -> rusqlite::Result<(Vec<Seen>, Vec<Claimed>)> {
        let mut seen = vec![Seen::default(); slots.len()];
        let mut statement = self.connection.prepare_cached("SELECT id, size FROM object")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(seen) = slot(slots, &mut seen, row.get(0)?) {
                seen.size = columns::unsigned(row, 1)?;
            }
        }
        let mut statement = self.connection.prepare_cached("SELECT id FROM disk WHERE retiring = 1")?;
        let retiring: Vec<i64> =
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        // Disks in the order met; a copy row names them by number.
        let mut disks: Vec<Claimed> = Vec::new();
        let mut index: HashMap<i64, usize> = HashMap::new();
        let mut statement = self.connection.prepare_cached("SELECT object, disk FROM copy")?;
        let mut rows = statement.query([])?;
        // Rows of one disk mostly come together: its place is looked up once for all of them.
        let mut here: Option<(i64, usize, bool)> = None;
        while let Some(row) = rows.next()? {
            let disk: i64 = row.get(1)?;
            let (_, at, leaves) = match here.filter(|&(known, ..)| known == disk) {
                Some(known) => known,
                None => {
                    let at = *index.entry(disk).or_insert_with(|| {
                        disks.push(Claimed { disk: DiskNo(disk), objects: 0, bytes: 0 });
                        disks.len() - 1
                    });
                    *here.insert((disk, at, retiring.contains(&disk)))
                }
            };
            let Some(seen) = slot(slots, &mut seen, row.get(0)?) else { continue };
            if leaves {
                seen.leaving = u16::try_from(at + 1).unwrap_or(u16::MAX);
            } else {
                seen.copies = seen.copies.saturating_add(1);
                seen.holder = u16::try_from(at).unwrap_or(u16::MAX);
            }
            if let Some(claimed) = disks.get_mut(at) {
                claimed.objects += 1;
                claimed.bytes += seen.size;
            }
        }
        Ok((seen, disks))
    }
}

/// What a disk claims.
struct Claimed {
    disk: DiskNo,
    objects: u64,
    bytes: u64,
}

fn slot<'s>(slots: &Slots, seen: &'s mut [Seen], object: i64) -> Option<&'s mut Seen> {
    slots.place(object).and_then(|at| seen.get_mut(at))
}
