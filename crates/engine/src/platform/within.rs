//! Changing names within an open folder, never through a symbolic link (R3, rule 7).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, RenameFlags};

/// Makes a folder with these permission bits; an existing name is an error.
pub fn make_directory_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode))?)
}

/// Renames, replacing what is there.
pub fn rename_at(from_dir: BorrowedFd<'_>, from: &[u8], to_dir: BorrowedFd<'_>, to: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?)
}

/// Renames within a folder, unless the new name exists.
pub fn rename_new_at(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        outcome => return Ok(outcome?),
    }
    // Filesystems without this flag: a link fails if the name exists; then the old name goes.
    match rustix::fs::linkat(dir, from, dir, to, AtFlags::empty()) {
        Ok(()) => Ok(rustix::fs::unlinkat(dir, from, AtFlags::empty())?),
        Err(rustix::io::Errno::EXIST) => Err(io::ErrorKind::AlreadyExists.into()),
        // Without hard links either, as on FAT: the name was looked at just before.
        Err(_) => rename_at(dir, from, dir, to),
    }
}

/// Removes a name that is no folder.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Makes `name` another link of `of`, which is not followed if it is a symlink.
pub fn link_at(of_dir: BorrowedFd<'_>, of: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::linkat(of_dir, of, dir, name, AtFlags::empty())?)
}

/// Makes a symlink.
pub fn symlink_at(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}
