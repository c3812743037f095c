//! The candidates become objects, batch by batch: read, found to be needed, taken in, made durable, claimed.
//!
//! Whatever stops this between two steps, no claim is without its object, and no file is lost: what was taken in and not
//! claimed is read and taken over by the next visit (N1).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use distbackup_core::model::{Bytes, ObjectId, ObjectNo, billed};

use super::survey::{Candidate, Found, Needs, Taking, below, open_below};
use super::{Adopted, Adoption, How};
use crate::catalog::{CatalogError, ProofKind};
use crate::disk::{DiskError, Loose, OwnName, StageError, Staged, Taken};
use crate::hash::{ATTEMPTS, HashError, SourceFile, read_stable};
use crate::ops::OpError;
use crate::ops::backup::execute::finish;
use crate::ops::backup::ledger::Ledger;
use crate::ops::backup::origins::Copies;
use crate::ops::backup::stage::{Copied, Tools, Watched};
use crate::ops::backup::{Visit, deliver};
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;
use crate::ops::readers::in_parallel;
use crate::platform::{self, Accounts, path_of_bytes};
use crate::progress::{Event, Phase};
use crate::scan::Folder;

/// Bounds of a batch: what a power cut can cost. Each folder of a batch is held open.
const BATCH_FILES: usize = 4096;
const BATCH_BYTES: u64 = 2 << 30;
const BATCH_FOLDERS: usize = 200;

/// A candidate with its folder open.
struct Opened {
    folder: Arc<OwnedFd>,
    name: Vec<u8>,
    /// Below the folder that is adopted.
    path: Vec<u8>,
    size: u64,
}

/// A candidate that was read.
enum Read {
    /// Its content, and its facts when it was read.
    Hashed(ObjectId, Loose),
    /// Its content beside the objects, for which so much room was taken.
    Staged(Staged, Bytes),
    /// It stays as it is.
    Left(String),
    NoRoom,
    Full,
    Stopped,
    Failed(DiskError),
}

/// Takes in whatever is needed of the candidates.
pub(super) fn take_all(
    visit: &mut Visit<'_>,
    adoption: &Adoption<'_>,
    root: &Folder,
    needs: Needs,
    found: &Found,
    adopted: &mut Adopted,
) -> Result<(), OpError> {
    let mapping = Mapping::load(&visit.catalog.read())?;
    let filesystems = Filesystems::load(&visit.catalog.read())?;
    let (accounts, copies) = (Accounts::new(), Copies::default());
    let ledger = Ledger::new(deliver::room(visit)?);
    let tools = Tools {
        mapping: &mapping,
        filesystems: &filesystems,
        accounts: &accounts,
        ledger: &ledger,
        unit: visit.row.unit,
        disk: visit.disk,
        odd_places: !adopted.visit.reconciled.foreign.is_empty(),
        hashes: true,
        copies: &copies,
        read_back: None,
        large_streams: adoption.streams,
        early: None,
        observer: visit.observer,
    };
    let candidates = adopted.survey.candidates;
    visit.observer.event(Event::Begin {
        phase: Phase::Adopt,
        files: candidates.objects,
        bytes: candidates.bytes,
    });
    let began = std::time::Instant::now();
    let mut taker =
        Taker { visit, tools: &tools, root, found, needs, adopted, streams: adoption.streams, next: 0 };
    let taken = taker.all();
    adopted.visit.copying += began.elapsed();
    adopted.visit.room_left = ledger.left();
    visit.observer.event(Event::End);
    taken
}

struct Taker<'t, 'v> {
    visit: &'t mut Visit<'v>,
    tools: &'t Tools<'t>,
    root: &'t Folder,
    found: &'t Found,
    needs: Needs,
    adopted: &'t mut Adopted,
    streams: usize,
    /// The next candidate.
    next: usize,
}

impl Taker<'_, '_> {
    fn all(&mut self) -> Result<(), OpError> {
        loop {
            if self.visit.observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            let batch = self.next_batch();
            if batch.is_empty() && self.next >= self.found.candidates.len() {
                return Ok(());
            }
            let read = self.read(&batch)?;
            match self.adopted.how {
                How::Move | How::Link => self.take_in(read)?,
                How::Reflink | How::Copy => self.claim_staged(read)?,
            }
            if self.adopted.visit.full {
                return Ok(());
            }
        }
    }

    fn leave(&mut self, path: &[u8], why: &str) {
        self.visit.observer.event(Event::Skipped { path, reason: why });
        self.adopted.left.add(path, why);
    }

