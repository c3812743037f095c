//! Rows for the planner: the whole set in about 20 bytes per object, in directory order.
//!
//! Built in three passes that each read one table in its own order: the tree says which objects are
//! live, in which directory and class; then sizes; then copies, from which the nexuses are made.

use std::collections::{HashMap, HashSet};

use distbackup_core::model::{BLOCK, Bytes, DirNo, DiskNo, ObjectNo, SnapshotNo, VirtualPath, billed};
use distbackup_core::plan::Tally;
use distbackup_core::planner::{self, Input, Need, Nexus, Object, State};

use super::classes::Classes;
use super::scope::Scope;
use super::slots::Slots;
use super::tree_read::PendingKey;
use super::{At, CatalogError, Reader, columns};

/// Which thing a planner's row stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanRow {
    /// An object of the catalog.
    Known(ObjectNo),
    /// A pending file, by its place in the tree.
    Pending(PendingKey, SnapshotNo),
}

/// Rows that were found unreadable in this visit: they keep their copies and get none.
#[derive(Debug, Default)]
pub struct Unreadable {
    objects: HashSet<ObjectNo>,
    pending: HashSet<(i64, Vec<u8>)>,
}

impl Unreadable {
    /// Notes one more.
    pub fn add(&mut self, row: PlanRow) {
        match row {
            PlanRow::Known(object) => self.objects.insert(object),
            PlanRow::Pending(key, _) => self.pending.insert((key.directory.0, key.name)),
        };
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.pending.is_empty()
    }
}

/// The planner's input and the way back from its rows.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What the planner reads; rows in directory order.
    pub input: Input,
    /// Object of each row; rows from `numbers.len()` on are pending files, resolved by [`Reader::plan_row`].
    numbers: Vec<u32>,
    /// What is missing to whole blocks, for each row: 0 to 4095 bytes.
    slack: Vec<u16>,
    /// Number of each disk of the input.
    disks: Vec<Option<DiskNo>>,
    /// For each class, the copies that its objects should have at least.
    copies_min: Vec<u16>,
}

/// Objects by number of copies, and those that have fewer than they should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByState {
    /// `live[n]`: live objects with exactly `n` copies.
    pub live: Vec<Tally>,
    /// `history[n]`: objects that only older snapshots refer to.
    pub history: Vec<Tally>,
    /// Pending files: not hashed yet, so without any copy.
    pub pending: Tally,
    /// Live objects with fewer copies than `mincopies` asks for.
    pub below_target: Tally,
}

/// Until an object's first name was met.
const UNSEEN: u32 = u32::MAX;

/// What is gathered about one object while tables are read.
#[derive(Debug, Clone, Copy)]
struct Gathered {
    /// Position in directory order; `UNSEEN` until it is referenced.
    position: u32,
    directory: u32,
    class: u16,
    live: bool,
    /// Not live any more, but the brake holds it.
    held: bool,
}

/// Content in whole blocks. Larger than 16 TiB does not fit `u32` blocks and no filesystem of ours either.
fn blocks(size: u64) -> u32 {
    u32::try_from(size.div_ceil(BLOCK)).unwrap_or(u32::MAX)
}

/// What is missing to whole blocks.
fn slack_of(size: u64) -> u16 {
    (size.next_multiple_of(BLOCK) - size) as u16
}

