//! What stands in the objects folder: objects in their places, and everything else reported, not followed (D15).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use distbackup_core::model::ObjectId;
use rustix::fs::FileType;

use crate::disk::layout;
use crate::disk::port::{DiskError, Listed};
use crate::disk::system::{Folder, oddity};

/// Objects of one folder ascending by id, then whatever else is there by name.
pub(super) fn list_folder(root: &Folder, prefix: u16) -> Result<Vec<Listed>, DiskError> {
    let Some(objects) = root.folder(layout::OBJECTS)? else { return Ok(Vec::new()) };
    let folder_name = layout::folder_name(prefix);
    let folder = match objects.folder(&folder_name) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Ok(Vec::new()),
        // In the folder's place stands something else: it holds no object, and `list_foreign` reports it. One odd
        // name must not end the visit.
        Err(DiskError::Foreign { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let (mut listed, mut odd) = (Vec::new(), Vec::new());
    for name in folder.names()? {
        // Gone since it was listed: it is not there.
        let Some(found) = folder.look(Path::new(OsStr::from_bytes(&name)))? else { continue };
        match ObjectId::from_name(&name) {
            Some(id) if found.kind == FileType::RegularFile && layout::prefix(id) == prefix => {
                listed.push(Listed::Object { id, size: found.size });
            }
            id => {
                let what = match id {
                    _ if found.kind != FileType::RegularFile => oddity(found.kind),
                    Some(_) => "an object in the wrong folder",
                    None => "not the name of an object",
                };
                odd.push(foreign(&[folder_name.as_bytes(), &name], what));
            }
        }
    }
    listed.sort_unstable_by(by_place);
    odd.sort_unstable_by(by_place);
    listed.append(&mut odd);
    Ok(listed)
}

/// Names directly in the objects folder that are none of the 4096 folders.
pub(super) fn list_foreign(root: &Folder) -> Result<Vec<Listed>, DiskError> {
    let Some(objects) = root.folder(layout::OBJECTS)? else { return Ok(Vec::new()) };
    let mut odd = Vec::new();
    for name in objects.names()? {
        let ours = layout::prefix_of_name(&name).map(layout::folder_name);
        let what = match ours {
            None => match objects.look(Path::new(OsStr::from_bytes(&name)))? {
                Some(found) if found.kind == FileType::Directory => "not a folder of objects",
                Some(found) => oddity(found.kind),
                None => continue,
            },
            Some(ours) => match objects.folder(&ours) {
                Ok(_) => continue,
                Err(DiskError::Foreign { what, .. }) => what,
                Err(error) => return Err(error),
            },
        };
        odd.push(foreign(&[&name], what));
    }
    odd.sort_unstable_by(by_place);
    Ok(odd)
}

fn foreign(path: &[&[u8]], what: &'static str) -> Listed {
    Listed::Foreign { path: path.join(&b'/'), what }
}

fn by_place(one: &Listed, other: &Listed) -> std::cmp::Ordering {
    match (one, other) {
        (Listed::Object { id: one, .. }, Listed::Object { id: other, .. }) => one.cmp(other),
        (Listed::Foreign { path: one, .. }, Listed::Foreign { path: other, .. }) => one.cmp(other),
        (Listed::Object { .. }, Listed::Foreign { .. }) => std::cmp::Ordering::Less,
        (Listed::Foreign { .. }, Listed::Object { .. }) => std::cmp::Ordering::Greater,
    }
}
