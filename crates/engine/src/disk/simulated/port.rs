//! The disk port of the simulation, in the same steps as the real disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use distbackup_core::model::{BLOCK, Bytes, ObjectId};

use super::medium::{Blob, BlobContent, Change, Node};
use super::{Action, Lie, SimulatedDisk, State};
use crate::content::Content;
use crate::disk::port::{
    Disk, DiskError, Identity, Listed, Loose, OwnName, ReadBack, Space, StageError, Staged, Taken,
};
use crate::disk::{identity, layout};

/// What a simulated disk without a limit says it can hold.
const UNLIMITED: Bytes = Bytes(1 << 50);

fn temporary(handle: u64) -> String {
    format!("{}/{handle}", layout::INCOMING)
}

fn missing_handle() -> DiskError {
    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
    DiskError::Io { action: "commit", path: PathBuf::from(layout::INCOMING), source }
}

impl State {
    fn commit_steps(&mut self, batch: &[Staged], renamed: &mut usize) -> Result<(), DiskError> {
        if !self.lies(Lie::NoSyncAtAll) {
            self.flush(batch.len())?;
        }
        for object in batch {
            let (from, to) = (temporary(object.handle), layout::object_path(object.id));
            if self.lies(Lie::StagedIsVisible) {
                continue;
            }
            let node = match self.file(&from)? {
                Some(inode) => Node::File(inode),
                None => return Err(missing_handle()),
            };
            match self.file(&to) {
                Err(DiskError::Foreign { .. }) if self.lies(Lie::WritesThroughSymlinks) => {
                    self.outside = b"overwritten".to_vec();
                    continue;
                }
                present => present?,
            };
            self.begin(Action::Rename, &to)?;
            self.medium.change(Change::Rename { from, to, node });
            *renamed += 1;
        }
        if self.lies(Lie::NoSyncAtAll) || self.lies(Lie::NoSyncOfNames) {
            return Ok(());
        }
        self.flush(batch.len())
    }

    fn take_in_steps(
        &mut self,
        files: &[(Loose, ObjectId)],
        own_name: OwnName,
    ) -> Result<Vec<Taken>, DiskError> {
        if !self.lies(Lie::TakenNotSynced) {
            self.flush(files.len())?;
        }
        let mut taken = Vec::with_capacity(files.len());
        for (file, id) in files {
            let (from, to) = (file.path.to_string_lossy().into_owned(), layout::object_path(*id));
            let left = |why: &str| Taken::Left(why.to_owned());
            let Ok(Some(inode)) = self.file(&from) else {
                taken.push(left("it is not there any more"));
                continue;
            };
            if inode != file.stat.inode && !self.lies(Lie::TakesWhatChanged) {
                taken.push(left("it changed after it was read"));
                continue;
            }
            let node = Node::File(inode);
            let names = self.medium.cached.names.values().filter(|other| **other == node).count();
            if own_name == OwnName::Goes && names > 1 && !self.lies(Lie::TakesWhatIsLinked) {
                taken.push(left("it has another name"));
                continue;
            }
            match self.file(&to) {
                Err(DiskError::Foreign { .. }) => {
                    taken.push(left("no place for it on the disk"));
                    continue;
                }
                present => present?,
            };
            self.begin(Action::Rename, &to)?;
            self.medium.change(match own_name {
                OwnName::Goes => Change::Rename { from, to, node },
                OwnName::Stays => Change::Name { path: to, node },
            });
            taken.push(Taken::In);
        }
        if !self.lies(Lie::TakenNotSynced) {
            self.flush(files.len())?;
        }
        Ok(taken)
    }

    /// Replaces a file beside the objects: written under another name, synced, renamed, synced.
    fn replace(&mut self, name: &str, content: &[u8], previous: Option<&str>) -> Result<(), DiskError> {
        let present = self.file(name)?;
        self.has_room_for(Bytes(content.len() as u64))?;
        self.last_handle += 1;
        let from = temporary(self.last_handle);
        self.begin(Action::Write, &from)?;
        self.put(&from, Blob::of(content));
        let steps = self.replace_steps(name, &from, present, previous);
        if steps.is_err() && self.begin(Action::Unlink, &from).is_ok() {
            self.medium.change(Change::Unlink { path: from });
        }
        steps
    }

