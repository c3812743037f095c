//! A file read from beginning to end, without reading its holes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use distbackup_core::model::Holes;
use rustix::buffer::spare_capacity;

use crate::content::{BUFFER_BYTES, Buffer, Content, Segment, append_segments};
use crate::platform;

/// Reads an open file once, as data and holes.
///
/// Ends where the file ends, but not far beyond the size it had when opened: a file that grows as
/// fast as it is read must not keep us for ever (S8).
#[derive(Debug)]
pub struct SparseReader {
    file: File,
    /// Size when opened.
    size: u64,
    position: u64,
    /// Up to here is data for sure.
    data_end: u64,
    ended: bool,
    holes: Holes,
    buffer: Option<Buffer>,
}

impl SparseReader {
    /// Reads `file` of `size` bytes from its beginning; looks for holes only if it `may_have_holes`.
    pub fn new(file: File, size: u64, may_have_holes: bool) -> Self {
        if size > BUFFER_BYTES as u64 {
            platform::advise_sequential(&file);
        }
        let data_end = if may_have_holes { 0 } else { size };
        SparseReader {
            file,
            size,
            position: 0,
            data_end,
            ended: false,
            holes: Holes::default(),
            buffer: None,
        }
    }

    /// How many bytes were handed out, holes included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The holes met so far, the largest ones if there are very many.
    pub fn into_holes(self) -> Holes {
        self.holes.bounded()
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Skips a hole if one begins here; tells its length.
    fn hole(&mut self) -> io::Result<Option<u64>> {
        if self.position < self.data_end || self.position >= self.size {
            return Ok(None);
        }
        let data = platform::next_data(self.file.as_fd(), self.position, self.size)?;
        let (start, end) = data.map_or((self.size, self.size), |range| (range.start, range.end));
        self.data_end = end;
        let length = start - self.position;
        if length == 0 {
            return Ok(None);
        }
        self.holes.0.push((self.position, length));
        // Keeps memory bounded for a file with more holes than anyone made on purpose.
        if self.holes.0.len() >= 2 * Holes::MAX {
            self.holes = std::mem::take(&mut self.holes).bounded();
        }
        self.position = start;
        Ok(Some(length))
    }
}

impl Content for SparseReader {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        if self.ended {
            return Ok(None);
        }
        if let Some(length) = self.hole()? {
            return Ok(Some(Segment::Zeros(length)));
        }
        // Up to the next hole; at the end of the file the whole buffer, so that growth is noticed.
        let room = match self.data_end.checked_sub(self.position) {
            Some(left) if self.data_end < self.size => {
                usize::try_from(left).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES)
            }
            _ => BUFFER_BYTES,
        };
        let buffer = self.buffer.get_or_insert_with(Buffer::borrow);
        let length = interrupted(|| self.file.read_at(&mut buffer[..room], self.position))?;
        self.position += length as u64;
        self.ended =
            length == 0 || self.position > self.size || (length < room && self.position == self.size);
        if length == 0 { Ok(None) } else { Ok(Some(Segment::Data(&buffer[..length]))) }
    }

    fn probable_bytes(&self) -> u64 {
        if self.data_end < self.size { 0 } else { self.size }
    }

    /// A file without holes comes straight into memory, where the buffer would be a way round.
    fn append_to(&mut self, bytes: &mut Vec<u8>, max: u64) -> io::Result<bool> {
        if self.position > 0 || self.data_end < self.size || self.size > max {
            return append_segments(self, bytes, max);
        }
        // Room for more than there should be, so that growth is noticed.
        bytes.reserve(self.size as usize + 1);
        while !self.ended {
            let room = bytes.capacity() - bytes.len();
            let length =
                interrupted(|| Ok(rustix::io::pread(&self.file, spare_capacity(bytes), self.position)?))?;
            self.position += length as u64;
            self.ended =
                length == 0 || self.position > self.size || (length < room && self.position == self.size);
        }
        Ok(self.position <= max)
    }
}

/// A signal that did not stop us is no error of the file; there are only so many signals.
fn interrupted(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    const INTERRUPTIONS_MAX: u32 = 1000;
    for _ in 1..INTERRUPTIONS_MAX {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
    read()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content as segments: lengths of data as positive, of holes as negative numbers; and its bytes if wanted.
    fn read(file: &File, size: u64, may_have_holes: bool) -> (Vec<i64>, Vec<u8>, Holes) {
        let mut reader = SparseReader::new(file.try_clone().unwrap(), size, may_have_holes);
        let (mut shape, mut bytes) = (Vec::new(), Vec::new());
        while let Some(segment) = reader.next_segment().unwrap() {
            match segment {
                Segment::Data(data) => {
                    shape.push(data.len() as i64);
                    bytes.extend_from_slice(data);
                }
                Segment::Zeros(length) => shape.push(-(length as i64)),
            }
        }
        (shape, bytes, reader.into_holes())
    }

    #[test]
    fn r6_holes_are_handed_out_unread_and_remembered() {
        let file = tempfile::tempfile().unwrap();
        let (mib, tib) = (1i64 << 20, 1i64 << 40);
        file.write_all_at(&[1; 4096], 2 << 20).unwrap();
        file.write_all_at(&[2; (2 << 20) + 4096], 8 << 20).unwrap();
        file.set_len(1 << 40).unwrap();
        let (shape, bytes, holes) = read(&file, 1 << 40, platform::stat_fd(&file).unwrap().may_have_holes());
        if shape.first() != Some(&(-2 * mib)) {
            eprintln!("SKIPPED: the filesystem of the temporary folder knows no holes");
            return;
        }
        let end = 10 * mib + 4096;
        let mut expected = vec![-2 * mib, 4096, -(6 * mib - 4096)];
        expected.resize(expected.len() + (2 << 20) / BUFFER_BYTES, BUFFER_BYTES as i64);
        expected.extend([4096, -(tib - end)]);
        assert_eq!(shape, expected);
        assert_eq!(bytes.len(), (2 << 20) + 8192);
        let expected = [(0, 2 * mib), (2 * mib + 4096, 6 * mib - 4096), (end, tib - end)];
        assert_eq!(holes.0, expected.map(|(offset, length)| (offset as u64, length as u64)));
    }

    #[test]
    fn a_file_without_holes_is_read_in_whole_buffers() {
        for size in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES] {
            let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8 | 1).collect();
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&content, 0).unwrap();
            for may_have_holes in [false, true] {
                let (shape, bytes, holes) = read(&file, size as u64, may_have_holes);
                assert!(bytes == content && holes.0.is_empty(), "{size}");
                assert_eq!(shape.len(), size.div_ceil(BUFFER_BYTES));
            }
        }
    }

    #[test]
    fn s8_a_file_that_grows_is_read_a_little_beyond_its_size_and_no_further() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![1; 5 << 20], 0).unwrap();
        let (_, bytes, _) = read(&file, 10, false);
        assert!(bytes.len() > 10 && bytes.len() <= 10 + BUFFER_BYTES);
        let (_, bytes, _) = read(&file, 6 << 20, true);
        assert_eq!(bytes.len(), 5 << 20, "cut off meanwhile");
    }
}
