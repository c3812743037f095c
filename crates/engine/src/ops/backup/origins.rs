//! Where a content comes from: a file of the sources, or a copy on another disk or in the staging folder.
//!
//! A visit reads sources only. `heal`, `disk retire` and `disk replace` may read copies as well; each is hashed on its
//! way like a source, and one that is not what its name says loses its claim.

use std::sync::Mutex;

use distbackup_core::model::{DiskNo, ObjectNo};

use super::Visit;
use super::sources::{Finder, Source};
use crate::catalog::{CatalogError, PendingKey, Reader};
use crate::content::{Content, Segment};
use crate::disk::{Disk, DiskError};
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;

/// A connected disk, or the staging folder, from which copies can be read.
pub struct Holder<'h> {
    /// Which disk; `None`: the staging folder.
    pub disk: Option<DiskNo>,
    /// Its name.
    pub name: String,
    /// The disk itself.
    pub port: &'h dyn Disk,
}

impl Holder<'_> {
    /// Whether it may have an object: by claim, or in the staging folder by looking.
    pub fn may_have(&self, reader: &Reader<'_>, object: ObjectNo) -> Result<bool, CatalogError> {
        match self.disk {
            Some(disk) => reader.holds(disk, object),
            None => {
                Ok(reader.object(object)?.is_some_and(|row| matches!(self.port.open(row.id), Ok(_content))))
            }
        }
    }
}

/// A copy that was read and is not what its name says.
#[derive(Debug, Clone)]
pub struct BadCopy {
    /// Where; `None`: in the staging folder.
    pub disk: Option<DiskNo>,
    /// Of which object.
    pub object: ObjectNo,
    /// What is wrong with it, in words.
    pub why: String,
}

/// A source file that is not what it was, though nothing but its content tells (S4).
#[derive(Debug, Clone)]
pub struct RottenFile {
    /// What it should be.
    pub object: ObjectNo,
    /// Its folder and name.
    pub key: PendingKey,
    /// Time of its last change of anything, as `stat` says.
    pub ctime_ns: i64,
    /// Raw bytes of its virtual path.
    pub path: Vec<u8>,
}

/// The copies that may be read beside the sources, and what was noticed while reading.
#[derive(Default)]
pub struct Copies<'c> {
    /// From where, best first.
    pub holders: &'c [Holder<'c>],
    /// Copies found bad.
    pub bad: Mutex<Vec<BadCopy>>,
    /// Source files whose content differs under unchanged size and times (S4).
    pub rotten: Mutex<Vec<RottenFile>>,
}

impl Copies<'_> {
    /// Notes a copy that could not be used, unless its whole disk has vanished: then nothing is said of the copy.
    pub fn note_bad(&self, holder: &Holder<'_>, object: ObjectNo, why: String) {
        if holder.port.identity().is_ok() {
            lock(&self.bad).push(BadCopy { disk: holder.disk, object, why });
        }
    }

    /// Notes a source file that is not what it was.
    pub fn note_rotten(&self, file: RottenFile) {
        lock(&self.rotten).push(file);
    }

    /// Takes what was noticed since the last time.
    pub fn take_noticed(&self) -> (Vec<BadCopy>, Vec<RottenFile>) {
        (std::mem::take(&mut *lock(&self.bad)), std::mem::take(&mut *lock(&self.rotten)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked left a list that is whole.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Whether sources can give an object, by looking without reading.
pub struct Givers {
    mapping: Mapping,
    filesystems: Filesystems,
}

impl Givers {
    /// The sources as the catalog maps them.
    pub fn new(reader: &Reader<'_>) -> Result<Self, CatalogError> {
        Ok(Givers { mapping: Mapping::load(reader)?, filesystems: Filesystems::load(reader)? })
    }

    /// Whether a source file has the object, unchanged since it was hashed and not known to be rotten (S4).
    pub fn source_has(&self, reader: &Reader<'_>, object: ObjectNo) -> Result<bool, CatalogError> {
        if reader.has_rotten_source(object)? {
            return Ok(false);
        }
        Ok(Finder::new(reader, &self.mapping, &self.filesystems).open_known(object)?.is_ok())
    }
}

/// Records source files that were found rotten, for `status` and until they are repaired.
pub fn record_rot(visit: &mut Visit<'_>, rotten: &[RottenFile]) -> Result<(), CatalogError> {
    if rotten.is_empty() {
        return Ok(());
    }
    let now_ns = visit.time.now_ns;
    visit.catalog.write("record rotten sources", |writer| {
        rotten
            .iter()
            .try_for_each(|file| writer.record_source_rot(&file.key, file.object, file.ctime_ns, now_ns))
    })
}

/// A content that was opened, from wherever.
pub enum Origin<'o> {
    /// A file of the sources, found as the catalog knows it.
    Source(Box<Source>),
    /// A copy on a disk.
    Copy {
        /// The open copy.
        content: Box<dyn Content + Send + 'o>,
        /// A name to show for it.
        name: Vec<u8>,
    },
}

impl<'o> Origin<'o> {
    /// Opens a copy.
    pub fn copy(
        reader: &Reader<'_>,
        holder: &'o Holder<'o>,
        object: ObjectNo,
    ) -> Result<Result<Self, DiskError>, CatalogError> {
        let Some(row) = reader.object(object)? else {
            return Err(CatalogError::DamagedRow { what: "an object that is to be carried" });
        };
        let name = super::name_of(reader, object)?;
        Ok(holder.port.open(row.id).map(|content| Origin::Copy { content, name }))
    }

    /// Raw bytes of a name to show for it.
    pub fn name(&self) -> &[u8] {
        match self {
            Origin::Source(source) => &source.vpath,
            Origin::Copy { name, .. } => name,
        }
    }
}

impl Content for Origin<'_> {
    fn next_segment(&mut self) -> std::io::Result<Option<Segment<'_>>> {
        match self {
            Origin::Source(source) => source.file.next_segment(),
            Origin::Copy { content, .. } => content.next_segment(),
        }
    }

    fn probable_bytes(&self) -> u64 {
        match self {
            Origin::Source(source) => source.file.probable_bytes(),
            Origin::Copy { content, .. } => content.probable_bytes(),
        }
    }
}
