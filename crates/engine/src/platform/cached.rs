//! Whether the system remembers a file or has to ask its device.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether the first byte of a file would come from memory. Where the system cannot tell: `false`.
///
/// Nothing is read in for it: `preadv2(2)` with `RWF_NOWAIT` gives only what is there already.
#[cfg(target_os = "linux")]
pub fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    let mut byte = 0u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: one part of one byte that outlives the call; the descriptor is open while it is borrowed.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, 0, libc::RWF_NOWAIT) };
    read == 1
}

/// It is not known here.
#[cfg(not(target_os = "linux"))]
pub fn is_in_memory(_: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn what_was_just_written_is_in_memory_and_what_is_empty_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(!is_in_memory(file.as_fd()));
        file.write_all(b"fresh").unwrap();
        if !is_in_memory(file.as_fd()) {
            eprintln!("SKIPPED: the filesystem of the temporary folder cannot tell what is in memory");
        }
    }
}
