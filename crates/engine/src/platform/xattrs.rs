//! Extended attributes of one name, ACLs and capabilities among them; links are never followed.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use distbackup_core::model::Xattr;
use rustix::io::Errno;

use super::far::reach;
use super::paths::bytes_of_path;
use super::system;

/// Most files have no attributes or a short list; a whole list and a single value have at most 64 KiB in
/// Linux. Asking for the size first would cost a call more and could be wrong a moment later.
const BUFFERS_BYTES: [usize; 3] = [512, 8 << 10, 64 << 10];

/// All attributes of `path` that may be read, sorted by name; a symbolic link's own, not its target's.
///
/// Empty where the filesystem has none. An attribute that this user may not read, or that is
/// removed meanwhile, is left out; any other trouble is an error of the whole.
pub fn read_xattrs(path: &Path) -> io::Result<Vec<Xattr>> {
    reach(path, |dir, rest| if rest == path { read(path) } else { read_xattrs_at(dir, &bytes_of_path(rest)) })
}

/// Like [`read_xattrs`], for `name` in the open folder `dir`.
pub fn read_xattrs_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<Xattr>> {
    read(&system::path_at(dir, name)).map_err(|error| {
        // The path leads through /proc: its absence must not be taken for the file's.
        match super::stat_at(dir, name) {
            Ok(_) if error.kind() == io::ErrorKind::NotFound => io::Error::other("/proc is not mounted"),
            Ok(_) => error,
            Err(gone) => gone,
        }
    })
}

/// Like [`read_xattrs`], of an open file.
pub fn read_xattrs_of(file: BorrowedFd<'_>) -> io::Result<Vec<Xattr>> {
    collect(
        |buffer| system::list_xattrs_of(file, buffer),
        |name, buffer| system::get_xattr_of(file, name, buffer),
    )
}

fn read(path: &Path) -> io::Result<Vec<Xattr>> {
    collect(|buffer| system::list_xattrs(path, buffer), |name, buffer| system::get_xattr(path, name, buffer))
}

/// Reads all attributes through the two calls that the system has for it.
pub(super) fn collect(
    list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
    mut get: impl FnMut(&CStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<Xattr>> {
    let names = match grown(list) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        names => names?,
    };
    let mut xattrs = Vec::new();
    for name in names.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        match grown(|buffer| get(name, buffer)) {
            Ok(value) => xattrs.push(Xattr { name: name.to_bytes().to_vec(), value }),
            Err(Errno::NODATA | Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// Calls with a larger buffer as long as the answer does not fit.
fn grown(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; BUFFERS_BYTES[0]];
    match call(&mut small) {
        Err(Errno::RANGE) => {}
        length => return Ok(small[..length?].to_vec()),
    }
    for size in &BUFFERS_BYTES[1..] {
        let mut buffer = vec![0; *size];
        match call(&mut buffer) {
            Err(Errno::RANGE) => {}
            length => {
                buffer.truncate(length?);
                return Ok(buffer);
            }
        }
    }
    Err(Errno::RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// Whether the temporary folder can hold attributes at all; says so if not.
    fn supported(path: &Path) -> bool {
        let supported = cfg!(target_os = "linux") && xattr::set(path, "user.probe", b"").is_ok();
        if !supported {
            eprintln!("SKIPPED: the filesystem of the temporary folder has no user attributes");
        }
        supported && xattr::remove(path, "user.probe").is_ok()
    }

    #[test]
    fn r6_all_attributes_are_read_sorted_also_long_and_empty_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        if !supported(file.path()) {
            return;
        }
        assert_eq!(read_xattrs(file.path()).unwrap(), []);
        xattr::set(file.path(), "user.b", &[7; 2000]).unwrap();
        xattr::set(file.path(), "user.a", b"").unwrap();
        for n in 0..30 {
            xattr::set(file.path(), format!("user.many-attributes-with-long-names-{n}"), b"x\0y").unwrap();
        }
        let found = read_xattrs(file.path()).unwrap();
        assert_eq!(found.len(), 32);
        assert!(found.is_sorted());
        assert_eq!(found[0], Xattr { name: b"user.a".to_vec(), value: vec![] });
        assert_eq!(found[1], Xattr { name: b"user.b".to_vec(), value: vec![7; 2000] });
        let folder = std::fs::File::open(file.path().parent().unwrap()).unwrap();
        let name = file.path().file_name().unwrap().as_encoded_bytes();
        assert_eq!(read_xattrs_at(folder.as_fd(), name).unwrap(), found);
        let gone = read_xattrs_at(folder.as_fd(), b"gone").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn s14_a_symlink_shows_its_own_attributes_and_not_those_of_its_target() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        if !supported(&dir.path().join("file")) {
            return;
        }
        xattr::set(dir.path().join("file"), "user.a", b"1").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        assert_eq!(read_xattrs(&dir.path().join("link")).unwrap(), []);
    }

    #[test]
    fn an_attribute_that_grows_for_ever_does_not_keep_us() {
        let mut calls = 0;
        let result = grown(|_| {
            calls += 1;
            Err(Errno::RANGE)
        });
        assert_eq!(result, Err(Errno::RANGE));
        assert!(calls < 10);
    }
}
