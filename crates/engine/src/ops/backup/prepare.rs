//! What a visit leaves is prepared ahead: a checked copy of the catalog, the tree of the page, and what people ask next.
//!
//! All of it reads the whole catalog and writes nothing to the disk. So it is done while the disk works: while it makes the last
//! batch durable if that is most of the set, else while it takes the catalog.

use std::path::{Path, PathBuf};

use distbackup_core::model::DiskNo;

use super::Visit;
use crate::catalog::{Answer, CatalogError, Reader, Written, inspect};
use crate::ops::page::{self, PageTree};
use crate::ops::{OpError, ahead, tempdir::TempFolder};
use crate::progress::{Event, Observer};

/// A page whose tree is written.
pub(super) struct Page {
    pub folder: TempFolder,
    pub data: String,
    pub tree: PageTree,
}

/// A copy of the catalog that was checked.
pub(super) struct LocalCopy {
    folder: TempFolder,
    /// [`Reader::generation`].
    pub generation: i64,
}

impl LocalCopy {
    fn path_in(folder: &TempFolder) -> PathBuf {
        folder.path().join("copy.sqlite")
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        Self::path_in(&self.folder)
    }
}

/// A copy to be sent, a page to be finished, and answers to be kept, of the catalog as it was after so many changes.
pub(super) struct Prepared {
    /// [`Reader::changes`].
    pub changes: i64,
    /// `None`: it is to be made.
    pub copy: Option<LocalCopy>,
    /// `None`: none is wanted.
    pub page: Option<Result<Page, OpError>>,
    pub answers: Result<Vec<Answer>, CatalogError>,
}

/// What has to be known of a visit to prepare its end.
pub(super) struct Preparation<'o> {
    catalog: PathBuf,
    data: String,
    disk: DiskNo,
    now_ns: i64,
    observer: &'o dyn Observer,
}

impl<'o> Preparation<'o> {
    /// For a visit that has begun to write.
    pub fn of(visit: &Visit<'o>) -> Self {
        Preparation {
            catalog: visit.catalog.path().to_owned(),
            data: data_of(visit),
            disk: visit.row.disk,
            now_ns: visit.time.now_ns,
            observer: visit.observer,
        }
    }

    /// Writes the tree of the page, if one is wanted.
    pub fn page(&self, reader: Reader<'_>) -> Option<Result<Page, OpError>> {
        match page::is_wanted(&reader) {
            Ok(false) => None,
            Ok(true) => Some(self.write_page(reader)),
            Err(error) => Some(Err(error.into())),
        }
    }

    fn write_page(&self, reader: Reader<'_>) -> Result<Page, OpError> {
        let (folder, data) = (beside(&self.catalog)?, self.data.clone());
        let tree = page::write_tree(reader, folder.path(), &data, &Unseen(self.observer))?;
        Ok(Page { folder, data, tree })
    }

    /// Works out the answers.
    pub fn answers(&self, reader: &Reader<'_>) -> Result<Vec<Answer>, CatalogError> {
        ahead::answers_after_visit(reader, self.now_ns, self.disk)
    }

    /// Does all of it before the claims of `copies` are committed, while the disk makes them durable. One thing after the other:
    /// to let the disk write takes a processor, too, and usually longer.
    ///
    /// `None` if most of the set was claimed before: then a power cut would cost the batch for longer than it takes to land.
    pub fn ahead(&self, written: &mut Written<'_>, copies: usize) -> Result<Option<Prepared>, CatalogError> {
        let objects = written.read().highest_object()?;
        if i64::try_from(copies).is_ok_and(|copies| copies <= objects / 2) {
            return Ok(None);
        }
        let changes = written.read().changes()?;
        let (page, answers) = (self.page(written.read()), self.answers(&written.read()));
        Ok(Some(Prepared { changes, copy: self.copy(written), page, answers }))
    }

    /// `None` where there can be none yet. What goes wrong goes wrong again when the copy is made after the commit, and is told then.
    fn copy(&self, written: &mut Written<'_>) -> Option<LocalCopy> {
        let folder = beside(&self.catalog).ok()?;
        let path = LocalCopy::path_in(&folder);
        if !written.write_copy(&path).ok()? {
            return None;
        }
        let generation = inspect(&path, true).ok()?.generation;
        Some(LocalCopy { folder, generation })
    }
}

/// Each visit that writes has a stamp of its own: so the data of a page say of which state they are.
pub(super) fn data_of(visit: &Visit<'_>) -> String {
    format!("{}-{:016x}", visit.row.stamp.counter, visit.row.stamp.random)
}

/// A folder beside the PC's catalog: there is room for one more, and it is as private.
pub(super) fn beside(catalog: &Path) -> Result<TempFolder, OpError> {
    let beside = catalog.parent().map_or_else(std::env::temp_dir, |folder| folder.to_owned());
    TempFolder::inside(&beside).map_err(OpError::io("make a folder in", beside))
}

/// Watches nothing, and stops when another one says so.
struct Unseen<'o>(&'o dyn Observer);

impl Observer for Unseen<'_> {
    fn event(&self, _: Event<'_>) {}

    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}
