//! The files beside the objects: the identity and the catalog copies (C4).

use std::path::Path;

use super::Pass;
use crate::catalog::{CatalogError, CheckedCopy, inspect};
use crate::disk::{DiskError, layout};
use crate::ops::OpError;
use crate::ops::tempdir::TempFolder;
use crate::progress::Event;

/// What became of looking at a catalog on the disk.
enum Looked {
    /// There is none.
    None,
    /// It is whole.
    Whole(CheckedCopy),
    /// It is not, for a reason in words.
    Damaged(String),
    /// This computer could not take it in, or distbackup 1.x has written it.
    NotTried,
}

impl Pass<'_> {
    /// Looks at them all. What is damaged is named; a damaged catalog copy is replaced by the next visit.
    pub(super) fn look_beside(&mut self) -> Result<(), OpError> {
        if let Err(DiskError::DamagedIdentity { why, .. }) = self.disk.identity() {
            self.outcome.beside.add(layout::IDENTITY.as_bytes(), why);
        }
        let beside = self.catalog.path().parent().map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = TempFolder::inside(&beside).map_err(OpError::io("make a folder in", beside))?;
        let newest = self.newest_copy(&folder.path().join("newest.sqlite"))?;
        let previous = match self.look_at(true, &folder.path().join("previous.sqlite"))? {
            Looked::Damaged(why) => Some(why),
            Looked::None | Looked::Whole(_) | Looked::NotTried => None,
        };
        self.outcome.catalog_copy_damaged = newest.is_some();
        let damaged = newest.is_some() || previous.is_some();
        for (name, why) in [(layout::CATALOG, newest), (layout::CATALOG_PREVIOUS, previous)] {
            if let Some(why) = why {
                self.outcome.beside.add(name.as_bytes(), why);
            }
        }
        if damaged && !self.options.check_only {
            let disk = self.row.disk;
            self.catalog.write("record a damaged copy", |writer| writer.forget_catalog_copy(disk))?;
        }
        Ok(())
    }

    /// What is wrong with the catalog copy of the last visit.
    fn newest_copy(&self, local: &Path) -> Result<Option<String>, OpError> {
        let found = self.disk.catalog_hash();
        if found.is_some() && found == self.row.copy_sha256 {
            return Ok(None);
        }
        // Not the one that was recorded last: damaged, or written by a visit that was killed before it could say so.
        Ok(match self.look_at(false, local)? {
            Looked::None => {
                let expected = self.row.copy_sha256.is_some() || self.row.visited_ns.is_some();
                expected.then(|| "it is missing".to_owned())
            }
            // The same state in other bytes: a flipped bit that hurts no structure.
            Looked::Whole(copy) => {
                let same =
                    self.row.copy_sha256.is_some() && self.row.copy_generation == Some(copy.generation);
                same.then(|| "its content differs from what was written".to_owned())
            }
            Looked::Damaged(why) => Some(why),
            Looked::NotTried => None,
        })
    }

    fn look_at(&self, previous: bool, local: &Path) -> Result<Looked, OpError> {
        let fetched = match previous {
            true => self.disk.fetch_previous_catalog(local),
            false => self.disk.fetch_catalog(local),
        };
        match fetched {
            Ok(true) => {}
            Ok(false) => return Ok(Looked::None),
            Err(error @ DiskError::Io { action: "write", .. }) => {
                let text = format!("the disk's catalog was not checked: {error}");
                self.observer.event(Event::Note { text: &text });
                return Ok(Looked::NotTried);
            }
            Err(error) => {
                self.ensure_connected()?;
                return Ok(Looked::Damaged(error.to_string()));
            }
        }
        let copy = match inspect(local, true) {
            Ok(copy) => copy,
            Err(CatalogError::Damaged { why, .. }) => return Ok(Looked::Damaged(why)),
            Err(CatalogError::Io { action, path, source }) => return Err(OpError::io(action, path)(source)),
            // Of before the import; our first visit replaces it, and until then it is nobody's damage.
            Err(CatalogError::Version1 { .. }) => return Ok(Looked::NotTried),
            Err(error) => return Ok(Looked::Damaged(error.to_string())),
        };
        if copy.set != self.catalog.read().set_uuid()? {
            return Ok(Looked::Damaged("it belongs to another set".to_owned()));
        }
        Ok(Looked::Whole(copy))
    }
}
