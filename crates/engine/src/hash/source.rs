//! A source file that is being read, and whether it stood still.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use distbackup_core::model::Holes;

use super::sparse::SparseReader;
use crate::content::{Content, Segment};
use crate::platform::{self, Stat};

/// The kernel stamps changes with a clock that ticks every 1 to 10 ms (less often than it can change a file).
const TICK: Duration = Duration::from_millis(20);
/// FAT and some network filesystems stamp whole seconds, FAT even ones only.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// A regular file of a source, opened for one reading.
#[derive(Debug)]
pub struct SourceFile {
    reader: SparseReader,
    before: Stat,
    settled: bool,
}

/// How a reading went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what was read counts only if the file stood still"]
pub struct Reading {
    /// The facts when the file was opened.
    pub before: Stat,
    /// The facts of the same open file after the last byte.
    pub after: Stat,
    /// How many bytes were read, holes included.
    pub bytes: u64,
    /// Its holes.
    pub holes: Holes,
    /// Whether a change during the reading would show in the times; not so if it kept changing while being opened.
    pub settled: bool,
}

impl Reading {
    /// Whether the file stood still: device, inode, size, mtime and ctime agree, and all of it was read (S8).
    pub fn stable(&self) -> bool {
        self.settled && self.before.same_content_as(&self.after) && self.bytes == self.before.size
    }
}

impl SourceFile {
    /// Opens a file without following a link, hanging on a fifo or touching its access time.
    ///
    /// Waits if the file was changed this very moment (20 ms at most, 2 s where times are whole
    /// seconds): another change within the same tick of the clock would leave no trace in its
    /// times, and be missed for ever. A file that is changed again during the wait will not count
    /// as stable. `InvalidInput` for anything but a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::settled(|| platform::open_source(path))
    }

    /// Like [`SourceFile::open`], for `name` in the open folder `dir`.
    pub fn open_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        Self::settled(|| platform::open_source_at(dir, name))
    }

    fn settled(open: impl FnOnce() -> io::Result<(std::fs::File, Stat)>) -> io::Result<Self> {
        let (file, mut before) = open()?;
        let mut settled = true;
        if let Some(wait) = time_to_settle(&before, SystemTime::now()) {
            thread::sleep(wait);
            before = platform::stat_fd(&file)?;
            settled = time_to_settle(&before, SystemTime::now()).is_none();
        }
        let reader = SparseReader::new(file, before.size, before.may_have_holes());
        Ok(SourceFile { reader, before, settled })
    }

    /// The facts when it was opened. To be compared with what a plan was made for, before anything is evicted (N8).
    pub fn stat(&self) -> Stat {
        self.before
    }

    /// Ends the reading, wherever it is, and looks at the file again.
    pub fn finish(self) -> io::Result<Reading> {
        let after = platform::stat_fd(self.reader.file().as_fd())?;
        let bytes = self.reader.position();
        Ok(Reading {
            before: self.before,
            after,
            bytes,
            holes: self.reader.into_holes(),
            settled: self.settled,
        })
    }
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.file().as_fd()
    }
}

impl Content for SourceFile {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        self.reader.next_segment()
    }

    fn probable_bytes(&self) -> u64 {
        self.reader.probable_bytes()
    }

    fn append_to(&mut self, bytes: &mut Vec<u8>, max: u64) -> io::Result<bool> {
        self.reader.append_to(bytes, max)
    }
}