impl Reader<'_> {
    /// The directory at a path, at a moment; `None` if there is none.
    pub fn directory_at(&self, path: &VirtualPath, at: At) -> Result<Option<DirNo>, CatalogError> {
        let mut directory = DirNo::ROOT;
        for name in path.components() {
            match self.entry(directory, name, at)?.and_then(|entry| entry.node) {
                Some(node) => directory = node,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    /// Loads the planner's input.
    pub fn load_plan(&self, scope: &Scope, unreadable: &Unreadable) -> Result<Loaded, CatalogError> {
        let mut classes = Classes::load(self)?;
        let slots = Slots::of(self)?;
        // Each table is read in its own order, the tree beside the others.
        let ((mut gathered, mut next_position), ((sizes, slack), (nexuses, nexus_of))) = self.both(
            |reader| reader.gather_references(&mut classes, &slots, scope.held_since),
            |reader| Ok((reader.sizes(&slots)?, reader.gather_nexuses(&slots, scope)?)),
        )?;
        // Dead objects stand behind all others, in the order of their rows.
        let mut places_by_position = Vec::new();
        for object in gathered.iter_mut() {
            if object.position == UNSEEN {
                object.position = next_position;
                next_position += 1;
            }
        }
        places_by_position.resize(gathered.len(), 0u32);
        for (place, object) in gathered.iter().enumerate() {
            places_by_position[object.position as usize] = place as u32;
        }
        let disks = scope.disks.iter().map(|known| known.disk.clone()).collect();
        let mut loaded = Loaded { input: Input { nexuses, disks, ..Input::default() }, ..Loaded::default() };
        loaded.disks = scope.disks.iter().map(|known| known.number).collect();
        loaded.input.objects.reserve_exact(places_by_position.len());
        for place in places_by_position {
            let at = place as usize;
            if sizes[at] == 0 {
                continue; // no such row: a gap in the numbers
            }
            let object = gathered[at];
            let number = slots.number(at);
            let state = match (object.live, object.directory) {
                (true, _) if unreadable.objects.contains(&ObjectNo(number)) => State::LiveUnreadable,
                (true, _) if classes.is_elsewhere(object.class) => State::LiveUnreadable,
                (true, _) => State::Live,
                (false, _) if object.held => State::LiveUnreadable,
                (false, UNSEEN) => State::Dead,
                (false, _) => State::History,
            };
            loaded.input.objects.push(Object {
                blocks: sizes[at],
                nexus: nexus_of[at],
                directory: object.directory,
                class: object.class,
                state,
            });
            let number = u32::try_from(number);
            loaded.numbers.push(number.map_err(|_| CatalogError::DamagedRow { what: "an object's number" })?);
            loaded.slack.push(slack[at]);
        }
        if scope.provisional {
            self.load_provisional(&mut classes, &mut loaded, unreadable)?;
        }
        (loaded.input.classes, loaded.copies_min) = classes.into_parts();
        Ok(loaded)
    }

    /// Which objects are referenced, by a live name or by history only, in the order of the tree.
    fn gather_references(
        &self,
        classes: &mut Classes,
        slots: &Slots,
        held_since: Option<SnapshotNo>,
    ) -> Result<(Vec<Gathered>, u32), CatalogError> {
        let unseen = Gathered { position: UNSEEN, directory: UNSEEN, class: 0, live: false, held: false };
        let what = "read the tree for planning";
        let mut gathered = vec![unseen; slots.len()];
        let mut position = 0u32;
        let mut statement = self
            .connection
            .prepare(
                "SELECT directory, name, object, died IS NULL, born <= ?1 AND died > ?1
                   FROM entry WHERE +object IS NOT NULL",
            )
            .map_err(|source| CatalogError::sql(what, source))?;
        let held_since = held_since.map_or(i64::MAX, |snapshot| snapshot.0);
        let mut rows = statement.query([held_since]).map_err(|source| CatalogError::sql(what, source))?;
        let mut last = (i64::MIN, 0u16);
        while let Some(row) = rows.next().map_err(|source| CatalogError::sql(what, source))? {
            let read = || -> rusqlite::Result<(i64, i64, bool, bool)> {
                Ok((row.get(0)?, row.get(2)?, row.get(3)?, row.get::<_, Option<bool>>(4)?.unwrap_or(false)))
            };
            let (directory, object, live, held) = read().map_err(|source| CatalogError::sql(what, source))?;
            let class = if !live {
                0
            } else if !classes.depend_on_names() && last.0 == directory {
                last.1
            } else {
                let name = row.get_ref(1).ok().and_then(|name| name.as_blob().ok()).unwrap_or_default();
                classes.of_file(self, directory, name)?
            };
            last = (directory, class);
            let slot = slots
                .place(object)
                .and_then(|at| gathered.get_mut(at))
                .ok_or(CatalogError::DamagedRow { what: "an entry without its object" })?;
            if slot.position == UNSEEN {
                slot.position = position;
                position += 1;
            }
            slot.held |= held;
            if live && slot.live {
                slot.class = classes.highest(slot.class, class);
            } else if live || slot.directory == UNSEEN {
                slot.directory = u32::try_from(directory).unwrap_or(UNSEEN - 1);
                slot.class = class;
                slot.live = live;
            }
        }
        Ok((gathered, position))
    }

    /// Blocks of each object by its number, 0 where there is none, and what is missing to whole blocks.
    fn sizes(&self, slots: &Slots) -> Result<(Vec<u32>, Vec<u16>), CatalogError> {
        let mut sizes = (vec![0u32; slots.len()], vec![0u16; slots.len()]);
        let read = |(all, slack): &mut (Vec<u32>, Vec<u16>)| -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached("SELECT id, size FROM object")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Some(at) = slots.place(row.get(0)?) {
                    let size = columns::unsigned(row, 1)?;
                    all[at] = blocks(size);
                    slack[at] = slack_of(size);
                }
            }
            Ok(())
        };
        read(&mut sizes).map_err(|source| CatalogError::sql("read sizes for planning", source))?;
        Ok(sizes)
    }

    /// The distinct sets of disks, and which one each object has.
    fn gather_nexuses(&self, slots: &Slots, scope: &Scope) -> Result<(Vec<Nexus>, Vec<u32>), CatalogError> {
        let oldest = scope.oldest_evidence_ns();
        let numbers = scope.disks.iter().zip(0u16..);
        let index: HashMap<i64, u16> =
            numbers.filter_map(|(known, at)| Some((known.number?.0, at))).collect();
        let mut nexuses = vec![Nexus::default()];
        let mut known: HashMap<Nexus, u32> = HashMap::from([(Nexus::default(), 0)]);
        let mut nexus_of = vec![0u32; slots.len()];
        let mut read = |nexus_of: &mut Vec<u32>| -> rusqlite::Result<()> {
            let mut trusted: HashMap<i64, bool> = HashMap::new();
            let mut proofs = self.connection.prepare("SELECT id, at_ns, how FROM proof")?;
            let mut rows = proofs.query([])?;
            while let Some(row) = rows.next()? {
                let how: String = row.get(2)?;
                let evidence = matches!(how.as_str(), "written" | "read");
                trusted.insert(row.get(0)?, evidence && row.get::<_, i64>(1)? >= oldest);
            }
            let mut doubts: HashMap<(i64, i64), ()> = HashMap::new();
            let mut statement = self.connection.prepare("SELECT object, disk FROM copy_doubt")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                doubts.insert((row.get(0)?, row.get(1)?), ());
            }
            let mut statement =
                self.connection.prepare("SELECT object, disk, proof FROM copy ORDER BY object, disk")?;
            let mut rows = statement.query([])?;
            let mut current: (i64, Nexus) = (-1, Nexus::default());
            let mut close = |(object, nexus): (i64, Nexus)| {
                let Some(slot) = slots.place(object).and_then(|at| nexus_of.get_mut(at)) else {
                    return;
                };
                *slot = *known.entry(nexus).or_insert_with_key(|nexus| {
                    nexuses.push(nexus.clone());
                    nexuses.len() as u32 - 1
                });
            };
            while let Some(row) = rows.next()? {
                let (object, disk, proof): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let Some(&at) = index.get(&disk) else { continue };
                // What is to leave counts neither as a copy nor as evidence for giving up another one (N3).
                if scope.disks.get(usize::from(at)).is_some_and(|known| known.retiring) {
                    continue;
                }
                if object != current.0 {
                    close(std::mem::replace(&mut current, (object, Nexus::default())));
                }
                current.1.claimed.push(at);
                let doubted = scope.disks.get(usize::from(at)).is_none_or(|known| known.doubtful)
                    || (!doubts.is_empty() && doubts.contains_key(&(object, disk)));
                if !doubted && trusted.get(&proof).copied().unwrap_or(false) {
                    current.1.standing.push(at);
                }
            }
            close(current);
            Ok(())
        };
        read(&mut nexus_of).map_err(|source| CatalogError::sql("read copies for planning", source))?;
        Ok((nexuses, nexus_of))
    }

    /// Pending files as rows of their own; one for each hard-link group. Their places go to a temporary table.
    fn load_provisional(
        &self,
        classes: &mut Classes,
        loaded: &mut Loaded,
        unreadable: &Unreadable,
    ) -> Result<(), CatalogError> {
        let what = "plan pending files";
        let sql = |source| CatalogError::sql(what, source);
        self.connection
            .execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS provisional (
                     row INTEGER PRIMARY KEY, directory INTEGER NOT NULL, name BLOB NOT NULL, born INTEGER NOT NULL);
                 DELETE FROM provisional;",
            )
            .map_err(sql)?;
        const SQL: &str = "
            SELECT directory, name, born, size FROM entry INDEXED BY entry_pending
             WHERE pending = 1 AND died IS NULL AND object IS NULL
               AND (link IS NULL OR NOT EXISTS (
                    SELECT 1 FROM entry AS other
                     WHERE other.link = entry.link AND other.died IS NULL AND other.pending = 1
                       AND (other.directory, other.name) < (entry.directory, entry.name)))
             ORDER BY directory, name";
        let mut statement = self.connection.prepare(SQL).map_err(sql)?;
        let mut insert = self
            .connection
            .prepare("INSERT INTO provisional (row, directory, name, born) VALUES (?1, ?2, ?3, ?4)")
            .map_err(sql)?;
        let mut rows = statement.query([]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let read = || -> rusqlite::Result<(i64, Vec<u8>, i64, u64)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, columns::unsigned(row, 3)?))
            };
            let (directory, name, born, size) = read().map_err(sql)?;
            let class = classes.of_file(self, directory, &name)?;
            let place = (directory, name);
            if unreadable.pending.contains(&place) || classes.is_elsewhere(class) {
                continue;
            }
            let (directory, name) = place;
            insert.execute((loaded.input.objects.len() as i64, directory, name, born)).map_err(sql)?;
            loaded.input.objects.push(Object {
                blocks: blocks(size),
                nexus: 0,
                directory: u32::try_from(directory).unwrap_or(UNSEEN - 1),
                class,
                state: State::Provisional,
            });
            loaded.slack.push(slack_of(size));
        }
        Ok(())
    }

    /// What a row of the plan stands for.
    pub fn plan_row(&self, loaded: &Loaded, row: u32) -> Result<PlanRow, CatalogError> {
        if let Some(&number) = loaded.numbers.get(row as usize) {
            return Ok(PlanRow::Known(ObjectNo(i64::from(number))));
        }
        self.connection
            .prepare_cached("SELECT directory, name, born FROM temp.provisional WHERE row = ?1")
            .and_then(|mut statement| {
                statement.query_row([row], |row| {
                    let key = PendingKey { directory: DirNo(row.get(0)?), name: row.get(1)? };
                    Ok(PlanRow::Pending(key, SnapshotNo(row.get(2)?)))
                })
            })
            .map_err(|source| CatalogError::sql("resolve a planned file", source))
    }
}

