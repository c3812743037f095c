//! The finishing walk: hard links are tied, and folders get their metadata once nothing in them changes any more.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use distbackup_core::model::{Kind, LinkNo, VirtualPath};

use super::destination::Folder;
use super::fill::Shared;
use super::{RestoreOptions, RestoreOutcome};
use crate::browse::{Selection, Step, walk};
use crate::catalog::{EntryRow, Reader};
use crate::metadata;
use crate::ops::OpError;
use crate::progress::Silent;

/// Ties hard links and gives folders their metadata.
pub fn finish(
    reader: Reader<'_>,
    options: &RestoreOptions,
    selection: &Selection,
    destination: &Arc<Folder>,
    leaders: &HashMap<LinkNo, Vec<u8>>,
    outcome: &mut RestoreOutcome,
) -> Result<(), OpError> {
    let shared = Shared::new(outcome, &Silent);
    // `None`: the folder is not there (nothing in it was wanted, or something was in its way).
    let mut places: Vec<Option<Arc<Folder>>> = Vec::new();
    if !selection.names(&VirtualPath::root()) {
        // The walk enters the root without a word then.
        places.push(Some(Arc::clone(destination)));
    }
    walk::<OpError>(reader, options.at, selection, &mut |step| {
        match step {
            Step::Entry { entry, .. } | Step::Passing { entry } if entry.kind == Kind::Directory => {
                let place = match places.last() {
                    None => Some(Arc::clone(destination)),
                    Some(None) => None,
                    Some(Some(parent)) => parent.enter(&entry.name).ok().flatten().map(Arc::new),
                };
                places.push(place);
            }
            Step::Entry { path, entry } => {
                let leader =
                    entry.link.and_then(|link| leaders.get(&link)).filter(|&name| name != path.as_bytes());
                if let (Some(leader), Some(Some(folder))) = (leader, places.last()) {
                    tie(destination, folder, path, entry, leader, options.overwrite, &shared);
                }
            }
            Step::Passing { .. } => {}
            Step::Leave { path, entry, wanted } => {
                // The destination itself is the user's, unless a source was mapped at the root.
                let own = path.as_bytes() != b"/" || entry.metadata != 0;
                if let (Some(Some(folder)), true, true) = (places.pop(), wanted, own) {
                    let metadata = reader.metadata(entry.metadata)?;
                    // A folder that only leads to mappings has no time of its own.
                    let real = entry.stamp.filesystem.0 != 0;
                    if real {
                        let apply = shared.apply_options(options);
                        let mtime_ns = entry.stamp.mtime_ns;
                        let unset = metadata::apply_at(
                            folder.as_fd(),
                            b".",
                            Kind::Directory,
                            &metadata,
                            mtime_ns,
                            apply,
                        );
                        shared.unset(unset);
                    }
                }
            }
        }
        Ok(())
    })
}

/// Makes a name another link of the first name of its group.
fn tie(
    destination: &Folder,
    folder: &Folder,
    path: &VirtualPath,
    entry: &EntryRow,
    leader: &[u8],
    overwrite: bool,
    shared: &Shared<'_>,
) {
    match try_tie(destination, folder, entry, leader, overwrite) {
        Ok(Tied::Done) => shared.with(|outcome| match entry.kind {
            Kind::File => outcome.restored.objects += 1,
            _ => outcome.others += 1,
        }),
        Ok(Tied::Present) => shared.with(|outcome| match entry.kind {
            Kind::File => outcome.present.objects += 1,
            _ => outcome.others += 1,
        }),
        Ok(Tied::LeaderMissing) => {}
        Ok(Tied::InTheWay) => shared.conflict(path, "another file is there; it should be a hard link"),
        Err(error) => shared.problem(path, &format!("cannot make the hard link: {error}")),
    }
}

enum Tied {
    Done,
    /// It was one already.
    Present,
    /// The first name was not restored; that was reported.
    LeaderMissing,
    InTheWay,
}

fn try_tie(
    destination: &Folder,
    folder: &Folder,
    entry: &EntryRow,
    leader: &[u8],
    overwrite: bool,
) -> io::Result<Tied> {
    let Ok(leader) = VirtualPath::parse(leader) else { return Ok(Tied::LeaderMissing) };
    let Some((parent, name)) = leader.parent() else { return Ok(Tied::LeaderMissing) };
    let mut at: Option<Folder> = None;
    for component in parent.components() {
        match at.as_ref().unwrap_or(destination).enter(component)? {
            Some(next) => at = Some(next),
            None => return Ok(Tied::LeaderMissing),
        }
    }
    let leader_folder = at.as_ref().unwrap_or(destination);
    let Some(first) = leader_folder.stat(name)? else { return Ok(Tied::LeaderMissing) };
    if let Some(there) = folder.stat(&entry.name)? {
        if (there.device, there.inode) == (first.device, first.inode) {
            return Ok(Tied::Present);
        }
        if !overwrite || there.kind.to_kind() == Some(Kind::Directory) {
            return Ok(Tied::InTheWay);
        }
        // As with contents: what is there goes only when its successor is complete.
        let temporary = folder.temporary_name();
        folder.link(&temporary, leader_folder, name)?;
        if let Err(error) = folder.rename(&temporary, &entry.name) {
            folder.remove(&temporary)?;
            return Err(error);
        }
        return Ok(Tied::Done);
    }
    folder.link(&entry.name, leader_folder, name)?;
    Ok(Tied::Done)
}
