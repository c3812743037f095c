//! Where files are: entries with their sizes and the disks that hold them.

use distbackup_core::model::{Bytes, DiskNo, Kind, ObjectId, ObjectNo, VirtualPath};

use crate::browse::{BrowseError, Selection, Step, walk};
use crate::catalog::{At, EntryRow, Reader};

/// One entry of a listing.
#[derive(Debug, Clone)]
pub struct Listing<'a> {
    /// Its path.
    pub path: &'a VirtualPath,
    /// What it is.
    pub kind: Kind,
    /// Its size.
    pub size: Bytes,
    /// When it was changed last.
    pub mtime_ns: i64,
    /// Its content, if that is known.
    pub object: Option<ObjectNo>,
    /// The disks that hold its content.
    pub disks: Vec<DiskNo>,
    /// Its content is not in any object yet.
    pub pending: bool,
    /// It is a symlink to this.
    pub target: Option<&'a [u8]>,
}

/// Lists the entries that patterns select, at a moment.
pub fn list<E: From<BrowseError>>(
    reader: Reader<'_>,
    patterns: &[Vec<u8>],
    at: At,
    each: &mut dyn FnMut(Listing<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let selection = Selection::parse(patterns)?;
    walk(reader, at, &selection, &mut |step| {
        let Step::Entry { path, entry } = step else { return Ok(()) };
        let EntryRow { kind, stamp, pending, target, .. } = entry;
        let disks =
            entry.object.map(|object| reader.holders(object)).transpose().map_err(BrowseError::from)?;
        let disks = disks.unwrap_or_default();
        each(Listing {
            path,
            kind: *kind,
            size: Bytes(stamp.size),
            mtime_ns: stamp.mtime_ns,
            object: entry.object,
            disks,
            pending: *pending && entry.object.is_none(),
            target: target.as_deref(),
        })
    })
}

/// What is known of one file and of each of its copies.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The disk's name.
    pub disk: String,
    /// Where it is kept.
    pub location: Option<String>,
    /// When the copy was last written or read in full.
    pub proven_ns: i64,
    /// `written`, `read`, `adopted` or `imported`.
    pub how: String,
    /// Why it is in doubt.
    pub doubt: Option<String>,
}

/// The entry at a path, its object and who holds it.
pub fn holders(
    reader: Reader<'_>,
    path: &VirtualPath,
    at: At,
) -> Result<(EntryRow, Option<ObjectId>, Vec<Holder>), BrowseError> {
    let missing = || BrowseError::NotThere { path: path.display() };
    let (folder, name) = path.parent().ok_or_else(missing)?;
    let directory = reader.directory_at(&folder, at)?.ok_or_else(missing)?;
    let entry = reader.entry(directory, name, at)?.ok_or_else(missing)?;
    let Some(object) = entry.object else { return Ok((entry, None, Vec::new())) };
    let disks = reader.disks()?;
    let mut holders = Vec::new();
    for copy in reader.copies(object)? {
        let row = disks.iter().find(|row| row.disk == copy.disk);
        holders.push(Holder {
            disk: row.map_or_else(|| "?".to_owned(), |row| row.name.clone()),
            location: row.and_then(|row| row.location.clone()),
            proven_ns: copy.proven_ns,
            how: copy.how,
            doubt: copy.doubt.or_else(|| row.and_then(|row| row.doubt.clone())),
        });
    }
    let id = reader.object(object)?.map(|row| row.id);
    Ok((entry, id, holders))
}
