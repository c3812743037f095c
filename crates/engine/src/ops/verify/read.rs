//! Objects are read and hashed, several at a time.

use std::time::Instant;

use distbackup_core::model::{Bytes, ObjectId};

use super::Pass;
use crate::disk::{Disk, DiskError};
use crate::hash;
use crate::ops::OpError;
use crate::ops::readers::in_parallel;
use crate::progress::{Event, Observer};

/// What one object turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its content is what its name says.
    Good,
    /// Its content has another hash, and so many bytes.
    Bad(ObjectId, Bytes),
    /// It could not be read, for a reason in words.
    Unreadable(String),
    /// It is not there.
    Gone,
    /// The user asked to stop, or time was up, before it was read to its end.
    Stopped,
}

impl Pass<'_> {
    /// Reads objects; none begins after `deadline`, but for the first.
    ///
    /// Fails if something could not be read and the disk turns out to be gone: then nothing is said of its objects.
    pub(super) fn read_all(
        &self,
        ids: &[ObjectId],
        deadline: Option<Instant>,
    ) -> Result<Vec<Verdict>, OpError> {
        let more =
            || !self.observer.stop_requested() && deadline.is_none_or(|deadline| Instant::now() < deadline);
        let (disk, observer) = (self.disk, self.observer);
        let verdicts = in_parallel(self.options.streams, ids, &more, &|id| {
            observer.event(Event::Working { path: id.hex().as_bytes() });
            let verdict = read(disk, *id, observer);
            observer.event(Event::Done { files: 1, bytes: Bytes(0) });
            verdict
        });
        let verdicts: Vec<Verdict> =
            verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Stopped)).collect();
        if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Unreadable(_) | Verdict::Gone)) {
            self.ensure_connected()?;
        }
        Ok(verdicts)
    }

    /// Fails if the disk is not there any more: what cannot be read then says nothing of single objects.
    pub(super) fn ensure_connected(&self) -> Result<(), OpError> {
        match self.disk.identity() {
            Ok(identity) if identity.uuid != self.row.uuid => {
                Err(OpError::disk(&self.row.name)(DiskError::NotADisk { folder: Default::default() }))
            }
            Ok(_) | Err(DiskError::DamagedIdentity { .. }) => Ok(()),
            Err(error) => Err(OpError::disk(&self.row.name)(error)),
        }
    }
}

fn read(disk: &dyn Disk, id: ObjectId, observer: &dyn Observer) -> Verdict {
    let mut content = match disk.open_on_medium(id) {
        Ok(content) => content,
        Err(DiskError::Missing(_)) => return Verdict::Gone,
        Err(error) => return Verdict::Unreadable(error.to_string()),
    };
    let mut each = |bytes: u64| observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    match hash::hash_content(content.as_mut(), &mut each, &|| observer.stop_requested()) {
        Ok((found, _)) if found == id => Verdict::Good,
        Ok((found, size)) => Verdict::Bad(found, Bytes(size)),
        Err(hash::HashError::Stopped) => Verdict::Stopped,
        Err(error) => Verdict::Unreadable(error.to_string()),
    }
}
