//! Which processes use a mounted filesystem: open files, working folders, running programs.

use std::fs;
use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::system;

/// A process that uses a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name, escaped for the terminal; empty if it is not told.
    pub command: String,
    /// One thing that it uses there.
    pub file: PathBuf,
    /// The file is open; otherwise it works in this folder, or was started from it.
    pub open: bool,
}

/// The processes that use the filesystem mounted there, other than this one, by number. Other users' processes are seen by
/// root only, and those that use it through another mount are not: an empty answer proves nothing.
pub fn holders(mount: &Mount) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Holder> =
        numbers.filter(|&pid| pid != std::process::id()).filter_map(|pid| of_process(pid, mount)).collect();
    found.sort_by_key(|holder| holder.pid);
    found
}

fn of_process(pid: u32, mount: &Mount) -> Option<Holder> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let holder = |file: PathBuf, open: bool| {
        let command = system::describe_process(pid).0.unwrap_or_default();
        Some(Holder { pid, command, file, open })
    };
    if let Some(file) = open_file(&process, mount) {
        return holder(file, true);
    }
    let links = ["cwd", "root", "exe"].iter().filter_map(|name| fs::read_link(process.join(name)).ok());
    let mut below = links.filter(|file| file.starts_with(&mount.point));
    below.next().and_then(|file| holder(file, false))
}

/// A file that a process has open on this mount. Links are read, never followed: that could block.
fn open_file(process: &Path, mount: &Mount) -> Option<PathBuf> {
    let descriptors = fs::read_dir(process.join("fd")).ok()?;
    for name in descriptors.flatten().map(|entry| entry.file_name()) {
        let Ok(file) = fs::read_link(process.join("fd").join(&name)) else { continue };
        // The path alone could be one that another mount hides, or one of another world; the number tells.
        let info = fs::read_to_string(process.join("fdinfo").join(&name)).unwrap_or_default();
        let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
        let here = number.map_or_else(|| file.starts_with(&mount.point), |number| number == mount.mount_id);
        if here {
            return Some(file);
        }
    }
    None
}