    /// Opens the folders of the next candidates.
    fn next_batch(&mut self) -> Vec<Opened> {
        let (mut batch, mut bytes, mut folders) = (Vec::new(), 0u64, 0);
        let mut at: Option<(usize, Option<Arc<OwnedFd>>)> = None;
        while let Some(Candidate { folder, name, size }) = self.found.candidates.get(self.next) {
            let new = at.as_ref().is_none_or(|(open, _)| open != folder);
            let full =
                bytes.saturating_add(*size) > BATCH_BYTES || folders + usize::from(new) > BATCH_FOLDERS;
            if !batch.is_empty() && (full || batch.len() >= BATCH_FILES) {
                break;
            }
            self.next += 1;
            let place = self.found.folders.get(*folder).map_or(&[][..], Vec::as_slice);
            if new {
                folders += 1;
                let opened = open_below(self.root, place).map(|folder| Arc::new(OwnedFd::from(folder)));
                at = Some((*folder, opened.ok()));
            }
            let path = below(place, name);
            match &at {
                Some((_, Some(open))) => {
                    bytes = bytes.saturating_add(*size);
                    batch.push(Opened { folder: Arc::clone(open), name: name.clone(), path, size: *size });
                }
                _ => self.leave(&path, "its folder cannot be opened any more"),
            }
        }
        batch
    }

    /// Reads a batch by several threads; returns what may be taken in, with its path. An error that ends the visit drops
    /// what was staged.
    fn read(&mut self, batch: &[Opened]) -> Result<Vec<(Vec<u8>, Read)>, OpError> {
        if !self.adopted.how.changes_files() {
            self.visit.begin_writing()?;
        }
        let halt = AtomicBool::new(false);
        let (tools, how) = (self.tools, self.adopted.how);
        let results = in_parallel(
            self.streams,
            batch,
            &|| !halt.load(Ordering::Relaxed) && !tools.observer.stop_requested(),
            &|file| {
                tools.observer.event(Event::Working { path: &file.path });
                let read = read_one(tools, how, file);
                if matches!(read, Read::Full | Read::Stopped | Read::Failed(_)) {
                    halt.store(true, Ordering::Relaxed);
                }
                tools.observer.event(Event::Done { files: 1, bytes: Bytes(0) });
                read
            },
        );
        let (mut kept, mut fatal) = (Vec::new(), None);
        for (file, result) in batch.iter().zip(results) {
            match result {
                Some(read @ (Read::Hashed(..) | Read::Staged(..))) => kept.push((file.path.clone(), read)),
                Some(Read::Left(why)) => self.leave(&file.path, &why),
                Some(Read::NoRoom) => self.adopted.no_room.add(Bytes(file.size)),
                Some(Read::Full) => self.adopted.visit.full = true,
                Some(Read::Failed(error)) => fatal = fatal.or(Some(error)),
                // What was read before is recorded; then the loop ends for the same reason.
                Some(Read::Stopped) | None => {}
            }
        }
        let Some(error) = fatal else { return Ok(kept) };
        for (_, read) in kept {
            if let Read::Staged(staged, _) = read {
                // The visit fails with the first error; what cannot be dropped now is cleared by the next visit.
                let _ = self.visit.disk.discard(staged);
            }
        }
        Err(OpError::disk(&self.visit.row.name)(error))
    }

    /// The object of a content, if the disk can use it now.
    fn needed(&mut self, id: &ObjectId, size: Bytes) -> Result<Option<ObjectNo>, CatalogError> {
        let object = self.visit.catalog.read().object_by_id(id)?.map(|row| row.object);
        Ok(match object.map(|object| (object, self.needs.take(object))) {
            Some((object, Taking::Needed)) => Some(object),
            Some((_, Taking::Twice)) => {
                self.adopted.twice.add(size);
                None
            }
            Some((_, Taking::NotNeeded)) | None => {
                self.adopted.not_needed.add(size);
                None
            }
        })
    }

    fn copies_of(&self, object: ObjectNo) -> Result<u16, CatalogError> {
        Ok(u16::try_from(self.visit.catalog.read().holders(object)?.len()).unwrap_or(u16::MAX))
    }

