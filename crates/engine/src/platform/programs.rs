//! Other programs of this system: found where the shell would find them, run with plain output.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where a program is: in a folder of `PATH`, or in the `sbin` beside one, which ordinary users often do not have in
/// theirs. `None` if it is not installed.
pub fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&std::env::var_os("PATH")?, name)
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect();
    let beside = |folder: &PathBuf| folder.ends_with("bin").then(|| folder.with_file_name("sbin"));
    let beside: Vec<PathBuf> = folders.iter().filter_map(beside).collect();
    folders.iter().chain(&beside).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs a program to its end, with nothing to read, in the language of the C locale.
pub fn run_program(program: &Path, arguments: &[OsString]) -> io::Result<Output> {
    Command::new(program).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").output()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_the_administrator_is_found_beside_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, sbin) = (dir.path().join("bin"), dir.path().join("sbin"));
        std::fs::create_dir(&sbin).unwrap();
        std::fs::create_dir(&bin).unwrap();
        std::fs::write(sbin.join("tool"), "").unwrap();
        assert_eq!(find_in(bin.as_os_str(), "tool"), None, "it cannot be executed");
        std::fs::set_permissions(sbin.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        assert_eq!(find_in(bin.as_os_str(), "tool"), Some(sbin.join("tool")));
        assert_eq!(find_in(OsStr::new("bin:."), "tool"), None, "only absolute folders count");
        assert_eq!(find_in(bin.as_os_str(), "none"), None);
    }

    #[test]
    fn output_and_status_come_back() {
        let done = run_program(Path::new("/bin/sh"), &["-c".into(), "echo $LC_ALL; exit 3".into()]).unwrap();
        assert_eq!((done.stdout.as_slice(), done.status.code()), (&b"C\n"[..], Some(3)));
    }
}
