//! The staging folder: a place on this computer where objects wait between two disks of which only one is connected.
//!
//! It is laid out as a disk, so the same laws hold for what lies in it, but it belongs to no shelf: nothing in it counts as
//! a copy. What it holds is found by looking, never remembered, so emptying it by hand loses nothing but time.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use distbackup_core::model::{Bytes, DiskNo, DiskUuid, ObjectId, ObjectNo, SetUuid, billed};
use distbackup_core::plan::Tally;

use super::Errand;
use crate::catalog::{Catalog, CatalogError, HeldObject, Reader, Wants};
use crate::disk::{self, Disk, DiskError, FolderDisk, Identity, Listed, StageError, layout};
use crate::ops::OpError;
use crate::ops::backup::{BadCopy, Givers, Holder, Watched, strike_out_bad};
use crate::ops::shelf::Connected;
use crate::platform;
use crate::progress::{Event, Observer, Phase};

/// Name in its identity file, and the key there that marks it.
const NAME: &str = "staging";
/// Objects looked up at a time.
const PAGE: u32 = 4096;
/// Bounds of what is made durable at once.
const BATCH_FILES: usize = 1024;
const BATCH_BYTES: u64 = 1 << 30;
/// The room that an object takes is rounded up to this.
const UNIT: u64 = 4096;

/// Whether an identity is that of a staging folder.
pub(super) fn is_staging(identity: &Identity) -> bool {
    identity.other.get(NAME) == Some(&serde_json::Value::Bool(true))
}

/// An open staging folder.
#[derive(Debug)]
pub struct StagingFolder {
    folder: PathBuf,
    disk: FolderDisk,
    limit: Bytes,
}

/// What became of a staging folder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Staged {
    /// Objects that were put into it.
    pub added: Tally,
    /// Objects that nothing waits for any more, removed from it.
    pub removed: Tally,
    /// What lies in it now.
    pub holds: Tally,
    /// Objects that connected disks hold and absent ones want, for which its room did not suffice.
    pub no_room: Tally,
    /// How much may lie in it.
    pub limit: Bytes,
}

impl StagingFolder {
    /// Opens a staging folder; makes it if it is not there. `limit` bounds what lies in it; without one that is what lies
    /// there and half of what is free beside it.
    pub fn open(folder: &Path, set: &SetUuid, limit: Option<Bytes>) -> Result<Self, OpError> {
        let name = folder.display().to_string();
        let identity = match disk::read_identity(folder) {
            Ok(identity) => Some(identity),
            Err(DiskError::NotADisk { .. }) => None,
            Err(error) => return Err(OpError::disk(&name)(error)),
        };
        let disk = match identity {
            Some(identity) if is_staging(&identity) && identity.set.as_ref() == Some(set) => {
                FolderDisk::open(folder).map_err(OpError::disk(&name))?
            }
            Some(identity) => {
                let why = match is_staging(&identity) {
                    true => "it is the staging folder of another set".to_owned(),
                    false => format!("it is the disk {}, and no staging folder", identity.name),
                };
                return Err(OpError::AlreadyADisk { folder: folder.to_owned(), why });
            }
            None => {
                refuse_unless_empty(folder)?;
                match std::fs::create_dir(folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(OpError::io("create", folder)(error));
                    }
                    _ => {}
                }
                // Before it is one: a run that is killed leaves none that others can read.
                platform::make_private(folder).map_err(OpError::io("protect", folder))?;
                FolderDisk::create(folder, &identity_for(set)).map_err(OpError::disk(&name))?
            }
        };
        let mut staging = StagingFolder { folder: folder.to_owned(), disk, limit: Bytes(0) };
        let holds = staging.list()?.values().fold(Bytes(0), |sum, size| sum + billed(*size, UNIT));
        let space = staging.disk.space().map_err(staging.failed())?;
        staging.limit = limit.unwrap_or(holds + Bytes(space.free.0 / 2));
        Ok(staging)
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// To read from.
    pub fn port(&self) -> &dyn Disk {
        &self.disk
    }

    fn failed(&self) -> impl FnOnce(DiskError) -> OpError {
        let name = self.folder.display().to_string();
        move |source| OpError::Disk { name, source }
    }

