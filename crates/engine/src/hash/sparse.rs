//! Reading a file with its holes: what is a hole is told, not read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use distbackup_core::model::Holes;

use crate::content::{BUFFER_BYTES, Content, Segment};
use crate::platform::{self, Stat};

/// A hole is told in parts of this size, so that whoever watches can stop in between.
const HOLE_PART: u64 = 64 << 20;

/// Reads a file once from its beginning.
#[derive(Debug)]
pub struct SparseReader {
    file: File,
    /// Where the next segment begins.
    offset: u64,
    /// Size when it was opened; a file that grows is found out by its stat afterwards.
    size: u64,
    /// Only files with fewer blocks than bytes are asked where their holes are.
    sparse: bool,
    /// The stretch of data in or before which the reader is.
    data: Option<Range<u64>>,
    buffer: Vec<u8>,
    holes: Vec<(u64, u64)>,
}

impl SparseReader {
    /// Reads a file.
    pub fn new(file: File) -> io::Result<Self> {
        let stat = platform::stat_fd(&file)?;
        Ok(Self::with_stat(file, &stat))
    }

    /// Reads a file that was looked at already.
    pub fn with_stat(file: File, stat: &Stat) -> Self {
        let wanted = usize::try_from(stat.size).unwrap_or(BUFFER_BYTES).saturating_add(1);
        SparseReader {
            file,
            offset: 0,
            size: stat.size,
            sparse: stat.may_have_holes(),
            data: None,
            buffer: vec![0; wanted.min(BUFFER_BYTES)],
            holes: Vec::new(),
        }
    }

    /// Bytes read, holes included, and the holes.
    pub fn finish(self) -> (u64, Holes) {
        (self.offset, Holes(self.holes).bounded())
    }

    /// Length of the hole that begins here, if one does.
    fn hole(&mut self) -> io::Result<u64> {
        if !self.sparse || self.offset >= self.size {
            return Ok(0);
        }
        if self.data.as_ref().is_none_or(|data| data.end <= self.offset) {
            self.data = platform::next_data(self.file.as_fd(), self.offset, self.size)?;
        }
        let begin = self.data.as_ref().map_or(self.size, |data| data.start);
        Ok(begin.saturating_sub(self.offset))
    }

    fn note_hole(&mut self, length: u64) {
        match self.holes.last_mut() {
            Some((start, before)) if *start + *before == self.offset => *before += length,
            // Bounded while it grows as well: the largest ones are kept.
            _ => {
                self.holes.push((self.offset, length));
                if self.holes.len() > 2 * Holes::MAX {
                    self.holes = Holes(std::mem::take(&mut self.holes)).bounded().0;
                }
            }
        }
    }
}

impl AsFd for SparseReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Content for SparseReader {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        let hole = self.hole()?.min(HOLE_PART);
        if hole > 0 {
            self.note_hole(hole);
            self.offset += hole;
            return Ok(Some(Segment::Zeros(hole)));
        }
        let mut limit = self.buffer.len();
        if self.sparse {
            let end = self.data.as_ref().map_or(self.size, |data| data.end);
            limit = limit.min(usize::try_from(end.saturating_sub(self.offset)).unwrap_or(limit)).max(1);
            self.file.seek(SeekFrom::Start(self.offset))?;
        }
        let mut filled = 0;
        while filled < limit {
            match self.file.read(&mut self.buffer[filled..limit]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += filled as u64;
        Ok((filled > 0).then(|| Segment::Data(&self.buffer[..filled])))
    }
}
