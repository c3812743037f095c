//! One file at the destination: compared, written, checked.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use distbackup_core::model::{Holes, ObjectId, VirtualPath};

use crate::content::{Content, Segment};
use crate::hash::{Digest, HashError, SparseReader, hash_content};
use crate::platform::{self, WritingOut, path_of_bytes};

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

/// Writes a content to an empty file, with the holes that the original had, and hashes it.
pub fn write(
    content: &mut dyn Content,
    file: &mut File,
    holes: &Holes,
    each: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<ObjectId, WriteError> {
    let mut digest = Digest::new();
    let mut writer =
        HoleWriter { file, holes: &holes.0, offset: 0, length: 0, written_out: WritingOut::default() };
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
    file: &'a mut File,
    /// Holes not yet passed.
    holes: &'a [(u64, u64)],
    offset: u64,
    /// End of what was really written.
    length: u64,
    written_out: WritingOut,
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
        if self.length != self.offset {
            self.file.seek(SeekFrom::Start(self.offset))?;
        }
        self.file.write_all(data)?;
        self.offset += data.len() as u64;
        self.length = self.offset;
        self.written_out.reached(self.file, self.offset);
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        // A hole at the end exists only as the file's length.
        if self.length != self.offset { self.file.set_len(self.offset) } else { Ok(()) }
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
        let id = write(&mut InMemory::new(&content), &mut file, &holes, &mut |_| {}, &|| false).unwrap();
        let mut digest = Digest::new();
        digest.update(&Segment::Data(&content));
        assert_eq!(id, digest.finish());
        let mut back = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        io::Read::read_to_end(&mut file, &mut back).unwrap();
        assert_eq!(back, content);
    }
}