    /// What lies in it, by looking: object and size in bytes.
    pub(super) fn list(&self) -> Result<HashMap<ObjectId, Bytes>, OpError> {
        let mut holds = HashMap::new();
        for prefix in 0..4096 {
            for listed in self.disk.list_folder(prefix).map_err(self.failed())? {
                if let Listed::Object { id, size } = listed {
                    holds.insert(id, size);
                }
            }
        }
        Ok(holds)
    }

    /// Removes what nothing waits for any more, then takes what connected disks hold and absent ones want. Tells whether
    /// the user asked to stop.
    pub(super) fn settle(
        &self,
        catalog: &mut Catalog,
        errand: &Errand,
        connected: &[Connected],
        holders: &[Holder<'_>],
        now_ns: i64,
        observer: &dyn Observer,
    ) -> Result<(Staged, bool), OpError> {
        self.disk.clear_incoming().map_err(self.failed())?;
        let mut filling = Filling {
            staging: self,
            holders,
            observer,
            holds: self.list()?,
            used: Bytes(0),
            seen: HashSet::new(),
            bad: Vec::new(),
            staged: Staged { limit: self.limit, ..Staged::default() },
        };
        filling.prune(&catalog.read(), errand)?;
        filling.used = filling.holds.values().fold(Bytes(0), |sum, size| sum + billed(*size, UNIT));
        let absent = |disk: &DiskNo| !connected.iter().any(|one| one.row.disk == *disk);
        let wishes: Vec<Wants> = {
            let reader = catalog.read();
            let rows = reader.disks()?;
            let mut wishes: Vec<Wants> = errand
                .targets(&rows)
                .iter()
                .filter(|disk| absent(disk))
                .map(|disk| errand.wants(*disk))
                .collect();
            // Several disks may share a wish.
            let mut once = HashSet::new();
            wishes.retain(|wants| once.insert(*wants));
            wishes
        };
        let mut finished = Ok(());
        for wants in wishes {
            let reader = catalog.read();
            let total = reader.wanted_total(wants)?;
            observer.event(Event::Begin { phase: Phase::Stage, files: total.objects, bytes: total.bytes });
            finished = filling.fill(&reader, wants);
            observer.event(Event::End);
            if finished.is_err() {
                break;
            }
        }
        strike_out_bad(catalog, now_ns, &filling.bad)?;
        let mut staged = filling.staged;
        filling.holds.values().for_each(|size| staged.holds.add(*size));
        match finished {
            Ok(()) => Ok((staged, false)),
            Err(OpError::Stopped) => Ok((staged, true)),
            Err(error) => Err(error),
        }
    }
}

/// A folder that holds something else is not taken for this. What a run leaves that was killed before it had written the
/// identity, its folder for what comes in, is nothing else.
fn refuse_unless_empty(folder: &Path) -> Result<(), OpError> {
    let failed = || OpError::io("list", folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed()(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed())?;
        let is_folder = entry.file_type().map_err(failed())?.is_dir();
        if !is_folder || entry.file_name() != layout::INCOMING {
            let what = format!("staging folder {}", folder.display());
            let why = "it is not empty; name a new or an empty folder".into();
            return Err(OpError::BadRequest { what, why });
        }
    }
    Ok(())
}

fn identity_for(set: &SetUuid) -> Identity {
    let mut identity = Identity::new(DiskUuid(platform::new_uuid()), NAME, Some(set.clone()));
    identity.other.insert(NAME.to_owned(), serde_json::Value::Bool(true));
    identity
}

/// A staging folder that is being filled.
struct Filling<'f> {
    staging: &'f StagingFolder,
    holders: &'f [Holder<'f>],
    observer: &'f dyn Observer,
    holds: HashMap<ObjectId, Bytes>,
    used: Bytes,
    /// Objects that were looked at: wishes of several disks may be for the same ones.
    seen: HashSet<ObjectNo>,
    bad: Vec<BadCopy>,
    staged: Staged,
}

