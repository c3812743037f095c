//! Holes of sparse files: which ranges of a file hold data.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use super::system;

/// The next range with data at or after `from`, in bytes; `None` if only a hole follows up to `size`.
///
/// Where the system cannot tell, everything up to `size` is data. Never empty, never beyond `size`.
pub fn next_data(file: BorrowedFd<'_>, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    if from >= size {
        return Ok(None);
    }
    let found = system::seek_data(file, from, size)?;
    // A filesystem that answers nonsense (before `from`, or an empty range) is not believed: read everything.
    Ok(match found {
        Some(range) if range.start < from || range.end <= range.start => Some(from..size),
        Some(range) if range.start >= size => None,
        Some(range) => Some(range.start..range.end.min(size)),
        None => None,
    })
}

/// All ranges with data of a file of `size` bytes, ascending; what lies between them reads as zeros.
///
/// Stops after the first error. A file without holes is one range; an empty one has none.
pub fn data_ranges(file: impl AsFd, size: u64) -> impl Iterator<Item = io::Result<Range<u64>>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let next = next_data(file.as_fd(), from, size).transpose()?;
        // After an error `size` ends the iteration.
        from = next.as_ref().map_or(size, |range| range.end);
        Some(next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn all(file: &std::fs::File, size: u64) -> Vec<(u64, u64)> {
        data_ranges(file, size).map(|range| range.map(|range| (range.start, range.end)).unwrap()).collect()
    }

    #[test]
    fn the_holes_of_a_sparse_file_are_found_without_reading_it() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 1 << 30).unwrap();
        file.set_len(1 << 40).unwrap();
        let ranges = all(&file, 1 << 40);
        if ranges == [(0, 1 << 40)] {
            eprintln!("SKIPPED: the filesystem of the temporary folder knows no holes");
            return;
        }
        assert_eq!(ranges, [(1 << 30, (1 << 30) + 4096)]);
        assert_eq!(next_data(file.as_fd(), (1 << 30) + 4096, 1 << 40).unwrap(), None);
    }

    #[test]
    fn a_file_without_holes_is_one_range_and_an_empty_one_none() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(data_ranges(&file, 0).count(), 0);
        file.write_all_at(b"content", 0).unwrap();
        assert_eq!(all(&file, 7), [(0, 7)]);
    }
}
