//! A set with one source and one real disk, both folders of a temporary one.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test file needs all of it; a test that fails here says so"
)]

use std::fs;
use std::path::{Path, PathBuf};

use distbackup_core::model::{ObjectId, SizeRule, VirtualPath};
use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::{Clock, SystemClock};
use distbackup_engine::disk::Disk;
use distbackup_engine::hash::hash_one;
use distbackup_engine::ops::disks::{self, AddDisk};
use distbackup_engine::ops::shelf::{self, Connected};
use distbackup_engine::ops::sources;

/// The set, with the disk `red` connected.
pub struct World {
    pub room: tempfile::TempDir,
    pub catalog: Catalog,
    pub connected: Connected,
}

/// With these files in the source; nothing was scanned yet.
pub fn world<N: AsRef<Path>, C: AsRef<[u8]>>(files: impl IntoIterator<Item = (N, C)>) -> World {
    let room = tempfile::tempdir().unwrap();
    let source = room.path().join("source");
    fs::create_dir(&source).unwrap();
    for (name, content) in files {
        fs::write(source.join(name), content).unwrap();
    }
    let mut catalog = Catalog::create(&room.path().join("distbackup.sqlite"), SystemClock.now_ns()).unwrap();
    sources::map(&mut catalog, &VirtualPath::parse(b"/data").unwrap(), &source).unwrap();
    let folder = room.path().join("red");
    let request = AddDisk { name: "red", folder: &folder, size: SizeRule::Automatic, location: None };
    disks::add(&mut catalog, &SystemClock, &request).unwrap();
    let connected = connect(&catalog, &folder);
    World { room, catalog, connected }
}

fn connect(catalog: &Catalog, folder: &Path) -> Connected {
    let row = shelf::named(&catalog.read(), "red").unwrap();
    shelf::open_at(catalog, row, folder).unwrap()
}

impl World {
    pub fn source(&self, name: &str) -> PathBuf {
        self.room.path().join("source").join(name)
    }

    /// Connects the disk anew, as each visit finds it.
    pub fn reconnect(&mut self) {
        self.connected = connect(&self.catalog, &self.room.path().join("red"));
    }

    /// Whether the disk has an object of this name.
    pub fn holds(&self, content: &[u8]) -> bool {
        self.connected.disk.open(hash_one(content)).is_ok()
    }

    /// Whether the catalog says that it has.
    pub fn claims(&self, id: ObjectId) -> bool {
        let reader = self.catalog.read();
        let object = reader.object_by_id(&id).unwrap();
        object.is_some_and(|row| reader.holds(self.connected.row.disk, row.object).unwrap())
    }
}