/// How long until a further change would show in the times; `None` if it would now.
///
/// A time in the future (a clock set back) cannot be waited for.
fn time_to_settle(stat: &Stat, now: SystemTime) -> Option<Duration> {
    let whole_seconds = stat.ctime_ns % 1_000_000_000 == 0 && stat.mtime_ns % 1_000_000_000 == 0;
    let tick = if whole_seconds { COARSE_TICK } else { TICK };
    let changed = UNIX_EPOCH.checked_add(Duration::from_nanos(u64::try_from(stat.ctime_ns).ok()?))?;
    let wait = changed.checked_add(tick)?.duration_since(now).ok()?;
    // A server's clock may be ahead of ours by a little; what is further ahead was not stamped now.
    (!wait.is_zero() && wait < 2 * tick).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt;

    fn read_all(source: &mut SourceFile) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(segment) = source.next_segment().unwrap() {
            match segment {
                Segment::Data(data) => bytes.extend_from_slice(data),
                Segment::Zeros(length) => bytes.resize(bytes.len() + length as usize, 0),
            }
        }
        bytes
    }

    #[test]
    fn a_file_that_stands_still_is_stable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for content in ["", "content"] {
            fs::write(&path, content).unwrap();
            let mut source = SourceFile::open(&path).unwrap();
            assert_eq!(source.stat().size, content.len() as u64);
            assert_eq!(read_all(&mut source), content.as_bytes());
            assert!(source.finish().unwrap().stable());
        }
    }

    #[test]
    fn s8_every_change_while_it_is_read_makes_it_unstable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let changes: [fn(&fs::File); 4] = [
            |file| file.write_all_at(b"C", 0).unwrap(),
            |file| file.write_all_at(b"more", 7).unwrap(),
            |file| file.set_len(3).unwrap(),
            // The mtime is put back: only the ctime tells.
            |file| {
                let modified = file.metadata().unwrap().modified().unwrap();
                file.write_all_at(b"C", 0).unwrap();
                file.set_modified(modified).unwrap();
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            fs::write(&path, "content").unwrap();
            let mut source = SourceFile::open(&path).unwrap();
            read_all(&mut source);
            change(&fs::File::options().write(true).open(&path).unwrap());
            assert!(!source.finish().unwrap().stable(), "change {number}");
        }
    }

    #[test]
    fn what_is_read_in_one_go_is_all_of_it_and_any_change_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for content in ["", "content"] {
            fs::write(&path, content).unwrap();
            let mut source = SourceFile::open(&path).unwrap();
            let mut bytes = b"before".to_vec();
            assert!(source.append_to(&mut bytes, 7).unwrap());
            assert_eq!(bytes, format!("before{content}").as_bytes());
            assert!(source.finish().unwrap().stable());
        }
        // Longer than wanted from the beginning, or by the time it is read.
        let mut source = SourceFile::open(&path).unwrap();
        assert!(!source.append_to(&mut Vec::new(), 6).unwrap());
        for room in [0, 1000] {
            fs::write(&path, "content").unwrap();
            let mut source = SourceFile::open(&path).unwrap();
            fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[7; 100]).unwrap();
            // With the room for it all of it is read, without that the first byte too many.
            assert_eq!(source.append_to(&mut Vec::with_capacity(room), 20).unwrap(), room == 0);
            assert!(!source.finish().unwrap().stable());
        }
        fs::write(&path, "content").unwrap();
        let mut source = SourceFile::open(&path).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(source.append_to(&mut Vec::new(), 20).unwrap());
        assert!(!source.finish().unwrap().stable());
    }

    #[test]
    fn a_reading_that_was_not_finished_is_not_stable() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "content").unwrap();
        let source = SourceFile::open(&dir.path().join("a")).unwrap();
        assert!(!source.finish().unwrap().stable());
    }

    #[test]
    fn a_file_replaced_by_another_is_read_as_it_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        let folder = platform::open_folder(dir.path()).unwrap();
        let mut source = SourceFile::open_at(folder.as_fd(), b"a").unwrap();
        fs::write(dir.path().join("b"), "new!").unwrap();
        fs::rename(dir.path().join("b"), dir.path().join("a")).unwrap();
        assert_eq!(read_all(&mut source), b"old");
        // Its last name went: the ctime says so, and it is read again under what stands there now.
        assert!(!source.finish().unwrap().stable());
    }

    #[test]
    fn a_change_of_this_very_moment_is_waited_for_but_never_long() {
        let stat = platform::stat_path(std::path::Path::new("/")).unwrap();
        let at = |ns: i64| Stat { mtime_ns: ns, ctime_ns: ns, ..stat };
        let now_ns = 1_700_000_000_123_456_789;
        let now = UNIX_EPOCH + Duration::from_nanos(now_ns as u64);
        let wait = |ns: i64| time_to_settle(&at(ns), now);
        assert_eq!(wait(now_ns), Some(TICK));
        assert_eq!(wait(now_ns - 5_000_000), Some(Duration::from_millis(15)));
        assert_eq!(wait(now_ns - 20_000_000), None);
        assert_eq!(wait(now_ns + 1_000_000), Some(TICK + Duration::from_millis(1)), "a clock ahead of ours");
        assert_eq!(wait(now_ns + 3_600_000_000_000), None, "S11: a clock set back is not waited for");
        assert_eq!(wait(-1), None, "S11: before 1970");
        assert!(wait(1_700_000_000_000_000_000).unwrap() < COARSE_TICK, "whole seconds");
        assert_eq!(wait(1_699_999_998_000_000_000), None);
    }
}
