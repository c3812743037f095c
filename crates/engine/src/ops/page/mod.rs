//! The page: `CATALOG.html` and its data, by which anybody can browse the catalog of the set with nothing but a browser.
//!
//! What a file of data looks like is a promise, specified in `docs/format.md`.

mod chunks;
mod state;
mod tree;

use std::path::Path;

use distbackup_core::model::{Bytes, DiskNo};

use super::OpError;
use crate::catalog::{CatalogError, Reader};
use crate::disk::layout;
use crate::progress::{Event, Observer, Phase};
use crate::report;

/// The page itself; what it shows lies beside it.
const PAGE: &str = include_str!("../../../recovery/CATALOG.html");
/// Stands in the page for the folder of its data.
const PLACEHOLDER: &str = "{data_folder}";
/// The setting that leaves the page out.
pub const SETTING: &str = "page";

/// Whose page it is.
#[derive(Debug, Clone, Copy)]
pub struct PageOptions {
    /// The disk on which it will lie, if it will lie on one.
    pub disk: Option<DiskNo>,
    /// When it is written.
    pub written_ns: i64,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenPage {
    /// Names that are no folders.
    pub files: u64,
    /// Folders, the root included.
    pub folders: u64,
    /// Bytes in all.
    pub bytes: Bytes,
}

/// Whether disks carry the page: unless it was switched off.
pub fn is_wanted(reader: &Reader<'_>) -> Result<bool, CatalogError> {
    Ok(reader.setting(SETTING)?.as_deref() != Some("off"))
}

/// The room to be kept for the page on a disk, with a catalog of this size: a file has at most a sixth of the bytes there
/// that it has in the catalog, unless there are more folders than files. If it is too little, the old page stays.
pub fn room(reader: &Reader<'_>, catalog: Bytes) -> Result<Bytes, CatalogError> {
    /// The page itself, and what even an empty set takes.
    const LEAST: u64 = 100_000;
    Ok(if is_wanted(reader)? { Bytes(catalog.0 / 6 + LEAST) } else { Bytes(0) })
}

/// Writes the page and its data into `folder`, which is empty: the file `CATALOG.html`, and the folder
/// `distbackup-catalog/DATA`.
///
/// Memory is bounded by the objects (4 bytes each), the deepest way through the tree and the widest folder on it.
pub fn write(
    reader: Reader<'_>,
    options: PageOptions,
    folder: &Path,
    data: &str,
    observer: &dyn Observer,
) -> Result<WrittenPage, OpError> {
    observer.event(Event::Begin { phase: Phase::Page, files: reader.entry_count()?, bytes: Bytes(0) });
    let written = write_all(reader, options, folder, data, observer);
    observer.event(Event::End);
    written
}

/// Refuses a folder in which there is anything; one that does not exist is a good one.
pub fn refuse_used_folder(folder: &Path) -> Result<(), OpError> {
    match std::fs::read_dir(folder) {
        Ok(mut names) => match names.next() {
            None => Ok(()),
            Some(Ok(_)) => Err(OpError::NotEmpty { folder: folder.to_owned() }),
            Some(Err(error)) => Err(OpError::io("list", folder)(error)),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(OpError::io("list", folder)(error)),
    }
}

/// Writes the page into a new or an empty folder. When that fails, nothing of it stays.
pub fn export(
    reader: Reader<'_>,
    written_ns: i64,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<WrittenPage, OpError> {
    refuse_used_folder(folder)?;
    let was_there = folder.exists();
    std::fs::create_dir_all(folder).map_err(OpError::io("make", folder))?;
    let written = write(reader, PageOptions { disk: None, written_ns }, folder, "data", observer);
    if written.is_err() {
        // The first error counts; the user sees what could not be removed.
        let _left = std::fs::remove_dir_all(folder.join(layout::PAGE_DATA));
        let _left = std::fs::remove_file(folder.join(layout::PAGE));
        if !was_there {
            let _left = std::fs::remove_dir(folder);
        }
    }
    written
}

fn write_all(
    reader: Reader<'_>,
    options: PageOptions,
    folder: &Path,
    data: &str,
    observer: &dyn Observer,
) -> Result<WrittenPage, OpError> {
    let tree = write_tree(reader, folder, data, observer)?;
    write_rest(reader, options, folder, data, &tree)
}

/// The files and folders of a page, which are most of its data.
#[derive(Debug)]
pub struct PageTree {
    written: tree::WrittenTree,
    sets: Vec<Vec<usize>>,
}

/// Writes the files and folders into `folder`, which is empty; [`write_rest`] makes a page of it. Begins no phase.
pub fn write_tree(
    reader: Reader<'_>,
    folder: &Path,
    data: &str,
    observer: &dyn Observer,
) -> Result<PageTree, OpError> {
    let inside = folder.join(layout::PAGE_DATA).join(data);
    std::fs::create_dir_all(&inside).map_err(OpError::io("make", &inside))?;
    let held = reader.disk_sets()?;
    let rows = reader.disks()?;
    let mut writer = tree::TreeWriter::new(reader, &rows, &held, &inside, observer)?;
    let written = writer.write()?;
    Ok(PageTree { written, sets: writer.sets().into_iter().map(<[usize]>::to_vec).collect() })
}

/// Writes what a page says of the set and its disks, as `reader` sees it, beside its tree; and the page itself.
pub fn write_rest(
    reader: Reader<'_>,
    options: PageOptions,
    folder: &Path,
    data: &str,
    tree: &PageTree,
) -> Result<WrittenPage, OpError> {
    let relative = format!("{}/{data}", layout::PAGE_DATA);
    let status = report::status(&reader)?;
    let state = state::text(&reader, options, &status, &tree.sets, &tree.written)?;
    let put = |path: &Path, content: &str| {
        chunks::write_new(path, content.as_bytes()).map_err(OpError::io("write", path))
    };
    put(&folder.join(&relative).join(layout::PAGE_STATE), &state)?;
    // Last: whoever finds the page finds its data.
    let page = PAGE.replace(PLACEHOLDER, &relative);
    put(&folder.join(layout::PAGE), &page)?;
    let bytes = tree.written.bytes + Bytes(state.len() as u64) + Bytes(page.len() as u64);
    Ok(WrittenPage { files: tree.written.files, folders: tree.written.folders, bytes })
}
