//! Paths that are longer than the system takes at once: the way to them is gone in parts.
//!
//! A scan reaches any depth through open folders, so a source may hold such paths. What later works by
//! path has to reach them too, or a deep file would be seen and never be backed up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::paths::{bytes_of_path, path_of_bytes};

/// Bytes of a path that are given to the system at once. The rest of its limit is for what is put
/// before them (`/proc/self/fd/N/`), and longer than any single name.
const PART_BYTES_MAX: usize = libc::PATH_MAX as usize - 64;
/// Passed through only, so that what the folder says of the right to list it does not count.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Elsewhere a folder has to be opened for listing.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PASS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Does `act` with a folder and a path below it that together mean `path`; nearly always that is the
/// current folder and `path` itself.
pub(super) fn reach<T>(
    path: &Path,
    act: impl FnOnce(BorrowedFd<'_>, &Path) -> io::Result<T>,
) -> io::Result<T> {
    if path.as_os_str().len() <= PART_BYTES_MAX {
        return act(CWD, path);
    }
    let bytes = bytes_of_path(path);
    let mut rest = &bytes[..];
    let mut folder: Option<OwnedFd> = None;
    while rest.len() > PART_BYTES_MAX {
        let Some(end) = rest[..PART_BYTES_MAX].iter().rposition(|&byte| byte == b'/') else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        // With its slash, which the root consists of.
        let part = &rest[..=end];
        folder =
            Some(rustix::fs::openat(folder.as_ref().map_or(CWD, AsFd::as_fd), part, PASS, Mode::empty())?);
        let names = rest[end..].iter().position(|&byte| byte != b'/');
        rest = &rest[end + names.unwrap_or(rest.len() - end)..];
    }
    act(folder.as_ref().map_or(CWD, AsFd::as_fd), &path_of_bytes(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform;

    #[test]
    fn what_lies_deeper_than_a_path_may_be_long_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().to_path_buf();
        let mut folder = platform::open_folder(&path).unwrap();
        for level in 0..50 {
            let name = format!("{level:0200}");
            rustix::fs::mkdirat(&folder, &*name, Mode::RWXU).unwrap();
            folder = platform::open_folder_at(folder.as_fd(), name.as_bytes()).unwrap();
            path.push(name);
        }
        let file = rustix::fs::openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        rustix::io::write(&file, b"far away").unwrap();
        rustix::fs::symlinkat("file", &folder, "link").unwrap();

        let (mut file, stat) = platform::open_source(&path.join("file")).unwrap();
        assert_eq!(stat.size, 8);
        assert_eq!(io::read_to_string(&mut file).unwrap(), "far away");
        assert_eq!(platform::stat_path(&path.join("file")).unwrap().inode, stat.inode);
        assert!(platform::open_source(&path.join("link")).is_err(), "S14: a link is not followed");
        assert!(platform::read_xattrs(&path.join("file")).is_ok());
        let gone = platform::stat_path(&path.join("gone")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        // As a source that was named with a slash at its end makes it, at any place of the path.
        for cut in 0..300 {
            let text = path.join("file").into_os_string().into_string().unwrap();
            let odd = text.replacen('/', &"/".repeat(cut + 1), 1);
            assert_eq!(platform::stat_path(odd.as_ref()).unwrap().inode, stat.inode, "{cut}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_parted_is_an_error() {
        let name = "n".repeat(2 * PART_BYTES_MAX);
        assert!(platform::stat_path(Path::new(&name)).is_err());
        assert!(platform::stat_path(&Path::new("/").join(name)).is_err());
    }
}
