//! Reading a file of the disk: in order, its holes as runs of zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::content::{BUFFER_BYTES, Buffer, Content, Segment};

/// An open regular file as a content.
#[derive(Debug)]
pub(super) struct FileContent {
    file: File,
    buffer: Option<Buffer>,
    position: u64,
    /// Up to here there is data; beyond, the filesystem has to be asked.
    data_end: u64,
    size: u64,
}

impl FileContent {
    /// Reads `file` from its beginning to the size that it has now.
    pub fn new(file: File) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&file)?;
        let (size, allocated) = (u64::try_from(stat.st_size).unwrap_or(0), stat.st_blocks as u64 * 512);
        // Where all blocks are there, there is no hole to be looked for.
        let data_end = if allocated >= size { size } else { 0 };
        Ok(FileContent { file, buffer: None, position: 0, data_end, size })
    }

    /// Where the data that follows `position` begins, after a hole or at once, and where it ends.
    fn next_data(&self) -> io::Result<(u64, u64)> {
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(self.position)) {
            Ok(start) => start,
            // Nothing but a hole is left; or the file was cut off, and a hole would be invented.
            Err(Errno::NXIO) => {
                let end = self.size.min(self.file.metadata()?.len()).max(self.position);
                return Ok((end, end));
            }
            // A filesystem that cannot tell: all is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok((self.position, self.size)),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start))?;
        Ok((start.min(self.size), end.min(self.size)))
    }
}

impl Content for FileContent {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        if self.position >= self.size {
            return Ok(None);
        }
        if self.position >= self.data_end {
            let (start, end) = self.next_data()?;
            self.data_end = end.max(start);
            if start > self.position {
                let hole = start - self.position;
                self.position = start;
                return Ok(Some(Segment::Zeros(hole)));
            }
        }
        let rest = usize::try_from(self.data_end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = rest.min(BUFFER_BYTES);
        let buffer = self.buffer.get_or_insert_with(Buffer::borrow);
        let read = loop {
            match self.file.read_at(&mut buffer[..wanted], self.position) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if read == 0 {
            // Cut off since it was opened. What is there is what there is: its hash will tell.
            self.size = self.position;
            return Ok(None);
        }
        self.position += read as u64;
        Ok(Some(Segment::Data(&buffer[..read])))
    }

    fn probable_bytes(&self) -> u64 {
        if self.data_end < self.size { 0 } else { self.size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_not_read_and_nothing_is_lost_between_them() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"begin", 3 << 20).unwrap();
        file.write_all_at(&[7; 5000], (9 << 20) + 17).unwrap();
        file.set_len(20 << 20).unwrap();
        let mut expected = vec![0; 20 << 20];
        file.read_exact_at(&mut expected, 0).unwrap();

        let mut content = FileContent::new(file).unwrap();
        let (mut whole, mut zeros) = (Vec::new(), 0);
        while let Some(segment) = content.next_segment().unwrap() {
            match segment {
                Segment::Data(bytes) => whole.extend_from_slice(bytes),
                Segment::Zeros(run) => {
                    zeros += run;
                    whole.resize(whole.len() + run as usize, 0);
                }
            }
        }
        assert!(whole == expected);
        if zeros == 0 {
            eprintln!("SKIPPED: the temporary folder's filesystem knows no holes");
        }
    }

    #[test]
    fn a_file_cut_off_while_it_is_read_ends_early() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        let mut content = FileContent::new(file.try_clone().unwrap()).unwrap();
        file.set_len(40).unwrap();
        assert!(matches!(content.next_segment().unwrap(), Some(Segment::Data(bytes)) if bytes.len() == 40));
        assert!(content.next_segment().unwrap().is_none());
    }
}
