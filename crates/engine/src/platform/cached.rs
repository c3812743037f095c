//! Whether the system remembers a file or has to ask its device.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Lets the system forget what it remembers of a file, so that it is read from its medium. A hint: what cannot be let go
/// is read from memory.
#[cfg(target_os = "linux")]
pub fn forget_cached(file: BorrowedFd<'_>) {
    let _hint_only = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

/// Lets go of a file, again if something still holds a page of it for a moment (its writing has just ended); returns
/// whether it would come from its medium now.
pub fn is_forgotten(file: BorrowedFd<'_>) -> bool {
    const ATTEMPTS_MAX: u32 = 4;
    const WAIT: std::time::Duration = std::time::Duration::from_millis(5);
    for attempt in 1..=ATTEMPTS_MAX {
        forget_cached(file);
        if !is_in_memory(file) {
            return true;
        }
        if attempt < ATTEMPTS_MAX && !lives_in_memory(file) {
            std::thread::sleep(WAIT);
        }
    }
    false
}

/// There is no such hint here.
#[cfg(not(target_os = "linux"))]
pub fn forget_cached(_: BorrowedFd<'_>) {}

/// Whether the first byte of a file would come from memory, because it lives there or was not let go. Where a filesystem
/// cannot tell: `false`.
///
/// Nothing is read in for it: `preadv2(2)` with `RWF_NOWAIT` gives only what is there already.
#[cfg(target_os = "linux")]
fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    if lives_in_memory(file) {
        return true;
    }
    let mut byte = 0u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: one part of one byte that outlives the call; the descriptor is open while it is borrowed.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, 0, libc::RWF_NOWAIT) };
    read == 1
}

/// Whether the filesystem has no medium (tmpfs, ramfs); it does not answer to `RWF_NOWAIT`.
#[cfg(target_os = "linux")]
fn lives_in_memory(file: BorrowedFd<'_>) -> bool {
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    // The type's width and sign differ between architectures; magic numbers have 32 bits.
    rustix::fs::fstatfs(file).is_ok_and(|stat| IN_MEMORY.contains(&(stat.f_type as u32)))
}

/// It is not known here; nobody waits for it.
#[cfg(not(target_os = "linux"))]
fn lives_in_memory(_: BorrowedFd<'_>) -> bool {
    true
}

/// It is not known here, so nobody may say that the medium was asked.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: BorrowedFd<'_>) -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn what_was_just_written_is_in_memory_and_what_is_empty_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        if lives_in_memory(file.as_fd()) {
            return assert!(is_in_memory(file.as_fd()));
        }
        assert!(!is_in_memory(file.as_fd()));
        file.write_all(b"fresh").unwrap();
        if !is_in_memory(file.as_fd()) {
            eprintln!("SKIPPED: the filesystem of the temporary folder cannot tell what is in memory");
        }
    }
}
