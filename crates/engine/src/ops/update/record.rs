//! The recording side of a scan: one thread, one transaction.

use std::collections::HashSet;
use std::sync::Mutex;

use distbackup_core::model::{
    Bytes, DirNo, FilesystemNo, LinkNo, ObjectId, RunNo, SnapshotNo, SourceNo, Stamp,
};
use distbackup_core::plan::Tally;

use crate::catalog::{CatalogError, CatalogTime, LinkName, NewEntry, ScanTotals, Writer};

/// One difference between the sources and the catalog.
#[derive(Debug)]
pub enum Difference {
    /// A name that was not there.
    Birth(Box<NewEntry>),
    /// A new file that was read where it was found; its content has no row yet.
    Read(Box<NewEntry>, ObjectId),
    /// A name that is something else now.
    Replacement(Box<NewEntry>),
    /// A name that is gone.
    Death { directory: DirNo, name: Vec<u8> },
    /// A directory that is gone from its place: with everything below, unless it has moved.
    DeadFolder { directory: DirNo, name: Vec<u8>, node: DirNo },
    /// Nothing that counts has changed, but the stamp is another.
    Refresh { directory: DirNo, name: Vec<u8>, stamp: Stamp },
    /// A name of several hard links; follows its birth or replacement.
    Link(LinkName),
    /// A source was reached; its root is on this filesystem.
    Source(SourceNo, FilesystemNo),
}

/// Directories that were found at another place than before.
#[derive(Debug, Default)]
pub struct MovedFolders(Mutex<HashSet<DirNo>>);

impl MovedFolders {
    /// Claims a directory for a new place; `false` if another place has claimed it.
    pub fn claim(&self, node: DirNo) -> bool {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(node)
    }

    fn contains(&self, node: DirNo) -> bool {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).contains(&node)
    }
}

/// What was recorded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recorded {
    pub snapshot: Option<SnapshotNo>,
    pub added: u64,
    pub changed: u64,
    pub removed: u64,
    pub moved: u64,
    /// Files that were read.
    pub hashed: Tally,
}

/// Records differences as they come; [`Recorder::finish`] closes the snapshot.
pub struct Recorder<'w, 'c> {
    writer: &'w Writer<'c>,
    time: CatalogTime,
    run: Option<RunNo>,
    recorded: Recorded,
    /// Directories that vanished; what is below dies at the end, when all moves are known.
    dead_folders: Vec<DirNo>,
    sources: Vec<(SourceNo, FilesystemNo)>,
}

impl<'w, 'c> Recorder<'w, 'c> {
    pub fn new(writer: &'w Writer<'c>, time: CatalogTime, run: Option<RunNo>) -> Result<Self, CatalogError> {
        writer.begin_scan()?;
        let (recorded, dead_folders, sources) = Default::default();
        Ok(Recorder { writer, time, run, recorded, dead_folders, sources })
    }

    /// The snapshot of this scan; made with the first difference.
    fn snapshot(&mut self) -> Result<SnapshotNo, CatalogError> {
        if let Some(snapshot) = self.recorded.snapshot {
            return Ok(snapshot);
        }
        let snapshot = self.writer.record_snapshot(self.run, self.time.now_ns, false, None)?;
        self.recorded.snapshot = Some(snapshot);
        Ok(snapshot)
    }

    pub fn record(&mut self, difference: Difference) -> Result<(), CatalogError> {
        match difference {
            Difference::Birth(entry) => {
                let snapshot = self.snapshot()?;
                self.recorded.added += 1;
                self.writer.insert_entry(&entry, snapshot)
            }
            Difference::Read(mut entry, id) => {
                let snapshot = self.snapshot()?;
                let size = Bytes(entry.stamp.size);
                self.recorded.added += 1;
                self.recorded.hashed.add(size);
                entry.object = Some(self.writer.intern_object(&id, size)?);
                self.writer.insert_entry(&entry, snapshot)
            }
            Difference::Replacement(entry) => {
                let snapshot = self.snapshot()?;
                self.recorded.changed += 1;
                // The old row may stand for a hard link of a new name: then both are confirmed together.
                self.writer.end_entry(entry.directory, &entry.name, snapshot, entry.pending)?;
                self.writer.insert_entry(&entry, snapshot)
            }
            Difference::Death { directory, name } => {
                let snapshot = self.snapshot()?;
                self.recorded.removed += 1;
                self.writer.end_entry(directory, &name, snapshot, false)
            }
            Difference::DeadFolder { directory, name, node } => {
                let snapshot = self.snapshot()?;
                self.recorded.removed += 1;
                self.dead_folders.push(node);
                self.writer.end_entry(directory, &name, snapshot, false)
            }
            Difference::Refresh { directory, name, stamp } => {
                self.writer.refresh_entry(directory, &name, &stamp)
            }
            Difference::Link(link) => self.writer.note_link(&link),
            Difference::Source(source, filesystem) => {
                self.sources.push((source, filesystem));
                Ok(())
            }
        }
    }

    /// Everything was seen: ends what vanished, takes over what moved, groups hard links.
    pub fn finish(mut self, moved: &MovedFolders, next_link: LinkNo) -> Result<Recorded, CatalogError> {
        for &(source, filesystem) in &self.sources {
            self.writer.record_source_scanned(source, filesystem, self.time.now_ns)?;
        }
        let Some(snapshot) = self.recorded.snapshot else { return Ok(self.recorded) };
        let mut totals = ScanTotals::default();
        for node in std::mem::take(&mut self.dead_folders) {
            if !moved.contains(node) {
                self.writer.end_subtree(node, snapshot, &|node| moved.contains(node), &mut totals)?;
            }
        }
        self.recorded.removed += totals.died;
        self.recorded.moved = self.writer.adopt_moved(snapshot)?;
        self.writer.group_links(snapshot, next_link)?;
        self.writer.advance_generation()?;
        Ok(self.recorded)
    }
}