impl Loaded {
    /// What a row is.
    pub fn row(&self, row: u32) -> Option<&Object> {
        self.input.objects.get(row as usize)
    }

    /// Whether a row is a file that was not hashed yet.
    pub fn is_pending(&self, row: u32) -> bool {
        self.numbers.len() <= row as usize
    }

    /// Content of a row, in bytes.
    pub fn content(&self, row: u32) -> Bytes {
        let slack = self.slack.get(row as usize).copied().unwrap_or(0);
        Bytes(self.row(row).map_or(0, |object| u64::from(object.blocks) * BLOCK)) - Bytes(slack.into())
    }

    /// Objects by number of copies.
    pub fn by_state(&self) -> ByState {
        let mut found = ByState::default();
        let claims: Vec<u16> = self.input.nexuses.iter().map(|nexus| nexus.claimed.len() as u16).collect();
        for (row, object) in (0..).zip(&self.input.objects) {
            let copies = claims.get(object.nexus as usize).copied().unwrap_or(0);
            let levels = match object.state {
                State::Live | State::LiveUnreadable => &mut found.live,
                State::History => &mut found.history,
                State::Provisional => {
                    found.pending.add(self.content(row));
                    continue;
                }
                State::Dead => continue,
            };
            if levels.len() <= usize::from(copies) {
                levels.resize(usize::from(copies) + 1, Tally::default());
            }
            levels[usize::from(copies)].add(self.content(row));
            let wanted = self.copies_min.get(usize::from(object.class)).copied().unwrap_or(0);
            if object.state != State::History && copies < wanted {
                found.below_target.add(self.content(row));
            }
        }
        found
    }

