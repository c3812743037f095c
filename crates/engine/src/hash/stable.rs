//! A file hashed as often as it takes until it stands still, but not for ever (S8).

use std::io;

use distbackup_core::model::{Bytes, Holes, ObjectId};

use super::content::hash_content;
use super::source::SourceFile;
use crate::platform::Stat;

/// How often a file that changes is read before it is given up for this run.
pub const ATTEMPTS: u32 = 3;

/// A content as it was when the file stood still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Its name.
    pub id: ObjectId,
    /// The facts that held before and after the reading.
    pub stat: Stat,
    /// Its holes.
    pub holes: Holes,
    /// Its size.
    pub size: Bytes,
}

/// Why there is no hash.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It changed during every reading.
    #[error("it changed while it was read")]
    Unstable,
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
    /// It could not be opened or read; `NotFound` if it vanished (S9).
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads and hashes what `open` opens; again if it changed meanwhile, `attempts` times at most.
///
/// `each` hears of every segment's bytes, those of repeated readings too; `stop` is asked before
/// each segment. An error of the system is not tried again: a failing disk is not to be worn out.
pub fn read_stable(
    mut open: impl FnMut() -> io::Result<SourceFile>,
    attempts: u32,
    each: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<Hashed, HashError> {
    for _ in 0..attempts.max(1) {
        let mut source = open()?;
        let (id, _) = hash_content(&mut source, each, stop)?;
        let reading = source.finish()?;
        if reading.stable() {
            let size = Bytes(reading.bytes);
            return Ok(Hashed { id, stat: reading.before, holes: reading.holes, size });
        }
    }
    Err(HashError::Unstable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::FileExt;

    const NEVER: &dyn Fn() -> bool = &|| false;

    #[test]
    fn a_quiet_file_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "abc").unwrap();
        let (mut opened, mut bytes) = (0, 0);
        let open = || {
            opened += 1;
            SourceFile::open(&path)
        };
        let hashed = read_stable(open, ATTEMPTS, &mut |n| bytes += n, NEVER).unwrap();
        assert_eq!(hashed.id.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((opened, bytes, hashed.size), (1, 3, Bytes(3)));
        assert_eq!(hashed.stat, crate::platform::stat_path(&path).unwrap());
    }

    #[test]
    fn s8_a_file_that_changes_once_is_read_again_and_its_new_content_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "old").unwrap();
        let changed = Cell::new(false);
        let mut each = |_| {
            if !changed.replace(true) {
                fs::write(&path, "abc").unwrap();
            }
        };
        let hashed = read_stable(|| SourceFile::open(&path), ATTEMPTS, &mut each, NEVER).unwrap();
        assert!(hashed.id.hex().starts_with("ba7816bf"));
    }

    #[test]
    fn s8_a_file_that_never_stands_still_is_given_up_after_three_readings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, vec![1; 2 << 20]).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let changes = Cell::new(0u64);
        let mut opened = 0;
        let open = || {
            opened += 1;
            SourceFile::open(&path)
        };
        // Every reading finds the file changed in its middle: no race decides this test.
        let mut each = |_| {
            changes.set(changes.get() + 1);
            file.write_all_at(&changes.get().to_le_bytes(), 0).unwrap();
        };
        let result = read_stable(open, ATTEMPTS, &mut each, NEVER);
        assert!(matches!(result, Err(HashError::Unstable)), "{result:?}");
        assert_eq!(opened, ATTEMPTS);
    }

    #[test]
    fn a_stop_is_heard_within_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, vec![1; 4 << 20]).unwrap();
        let read = Cell::new(0);
        let result =
            read_stable(|| SourceFile::open(&path), ATTEMPTS, &mut |n| read.set(read.get() + n), &|| {
                read.get() > 0
            });
        assert!(matches!(result, Err(HashError::Stopped)));
        assert!(read.get() < 4 << 20);
    }

    #[test]
    fn s9_a_file_that_vanished_is_an_error_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let result = read_stable(|| SourceFile::open(&dir.path().join("gone")), ATTEMPTS, &mut |_| {}, NEVER);
        assert!(matches!(result, Err(HashError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn a_sparse_file_and_its_filled_copy_are_the_same_object() {
        let dir = tempfile::tempdir().unwrap();
        let (sparse, filled) = (dir.path().join("sparse"), dir.path().join("filled"));
        let file = fs::File::create(&sparse).unwrap();
        file.write_all_at(b"middle", 3 << 20).unwrap();
        file.set_len(5 << 20).unwrap();
        fs::write(&filled, fs::read(&sparse).unwrap()).unwrap();
        let hash = |path: &std::path::Path| {
            read_stable(|| SourceFile::open(path), ATTEMPTS, &mut |_| {}, NEVER).unwrap()
        };
        let (sparse, filled) = (hash(&sparse), hash(&filled));
        assert_eq!(sparse.id, filled.id);
        assert!(filled.holes.0.is_empty());
        if sparse.holes.0.is_empty() {
            eprintln!("SKIPPED: the filesystem of the temporary folder knows no holes");
        }
    }
}
