//! Disks that really are disks: images mounted through a loop device, and small tmpfs mounts.
//!
//! All need root. [`LoopDisk::new`] and [`Tmpfs::new`] return `None`, with a loud line, where root, a
//! `mkfs` or the kernel's filesystem is missing. Dropping unmounts and deletes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::{is_root, skipped};

/// Filesystems that people have on their disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// Linux' default; needs about 2 MiB.
    Ext4,
    /// Needs 300 MiB.
    Xfs,
    /// Needs 110 MiB.
    Btrfs,
    /// No modes, owners or links, 4 GiB per file, folds case (D17).
    Vfat,
}

impl Filesystem {
    /// All of them, for tests that hold on each.
    pub const ALL: [Filesystem; 4] = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs, Filesystem::Vfat];

    /// Its name for `mount -t`.
    pub fn name(self) -> &'static str {
        match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
            Filesystem::Vfat => "vfat",
        }
    }

    /// The smallest image, in bytes, on which its `mkfs` agrees to work.
    pub fn bytes_min(self) -> u64 {
        match self {
            Filesystem::Ext4 => 8 << 20,
            Filesystem::Xfs => 320 << 20,
            Filesystem::Btrfs => 128 << 20,
            Filesystem::Vfat => 34 << 20,
        }
    }

    fn mkfs(self) -> Command {
        let mut command = Command::new(format!("mkfs.{}", self.name()));
        match self {
            // No room kept for root, and no tables left to be filled in the background: the free space
            // that a test reads is the free space it gets. Blocks as on real disks, though the image is small:
            // a block holds all attributes of a file.
            Filesystem::Ext4 => command.args([
                "-q",
                "-F",
                "-b",
                "4096",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0",
            ]),
            Filesystem::Xfs => command.args(["-q", "-f"]),
            Filesystem::Btrfs => command.args(["-q", "-f"]),
            Filesystem::Vfat => command.args(["-F", "32"]),
        };
        command
    }
}

/// A filesystem of its own in a sparse image, mounted.
#[derive(Debug)]
pub struct LoopDisk {
    folder: TempDir,
    filesystem: Filesystem,
    mounted: bool,
}

impl LoopDisk {
    /// Makes and mounts a disk of `bytes`, or of [`Filesystem::bytes_min`] if that is more.
    ///
    /// # Panics
    ///
    /// If it fails for another reason than what the machine lacks.
    pub fn new(filesystem: Filesystem, bytes: u64) -> Option<LoopDisk> {
        let name = filesystem.name();
        if !is_root() {
            skipped(&format!("needs root to mount a disk with {name}"));
            return None;
        }
        let mut disk = LoopDisk { folder: TempDir::new().unwrap(), filesystem, mounted: false };
        fs::create_dir(disk.path()).unwrap();
        // Others may pass, down to the mounted disk: programs under test also run as ordinary users.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(disk.folder.path(), open).unwrap();
        File::create(disk.image()).unwrap().set_len(bytes.max(filesystem.bytes_min())).unwrap();
        let made = match filesystem.mkfs().arg(disk.image()).stdin(Stdio::null()).output() {
            Ok(made) => made,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                skipped(&format!("needs mkfs.{name}"));
                return None;
            }
            Err(error) => panic!("mkfs.{name}: {error}"),
        };
        assert!(made.status.success(), "mkfs.{name}: {}", String::from_utf8_lossy(&made.stderr));
        if let Err(reason) = disk.try_mount("rw") {
            // The image is new and whole: it is the machine that cannot, as in most containers.
            skipped(&format!("cannot mount {name} here: {reason}"));
            return None;
        }
        Some(disk)
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// The image, for `dd`-like accidents; consistent only while the disk is not mounted.
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// What is on it.
    pub fn filesystem(&self) -> Filesystem {
        self.filesystem
    }

    /// Unmounts in order; the empty mount point stays (D10).
    pub fn unmount(&mut self) {
        if self.mounted {
            run("umount", [self.path()]);
            self.mounted = false;
        }
    }

    /// Mounts again after [`unmount`](Self::unmount) or [`pull_out`](Self::pull_out).
    pub fn mount(&mut self) {
        self.try_mount("rw").unwrap_or_else(|reason| panic!("mount: {reason}"));
    }

    /// Mounts again, read-only (D9).
    pub fn mount_read_only(&mut self) {
        self.try_mount("ro").unwrap_or_else(|reason| panic!("mount: {reason}"));
    }

