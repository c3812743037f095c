//! Large files written straight to their medium, past the memory of the system (`open(2)`, `O_DIRECT`).
//!
//! What goes through memory is copied there, waits there, and pushes out what others have there. None of that is of use for a
//! film that nobody is going to read soon. Whoever writes straight waits for the medium, so several files should be on their
//! way at a time.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use super::durable::WritingOut;
use super::system;

/// What is written straight has to begin at a multiple of this, in the file and in memory, and be as long: what the largest
/// blocks of common drives are, and the pages of memory.
const DIRECT_ALIGNMENT: usize = 4096;

/// A file that is written from its beginning to its end.
#[derive(Debug)]
pub struct Growing<'f> {
    file: &'f File,
    straight: bool,
    /// Room that was set aside for it, in bytes from its beginning.
    set_aside: u64,
    written_out: WritingOut,
}

impl<'f> Growing<'f> {
    /// Begins a file that is empty yet, through memory.
    pub fn new(file: &'f File) -> Self {
        Growing { file, straight: false, set_aside: 0, written_out: WritingOut::default() }
    }

    /// Begins a file that is empty yet and will probably have so many bytes, past the memory of the system if that can be.
    /// Room for all of it is set aside: what comes in parts, beside other files, would lie in parts.
    pub fn straight(file: &'f File, bytes: u64) -> Self {
        let straight = system::write_straight(file.as_fd(), true).is_ok();
        // Where there is no room the writing will tell.
        let set_aside =
            if straight && system::set_room_aside(file.as_fd(), bytes).is_ok() { bytes } else { 0 };
        Growing { file, straight, set_aside, written_out: WritingOut::default() }
    }

    /// Writes what follows; what is skipped becomes a hole. The first part that cannot go straight, which most often is the
    /// last one, goes through memory, and so does all after it.
    pub fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.straight && is_aligned(bytes, at) {
            match self.file.write_all_at(bytes, at) {
                // A drive with blocks larger than that, or a filesystem that changed its mind.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                result => return result,
            }
        }
        if self.straight {
            system::write_straight(self.file.as_fd(), false)?;
            self.straight = false;
            self.written_out = WritingOut::from(at);
        }
        self.file.write_all_at(bytes, at)?;
        self.written_out.reached(self.file, at.saturating_add(bytes.len() as u64));
        Ok(())
    }

    /// Ends the file, which has so many bytes now. Room that it did not need is given back.
    pub fn finish(self, bytes: u64) -> io::Result<()> {
        if bytes < self.set_aside { self.file.set_len(bytes) } else { Ok(()) }
    }
}

impl Drop for Growing<'_> {
    /// Whoever writes to the file afterwards may write anything anywhere.
    fn drop(&mut self) {
        if self.straight {
            let _then_odd_parts_are_refused = system::write_straight(self.file.as_fd(), false);
        }
    }
}

fn is_aligned(bytes: &[u8], at: u64) -> bool {
    let multiple = |number: usize| number.is_multiple_of(DIRECT_ALIGNMENT);
    multiple(bytes.as_ptr().addr()) && multiple(bytes.len()) && at.is_multiple_of(DIRECT_ALIGNMENT as u64)
}

/// Whether the filesystem of an open file is one where it pays to write straight: ext2 to 4 and XFS. Btrfs was no faster, and
/// laid files down in small parts.
pub fn can_write_straight(file: impl AsFd) -> bool {
    const EXT: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    system::filesystem_magic(file.as_fd()).is_ok_and(|magic| [EXT, XFS].contains(&magic))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_parts_are_the_file_is_what_was_written() {
        // Begins where a page does, so that some parts can go straight.
        let memory: Vec<u8> = (0..80_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let from = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        let content = &memory[from..][..70_000];
        for parts in [vec![65_536], vec![4096, 8192], vec![4096, 1, 4096], vec![100], vec![4096, 4095, 4097]]
        {
            let file = tempfile::tempfile().unwrap();
            let mut growing = Growing::straight(&file, 100_000);
            let mut at = 0;
            for length in parts.iter().copied().chain([70_000 - parts.iter().sum::<usize>()]) {
                growing.write(&content[at..at + length], at as u64).unwrap();
                at += length;
            }
            growing.finish(70_000).unwrap();
            let mut found = vec![0; 70_000];
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found == content && file.metadata().unwrap().len() == 70_000, "{parts:?}");
            // As after every other file, it can be written anywhere.
            file.write_all_at(b"odd", 1).unwrap();
        }
    }

    #[test]
    fn what_is_skipped_is_a_hole() {
        let file = tempfile::tempfile().unwrap();
        let mut growing = Growing::new(&file);
        growing.write(b"end", 8192).unwrap();
        growing.finish(8195).unwrap();
        let mut found = vec![1; 8195];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..8192].iter().all(|&byte| byte == 0) && &found[8192..] == b"end");
    }
}
