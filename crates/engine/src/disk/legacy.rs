//! Disks of distbackup from before 1.0: `.distbackup.uuid`, `.distbackup.name`, and the objects in `.distbackup.data`.
//!
//! The objects are the same, only their folder has another name. 1.x took such disks over when it met them; here that
//! is done when the user adds one, because it changes names on the disk.

use std::io::Read as _;
use std::path::Path;

use distbackup_core::model::DiskUuid;

use super::port::DiskError;
use super::{identity, layout};
use crate::platform;

/// The file with the identity.
const UUID: &str = ".distbackup.uuid";
/// The folder of the objects.
const OBJECTS: &str = ".distbackup.data";

/// The identity of a disk of before 1.0 at a folder; `None` if it is none.
pub fn uuid_of(folder: &Path) -> Result<Option<DiskUuid>, DiskError> {
    const BYTES_MAX: u64 = 256;
    let path = folder.join(UUID);
    let io = |source| DiskError::Io { action: "read", path: path.clone(), source };
    let file = match platform::open_source(&path) {
        Ok((file, _)) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(io)?;
    let text = text.trim().to_ascii_lowercase();
    if identity::is_uuid(&text) {
        return Ok(Some(DiskUuid(text)));
    }
    Err(DiskError::DamagedIdentity { path, why: "it is no UUID".into() })
}

/// Gives the objects of such a disk the name that they have now. What has that name already is left alone: then the
/// disk was taken over once before.
pub fn take_over(folder: &Path) -> Result<(), DiskError> {
    let (from, to) = (folder.join(OBJECTS), folder.join(layout::OBJECTS));
    let failed = |source| DiskError::Io { action: "rename", path: from.clone(), source };
    let there = |path: &Path| match platform::stat_path(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    };
    if there(&to)? || !there(&from)? {
        return Ok(());
    }
    std::fs::rename(&from, &to).map_err(failed)?;
    platform::sync_directory(folder).map_err(failed)
}