    /// Turns the mounted disk read-only or back. Fails while a file is open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        run("mount", ["-o".as_ref(), options.as_ref(), self.path().as_os_str()]);
    }

    /// The mount vanishes at once from the tree, even if in use; open files still work until closed.
    pub fn pull_out(&mut self) {
        run("umount", ["-l".as_ref(), self.path().as_os_str()]);
        self.mounted = false;
    }

    /// The power goes and comes back: what was not made durable is lost, as far as the filesystem
    /// had not yet written it by itself. Whoever has files open gets errors, and must close them first.
    ///
    /// Returns false, with a loud line, where the filesystem cannot be shut down.
    pub fn power_cut(&mut self) -> bool {
        let cut = self.shut_down();
        if cut {
            self.unmount();
            self.mount();
        }
        cut
    }

    /// The power goes: from now on every call on the disk fails, until it is unmounted and mounted again.
    ///
    /// Returns false, with a loud line, where the filesystem cannot be shut down.
    pub fn shut_down(&self) -> bool {
        /// The shutdown call of ext4, xfs and newer btrfs: `_IOR('X', 125, u32)`.
        const SHUTDOWN: libc::c_ulong = 0x8004_587d;
        /// No flush and no commit of the journal: everything in memory is forgotten.
        const NO_LOG_FLUSH: u32 = 2;
        let folder = File::open(self.path()).unwrap();
        let how = NO_LOG_FLUSH;
        // SAFETY: the descriptor is open, and the call reads one u32, which outlives it.
        let done = unsafe {
            libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&folder), SHUTDOWN as _, std::ptr::from_ref(&how))
        };
        if done != 0 {
            let error = std::io::Error::last_os_error();
            skipped(&format!("no power cut of {}: {error}", self.filesystem.name()));
        }
        done == 0
    }

    /// Has an ext4 do what it does after an error of the device: it turns read-only, whatever is open.
    ///
    /// Returns false, with a loud line, where the kernel does not do that on demand.
    pub fn abort(&self) -> bool {
        let done = Command::new("mount").args(["-o", "remount,abort"]).arg(self.path()).output().unwrap();
        let aborted = done.status.success() && File::create(self.path().join("probe")).is_err();
        if !aborted {
            skipped(&format!("cannot turn read-only here: {}", String::from_utf8_lossy(&done.stderr)));
        }
        aborted
    }

    /// Makes everything on the disk durable.
    pub fn sync(&self) {
        rustix::fs::syncfs(File::open(self.path()).unwrap()).unwrap();
    }

    /// Grows the mounted disk to `bytes`; nobody may have a file open on it.
    pub fn grow(&mut self, bytes: u64) {
        // Unmounted, since a mounted ext4 asks for a capability that root in a container may lack; the
        // loop device also learns its new size in passing.
        self.unmount();
        File::options().write(true).open(self.image()).unwrap().set_len(bytes).unwrap();
        if self.filesystem == Filesystem::Ext4 {
            run("e2fsck", ["-f".as_ref(), "-p".as_ref(), self.image().as_os_str()]);
            run("resize2fs", [self.image()]);
        }
        self.mount();
        match self.filesystem {
            Filesystem::Ext4 => {}
            Filesystem::Xfs => run("xfs_growfs", [self.path()]),
            Filesystem::Btrfs => run("btrfs", ["filesystem", "resize", "max", self.path().to_str().unwrap()]),
            Filesystem::Vfat => panic!("nobody has taught a vfat to grow"),
        }
    }

    fn try_mount(&mut self, options: &str) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-t", self.filesystem.name(), "-o", &format!("loop,{options}")]);
        let done = mount.arg(self.image()).arg(self.path()).output().map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).trim().to_owned());
        }
        self.mounted = true;
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.mounted {
            unmount_somehow(&self.path());
        }
    }
}

/// A filesystem in memory, quick to make and easy to fill.
#[derive(Debug)]
pub struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    /// Mounts one that holds `bytes`, metadata not counted.
    pub fn new(bytes: u64) -> Option<Tmpfs> {
        if !is_root() {
            skipped("needs root to mount a tmpfs");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let options = format!("size={bytes},mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        let done = mount.output().unwrap();
        if !done.status.success() {
            let reason = String::from_utf8_lossy(&done.stderr);
            skipped(&format!("cannot mount a tmpfs here: {}", reason.trim()));
            return None;
        }
        Some(Tmpfs { folder })
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it can hold attributes `user.*`, as since Linux 6.6.
    pub fn holds_user_attributes(&self) -> bool {
        const PROBE: &str = "user.probe";
        xattr::set(self.path(), PROBE, b"").is_ok() && xattr::remove(self.path(), PROBE).is_ok()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount_somehow(self.path());
    }
}

/// Writes zeros into `path` until its filesystem is full; returns the bytes written.
pub fn fill(path: &Path) -> u64 {
    use std::io::Write as _;
    let mut file = File::create(path).unwrap();
    let mut written = 0;
    // Smaller and smaller parts, so that the last block is taken too.
    for part in [1 << 20, 4096, 1] {
        let zeros = vec![0; part];
        while let Ok(count) = file.write(&zeros) {
            written += count as u64;
        }
    }
    written
}

/// Unmounts, lazily if something still has a file open: the image is deleted after it.
fn unmount_somehow(path: &Path) {
    let quietly = |arguments: &[&str]| {
        Command::new("umount")
            .args(arguments)
            .arg(path)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    if !quietly(&[]) && !quietly(&["-l"]) && !std::thread::panicking() {
        panic!("cannot unmount {}", path.display());
    }
}

fn run<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) {
    let mut command = Command::new(program);
    let done =
        command.args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
