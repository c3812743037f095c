//! Hashing: a file is read once, with its holes, and taken only if it stayed the same meanwhile (S8).

mod digest;
mod sparse;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use distbackup_core::model::{Holes, ObjectId};

use crate::content::{Content, Segment};
use crate::platform::{self, Stat};
pub use digest::Digest;
pub use sparse::SparseReader;

/// A source file that is open for reading once.
#[derive(Debug)]
pub struct SourceFile {
    reader: SparseReader,
    before: Stat,
}

/// What was found when a file had been read to its end.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Before the first byte.
    pub before: Stat,
    /// After the last byte.
    pub after: Stat,
    /// Bytes read, holes included.
    pub bytes: u64,
    /// Its holes.
    pub holes: Holes,
}

impl Reading {
    /// Whether the file was the same before and after, and as long as it said.
    pub fn stable(&self) -> bool {
        self.before.same_content_as(&self.after) && self.bytes == self.after.size
    }
}

impl SourceFile {
    /// Opens a regular file without following a symlink, without waiting for a fifo, and without
    /// touching its access time where the system allows that.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, before) = platform::open_source(path)?;
        Ok(SourceFile { reader: SparseReader::with_stat(file, &before), before })
    }

    /// What it was when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.before
    }

    /// Looks at the file again, after it was read.
    pub fn finish(self) -> io::Result<Reading> {
        let after = platform::stat_fd(self.as_fd())?;
        let (bytes, holes) = self.reader.finish();
        Ok(Reading { before: self.before, after, bytes, holes })
    }
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Content for SourceFile {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        self.reader.next_segment()
    }
}

/// Why a file was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It changed every time it was read.
    #[error("it changes while it is read")]
    Unstable,
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
    /// It could not be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
}

/// A file's content, as it was in one stable reading.
#[derive(Debug, Clone)]
pub struct Hashed {
    /// SHA-256.
    pub id: ObjectId,
    /// What the file was.
    pub stat: Stat,
    /// Its holes.
    pub holes: Holes,
    /// Its bytes.
    pub size: u64,
}

/// Hashes a content; calls `each` with the bytes of every segment. Returns its identity and size.
pub fn hash_content(
    content: &mut dyn Content,
    each: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<(ObjectId, u64), HashError> {
    let mut digest = Digest::new();
    let mut size = 0;
    while let Some(segment) = content.next_segment()? {
        if stop() {
            return Err(HashError::Stopped);
        }
        let bytes = segment.length();
        digest.update(&segment);
        size += bytes;
        each(bytes);
    }
    Ok((digest.finish(), size))
}

/// Hashes a file that may change: read again at most `attempts` times until it stayed the same (S8).
pub fn read_stable(
    mut open: impl FnMut() -> io::Result<SourceFile>,
    attempts: u32,
    each: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<Hashed, HashError> {
    for _ in 0..attempts {
        let mut source = open()?;
        let (id, size) = hash_content(&mut source, each, stop)?;
        let reading = source.finish()?;
        if reading.stable() {
            return Ok(Hashed { id, stat: reading.after, holes: reading.holes, size });
        }
    }
    Err(HashError::Unstable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    fn never() -> bool {
        false
    }

    #[test]
    fn known_contents_have_their_known_names() {
        let hash = |bytes: &[u8]| {
            let mut content = crate::content::InMemory::new(bytes);
            hash_content(&mut content, &mut |_| {}, &never).unwrap().0.hex()
        };
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hash(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_hole_hashes_like_the_zeros_it_reads_as() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let mut file = File::create(&path).unwrap();
        file.set_len(5 << 20).unwrap();
        file.write_all(b"begin").unwrap();
        let hashed = read_stable(|| SourceFile::open(&path), 1, &mut |_| {}, &never).unwrap();
        let mut real = vec![0u8; 5 << 20];
        real[..5].copy_from_slice(b"begin");
        let mut content = crate::content::InMemory::new(&real);
        assert_eq!(hashed.id, hash_content(&mut content, &mut |_| {}, &never).unwrap().0);
        assert_eq!(hashed.size, 5 << 20);
        assert!(hashed.holes.0.iter().map(|hole| hole.1).sum::<u64>() > 4 << 20, "{:?}", hashed.holes);
    }

    #[test]
    fn s8_a_file_that_never_stops_changing_is_left_after_three_readings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("busy");
        std::fs::write(&path, b"0").unwrap();
        let mut readings = 0;
        let outcome = read_stable(
            || {
                readings += 1;
                let source = SourceFile::open(&path);
                let mut file = File::options().append(true).open(&path)?;
                file.write_all(b"more")?;
                source
            },
            3,
            &mut |_| {},
            &never,
        );
        assert!(matches!(outcome, Err(HashError::Unstable)));
        assert_eq!(readings, 3);
    }
}
