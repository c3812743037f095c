//! Restore: the tree, or a part of it, as it is now or was at a snapshot, into a destination.
//!
//! Three walks over the same entries. *Plan*: what is wanted and which disks hold it. *Fill*: folders are
//! made, files written from the connected disks by several threads, each hashed on its way and
//! given its name only if the hash is right (R1). *Finish*: hard links, then metadata of
//! folders from the leaves up, because filling a folder changes its times. What is there and equal
//! counts as done, so an interrupted restore goes on when it is run again (R4).

mod destination;
mod entry;
mod fill;
mod finish;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use distbackup_core::model::{Bytes, DiskNo, Kind, LinkNo, ObjectNo, VirtualPath};
use distbackup_core::plan::Tally;
use distbackup_core::restore_planner::{self, Holders, RestorePlan};

use super::{OpError, Problems};
use crate::browse::{Selection, Step, walk};
use crate::catalog::{At, DiskRow, EntryRow, Reader};
use crate::disk::Disk;
use crate::progress::{Event, Observer, Phase};
use destination::Folder;

/// What to restore, and where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Patterns over virtual paths; none: everything.
    pub patterns: Vec<Vec<u8>>,
    /// Where to.
    pub destination: PathBuf,
    /// The tree of which moment.
    pub at: At,
    /// Replace files that are there with other content (R2).
    pub overwrite: bool,
    /// Owners by number, not by name.
    pub numeric_ids: bool,
    /// Files restored at the same time.
    pub streams: usize,
    /// Disks that an earlier pass of the same restore has read: what they hold is done.
    pub done: Vec<DiskNo>,
    /// Objects that it found damaged there and that another disk may have whole (R1).
    pub again: HashSet<ObjectNo>,
    /// Folders: a file that is at its place below one of them, of the same size, is not wanted.
    pub existing: Vec<PathBuf>,
}

impl RestoreOptions {
    /// Whether a file is at its place below one of the folders that are told to have some already.
    fn is_elsewhere(&self, path: &VirtualPath, entry: &EntryRow) -> bool {
        let there = |folder: &PathBuf| {
            let stat = std::fs::symlink_metadata(entry::below(folder, path));
            stat.is_ok_and(|stat| stat.is_file() && stat.len() == entry.stamp.size)
        };
        entry.kind == Kind::File && self.existing.iter().any(there)
    }
}

/// What a restore needs, before anything is written.
#[derive(Debug, Clone, Default)]
pub struct RestoreNeeds {
    /// Files wanted, the empty ones included.
    pub files: Tally,
    /// The disks, in the order of `RestorePlan::steps`' indices.
    pub disks: Vec<DiskRow>,
    /// Which of them in which order.
    pub plan: RestorePlan,
    /// Entries whose content was never captured.
    pub never_captured: Problems,
    /// Files that may have changed since their content was captured, under the same size and time (S6).
    pub unconfirmed: Problems,
    /// Files that are elsewhere already and are left out.
    pub elsewhere: Tally,
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct RestoreOutcome {
    /// Files restored now.
    pub restored: Tally,
    /// Files that were there and equal.
    pub present: Tally,
    /// Folders, links and other entries restored or present.
    pub others: u64,
    /// Objects that were rotten or unreadable, with no good copy on a connected disk (R1).
    pub bad: Problems,
    /// Objects that were rotten or unreadable on one disk and taken from another.
    pub rescued: Problems,
    /// Objects that were bad on the connected disks and that another disk may have whole.
    pub again: HashSet<ObjectNo>,
    /// Entries in the way: other content, another kind, a symlink for a folder (R2, R3).
    pub conflicts: Problems,
    /// Entries that could not be written.
    pub problems: Problems,
    /// Files that are on no connected disk (R5), by the disks that hold them.
    pub missing: Vec<(Vec<DiskNo>, Tally)>,
    /// Files that no disk holds any more.
    pub lost: Problems,
    /// Entries whose content was never captured.
    pub never_captured: Problems,
    /// Files that may have changed since their content was captured, under the same size and time (S6).
    pub unconfirmed: Problems,
    /// What could not be set, with the number of entries and the first reason (R6).
    pub unset: Vec<(String, u64, String)>,
    /// The user asked to stop.
    pub interrupted: bool,
}

impl RestoreOutcome {
    /// Counts a file that only these disks may still bring.
    fn add_missing(&mut self, disks: &[DiskNo], bytes: Bytes) {
        match self.missing.iter_mut().find(|(known, _)| known == disks) {
            Some((_, tally)) => tally.add(bytes),
            None => self.missing.push((disks.to_vec(), Tally { objects: 1, bytes })),
        }
    }

    /// Whether everything wanted is at the destination as it was.
    pub fn complete(&self) -> bool {
        self.bad.is_empty()
            && self.rescued.is_empty()
            && self.conflicts.is_empty()
            && self.problems.is_empty()
            && self.missing.is_empty()
            && self.lost.is_empty()
            && self.never_captured.is_empty()
            && self.unconfirmed.is_empty()
            && self.unset.is_empty()
            && !self.interrupted
    }
}

/// A connected disk to read from.
pub struct Readable<'d> {
    /// Which.
    pub disk: DiskNo,
    /// Its name.
    pub name: String,
    /// The open disk.
    pub port: &'d dyn Disk,
}