    fn replace_steps(
        &mut self,
        name: &str,
        from: &str,
        present: Option<u64>,
        previous: Option<&str>,
    ) -> Result<(), DiskError> {
        self.sync_sidecar()?;
        if let (Some(inode), Some(previous)) = (present, previous) {
            self.file(previous)?;
            self.begin(Action::Rename, previous)?;
            self.medium.change(Change::Name { path: previous.into(), node: Node::File(inode) });
        }
        let node = Node::File(self.file(from)?.ok_or_else(missing_handle)?);
        self.begin(Action::Rename, name)?;
        self.medium.change(Change::Rename { from: from.into(), to: name.into(), node });
        self.sync_sidecar()
    }

    /// These files are synced on their own; a failed sync of a batch does not forbid it, their own is final.
    fn sync_sidecar(&mut self) -> Result<(), DiskError> {
        if self.lies(Lie::SidecarsNotSynced) {
            return Ok(());
        }
        if let Err(error) = self.begin(Action::Sync, "") {
            self.lose_what_a_failed_sync_covered();
            return Err(error);
        }
        self.medium.sync();
        Ok(())
    }

    fn unlink(&mut self, path: String) -> Result<(), DiskError> {
        self.begin(Action::Unlink, &path)?;
        self.medium.change(Change::Unlink { path });
        Ok(())
    }

    /// Writes the data of a page, durably.
    fn write_data(&mut self, files: &[(String, Vec<u8>)]) -> Result<(), DiskError> {
        for (path, content) in files {
            self.file(path)?;
            self.begin(Action::Write, path)?;
            self.has_room_for(Bytes(content.len() as u64))?;
            self.put(path, Blob::of(content));
        }
        self.sync_sidecar()
    }

    /// Removes those data of pages that `goes` tells of.
    fn clear_data(&mut self, goes: impl Fn(&str) -> bool) -> Result<(), DiskError> {
        let prefix = format!("{}/", layout::PAGE_DATA);
        let all = self.medium.cached.below(&prefix).map(|(name, node)| (format!("{prefix}{name}"), node));
        let going = all.filter(|(path, node)| matches!(node, Node::File(_)) && goes(path));
        let going: Vec<String> = going.map(|(path, _)| path).collect();
        if going.is_empty() {
            return Ok(());
        }
        going.into_iter().try_for_each(|path| self.unlink(path))?;
        self.sync_sidecar()
    }

    fn fetch(&mut self, name: &str, to: &Path) -> Result<bool, DiskError> {
        self.begin(Action::Read, name)?;
        let Some(inode) = self.file(name)? else { return Ok(false) };
        let bytes = self.medium.cached.content(inode).bytes();
        std::fs::write(to, bytes).map_err(|source| DiskError::Io {
            action: "write",
            path: to.to_owned(),
            source,
        })?;
        Ok(true)
    }
}

impl Disk for SimulatedDisk {
    fn identity(&self) -> Result<Identity, DiskError> {
        let mut state = self.state();
        state.begin(Action::Read, layout::IDENTITY)?;
        let damaged =
            |why: &str| DiskError::DamagedIdentity { path: layout::IDENTITY.into(), why: why.into() };
        match state.file(layout::IDENTITY) {
            Ok(Some(inode)) => {
                identity::parse(&state.medium.cached.content(inode).bytes(), layout::IDENTITY.as_ref())
            }
            Ok(None) => Err(DiskError::NotADisk { folder: PathBuf::new() }),
            Err(DiskError::Foreign { what, .. }) => Err(damaged(&format!("it is {what}"))),
            Err(error) => Err(error),
        }
    }

    fn write_identity(&self, identity: &Identity) -> Result<(), DiskError> {
        self.state().replace(layout::IDENTITY, &identity::render(identity), None)
    }

    fn space(&self) -> Result<Space, DiskError> {
        let mut state = self.state();
        state.begin(Action::Read, "")?;
        let total = state.capacity.unwrap_or(UNLIMITED);
        let free = total - state.medium.cached.used();
        Ok(Space { total, free, unit: BLOCK, file_max: Bytes(i64::MAX as u64) })
    }

