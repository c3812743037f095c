//! Final names for copies whose contents are durable.

use super::incoming::Place;
use super::{FolderDisk, lock};
use crate::disk::layout;
use crate::disk::port::{DiskError, Staged};
use crate::disk::system::Folder;
use crate::platform::UnnamedFile;

/// As many unnamed files get their names from one thread: a second one pays from about here on.
const ALONE_MAX: usize = 1024;

/// A copy of a batch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub object: Staged,
    /// Where its content lies; `None` as soon as it has its final name.
    pub place: Option<Place>,
}

impl FolderDisk {
    /// Gives each copy of a batch its final name; the contents are durable. The first error ends it: what has its name by
    /// then keeps it, and may not be recorded.
    pub(super) fn give_names(&self, batch: &mut [Waiting]) -> Result<(), DiskError> {
        self.name_whole_tree(batch)?;
        if batch.iter().all(|waiting| waiting.place.is_none()) {
            return Ok(());
        }
        let objects = self.root.folder_or_new(layout::OBJECTS)?;
        // Folder by folder: each is opened once, and its names come together.
        batch.sort_unstable_by_key(|waiting| waiting.object.id);
        let unnamed = batch.iter().filter(|waiting| matches!(waiting.place, Some(Place::Unnamed(_)))).count();
        let two =
            unnamed > ALONE_MAX && std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
        if !two {
            return self.name_each(&objects, batch);
        }
        // To name a file that has none changes one folder only. So two threads do not wait for each other, if no folder is
        // given to both. (A rename holds a lock of the whole filesystem.)
        let (earlier, later) = batch.split_at_mut(boundary(batch));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.name_each(&objects, later));
            let first = self.name_each(&objects, earlier);
            let second = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            first.and(second)
        })
    }

    fn name_each(&self, objects: &Folder, batch: &mut [Waiting]) -> Result<(), DiskError> {
        for together in batch.chunk_by_mut(|one, next| prefix(one) == prefix(next)) {
            let Some(prefix) = together.first().map(prefix) else { continue };
            if together.iter().all(|waiting| waiting.place.is_none()) {
                continue;
            }
            self.name_one_by_one(&objects.folder_or_new(&layout::folder_name(prefix))?, together)?;
            lock(&self.touched).insert(prefix);
        }
        Ok(())
    }

    fn name_one_by_one(&self, folder: &Folder, together: &mut [Waiting]) -> Result<(), DiskError> {
        for waiting in together {
            match &waiting.place {
                Some(Place::Named(incoming)) => self.rename(incoming, &waiting.object, folder)?,
                Some(Place::Unnamed(file)) => self.link(file, &waiting.object, folder)?,
                Some(Place::Whole) => self.name_out_of_tree(waiting.object.id, folder)?,
                None => {}
            }
            // What had no name is closed here.
            waiting.place = None;
        }
        Ok(())
    }

    fn rename(&self, incoming: &Folder, object: &Staged, folder: &Folder) -> Result<(), DiskError> {
        let (temporary, name) = (self.temporary_name(object.handle), object.id.hex());
        if !incoming.rename_new(&temporary, folder, &name)? {
            // Only a file that should be the same is replaced.
            folder.has_file(&name)?;
            incoming.rename(&temporary, folder, &name)?;
        }
        Ok(())
    }

    fn link(&self, file: &UnnamedFile, object: &Staged, folder: &Folder) -> Result<(), DiskError> {
        let name = object.id.hex();
        if folder.link_unnamed(file, &name)? {
            return Ok(());
        }
        // Only a file that should be the same is replaced. By way of a temporary name, since only a rename replaces.
        folder.has_file(&name)?;
        let incoming = self.root.folder_or_new(layout::INCOMING)?;
        let temporary = self.temporary_name(object.handle);
        if !incoming.link_unnamed(file, &temporary)? {
            return Err(incoming.error("link to", &temporary, std::io::ErrorKind::AlreadyExists));
        }
        incoming.rename(&temporary, folder, &name).inspect_err(|_| {
            // The first error counts. What cannot be removed now is a left-over (D16).
            let _left_over = incoming.unlink(temporary.as_ref());
        })
    }
}

/// The folder that a copy belongs into.
fn prefix(waiting: &Waiting) -> u16 {
    layout::prefix(waiting.object.id)
}

/// About the middle of a sorted batch, where one folder ends and the next one begins.
fn boundary(batch: &[Waiting]) -> usize {
    match batch.get(batch.len() / 2) {
        Some(middle) => batch.partition_point(|waiting| prefix(waiting) < prefix(middle)),
        None => 0,
    }
}
