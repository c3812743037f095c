//! Waiting for filesystems to be mounted and unmounted.

use std::fs::File;
use std::io;
use std::time::Duration;

/// Wakes whoever waits when the table of mounts changes.
#[derive(Debug)]
pub struct MountWatch {
    /// `/proc/self/mountinfo`, which tells of changes since it was opened or last asked; `None`: only time passes.
    table: Option<File>,
}

impl MountWatch {
    /// Begins to watch. Where the system has no such table, waiting takes all of its time.
    pub fn begin() -> io::Result<Self> {
        match File::open("/proc/self/mountinfo") {
            Ok(table) => Ok(MountWatch { table: Some(table) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MountWatch { table: None }),
            Err(error) => Err(error),
        }
    }

    /// Whether changes are told. Where they are not, whoever waits has to look by itself.
    pub fn tells(&self) -> bool {
        self.table.is_some()
    }

    /// Waits until mounts changed, but not longer than so; tells whether they did. A signal ends the wait early.
    pub fn wait(&self, at_most: Duration) -> io::Result<bool> {
        let Some(table) = &self.table else {
            std::thread::sleep(at_most);
            return Ok(false);
        };
        changed(table, at_most)
    }
}

#[cfg(unix)]
fn changed(table: &File, at_most: Duration) -> io::Result<bool> {
    use std::os::fd::AsRawFd;
    let mut asked = libc::pollfd { fd: table.as_raw_fd(), events: libc::POLLPRI, revents: 0 };
    let milliseconds = i32::try_from(at_most.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is to one `pollfd`, as the count says, and it outlives the call.
    let ready = unsafe { libc::poll(&raw mut asked, 1, milliseconds) };
    match ready {
        0 => Ok(false),
        1.. => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}

#[cfg(not(unix))]
fn changed(_: &File, at_most: Duration) -> io::Result<bool> {
    std::thread::sleep(at_most);
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_changes_time_passes() {
        let watch = MountWatch::begin().unwrap();
        // Other tests mount disks meanwhile: each change is told once.
        let quiet = (0..1000).any(|_| !watch.wait(Duration::from_millis(1)).unwrap());
        assert!(quiet);
        assert!(!MountWatch { table: None }.wait(Duration::ZERO).unwrap());
    }
}
