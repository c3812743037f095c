//! Files that share their content with others, and who else may change them.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{Gid, Mode, OFlags, Uid};

use super::process::is_superuser;
use super::stat::Stat;
use super::system;

/// Lets the empty file `to` share the content of `from` until one of the two is changed (reflink). `false`: the filesystem
/// cannot do that, or not for these two.
pub fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    system::clone_content(from, to)
}

/// Whether the filesystem of the open folder lets files share contents. `sample` is a file of it that is not empty; nothing
/// that has a name is written.
pub fn clones_contents(dir: BorrowedFd<'_>, sample: &File) -> io::Result<bool> {
    match system::unnamed_file(dir, Mode::RUSR | Mode::WUSR)? {
        Some(file) => system::clone_content(sample, &file),
        None => Ok(false),
    }
}

/// Whether any program could change an open file through a descriptor or a mapping that it has of it. `false` where the
/// system does not tell.
///
/// `file` is open for reading only.
pub fn is_open_for_writing(file: BorrowedFd<'_>) -> bool {
    system::is_open_for_writing(file)
}

/// Whether this process may do with a file what its owner may.
pub fn is_owner(stat: &Stat) -> bool {
    stat.uid == rustix::process::geteuid().as_raw() || is_superuser()
}

/// Makes an open file as private as one that this process makes itself. Where a filesystem has no owners and modes, nothing
/// is changed and that is no error.
pub fn make_own(file: &File) -> io::Result<()> {
    let (uid, gid): (Uid, Gid) = (rustix::process::geteuid(), rustix::process::getegid());
    tolerate(rustix::fs::fchown(file, Some(uid), Some(gid)))?;
    tolerate(rustix::fs::fchmod(file, Mode::RUSR | Mode::WUSR))
}

/// Takes the permission to write from everybody, and leaves the other permissions. Where a filesystem has no modes, nothing
/// is changed and that is no error.
pub fn make_read_only(file: &File, stat: &Stat) -> io::Result<()> {
    tolerate(rustix::fs::fchmod(file, Mode::from_raw_mode(stat.mode & !0o222)))
}

fn tolerate(result: rustix::io::Result<()>) -> io::Result<()> {
    use rustix::io::Errno;
    match result {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// How an unnamed file is opened.
pub(super) const UNNAMED: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn whoever_has_a_file_open_for_writing_or_mapped_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "content").unwrap();
        let reading = File::open(&path).unwrap();
        assert!(!is_open_for_writing(reading.as_fd()));
        let also_reading = File::open(&path).unwrap();
        assert!(!is_open_for_writing(reading.as_fd()));
        let writing = File::options().write(true).open(&path).unwrap();
        if !is_open_for_writing(reading.as_fd()) {
            eprintln!("SKIPPED: the filesystem of the temporary folder does not tell who writes");
            return;
        }
        drop((writing, also_reading));
        assert!(!is_open_for_writing(reading.as_fd()), "asking leaves nothing behind");
    }

    #[test]
    fn modes_are_those_of_an_object_or_lose_their_write_bits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "content").unwrap();
        let file = File::open(&path).unwrap();
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o4775)).unwrap();
        make_read_only(&file, &crate::platform::stat_fd(&file).unwrap()).unwrap();
        assert_eq!(crate::platform::stat_fd(&file).unwrap().mode & 0o777, 0o555);
        make_own(&file).unwrap();
        assert_eq!(crate::platform::stat_fd(&file).unwrap().mode, 0o600);
    }

    #[test]
    fn a_clone_has_the_content_and_asking_leaves_no_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), vec![7; 100_000]).unwrap();
        let from = File::open(dir.path().join("a")).unwrap();
        let can = clones_contents(super::super::open_folder(dir.path()).unwrap().as_fd(), &from).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let to = File::options().create_new(true).write(true).open(dir.path().join("b")).unwrap();
        assert_eq!(clone_content(&from, &to).unwrap(), can);
        if can {
            assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), vec![7; 100_000]);
        }
    }
}
