//! Reading back: what was written is read again from the medium, and compared with its name, before it is claimed.
//!
//! The copy that memory still has proves nothing of the medium, so its pages are dropped first (see
//! [`Disk::read_back`](crate::disk::Disk::read_back)).

use std::collections::HashMap;

use distbackup_core::model::{Bytes, ObjectId};
use distbackup_core::plan::Tally;

use super::Visit;
use crate::disk::{Disk, DiskError};
use crate::hash;
use crate::ops::readers::in_parallel;
use crate::ops::{OpError, Problems};
use crate::progress::{Event, Observer, Phase};

/// What a visit read back.
#[derive(Debug, Clone, Default)]
pub struct ReadBackOutcome {
    /// Read from the medium, and good.
    pub good: Tally,
    /// Of the right content, but the system gave it from memory: nothing is known of the medium.
    pub from_memory: Tally,
    /// Not what was written, or not to be read: not claimed, and left on the disk as damaged.
    pub bad: Problems,
}

/// What became of one object that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checked {
    /// The medium holds what was written.
    Good,
    /// It is what was written, but does not come from the medium.
    FromMemory,
    /// It is not, for this reason in words; so many bytes are there.
    Bad(String, Bytes),
    /// The user asked to stop before. The next visit finds it, reads it, and takes it over if it is good.
    Unread,
}

/// Reads objects that were just made durable, so many at the same time. Each has the size that was written.
///
/// Fails if something could not be read and the disk turns out to be gone: then nothing is said of its objects.
pub(super) fn check(
    visit: &Visit<'_>,
    streams: usize,
    objects: &[(ObjectId, Bytes)],
) -> Result<HashMap<ObjectId, Checked>, OpError> {
    let (disk, observer) = (visit.disk, visit.observer);
    let bytes = objects.iter().map(|(_, size)| *size).sum();
    observer.event(Event::Begin { phase: Phase::ReadBack, files: objects.len() as u64, bytes });
    let more = || !observer.stop_requested();
    let checked = in_parallel(streams, objects, &more, &|(id, size)| {
        let checked = check_one(disk, *id, *size, observer);
        observer.event(Event::Done { files: 1, bytes: Bytes(0) });
        checked
    });
    observer.event(Event::End);
    let checked: HashMap<ObjectId, Checked> = objects
        .iter()
        .zip(checked)
        .map(|((id, _), checked)| (*id, checked.unwrap_or(Checked::Unread)))
        .collect();
    if checked.values().any(|checked| matches!(checked, Checked::Bad(..))) {
        ensure_connected(visit)?;
    }
    Ok(checked)
}

fn check_one(disk: &dyn Disk, id: ObjectId, size: Bytes, observer: &dyn Observer) -> Checked {
    let unreadable = |why: &dyn std::fmt::Display| {
        Checked::Bad(format!("the disk cannot give back what was written: {why}"), size)
    };
    let mut opened = match disk.read_back(id) {
        Ok(opened) => opened,
        Err(error) => return unreadable(&error),
    };
    let mut each = |bytes: u64| observer.event(Event::Done { files: 0, bytes: Bytes(bytes) });
    match hash::hash_content(opened.content.as_mut(), &mut each, &|| observer.stop_requested()) {
        Ok((found, _)) if found == id && opened.from_memory => Checked::FromMemory,
        Ok((found, _)) if found == id => Checked::Good,
        Ok((_, length)) => {
            Checked::Bad("the disk gave back other bytes than were written".to_owned(), Bytes(length))
        }
        Err(hash::HashError::Stopped) => Checked::Unread,
        Err(error) => unreadable(&error),
    }
}

/// Fails if the disk is not there any more.
fn ensure_connected(visit: &Visit<'_>) -> Result<(), OpError> {
    let name = &visit.row.name;
    match visit.disk.identity() {
        Ok(identity) if identity.uuid != visit.row.uuid => {
            Err(OpError::disk(name)(DiskError::NotADisk { folder: Default::default() }))
        }
        Ok(_) | Err(DiskError::DamagedIdentity { .. }) => Ok(()),
        Err(error) => Err(OpError::disk(name)(error)),
    }
}
