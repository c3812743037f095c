//! Reading at the scan: the small files of a first update are read where they are found.
//!
//! A file that is open already costs little to read; to record it as pending, find it again in the catalog, open it by its
//! path and record it once more costs more than its content. Only while the tree is empty: later a new name may be a file
//! that has moved, which is found by its inode without being read (DESIGN 7.6). A scan is one transaction, so what it has
//! read is read again if it is killed; therefore it reads for a while only, and leaves the rest pending.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use distbackup_core::model::{Bytes, Metadata};

use crate::catalog::partner_of;
use crate::hash::{Hashed, SourceFile, hash_content};
use crate::metadata;
use crate::platform::{Accounts, Stat};
use crate::scan::Folder;

/// Larger files gain nothing by it.
const BYTES_MAX: u64 = 1 << 20;
/// What a killed scan may have read in vain.
const LASTS: Duration = Duration::from_secs(20);

/// The time in which a scan reads.
#[derive(Debug)]
pub struct FirstReading {
    until: Instant,
}

impl FirstReading {
    /// Begins now.
    pub fn begin() -> Self {
        FirstReading { until: Instant::now() + LASTS }
    }

    /// Reads a file that was just looked at. `None`: not now, not this one, or not as it was; then it is pending, and
    /// whatever is the matter with it is found out and reported when its turn comes.
    pub fn read(
        &self,
        folder: &Folder,
        name: &[u8],
        seen: &Stat,
        accounts: &Accounts,
    ) -> Option<(Hashed, Metadata)> {
        let small = (1..=BYTES_MAX).contains(&seen.size);
        // Hard links are read once for all their names, sidecars are read for what they say.
        if !small || seen.nlink != 1 || partner_of(name).is_some() || Instant::now() >= self.until {
            return None;
        }
        let mut source = SourceFile::open_at(folder.as_fd(), name).ok()?;
        let metadata = metadata::capture_open(source.as_fd(), &source.stat(), accounts).ok()?;
        let (id, _) = hash_content(&mut source, &mut |_| {}, &|| false).ok()?;
        let reading = source.finish().ok()?;
        // The same ctime before and after: the attributes that were read between are those of this content.
        (reading.stable() && reading.before.same_content_as(seen)).then(|| {
            let size = Bytes(reading.bytes);
            (Hashed { id, stat: reading.before, holes: reading.holes, size }, metadata)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read(reading: &FirstReading, folder: &std::path::Path, name: &str) -> Option<(Hashed, Metadata)> {
        let folder = Folder::open(folder).unwrap();
        let seen = folder.stat(name.as_bytes()).unwrap();
        reading.read(&folder, name.as_bytes(), &seen, &Accounts::new())
    }

    #[test]
    fn a_small_file_that_stands_still_is_read_with_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "abc").unwrap();
        let (hashed, metadata) = read(&FirstReading::begin(), dir.path(), "a").unwrap();
        assert_eq!(hashed.id.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let folder = Folder::open(dir.path()).unwrap();
        let accounts = Accounts::new();
        let stat = folder.stat(b"a").unwrap();
        assert_eq!(metadata, metadata::capture(folder.as_fd(), b"a", &stat, &accounts).unwrap());
    }

    #[test]
    fn what_needs_more_than_a_look_is_left_for_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| fs::write(dir.path().join(name), vec![7; bytes]).unwrap();
        write("empty", 0);
        write("large", BYTES_MAX as usize + 1);
        write("film.mov.meta-inf", 10);
        write("linked", 10);
        fs::hard_link(dir.path().join("linked"), dir.path().join("other")).unwrap();
        for name in ["empty", "large", "film.mov.meta-inf", "linked", "other"] {
            assert!(read(&FirstReading::begin(), dir.path(), name).is_none(), "{name}");
        }
        write("late", 10);
        assert!(read(&FirstReading { until: Instant::now() }, dir.path(), "late").is_none());
    }

    #[test]
    fn s8_a_file_that_is_another_than_the_one_looked_at_is_left_for_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let seen = folder.stat(b"a").unwrap();
        fs::write(dir.path().join("b"), "new").unwrap();
        fs::rename(dir.path().join("b"), dir.path().join("a")).unwrap();
        assert!(FirstReading::begin().read(&folder, b"a", &seen, &Accounts::new()).is_none());
    }
}
