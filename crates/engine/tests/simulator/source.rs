//! The source: a real folder of small files, and what happens to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use distbackup_core::model::ObjectId;
use sha2::{Digest, Sha256};

use crate::random::Random;

/// One file as it is now.
#[derive(Debug, Clone)]
pub struct Held {
    /// The content that its stamp stands for.
    pub id: ObjectId,
    pub size: u64,
    /// Bits of it have turned over without a change of its stamp (S4).
    pub rotten: bool,
    /// Overwritten under its old time, or under another name than before: never both, for that looks like a mere move.
    odd: Odd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Odd {
    No,
    OldTime,
    Moved,
}

/// The source folder and what lies in it, by relative path.
pub struct Source {
    root: PathBuf,
    pub files: BTreeMap<String, Held>,
    /// All contents that were ever in it.
    pub contents: BTreeMap<ObjectId, Rc<Vec<u8>>>,
    /// Makes each stamp unlike all others, however fast the test is.
    stamps: u64,
    names: u64,
}

/// Files below which nothing is deleted: an empty source is another story (S1).
const FILES_MIN: usize = 6;

/// Changes bytes through a mapping that was read before: on a filesystem in memory that leaves all times as they are,
/// as rot does. `false` if it did not.
fn turn_bits_over(path: &Path) -> bool {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let before = file.metadata().unwrap();
    let size = before.len() as usize;
    let flags = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh shared mapping of a file of this test, as long as the file, unmapped before anything else happens.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), size, flags, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert!(start != libc::MAP_FAILED, "mmap");
        let middle = start.cast::<u8>().add(size / 2);
        middle.write_volatile(middle.read_volatile() ^ 1);
        libc::munmap(start, size);
    }
    let after = file.metadata().unwrap();
    (before.mtime_nsec(), before.ctime_nsec(), before.ctime())
        == (after.mtime_nsec(), after.ctime_nsec(), after.ctime())
}

impl Source {
    pub fn new(root: PathBuf) -> Source {
        fs::create_dir_all(&root).unwrap();
        Source { root, files: BTreeMap::new(), contents: BTreeMap::new(), stamps: 0, names: 0 }
    }

    fn write(&mut self, path: &str, bytes: Vec<u8>) {
        let real = self.root.join(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(&real, &bytes).unwrap();
        self.stamps += 1;
        let time = UNIX_EPOCH + Duration::new(1_000_000_000 + self.stamps, 0);
        File::options().write(true).open(&real).unwrap().set_modified(time).unwrap();
        let (id, size) = (ObjectId(Sha256::digest(&bytes).into()), bytes.len() as u64);
        self.contents.insert(id, Rc::new(bytes));
        self.files.insert(path.to_owned(), Held { id, size, rotten: false, odd: Odd::No });
    }

    fn new_content(random: &mut Random) -> Vec<u8> {
        let size = match random.below(12) {
            0 => 0,
            1 => random.within(1, 40),
            2 => random.within(20_000, 60_000),
            _ => random.within(1_000, 16_000),
        };
        random.bytes(size)
    }

    /// One new file; sometimes with a content that there is already.
    pub fn add(&mut self, random: &mut Random) -> String {
        self.names += 1;
        let folder = match random.below(4) {
            0 => String::new(),
            _ => format!("folder {}/", random.below(5)),
        };
        let path = format!("{folder}file {}", self.names);
        let twin = random.percent(8).then(|| random.pick(self.contents.values())).flatten();
        let bytes = twin.map_or_else(|| Source::new_content(random), |twin| twin.to_vec());
        self.write(&path, bytes);
        path
    }

    fn any(&self, random: &mut Random) -> Option<String> {
        random.pick(self.files.keys().cloned())
    }

    /// Does something to the tree, as people do; says what.
    pub fn change(&mut self, random: &mut Random) -> String {
        match (random.below(10), self.any(random)) {
            (0..4, _) | (_, None) => format!("add {}", self.add(random)),
            (4 | 5, Some(path)) => {
                self.write(&path, Source::new_content(random));
                format!("overwrite {path}")
            }
            (6, Some(path)) if self.files[&path].odd != Odd::Moved => {
                // Same size, and somebody puts the time back: only ctime tells.
                let real = self.root.join(&path);
                let times = fs::metadata(&real).unwrap();
                let size = times.len() as usize;
                self.write(&path, random.bytes(size));
                self.files.get_mut(&path).unwrap().odd = Odd::OldTime;
                File::options()
                    .write(true)
                    .open(&real)
                    .unwrap()
                    .set_modified(times.modified().unwrap())
                    .unwrap();
                format!("overwrite {path} under its old time")
            }
            (6..9, Some(path)) => self.delete(&path),
            (_, Some(path)) => self.rename(random, &path),
        }
    }

    fn delete(&mut self, path: &str) -> String {
        if self.files.len() <= FILES_MIN {
            return "nothing".to_owned();
        }
        fs::remove_file(self.root.join(path)).unwrap();
        self.files.remove(path);
        format!("delete {path}")
    }

    /// Renames a file, or the folder that it lies in. Rotten files stay where they are: what a move does to them is the
    /// program's choice.
    fn rename(&mut self, random: &mut Random, path: &str) -> String {
        self.names += 1;
        let (from, to) = match path.split_once('/') {
            Some((folder, _)) if random.percent(50) => {
                (format!("{folder}/"), format!("renamed {}/", self.names))
            }
            _ => (path.to_owned(), format!("renamed {}", self.names)),
        };
        let moved: Vec<(String, Held)> = self
            .files
            .iter()
            .filter(|(path, _)| **path == from || from.ends_with('/') && path.starts_with(&from))
            .map(|(path, held)| (path.clone(), held.clone()))
            .collect();
        if moved.iter().any(|(_, held)| held.rotten || held.odd == Odd::OldTime) {
            return "nothing".to_owned();
        }
        fs::rename(self.root.join(&from), self.root.join(&to)).unwrap();
        for (path, held) in moved {
            self.files.remove(&path);
            self.files.insert(format!("{to}{}", &path[from.len()..]), Held { odd: Odd::Moved, ..held });
        }
        format!("rename {from} to {to}")
    }

    /// Deletes a large part of everything at once (S3).
    pub fn delete_many(&mut self, random: &mut Random) -> String {
        let paths: Vec<String> = self.files.keys().filter(|_| random.percent(50)).cloned().collect();
        paths.iter().for_each(|path| drop(self.delete(path)));
        format!("delete {} files at once", paths.len())
    }

    /// Rots a file that the catalog knows under its stamp; says which, if the filesystem allowed it.
    pub fn rot(&mut self, path: &str) -> bool {
        let held = self.files.get_mut(path).unwrap();
        if held.size == 0 {
            return false;
        }
        if turn_bits_over(&self.root.join(path)) {
            held.rotten = true;
        } else {
            let bytes = fs::read(self.root.join(path)).unwrap();
            self.write(path, bytes);
        }
        true
    }

    /// Whoever has a rotten file writes another version of it: what a catalog that never saw it whole makes of it is
    /// nobody's fault.
    pub fn rewrite_rotten(&mut self, random: &mut Random) {
        let rotten: Vec<String> =
            self.files.iter().filter(|(_, held)| held.rotten).map(|(path, _)| path.clone()).collect();
        for path in rotten {
            let bytes = random.bytes(3_000);
            self.write(&path, bytes);
        }
    }
}