    /// Live objects that a disk claims.
    pub fn live_on(&self, disk: DiskNo) -> Tally {
        let mut tally = Tally::default();
        let Some(disk) = self.disks.iter().position(|known| *known == Some(disk)) else { return tally };
        let here: Vec<bool> =
            self.input.nexuses.iter().map(|nexus| nexus.claimed.contains(&(disk as u16))).collect();
        for (row, object) in (0..).zip(&self.input.objects) {
            let live = matches!(object.state, State::Live | State::LiveUnreadable);
            if live && here.get(object.nexus as usize) == Some(&true) {
                tally.add(self.content(row));
            }
        }
        tally
    }

    /// What each object is worth as an ordinary file on a disk; pending files are left out.
    pub fn needs(&self, disk: DiskNo) -> impl Iterator<Item = (ObjectNo, Bytes, Need)> + '_ {
        let disk =
            self.disks.iter().position(|known| *known == Some(disk)).and_then(|at| u16::try_from(at).ok());
        (0..).zip(&self.input.objects).zip(&self.numbers).map(move |((row, object), number)| {
            let copies_min = self.copies_min.get(usize::from(object.class)).copied().unwrap_or(0);
            let need =
                disk.map_or(Need::Nothing, |disk| planner::need(&self.input, object, disk, copies_min));
            (ObjectNo(i64::from(*number)), self.content(row), need)
        })
    }

    /// Disks that claim a row.
    pub fn claims(&self, row: u32) -> u16 {
        let nexus = self.row(row).and_then(|object| self.input.nexuses.get(object.nexus as usize));
        nexus.map_or(0, |nexus| nexus.claimed.len() as u16)
    }

    /// `D`: billed bytes of all live objects and pending files, in blocks.
    pub fn live_billed(&self) -> Bytes {
        let live = self.input.objects.iter().filter(|object| {
            matches!(object.state, State::Live | State::LiveUnreadable | State::Provisional)
        });
        live.map(|object| Bytes((u64::from(object.blocks) + 1) * BLOCK)).sum()
    }

    /// Copies of a row beyond which there is excess.
    pub fn copies_max(&self, row: u32) -> u16 {
        let class = self.row(row).and_then(|object| self.input.classes.get(usize::from(object.class)));
        class.and_then(|class| class.copies_max).unwrap_or(u16::MAX)
    }

    /// Billed bytes of a row on a disk with this allocation unit.
    pub fn billed(&self, row: u32, unit: u64) -> Bytes {
        billed(self.content(row), unit)
    }

    /// Room that is left for objects on the disk of this index: its capacity less all that takes room there.
    pub fn room(&self, disk: u16) -> Bytes {
        let Some(known) = self.input.disks.get(usize::from(disk)) else { return Bytes(0) };
        let here: Vec<bool> = self.input.nexuses.iter().map(|nexus| nexus.claimed.contains(&disk)).collect();
        let own = self.input.objects.iter().filter(|object| here.get(object.nexus as usize) == Some(&true));
        let own: Bytes = own.map(|object| billed(Bytes(u64::from(object.blocks) * BLOCK), known.unit)).sum();
        known.capacity - known.occupied_otherwise - own
    }
}
