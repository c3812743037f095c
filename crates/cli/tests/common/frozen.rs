//! A record of every byte and every time below some folders, to prove that nothing was written there.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Gives files below `folder` an old access time, so that any reading that leaves a trace is seen: a system
/// that renews access times only now and then always renews one that is older than the last change.
pub fn age_access_times(folder: &Path) {
    for path in distbackup_testkit::tree::paths(folder).unwrap() {
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        if path.is_file() {
            let times = fs::FileTimes::new().set_accessed(long_ago);
            fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        }
    }
}

fn look(path: &Path, record: &mut BTreeMap<PathBuf, String>) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        record.insert(path.to_owned(), "missing".into());
        return;
    };
    let times = [
        (metadata.mtime(), metadata.mtime_nsec()),
        (metadata.ctime(), metadata.ctime_nsec()),
        // Listing a folder renews its access time, also this one.
        if metadata.is_file() { (metadata.atime(), metadata.atime_nsec()) } else { (0, 0) },
    ];
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
