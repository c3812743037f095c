//! The names in a folder, complete and sorted, in as little memory as they need.
//!
//! A flat folder of ten million files must not cost a gigabyte, so names lie one after another in
//! one block of memory instead of each in its own. An error in the middle is an error of the whole
//! listing: half a listing would look like a deletion of the other half (N6).

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use super::system;

/// Starts are stored as multiples of this many bytes, so that four bytes reach through 16 GiB of names.
const ALIGN: usize = 4;

/// The names in one folder, sorted bytewise, without `.` and `..`.
///
/// Takes the length of each name, rounded up to 4 bytes with a terminating zero, and 8 bytes more.
#[derive(Debug, Clone, Default)]
pub struct Names {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Where the name starts, in units of [`ALIGN`] bytes.
    start: u32,
    /// The lower half of the inode number: only ever used as an order.
    inode: u32,
}

impl Names {
    /// How many names.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the folder was empty.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The name at a position in sorted order; `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.slots.get(index).map(|slot| self.name(*slot))
    }

    /// All names in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        self.slots.iter().map(|slot| self.name(*slot))
    }

    /// Whether the folder held this name.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.slots.binary_search_by(|slot| self.name(*slot).cmp(name)).is_ok()
    }

    /// Lower half of the inode number that the listing gave, 0 beyond the end.
    ///
    /// A hint for the order of disk accesses, never an identity.
    pub fn inode_hint(&self, index: usize) -> u32 {
        self.slots.get(index).map_or(0, |slot| slot.inode)
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// Adds a name as the system lists it; `.` and `..` are left out.
    pub(super) fn push(&mut self, name: &CStr, inode: u64) -> io::Result<()> {
        let name = name.to_bytes_with_nul();
        if matches!(name, b".\0" | b"..\0") {
            return Ok(());
        }
        if name.len() == 1 || name.contains(&b'/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the filesystem listed an impossible name",
            ));
        }
        let Ok(start) = u32::try_from(self.bytes.len() / ALIGN) else {
            return Err(io::Error::other("more than 16 GiB of names in one folder"));
        };
        self.slots.push(Slot { start, inode: inode as u32 });
        self.bytes.extend_from_slice(name);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        Ok(())
    }

    /// Brings the names into order once all are there.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        self.slots.sort_unstable_by(|a, b| name_at(bytes, a.start).cmp(name_at(bytes, b.start)));
        // A folder that changes while it is listed may show a name twice on some filesystems.
        self.slots.dedup_by(|a, b| name_at(bytes, a.start) == name_at(bytes, b.start));
        self.slots.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    fn name(&self, slot: Slot) -> &[u8] {
        name_at(&self.bytes, slot.start)
    }
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let rest = &bytes[start as usize * ALIGN..];
    CStr::from_bytes_until_nul(rest).map_or(rest, CStr::to_bytes)
}

/// Reads all names of an open folder, from its beginning.
///
/// The reading position belongs to the descriptor: two threads must not list one descriptor at
/// the same time (`scan::Folder` sees to that). Any error makes the whole listing an error.
pub fn read_names(folder: BorrowedFd<'_>) -> io::Result<Names> {
    let mut names = Names::default();
    system::list(folder, &mut |name, inode| names.push(name, inode))?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::{CString, OsStr};
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn s10_names_come_back_byte_for_byte_and_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let mut wanted: Vec<Vec<u8>> = vec![
            b"\xff\xfe".to_vec(),
            b"a\nb".to_vec(),
            b"a".to_vec(),
            b"ab".to_vec(),
            vec![b'x'; 255],
            b"...".to_vec(),
        ];
        for name in &wanted {
            std::fs::write(dir.path().join(OsStr::from_bytes(name)), "").unwrap();
        }
        wanted.sort();
        let folder = std::fs::File::open(dir.path()).unwrap();
        for _ in 0..2 {
            let names = read_names(folder.as_fd()).unwrap();
            assert_eq!(names.iter().collect::<Vec<_>>(), wanted, "also the second time");
            assert!(names.contains(b"a\nb") && !names.contains(b"b"));
        }
    }

    #[test]
    fn a_folder_larger_than_any_buffer_is_listed_whole() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..2000 {
            std::fs::write(dir.path().join(format!("{n:0200}")), "").unwrap();
        }
        let names = read_names(std::fs::File::open(dir.path()).unwrap().as_fd()).unwrap();
        assert_eq!(names.len(), 2000);
        assert_eq!(names.get(1999), Some(format!("{:0200}", 1999).as_bytes()));
        assert_eq!(names.get(2000), None);
    }

    #[test]
    fn n6_what_is_no_folder_is_an_error_and_not_empty() {
        let file = tempfile::tempfile().unwrap();
        assert!(read_names(file.as_fd()).is_err());
    }

    #[test]
    fn n6_a_folder_that_was_removed_meanwhile_is_an_error_and_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir(&path).unwrap();
        let folder = std::fs::File::open(&path).unwrap();
        std::fs::remove_dir(&path).unwrap();
        // glibc's readdir calls this the end of an empty folder.
        assert_eq!(read_names(folder.as_fd()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_million_names_take_about_thirty_bytes_each() {
        let mut names = Names::default();
        for n in (0..1_000_000u64).rev() {
            names.push(&CString::new(format!("IMG_{n:012}.jpg")).unwrap(), n).unwrap();
        }
        names.sort();
        assert_eq!(names.len(), 1_000_000);
        assert_eq!(names.get(7), Some(&b"IMG_000000000007.jpg"[..]));
        assert_eq!(names.inode_hint(7), 7);
        assert!(names.memory_bytes() <= 33_000_000, "{}", names.memory_bytes());
    }

    #[test]
    fn impossible_names_and_repetitions_do_not_get_through() {
        let mut names = Names::default();
        assert!(names.push(c"a/b", 1).is_err());
        assert!(names.push(c"", 1).is_err());
        names.push(c".", 1).unwrap();
        names.push(c"..", 1).unwrap();
        names.push(c"a", 1).unwrap();
        names.push(c"a", 1).unwrap();
        names.sort();
        assert_eq!(names.iter().collect::<Vec<_>>(), [b"a"]);
    }
}
