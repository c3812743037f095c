//! A whole verify: folder by folder, what the catalog claims against what the disk has.

use distbackup_core::model::{Bytes, ObjectId};

use super::read::Verdict;
use super::record::Finding;
use super::{FOLDERS, Pass};
use crate::catalog::CatalogError;
use crate::disk::{DiskError, Listed};
use crate::ops::OpError;
use crate::progress::{Event, Phase};

/// Objects are handed to the readers so many at a time, or a folder if that has more.
const OBJECTS_AT_ONCE: usize = 256;

/// What one folder holds, with the verdict on each object; ascending by identity.
type ReadFolder = Vec<(ObjectId, Bytes, Verdict)>;

impl Pass<'_> {
    /// Reads the whole disk, or what an interrupted verify has left of it.
    pub(super) fn whole(&mut self) -> Result<(), OpError> {
        let fresh = self.options.restart || self.options.check_only;
        let saved = self.catalog.read().verify_progress(self.row.disk)?;
        if let Some(saved) = saved.filter(|saved| saved.next > 0 && !fresh) {
            self.progress = saved;
            self.outcome.resumed = true;
            self.outcome.bad_before = saved.bad;
        }
        let (objects, bytes) = self.catalog.read().held_total(self.row.disk)?;
        self.observer.event(Event::Begin { phase: Phase::Verify, files: objects, bytes });
        let finished = self.folders();
        self.observer.event(Event::End);
        finished?;
        self.outcome.complete = self.progress.next >= FOLDERS;
        if !self.outcome.complete {
            return Ok(());
        }
        self.look_beside()?;
        if self.options.check_only {
            return Ok(());
        }
        let (disk, now_ns, good) = (self.row.disk, self.time.now_ns, self.progress.bad == 0);
        self.catalog.write("record a verify", |writer| -> Result<(), CatalogError> {
            writer.forget_verify_progress(disk)?;
            writer.record_disk_verified(disk, now_ns, good)?;
            writer.record_compared(disk)?;
            writer.advance_generation()
        })?;
        Ok(())
    }

    fn folders(&mut self) -> Result<(), OpError> {
        for listed in self.disk.list_foreign().map_err(OpError::disk(&self.row.name))? {
            self.note_foreign(listed);
        }
        while self.progress.next < FOLDERS && !self.observer.stop_requested() {
            for folder in self.read_folders(self.progress.next)? {
                let Some(findings) = self.judge_folder(self.progress.next, folder)? else {
                    return self.record(true);
                };
                self.take(findings);
                self.progress.next += 1;
            }
            if self.is_time_to_record() {
                self.record(true)?;
            }
        }
        self.record(true)
    }

    fn note_foreign(&mut self, listed: Listed) {
        if let Listed::Foreign { path, what } = listed {
            self.outcome.foreign.add(&path, what);
        }
    }

    /// Lists folders from `first` on, until there is enough to read, and reads their objects.
    fn read_folders(&mut self, first: u16) -> Result<Vec<ReadFolder>, OpError> {
        let mut folders: Vec<Vec<(ObjectId, Bytes)>> = Vec::new();
        let mut ids = Vec::new();
        for prefix in first..FOLDERS {
            let folder = self.list(prefix)?;
            ids.extend(folder.iter().map(|(id, _)| *id));
            folders.push(folder);
            if ids.len() >= OBJECTS_AT_ONCE {
                break;
            }
        }
        let mut verdicts = self.read_all(&ids, None)?.into_iter();
        let mut with_verdict =
            |(id, size): (ObjectId, Bytes)| verdicts.next().map(|verdict| (id, size, verdict));
        Ok(folders
            .into_iter()
            .map(|folder| folder.into_iter().filter_map(&mut with_verdict).collect())
            .collect())
    }

    /// The objects of one folder. If it cannot be listed, what is claimed there is tried one by one (D8).
    fn list(&mut self, prefix: u16) -> Result<Vec<(ObjectId, Bytes)>, OpError> {
        match self.disk.list_folder(prefix) {
            Ok(listed) => {
                let mut objects = Vec::with_capacity(listed.len());
                for listed in listed {
                    match listed {
                        Listed::Object { id, size } => objects.push((id, size)),
                        foreign @ Listed::Foreign { .. } => self.note_foreign(foreign),
                    }
                }
                Ok(objects)
            }
            Err(error @ DiskError::Io { .. }) => {
                self.ensure_connected()?;
                self.outcome.unlisted.add(format!("{prefix:03x}").as_bytes(), error.to_string());
                let held = self.catalog.read().held_in_folder(self.row.disk, prefix)?;
                Ok(held.into_iter().map(|held| (held.id, held.size)).collect())
            }
            Err(error) => Err(OpError::disk(&self.row.name)(error)),
        }
    }

    /// Compares one folder that was read with what the catalog claims; `None` if the user asked to stop in its middle.
    fn judge_folder(&mut self, prefix: u16, folder: ReadFolder) -> Result<Option<Vec<Finding>>, OpError> {
        if folder.iter().any(|(_, _, verdict)| *verdict == Verdict::Stopped) {
            return Ok(None);
        }
        let held = self.catalog.read().held_in_folder(self.row.disk, prefix)?;
        let mut held = held.into_iter().peekable();
        let mut findings = Vec::new();
        for (id, size, verdict) in folder {
            while let Some(gone) = held.next_if(|held| held.id < id) {
                findings.push(self.missing(gone)?);
            }
            let claimed = held.next_if(|held| held.id == id);
            self.judge(id, claimed, size, verdict, &mut findings)?;
        }
        for gone in held {
            findings.push(self.missing(gone)?);
        }
        Ok(Some(findings))
    }
}