impl std::fmt::Debug for Readable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readable").field("disk", &self.disk).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Finds out what is wanted, and the smallest set of disks that has it.
pub fn needs(
    reader: Reader<'_>,
    options: &RestoreOptions,
    connected: &[DiskNo],
) -> Result<RestoreNeeds, OpError> {
    let selection = Selection::parse(&options.patterns)?;
    let disks = reader.disks()?;
    let index: HashMap<DiskNo, u16> = disks.iter().map(|row| row.disk).zip(0u16..).collect();
    let mut needs = RestoreNeeds::default();
    let mut classes: HashMap<Vec<u16>, Tally> = HashMap::new();
    let mut found = false;
    walk::<OpError>(reader, options.at, &selection, &mut |step| {
        let Step::Entry { path, entry, .. } = step else { return Ok(()) };
        found = true;
        if entry.kind != Kind::File {
            return Ok(());
        }
        if options.is_elsewhere(path, entry) {
            needs.elsewhere.add(Bytes(entry.stamp.size));
            return Ok(());
        }
        needs.files.add(Bytes(entry.stamp.size));
        match entry.object {
            Some(object) => {
                let mut holders: Vec<u16> =
                    reader.holders(object)?.iter().filter_map(|disk| index.get(disk).copied()).collect();
                if entry.pending && !holders.is_empty() {
                    needs.unconfirmed.add(path.as_bytes(), "it was changed or touched, and not read since");
                }
                holders.sort_unstable();
                classes.entry(holders).or_default().add(Bytes(entry.stamp.size));
            }
            None if entry.pending => {
                needs.never_captured.add(path.as_bytes(), "its content was never captured")
            }
            None => {}
        }
        Ok(())
    })?;
    if !found && !selection.is_everything() {
        let patterns: Vec<_> =
            options.patterns.iter().map(|raw| String::from_utf8_lossy(raw).into_owned()).collect();
        return Err(OpError::BadRequest {
            what: patterns.join(" "),
            why: "nothing in the tree matches it".into(),
        });
    }
    let mut wanted: Vec<Holders> =
        classes.into_iter().map(|(disks, tally)| Holders { disks, tally }).collect();
    wanted.sort_by(|a, b| a.disks.cmp(&b.disks));
    let connected: Vec<u16> = connected.iter().filter_map(|disk| index.get(disk).copied()).collect();
    needs.plan = restore_planner::plan_restore(&wanted, &connected);
    needs.disks = disks;
    Ok(needs)
}

/// Restores what the connected disks hold of what is wanted.
///
/// `views` are frozen views of one catalog, one for each thread that writes files, and one more.
pub fn restore(
    reader: Reader<'_>,
    disks: &[Readable<'_>],
    options: &RestoreOptions,
    needs: &RestoreNeeds,
    observer: &dyn Observer,
) -> Result<RestoreOutcome, OpError> {
    let selection = Selection::parse(&options.patterns)?;
    let destination = Folder::destination(&options.destination)
        .map_err(OpError::io("open the destination", options.destination.clone()))?;
    check_room(reader, options, &selection, needs, &destination)?;
    let mut outcome = RestoreOutcome {
        never_captured: needs.never_captured.clone(),
        unconfirmed: needs.unconfirmed.clone(),
        ..RestoreOutcome::default()
    };
    observer.event(Event::Begin {
        phase: Phase::Restore,
        files: needs.files.objects,
        bytes: needs.files.bytes,
    });
    let mut leaders: HashMap<LinkNo, Vec<u8>> = HashMap::new();
    let filled =
        fill::fill(reader, disks, options, &selection, destination, observer, &mut leaders, &mut outcome);
    observer.event(Event::End);
    let destination = filled?;
    finish::finish(reader, options, &selection, &destination, &leaders, &mut outcome)?;
    // Whoever is told that all is there may take the power away (N9).
    destination.sync().map_err(OpError::io("write out everything to", options.destination.clone()))?;
    outcome.interrupted = observer.stop_requested();
    Ok(outcome)
}

/// Whether the destination has room, before the first byte (R7). What is there already with the right
/// size does not count; it is looked for only if everything would not fit anyway.
fn check_room(
    reader: Reader<'_>,
    options: &RestoreOptions,
    selection: &Selection,
    needs: &RestoreNeeds,
    destination: &Folder,
) -> Result<(), OpError> {
    let io = |error| OpError::io("look at", options.destination.clone())(error);
    let free = destination.space().map_err(io)?.free;
    if needs.files.bytes <= free {
        return Ok(());
    }
    let mut needed = 0u64;
    let mut groups: HashSet<LinkNo> = HashSet::new();
    walk::<OpError>(reader, options.at, selection, &mut |step| {
        let Step::Entry { path, entry, .. } = step else { return Ok(()) };
        // The names of a hard-link group share one content.
        if entry.kind != Kind::File || entry.link.is_some_and(|link| !groups.insert(link)) {
            return Ok(());
        }
        let there = crate::platform::stat_path(&entry::below(&options.destination, path));
        if !there.is_ok_and(|stat| stat.size == entry.stamp.size) {
            // Sizes come from a catalog that anybody may have written (C7).
            let holes = entry.holes.0.iter().fold(0u64, |sum, &(_, length)| sum.saturating_add(length));
            needed = needed.saturating_add(entry.stamp.size.saturating_sub(holes));
        }
        Ok(())
    })?;
    if Bytes(needed) > free {
        let folder = options.destination.clone();
        return Err(OpError::DestinationTooSmall { folder, free, needed: Bytes(needed) });
    }
    Ok(())
}