impl Filling<'_> {
    /// Removes what neither this errand nor another one that the catalog knows of waits for.
    fn prune(&mut self, reader: &Reader<'_>, errand: &Errand) -> Result<(), OpError> {
        let mut wishes: Vec<Wants> = errand.wishes().into_iter().map(|(_, wants)| wants).collect();
        for row in reader.disks()? {
            wishes.push(if row.retiring { Wants::OnlyOn(row.disk) } else { Wants::LostBy(row.disk) });
        }
        let wanted = |id: &ObjectId| -> Result<bool, CatalogError> {
            let Some(row) = reader.object_by_id(id)? else { return Ok(false) };
            for wants in &wishes {
                if reader.is_wanted(*wants, row.object)? {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let mut over = Vec::new();
        for id in self.holds.keys() {
            if !wanted(id)? {
                over.push(*id);
            }
        }
        for id in &over {
            self.staging.disk.remove(*id).map_err(self.staging.failed())?;
            if let Some(size) = self.holds.remove(id) {
                self.staged.removed.add(size);
            }
        }
        if !over.is_empty() {
            self.staging.disk.sync().map_err(self.staging.failed())?;
        }
        Ok(())
    }

    fn fill(&mut self, reader: &Reader<'_>, wants: Wants) -> Result<(), OpError> {
        let givers = Givers::new(reader)?;
        let mut after = ObjectNo(0);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            let page = reader.wanted(wants, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.object;
            for want in page {
                if self.observer.stop_requested() {
                    self.commit(std::mem::take(&mut batch))?;
                    return Err(OpError::Stopped);
                }
                if self.holds.contains_key(&want.id) || !self.seen.insert(want.object) {
                    continue;
                }
                if !self.can_give(reader, want.object)? || givers.source_has(reader, want.object)? {
                    continue;
                }
                if self.used + billed(want.size, UNIT) > self.staging.limit {
                    self.staged.no_room.add(want.size);
                    continue;
                }
                match self.take(reader, want) {
                    Ok(Some(staged)) => {
                        bytes += want.size.0;
                        batch.push(staged);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.commit(std::mem::take(&mut batch))?;
                        return Err(error);
                    }
                }
                if batch.len() >= BATCH_FILES || bytes >= BATCH_BYTES {
                    self.commit(std::mem::take(&mut batch))?;
                    bytes = 0;
                }
            }
        }
        self.commit(batch)
    }

    fn can_give(&self, reader: &Reader<'_>, object: ObjectNo) -> Result<bool, CatalogError> {
        for holder in self.holders {
            if holder.may_have(reader, object)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies one object from the first disk that has it whole; `None`: none has, or there is no room after all.
    fn take(&mut self, reader: &Reader<'_>, want: HeldObject) -> Result<Option<disk::Staged>, OpError> {
        for holder in self.holders {
            if !holder.may_have(reader, want.object)? {
                continue;
            }
            let why = match holder.port.open(want.id) {
                Err(error) => error.to_string(),
                Ok(mut content) => {
                    let mut watched = Watched { content: content.as_mut(), observer: self.observer };
                    match self.staging.disk.stage(&mut watched) {
                        Ok(staged) if staged.id == want.id => {
                            self.used += billed(want.size, UNIT);
                            return Ok(Some(staged));
                        }
                        Ok(staged) => {
                            self.staging.disk.discard(staged).map_err(self.staging.failed())?;
                            "damaged".to_owned()
                        }
                        Err(StageError::Source(error)) if error.kind() == std::io::ErrorKind::Interrupted => {
                            return Err(OpError::Stopped);
                        }
                        Err(StageError::Source(error)) => format!("cannot read it: {error}"),
                        Err(StageError::Disk(DiskError::Full { .. } | DiskError::TooLarge { .. })) => {
                            self.staged.no_room.add(want.size);
                            return Ok(None);
                        }
                        Err(StageError::Disk(error)) => return Err(self.staging.failed()(error)),
                    }
                }
            };
            // A disk that has vanished says nothing of its copies.
            if holder.port.identity().is_ok() {
                self.bad.push(BadCopy { disk: holder.disk, object: want.object, why });
            }
        }
        Ok(None)
    }

    fn commit(&mut self, batch: Vec<disk::Staged>) -> Result<(), OpError> {
        if batch.is_empty() {
            return Ok(());
        }
        let arrived: Vec<_> = batch.iter().map(|staged| (staged.id, staged.size)).collect();
        self.staging.disk.commit(batch).map_err(self.staging.failed())?;
        for (id, size) in arrived {
            self.holds.insert(id, size);
            self.staged.added.add(size);
        }
        Ok(())
    }
}