    /// Moves or links files among the objects.
    fn take_in(&mut self, read: Vec<(Vec<u8>, Read)>) -> Result<(), OpError> {
        let own_name = if self.adopted.how == How::Move { OwnName::Goes } else { OwnName::Stays };
        let (mut files, mut known) = (Vec::new(), Vec::new());
        for (path, read) in read {
            let Read::Hashed(id, file) = read else { continue };
            let size = Bytes(file.stat.size);
            if let Some(object) = self.needed(&id, size)? {
                known.push((path, object, size, self.copies_of(object)?));
                files.push((file, id));
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        self.visit.begin_writing()?;
        let taken = self.visit.disk.take_in(&files, own_name).map_err(OpError::disk(&self.visit.row.name))?;
        let mut claimed = Vec::new();
        for ((path, object, size, copies_before), taken) in known.into_iter().zip(taken) {
            match taken {
                Taken::In => claimed.push((object, size, copies_before)),
                Taken::Left(why) => {
                    self.needs.give_back(object);
                    self.leave(&path, &why);
                }
            }
        }
        let (disk, run, now_ns) = (self.visit.row.disk, self.visit.run, self.visit.time.now_ns);
        self.visit.catalog.write("record copies", |writer| -> Result<(), CatalogError> {
            if claimed.is_empty() {
                return Ok(());
            }
            let proof = writer.record_proof(run, now_ns, ProofKind::Written)?;
            for (object, _, _) in &claimed {
                writer.claim_copy(*object, disk, proof)?;
            }
            writer.advance_generation()
        })?;
        for (_, size, copies_before) in claimed {
            self.adopted.visit.copied.add(copies_before, size);
        }
        Ok(())
    }

    /// Makes objects of what was staged and is needed, and drops the rest.
    fn claim_staged(&mut self, read: Vec<(Vec<u8>, Read)>) -> Result<(), OpError> {
        let mut copied = Vec::new();
        for (path, read) in read {
            let Read::Staged(staged, billed) = read else { continue };
            let needed = self.needed(&staged.id, staged.size)?;
            let mut object = needed;
            if self.tools.odd_places
                && object.is_some()
                && let Err(error @ DiskError::Foreign { .. }) = self.visit.disk.open(staged.id)
            {
                self.leave(&path, &format!("no place for it on the disk: {error}"));
                object = None;
            }
            match object {
                Some(object) => {
                    let copies_before = self.copies_of(object)?;
                    copied.push(Copied {
                        staged,
                        billed,
                        copies_before,
                        provisional: None,
                        object: Some(object),
                    });
                }
                None => {
                    self.visit.disk.discard(staged).map_err(OpError::disk(&self.visit.row.name))?;
                    self.tools.ledger.give(billed);
                }
            }
        }
        // Nothing is read back, so nothing comes back bad.
        let _none = finish(self.visit, self.tools, copied, &mut self.adopted.visit)?;
        Ok(())
    }
}

fn read_one(tools: &Tools<'_>, how: How, file: &Opened) -> Read {
    match how {
        How::Move | How::Link => hash(tools, file),
        How::Reflink => clone(tools, file),
        How::Copy => copy(tools, file),
    }
}

fn loose(file: &Opened, stat: platform::Stat) -> Loose {
    let (folder, name) = (Arc::clone(&file.folder), file.name.clone());
    Loose { folder, name, path: path_of_bytes(&file.path), stat }
}

fn hash(tools: &Tools<'_>, file: &Opened) -> Read {
    let open = || SourceFile::open_at(file.folder.as_fd(), &file.name);
    let mut each = |bytes| tools.observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    match read_stable(open, ATTEMPTS, &mut each, &|| tools.observer.stop_requested()) {
        Ok(hashed) => Read::Hashed(hashed.id, loose(file, hashed.stat)),
        Err(HashError::Stopped) => Read::Stopped,
        Err(error @ HashError::Unstable) => Read::Left(error.to_string()),
        Err(HashError::Io(error)) => Read::Left(format!("cannot read it: {error}")),
    }
}

fn clone(tools: &Tools<'_>, file: &Opened) -> Read {
    let stat = match platform::stat_at(file.folder.as_fd(), &file.name) {
        Ok(stat) => stat,
        Err(error) => return Read::Left(format!("cannot look at it: {error}")),
    };
    let mut each = |bytes| {
        if tools.observer.stop_requested() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        tools.observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
        Ok(())
    };
    match tools.disk.stage_clone(&loose(file, stat), &mut each) {
        // Both share the room.
        Ok(Some(staged)) => Read::Staged(staged, Bytes(0)),
        Ok(None) => Read::Left("its content cannot be shared; --how copy copies it".to_owned()),
        Err(error) => not_staged(error),
    }
}

fn copy(tools: &Tools<'_>, file: &Opened) -> Read {
    let mut source = match SourceFile::open_at(file.folder.as_fd(), &file.name) {
        Ok(source) => source,
        Err(error) => return Read::Left(format!("cannot read it: {error}")),
    };
    let room = billed(Bytes(source.stat().size), tools.unit);
    if !tools.ledger.take(room) {
        return Read::NoRoom;
    }
    let staged = tools.disk.stage(&mut Watched { content: &mut source, observer: tools.observer });
    let read = match staged {
        Err(error) => not_staged(error),
        Ok(staged) => match source.finish() {
            Ok(reading) if reading.stable() => return Read::Staged(staged, room),
            Ok(_) | Err(_) => match tools.disk.discard(staged) {
                Ok(()) => Read::Left(HashError::Unstable.to_string()),
                Err(error) => Read::Failed(error),
            },
        },
    };
    tools.ledger.give(room);
    read
}

fn not_staged(error: StageError) -> Read {
    match error {
        StageError::Source(error) if error.kind() == io::ErrorKind::Interrupted => Read::Stopped,
        StageError::Source(error) => Read::Left(format!("cannot read it: {error}")),
        StageError::Disk(DiskError::Full { .. }) => Read::Full,
        StageError::Disk(error @ DiskError::TooLarge { .. }) => Read::Left(error.to_string()),
        StageError::Disk(error) => Read::Failed(error),
    }
}
