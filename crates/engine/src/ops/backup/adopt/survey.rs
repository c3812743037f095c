//! Which files below a folder are worth reading: those of a size that something has which the disk could use.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use distbackup_core::model::{Bytes, DiskNo, ObjectNo};
use distbackup_core::plan::Tally;
use distbackup_core::planner::Need;

use crate::catalog::Loaded;
use crate::disk::layout;
use crate::ops::{OpError, Problems};
use crate::platform::Stat;
use crate::progress::{Event, Observer, Phase};
use crate::scan::Folder;

/// Names of a disk of this set or of any other: what lies there belongs to that disk.
const OF_A_DISK: [&str; 9] = [
    layout::IDENTITY,
    layout::CATALOG,
    layout::CATALOG_PREVIOUS,
    layout::OBJECTS,
    layout::INCOMING,
    layout::BAD_OBJECTS,
    layout::PAGE,
    layout::PAGE_DATA,
    ".distbackup.data",
];

/// What is needed on the disk, while it becomes less.
pub(super) struct Needs {
    sizes: HashSet<u64>,
    /// By number of the object.
    objects: Vec<Standing>,
}

/// Whether an object is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Never,
    Needed,
    /// One is on the disk now: a second file of the same content is not needed.
    Taken,
}

impl Needs {
    /// `takes_room`: what is taken in takes room, so only what has too few copies is worth it.
    pub fn new(loaded: &Loaded, disk: DiskNo, takes_room: bool) -> Self {
        let mut needs = Needs { sizes: HashSet::new(), objects: Vec::new() };
        for (object, size, need) in loaded.needs(disk) {
            let Some(place) = usize::try_from(object.0).ok() else { continue };
            if need == Need::Wanted || (need == Need::Welcome && !takes_room) {
                needs.sizes.insert(size.0);
                if needs.objects.len() <= place {
                    needs.objects.resize(place + 1, Standing::Never);
                }
                needs.objects[place] = Standing::Needed;
            }
        }
        needs
    }

    /// Whether anything that is needed has this size.
    fn has_size(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }

    fn standing(&self, object: ObjectNo) -> Standing {
        let known = usize::try_from(object.0).ok().and_then(|place| self.objects.get(place));
        known.copied().unwrap_or(Standing::Never)
    }

    /// Takes one in if it is needed; tells whether it was. An object that is there now is needed no more.
    pub fn take(&mut self, object: ObjectNo) -> Taking {
        match self.standing(object) {
            Standing::Never => Taking::NotNeeded,
            Standing::Taken => Taking::Twice,
            Standing::Needed => {
                self.set(object, Standing::Taken);
                Taking::Needed
            }
        }
    }

    /// One that was taken in is not there after all.
    pub fn give_back(&mut self, object: ObjectNo) {
        self.set(object, Standing::Needed);
    }

    fn set(&mut self, object: ObjectNo, standing: Standing) {
        let known = usize::try_from(object.0).ok().and_then(|place| self.objects.get_mut(place));
        if let Some(known) = known {
            *known = standing;
        }
    }
}

/// What an object is for the disk at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    Needed,
    Twice,
    NotNeeded,
}

/// What was found below the folder before anything was read.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// All regular files.
    pub files: Tally,
    /// Those that are read, because something that the disk could use has their size.
    pub candidates: Tally,
    /// Files on other filesystems than the disk's.
    pub elsewhere: u64,
    /// Folders of backup disks; what lies in them belongs to those.
    pub disks: u64,
    /// Folders and files that could not be looked at.
    pub problems: Problems,
}

/// A file that may be needed.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Which of [`Found::folders`] holds it.
    pub folder: usize,
    pub name: Vec<u8>,
    pub size: u64,
}

/// The candidates, and the folders that hold them as raw bytes of paths below the surveyed one.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub folders: Vec<Vec<u8>>,
    pub candidates: Vec<Candidate>,
}

/// The path of a name in a folder below the surveyed one, which itself is empty.
pub(super) fn below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        [] => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}

/// Opens a folder below the surveyed one, from name to name: no link is followed, and no path is too long.
pub(super) fn open_below(root: &Folder, path: &[u8]) -> io::Result<Folder> {
    let mut at = root.open_at(b".")?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = at.open_at(name)?;
    }
    Ok(at)
}

/// Walks the folder, and keeps what is worth reading.
pub(super) fn survey(
    (root, path): (&Folder, &Path),
    device: u64,
    needs: &Needs,
    observer: &dyn Observer,
) -> Result<(Survey, Found), OpError> {
    let mut walk =
        Walk { root, path, device, needs, observer, survey: Survey::default(), found: Found::default() };
    observer.event(Event::Begin { phase: Phase::Scan, files: 0, bytes: Bytes(0) });
    let walked = walk.all();
    observer.event(Event::End);
    walked?;
    Ok((walk.survey, walk.found))
}

struct Walk<'w> {
    root: &'w Folder,
    /// The path of the root, for messages.
    path: &'w Path,
    /// The disk's filesystem.
    device: u64,
    needs: &'w Needs,
    observer: &'w dyn Observer,
    survey: Survey,
    found: Found,
}

impl Walk<'_> {
    fn all(&mut self) -> Result<(), OpError> {
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            if self.observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            match self.folder(&path) {
                Ok(folders) => waiting.extend(folders.into_iter().rev().map(|name| below(&path, &name))),
                // What was to be looked at is gone, which is as good as not needed; only the whole folder must be there.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => {}
                Err(error) if path.is_empty() => {
                    return Err(OpError::io("read the folder", self.path)(error));
                }
                Err(error) => self.skip(&path, &format!("cannot read the folder: {error}")),
            }
        }
        Ok(())
    }

    /// Looks at one folder; returns the names of those in it.
    fn folder(&mut self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let folder = open_below(self.root, path)?;
        let names = folder.names()?;
        let of_a_disk = names.contains(layout::IDENTITY.as_bytes()) || names.contains(b".distbackup.uuid");
        self.survey.disks += u64::from(of_a_disk);
        let number = self.found.folders.len();
        let (mut folders, mut any) = (Vec::new(), false);
        for name in names.iter() {
            if of_a_disk && OF_A_DISK.iter().any(|own| own.as_bytes() == name) {
                continue;
            }
            let stat = match folder.stat(name) {
                Ok(stat) => stat,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.skip(&below(path, name), &format!("cannot look at it: {error}"));
                    continue;
                }
            };
            if stat.device != self.device {
                self.survey.elsewhere += 1;
            } else if stat.is_directory() {
                folders.push(name.to_vec());
            } else if stat.is_file() {
                any |= self.file(number, name, &stat);
            }
        }
        if any {
            self.found.folders.push(path.to_vec());
        }
        Ok(folders)
    }

    /// Counts a file; tells whether it is a candidate.
    fn file(&mut self, folder: usize, name: &[u8], stat: &Stat) -> bool {
        self.survey.files.add(Bytes(stat.size));
        self.observer.event(Event::Done { files: 1, bytes: Bytes(0) });
        if !self.needs.has_size(stat.size) {
            return false;
        }
        self.survey.candidates.add(Bytes(stat.size));
        self.found.candidates.push(Candidate { folder, name: name.to_vec(), size: stat.size });
        true
    }

    fn skip(&mut self, path: &[u8], why: &str) {
        self.observer.event(Event::Skipped { path, reason: why });
        self.survey.problems.add(path, why);
    }
}
