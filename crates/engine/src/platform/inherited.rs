//! Files that whoever started this process has opened for it.

use std::fs::File;
use std::io;

/// The file that was inherited under a descriptor number, under a descriptor of its own.
///
/// `InvalidInput` for a number that cannot be one, an error of the system (`EBADF`) if nothing is open there.
#[cfg(unix)]
pub fn inherited_file(number: i32) -> io::Result<File> {
    use std::os::fd::BorrowedFd;
    if number < 0 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: the number is not -1, and the borrow ends with this call. Whether anything is open there is what `dup`
    // asks the system; it closes nothing and takes nothing over.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned().map(File::from)
}

/// There are no such numbers here.
#[cfg(not(unix))]
pub fn inherited_file(_: i32) -> io::Result<File> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;

    #[test]
    fn what_is_written_there_gets_into_the_open_file() {
        let mut file = tempfile::tempfile().unwrap();
        inherited_file(file.as_raw_fd()).unwrap().write_all(b"through").unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        assert_eq!(inherited_file(-1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(inherited_file(1 << 20).is_err());
    }
}