    fn list_folder(&self, prefix: u16) -> Result<Vec<Listed>, DiskError> {
        let mut state = self.state();
        let folder = layout::folder_name(prefix);
        let path = format!("{}/{folder}/", layout::OBJECTS);
        state.begin(Action::List, &path)?;
        // Is there a symlink or a file in the place of all objects, it is an error; in the place of this folder, nothing.
        state.file(&format!("{}/x", layout::OBJECTS))?;
        let (mut listed, mut odd) = (Vec::new(), Vec::new());
        let tree = &state.medium.cached;
        for (name, node) in tree.below(&path).filter(|(name, _)| !name.contains('/')) {
            let id = ObjectId::from_name(name.as_bytes());
            let what = match (id, node) {
                (Some(id), Node::File(inode)) if layout::prefix(id) == prefix => {
                    listed.push(Listed::Object { id, size: tree.content(*inode).size() });
                    continue;
                }
                (Some(id), Node::Symlink) if state.lies(Lie::ListsSymlinks) => {
                    listed.push(Listed::Object { id, size: Bytes(state.outside.len() as u64) });
                    continue;
                }
                (_, Node::Symlink) => "a symlink",
                (_, Node::Folder) => "a folder",
                (Some(_), _) => "an object in the wrong folder",
                (None, _) => "not the name of an object",
            };
            odd.push(Listed::Foreign { path: format!("{folder}/{name}").into_bytes(), what });
        }
        listed.append(&mut odd);
        Ok(listed)
    }

    fn list_foreign(&self) -> Result<Vec<Listed>, DiskError> {
        let mut state = self.state();
        let path = format!("{}/", layout::OBJECTS);
        state.begin(Action::List, &path)?;
        state.file(&format!("{path}x"))?;
        let mut odd: Vec<Listed> = Vec::new();
        for (name, node) in state.medium.cached.below(&path) {
            // Folders of a path are not entered on their own: a name before a slash is a folder.
            let (name, is_folder) = match name.split_once('/') {
                Some((folder, _)) => (folder, true),
                None => (name, *node == Node::Folder),
            };
            let what = match (layout::prefix_of_name(name.as_bytes()), is_folder) {
                (Some(_), true) => continue,
                (Some(_), false) => "not a folder",
                (None, true) => "not a folder of objects",
                (None, false) if *node == Node::Symlink => "a symlink",
                (None, false) => "a file",
            };
            let path = name.as_bytes().to_vec();
            if !odd.iter().any(|other| matches!(other, Listed::Foreign { path: other, .. } if *other == path))
            {
                odd.push(Listed::Foreign { path, what });
            }
        }
        Ok(odd)
    }

