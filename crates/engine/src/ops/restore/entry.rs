//! One file at the destination: compared, written, checked.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use distbackup_core::model::{Holes, ObjectId, VirtualPath};

use crate::content::{Content, LARGE_BYTES, Segment};
use crate::hash::{Digest, HashError, SparseReader, hash_content};
use crate::platform::{self, Growing, path_of_bytes};

/// The real path of a virtual one below a destination; for looking only.
pub fn below(destination: &Path, path: &VirtualPath) -> PathBuf {
    path.components().fold(destination.to_owned(), |real, name| real.join(path_of_bytes(name)))
}

/// Whether a file's content is this object (R4).
pub fn is_equal(file: File, id: &ObjectId, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let stat = platform::stat_fd(&file)?;
    let mut reader = SparseReader::new(file, stat.size, stat.may_have_holes());
    match hash_content(&mut reader, &mut |_| {}, stop) {
        Ok((found, _)) => Ok(found == *id),
        Err(HashError::Io(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Why a content did not get to its file.
#[derive(Debug)]
pub enum WriteError {
    /// It could not be read from the disk.
    Read(io::Error),
    /// It could not be written at the destination.
    Write(io::Error),
    /// The user asked to stop.
    Stopped,
}

/// Writes a content to an empty file, with the holes that the original had, and hashes it. A large one without holes goes
/// `straight` to its medium, past the memory of the system, if that is wanted.
pub fn write(
    content: &mut dyn Content,
    file: &File,
    straight: bool,
    holes: &Holes,
    each: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<ObjectId, WriteError> {
    let mut digest = Digest::new();
    let probable = content.probable_bytes();
    let growing = match straight && holes.0.is_empty() && probable >= LARGE_BYTES {
        true => Growing::straight(file, probable),
        false => Growing::new(file),
    };
    let mut writer = HoleWriter { file, growing, holes: &holes.0, offset: 0, length: 0 };
    while let Some(segment) = content.next_segment().map_err(WriteError::Read)? {
        if stop() {
            return Err(WriteError::Stopped);
        }
        digest.update(&segment);
        match &segment {
            Segment::Data(data) => {
                writer.data(data).map_err(WriteError::Write)?;
                each(data.len() as u64);
            }
            Segment::Zeros(length) => {
                writer.zeros(*length).map_err(WriteError::Write)?;
                each(*length);
            }
        }
    }
    writer.finish().map_err(WriteError::Write)?;
    Ok(digest.finish())
}

/// Writes forward and leaves out what the original had as holes.
struct HoleWriter<'a> {
    file: &'a File,
    growing: Growing<'a>,
    /// Holes not yet passed.
    holes: &'a [(u64, u64)],
    offset: u64,
    /// End of what was really written.
    length: u64,
}

impl HoleWriter<'_> {
    /// Bytes from here that are alike: all in a hole, or all outside of one.
    fn stretch(&mut self) -> (bool, u64) {
        while let Some(&(start, length)) = self.holes.first() {
            let end = start.saturating_add(length);
            if end <= self.offset {
                self.holes = &self.holes[1..];
            } else if start <= self.offset {
                return (true, end - self.offset);
            } else {
                return (false, start - self.offset);
            }
        }
        (false, u64::MAX)
    }

    fn data(&mut self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let (hole, length) = self.stretch();
            let (now, rest) = data.split_at(usize::try_from(length).unwrap_or(usize::MAX).min(data.len()));
            // A hole that turns out to hold data is written: the hash decides, not the map.
            if hole && now.iter().all(|&byte| byte == 0) {
                self.offset += now.len() as u64;
            } else {
                self.put(now)?;
            }
            data = rest;
        }
        Ok(())
    }

    fn zeros(&mut self, mut length: u64) -> io::Result<()> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        while length > 0 {
            let (hole, stretch) = self.stretch();
            let mut now = stretch.min(length);
            if hole {
                self.offset += now;
            } else {
                now = now.min(ZEROS.len() as u64);
                self.put(&ZEROS[..now as usize])?;
            }
            length -= now;
        }
        Ok(())
    }

    fn put(&mut self, data: &[u8]) -> io::Result<()> {
        self.growing.write(data, self.offset)?;
        self.offset += data.len() as u64;
        self.length = self.offset;
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        // A hole at the end exists only as the file's length.
        if self.length != self.offset {
            self.file.set_len(self.offset)?;
        }
        self.growing.finish(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::InMemory;

    #[test]
    fn r6_holes_come_back_where_they_were_and_nowhere_else() {
        let mut content = vec![0u8; 300_000];
        content[100_000..100_010].fill(7);
        let mut file = tempfile::tempfile().unwrap();
        let holes = Holes(vec![(0, 65_536), (131_072, 168_928)]);
        let id = write(&mut InMemory::new(&content), &file, true, &holes, &mut |_| {}, &|| false).unwrap();
        let mut digest = Digest::new();
        digest.update(&Segment::Data(&content));
        assert_eq!(id, digest.finish());
        let mut back = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        io::Read::read_to_end(&mut file, &mut back).unwrap();
        assert_eq!(back, content);
    }

    /// A content of which it is known how large it is, in parts.
    struct Large<'a>(std::vec::IntoIter<&'a [u8]>, u64);

    impl Content for Large<'_> {
        fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
            Ok(self.0.next().map(Segment::Data))
        }

        fn probable_bytes(&self) -> u64 {
            self.1
        }
    }

    #[test]
    fn r1_a_large_file_comes_whole_also_from_the_second_disk_when_the_first_one_gave_out_half_way() {
        let content: Vec<u8> = (0..LARGE_BYTES as u32 + 77).map(|n| (n % 253) as u8).collect();
        let half = &content[..LARGE_BYTES as usize / 2];
        let mut digest = Digest::new();
        digest.update(&Segment::Data(&content));
        let expected = digest.finish();
        let mut file = tempfile::tempfile().unwrap();
        let try_with = |parts: Vec<&[u8]>, bytes| {
            file.set_len(0).unwrap();
            let mut large = Large(parts.into_iter(), bytes);
            write(&mut large, &file, true, &Holes::default(), &mut |_| {}, &|| false).unwrap()
        };
        let bytes = content.len() as u64;
        assert_ne!(try_with(vec![half], bytes), expected);
        assert_eq!(try_with(vec![&content[..1001], &content[1001..]], 0), expected);
        let mut back = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        io::Read::read_to_end(&mut file, &mut back).unwrap();
        assert!(back == content);
    }
}
