//! A record of every byte and every time below some folders, to prove that nothing was written there.
//!
//! Access times are apart: the system renews those of what is read, and only sources are promised to keep theirs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use distbackup_testkit::tree;

/// What was there at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Frozen(BTreeMap<PathBuf, String>);

impl Frozen {
    /// Records everything below `folders`, themselves included; one that is missing is recorded as that.
    pub fn of(folders: &[&Path]) -> Frozen {
        let mut record = BTreeMap::new();
        for folder in folders {
            look(folder, &mut record);
        }
        Frozen(record)
    }

    /// Expects that all is as it was.
    #[track_caller]
    pub fn is_untouched(&self, folders: &[&Path], by: impl std::fmt::Display) {
        let now = Frozen::of(folders);
        for path in self.0.keys().chain(now.0.keys()) {
            let (before, after) = (self.0.get(path), now.0.get(path));
            assert_eq!(before, after, "{} was touched by: {by}", path.display());
        }
    }
}

/// Access time of files nobody may be seen to have read.
const LONG_AGO: Duration = Duration::from_secs(1_000_000_000);

/// Gives files below `folder` an old access time, so that any reading that leaves a trace is seen: a system
/// that renews access times only now and then always renews one that is older than the last change.
pub fn age_access_times(folder: &Path) {
    for path in tree::paths(folder).unwrap().into_iter().filter(|path| path.is_file()) {
        let times = fs::FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH + LONG_AGO);
        fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    }
}

/// Expects that no reading left a trace in the access times below `folder` since they were aged.
#[track_caller]
pub fn nobody_was_seen_reading(folder: &Path, by: impl std::fmt::Display) {
    for path in tree::paths(folder).unwrap().into_iter().filter(|path| path.is_file()) {
        let accessed = fs::metadata(&path).unwrap().accessed().unwrap();
        assert_eq!(accessed, SystemTime::UNIX_EPOCH + LONG_AGO, "{} was read by: {by}", path.display());
    }
}

fn look(path: &Path, record: &mut BTreeMap<PathBuf, String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        record.insert(path.to_owned(), "missing".into());
        return;
    };
    let times = [(metadata.mtime(), metadata.mtime_nsec()), (metadata.ctime(), metadata.ctime_nsec())];
    let (mode, owner, inode) = (metadata.mode(), (metadata.uid(), metadata.gid()), metadata.ino());
    let mut content = Vec::new();
    if metadata.is_file() {
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_NOATIME);
        options.open(path).unwrap().read_to_end(&mut content).unwrap();
    } else if metadata.is_symlink() {
        content = fs::read_link(path).unwrap().into_os_string().into_encoded_bytes();
    } else if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            look(&entry.unwrap().path(), record);
        }
    }
    // A sum of 64 bits (FNV) instead of the bytes: a failing test shows it.
    let sum = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let text = format!("{mode:o} {owner:?} inode {inode} {times:?} {} bytes, sum {sum:x}", content.len());
    record.insert(path.to_owned(), text);
}