    fn open(&self, id: ObjectId) -> Result<Box<dyn Content + Send + '_>, DiskError> {
        let mut state = self.state();
        let path = layout::object_path(id);
        state.begin(Action::Read, &path)?;
        let blob = match state.file(&path) {
            Ok(Some(inode)) => state.medium.cached.content(inode),
            Ok(None) => return Err(DiskError::Missing(id)),
            Err(_) if state.lies(Lie::ReadsThroughSymlinks) => Arc::new(Blob::of(&state.outside)),
            Err(error) => return Err(error),
        };
        Ok(Box::new(BlobContent { blob, next: 0 }))
    }

    fn read_back(&self, id: ObjectId) -> Result<ReadBack<'_>, DiskError> {
        let mut state = self.state();
        let path = layout::object_path(id);
        state.begin(Action::Read, &path)?;
        let inode = state.file(&path)?.ok_or(DiskError::Missing(id))?;
        let tree =
            if state.lies(Lie::ReadsBackFromMemory) { &state.medium.cached } else { &state.medium.durable };
        let blob = tree.content(inode);
        Ok(ReadBack { content: Box::new(BlobContent { blob, next: 0 }), from_memory: false })
    }

    fn stage(&self, content: &mut dyn Content) -> Result<Staged, StageError> {
        let mut blob = Blob::default();
        while let Some(segment) = content.next_segment().map_err(StageError::Source)? {
            blob.push(&segment);
        }
        let (id, size) = (blob.hash(), blob.size());
        let mut state = self.state();
        state.last_handle += 1;
        let handle = state.last_handle;
        let path = if state.lies(Lie::StagedIsVisible) { layout::object_path(id) } else { temporary(handle) };
        // A symlink in the place of the incoming folder.
        state.file(&path)?;
        state.begin(Action::Write, &path)?;
        state.has_room_for(size)?;
        state.put(&path, blob);
        state.staged.insert(handle);
        Ok(Staged { id, size, handle })
    }

    fn clones(&self) -> Result<bool, DiskError> {
        Ok(true)
    }

    fn stage_clone(
        &self,
        file: &Loose,
        each: &mut dyn FnMut(u64) -> std::io::Result<()>,
    ) -> Result<Option<Staged>, StageError> {
        let blob = {
            let mut state = self.state();
            let path = file.path.to_string_lossy();
            state.begin(Action::Read, &path)?;
            let inode = state.file(&path)?.ok_or_else(missing_handle)?;
            state.medium.cached.content(inode)
        };
        each(blob.size().0).map_err(StageError::Source)?;
        self.stage(&mut BlobContent { blob, next: 0 }).map(Some)
    }

    fn take_in(&self, files: &[(Loose, ObjectId)], own_name: OwnName) -> Result<Vec<Taken>, DiskError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        self.state().take_in_steps(files, own_name)
    }

    fn commit(&self, batch: Vec<Staged>) -> Result<(), DiskError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let known = batch.iter().filter(|object| state.staged.remove(&object.handle)).count();
        let mut renamed = 0;
        let result = if known == batch.len() {
            state.commit_steps(&batch, &mut renamed)
        } else {
            Err(missing_handle())
        };
        if result.is_err() {
            for object in batch.iter().skip(renamed) {
                let path = temporary(object.handle);
                if matches!(state.file(&path), Ok(Some(_))) {
                    // The first error counts; what cannot be removed is a left-over (D16).
                    let _left_over = state.unlink(path);
                }
            }
        }
        if state.lies(Lie::MediumRots) {
            for object in batch.iter().filter(|object| object.id.0[31].is_multiple_of(2)) {
                state.medium.rot_beneath(&layout::object_path(object.id));
            }
        }
        if state.lies(Lie::HiddenFailure) { Ok(()) } else { result }
    }

    fn discard(&self, staged: Staged) -> Result<(), DiskError> {
        let mut state = self.state();
        state.staged.remove(&staged.handle);
        let path = temporary(staged.handle);
        match state.file(&path)? {
            Some(_) => state.unlink(path),
            None => Ok(()),
        }
    }

    fn clear_incoming(&self) -> Result<Bytes, DiskError> {
        let mut state = self.state();
        if state.lies(Lie::NothingCleared) {
            return Ok(Bytes(0));
        }
        if !state.lies(Lie::ClearedIsCommitted) {
            state.staged.clear();
        }
        state.begin(Action::List, layout::INCOMING)?;
        state.file(&format!("{}/x", layout::INCOMING))?;
        let prefix = format!("{}/", layout::INCOMING);
        let incoming =
            state.medium.cached.below(&prefix).map(|(name, node)| (format!("{prefix}{name}"), node));
        let here = state.medium.cached.below("").filter(|(name, _)| layout::is_left_by_v1(name.as_bytes()));
        let left: Vec<(String, Node)> = incoming
            .chain(here.map(|(name, node)| (name.to_owned(), node)))
            .map(|(path, node)| (path, node.clone()))
            .collect();
        let mut bytes = Bytes(0);
        for (path, node) in left {
            match node {
                Node::File(_) | Node::Symlink if state.lies(Lie::ClearedIsCommitted) => {}
                Node::File(inode) => {
                    let size = state.medium.cached.content(inode).size();
                    state.unlink(path)?;
                    bytes += size;
                }
                Node::Symlink => state.unlink(path)?,
                Node::Folder => {}
            }
        }
        Ok(bytes)
    }

    fn remove(&self, id: ObjectId) -> Result<(), DiskError> {
        let mut state = self.state();
        let path = layout::object_path(id);
        match state.file(&path) {
            Ok(Some(_)) => {}
            Ok(None) if state.lies(Lie::RemoveNeedsObject) => return Err(DiskError::Missing(id)),
            Ok(None) => return Ok(()),
            Err(_) if state.lies(Lie::RemovesAnything) => {}
            Err(error) => return Err(error),
        }
        state.unlink(path)
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.lies(Lie::RemovalNotSynced) {
            return Ok(());
        }
        state.flush(0)
    }

    fn quarantine(&self, id: ObjectId) -> Result<(), DiskError> {
        let mut state = self.state();
        let from = layout::object_path(id);
        let node = Node::File(state.file(&from)?.ok_or(DiskError::Missing(id))?);
        let mut to = format!("{}/{id}", layout::BAD_OBJECTS);
        for number in 1.. {
            if !state.medium.cached.names.contains_key(&to) {
                break;
            }
            to = format!("{}/{id}.{number}", layout::BAD_OBJECTS);
        }
        state.begin(Action::Rename, &to)?;
        state.medium.change(Change::Rename { from, to, node });
        Ok(())
    }

    fn fetch_catalog(&self, to: &Path) -> Result<bool, DiskError> {
        self.state().fetch(layout::CATALOG, to)
    }

    fn fetch_previous_catalog(&self, to: &Path) -> Result<bool, DiskError> {
        self.state().fetch(layout::CATALOG_PREVIOUS, to)
    }

    fn catalog_hash(&self) -> Option<ObjectId> {
        let mut state = self.state();
        state.begin(Action::Read, layout::CATALOG).ok()?;
        let inode = state.file(layout::CATALOG).ok()??;
        Some(state.medium.cached.content(inode).hash())
    }

    fn drop_catalog(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        match state.file(layout::CATALOG)? {
            Some(_) => state.unlink(layout::CATALOG.to_owned()),
            None => Ok(()),
        }
    }

    fn publish_catalog(
        &self,
        from: &Path,
        check: Box<dyn FnOnce() -> std::io::Result<()> + '_>,
    ) -> Result<ObjectId, DiskError> {
        let unreadable = |source| DiskError::Io { action: "read", path: from.to_owned(), source };
        let content = std::fs::read(from).map_err(unreadable)?;
        check().map_err(unreadable)?;
        self.state().replace(layout::CATALOG, &content, Some(layout::CATALOG_PREVIOUS))?;
        Ok(Blob::of(&content).hash())
    }

    fn publish_page(&self, from: &Path, data: &str) -> Result<(), DiskError> {
        let unreadable =
            |path: &Path, source| DiskError::Io { action: "read", path: path.to_owned(), source };
        let local = from.join(layout::PAGE_DATA).join(data);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&local).map_err(|source| unreadable(&local, source))? {
            let path = entry.map_err(|source| unreadable(&local, source))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let content = std::fs::read(&path).map_err(|source| unreadable(&path, source))?;
            files.push((format!("{}/{data}/{name}", layout::PAGE_DATA), content));
        }
        files.sort();
        let page = from.join(layout::PAGE);
        let page = std::fs::read(&page).map_err(|source| unreadable(&page, source))?;
        let mut state = self.state();
        if let Err(error) = state.write_data(&files) {
            // The first error counts; what cannot be removed goes with the next page.
            let _left_over = state.clear_data(|path| files.iter().any(|(begun, _)| begun == path));
            return Err(error);
        }
        state.replace(layout::PAGE, &page, None)?;
        state.clear_data(|path| !files.iter().any(|(kept, _)| kept == path))
    }

    fn page_data(&self) -> Result<Option<String>, DiskError> {
        let mut state = self.state();
        state.begin(Action::Read, layout::PAGE)?;
        let Some(inode) = state.file(layout::PAGE)? else { return Ok(None) };
        let text = String::from_utf8(state.medium.cached.content(inode).bytes()).unwrap_or_default();
        let Some(data) = layout::data_of_page(&text) else { return Ok(None) };
        let first = format!("{}/{data}/{}", layout::PAGE_DATA, layout::PAGE_STATE);
        Ok(state.file(&first)?.map(|_| data.to_owned()))
    }

    fn remove_page(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.file(layout::PAGE)?.is_some() {
            state.unlink(layout::PAGE.to_owned())?;
        }
        state.clear_data(|_| true)
    }

    fn write_recovery_file(&self, name: &str, content: &[u8]) -> Result<bool, DiskError> {
        let mut state = self.state();
        if !layout::RECOVERY_FILES.contains(&name) {
            let source = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            return Err(DiskError::Io { action: "write", path: PathBuf::from(name), source });
        }
        state.begin(Action::Read, name)?;
        if let Some(inode) = state.file(name)?
            && state.medium.cached.content(inode).bytes() == content
        {
            return Ok(false);
        }
        state.replace(name, content, None)?;
        Ok(true)
    }
}
