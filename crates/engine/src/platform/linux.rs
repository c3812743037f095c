//! Linux: what it offers beyond the portable calls. Same functions as `portable`.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::mounts::Mounts;

#[path = "linux_target.rs"]
mod target;
pub use target::{Target, get_xattr, get_xattr_of, list_xattrs, list_xattrs_of, make_node, path_at};

/// Neither links nor automounters are followed: a `stat` must not mount anything.
pub const STAT_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);
/// Asks that reading leaves no trace.
pub const NO_ATIME: OFlags = OFlags::NOATIME;

/// Large enough that system calls do not count beside the names.
const LISTING_BUFFER_BYTES: usize = 64 * 1024;

/// Hands each name of the folder with its inode number to `each`, from the beginning.
///
/// Not `readdir`: glibc takes ENOENT for the end of the folder, and here every error counts (N6).
pub fn list(folder: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr, u64) -> io::Result<()>) -> io::Result<()> {
    rustix::fs::seek(folder, SeekFrom::Start(0))?;
    let mut buffer: Vec<MaybeUninit<u8>> = vec![MaybeUninit::uninit(); LISTING_BUFFER_BYTES];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => each(entry.file_name(), entry.ino())?,
            // Nothing was consumed: the next call asks again.
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Bytes of memory that are free or can be freed at once, as the system estimates it (proc_meminfo(5)).
pub fn memory_available() -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// OpenZFS before 2.2.2 told holes where fresh data were still in memory: there nobody is asked.
const ZFS_MAGIC: i64 = 0x2fc1_2fc1;

/// The next range with data at or after `from`; `None` if there is none up to the end.
pub fn seek_data(file: BorrowedFd<'_>, from: u64, size: u64) -> io::Result<Option<Range<u64>>> {
    if filesystem_magic(file).is_ok_and(|magic| magic == ZFS_MAGIC) {
        return Ok(Some(from..size));
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Some(from..size)),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some(start..end)),
        // The file was cut off in between: the end of what we know is its end.
        Err(Errno::NXIO) => Ok(Some(start..size)),
        Err(error) => Err(error.into()),
    }
}

/// Announces sequential reading.
pub fn advise_sequential(file: BorrowedFd<'_>) {
    // Advice that is not taken costs speed at most.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

/// The number by which the kernel knows the type of filesystem.
#[allow(clippy::unnecessary_cast)] // Its type differs between processors.
pub fn filesystem_magic(fd: BorrowedFd<'_>) -> io::Result<i64> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as i64 & 0xffff_ffff)
}

/// Largest file by type of filesystem (D17), from the kernel's documentation of each.
pub fn file_bytes_max(fd: BorrowedFd<'_>, block: u64) -> u64 {
    const MSDOS: i64 = 0x4d44;
    const EXT: i64 = 0xef53;
    match filesystem_magic(fd) {
        // The size is a 32-bit number of bytes.
        Ok(MSDOS) => u64::from(u32::MAX),
        // Extents count blocks in 32 bits: 16 TiB less one block of 4 KiB.
        Ok(EXT) => u64::from(u32::MAX).saturating_mul(block),
        _ => i64::MAX as u64,
    }
}

/// Has what is written to an open file from now on go past the memory of the system, or through it again (`fcntl(2)`). An
/// error where the filesystem cannot.
pub fn write_straight(file: BorrowedFd<'_>, straight: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, straight);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// Sets room aside for so many bytes of a file, whose size stays what it is (`fallocate(2)`).
pub fn set_room_aside(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, bytes)?)
}

/// Begins writing a part of a file to its medium (sync_file_range(2)); a hint.
pub fn begin_writing_out(file: BorrowedFd<'_>, from: u64, length: u64) {
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(length)) else { return };
    // SAFETY: the descriptor is open while it is borrowed; the call takes numbers only.
    let _hint_only =
        unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Makes the whole filesystem durable.
pub fn sync_filesystem(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

/// Whether `syncfs` returns write errors.
pub fn syncfs_reports_errors() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|text| release_is_at_least(&text, (5, 8)))
}

fn release_is_at_least(text: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

/// The mounts that this process sees.
pub fn read_mounts() -> io::Result<Mounts> {
    Ok(Mounts::parse(&fs::read("/proc/self/mountinfo")?))
}

/// The number of the mount through which `fd` was opened, as in the mount table.
pub fn mount_id(fd: BorrowedFd<'_>) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// The UUID of the filesystem of `fd` as the kernel knows it (Linux 6.9 and later), in hexadecimal.
///
/// Only whole UUIDs of 16 bytes: shorter ids (FAT, NTFS) are spelt differently by kernel and udev, and one
/// filesystem must not change its name with the kernel.
pub fn kernel_uuid(fd: BorrowedFd<'_>) -> Option<String> {
    #[repr(C)]
    struct FsUuid {
        length: u8,
        bytes: [u8; 16],
    }
    // _IOR(0x15, 0, struct fsuuid2) of <linux/fs.h>.
    let request = rustix::ioctl::opcode::read::<FsUuid>(0x15, 0);
    let mut uuid = FsUuid { length: 0, bytes: [0; 16] };
    // SAFETY: the request writes at most one `FsUuid`, as its opcode says, into `uuid`, which
    // outlives the call and is valid for any bytes.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut uuid) };
    if result != 0 || uuid.length != 16 || uuid.bytes == [0; 16] {
        return None;
    }
    Some(hexadecimal(&uuid.bytes))
}

/// The UUID of a btrfs filesystem, in hexadecimal; the general request is not answered by btrfs.
pub fn btrfs_uuid(fd: BorrowedFd<'_>) -> Option<String> {
    /// `struct btrfs_ioctl_fs_info_args` of <linux/btrfs.h>: two numbers, the UUID, and more to come.
    #[repr(C)]
    struct FsInfo {
        max_id: u64,
        devices: u64,
        uuid: [u8; 16],
        rest: [u8; 992],
    }
    const { assert!(size_of::<FsInfo>() == 1024) };
    let request = rustix::ioctl::opcode::read::<FsInfo>(0x94, 31);
    let mut info = FsInfo { max_id: 0, devices: 0, uuid: [0; 16], rest: [0; 992] };
    // SAFETY: the request writes at most one `FsInfo`, as its opcode says, into `info`, which
    // outlives the call and is valid for any bytes.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut info) };
    (result == 0 && info.uuid != [0; 16]).then(|| hexadecimal(&info.uuid))
}

/// Opens what lies below an open folder, on its filesystem and without symlinks on the way; `None` if there is none, or the
/// kernel cannot do that in one call (before 5.6).
pub fn open_beneath(dir: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    use rustix::fs::ResolveFlags;
    // Without NONBLOCK a pipe of that name would hold us for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let way = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), way).ok()
}

/// Makes a new file below an open folder, on its filesystem and without symlinks on the way.
pub fn create_beneath(dir: BorrowedFd<'_>, path: &str, mode: Mode) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let way = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(dir, path, flags, mode, way)?)
}

/// Lets `to` share all of the content of `from`; `false` if these two cannot.
pub fn clone_content(from: &File, to: &File) -> io::Result<bool> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY | Errno::INVAL | Errno::XDEV | Errno::TXTBSY) => {
            Ok(false)
        }
        // FUSE and some network filesystems answer so to requests that they do not know.
        Err(Errno::PERM | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A file without a name on the filesystem of an open folder, which vanishes when it is closed; `None` if there are none.
pub fn unnamed_file(dir: BorrowedFd<'_>, mode: Mode) -> io::Result<Option<File>> {
    let flags = super::share::UNNAMED | OFlags::TMPFILE;
    match rustix::fs::openat(dir, ".", flags, mode) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::ROFS | Errno::NOSYS | Errno::INVAL) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives a file without a name its first one, in an open folder of its filesystem.
pub fn link_unnamed(file: &File, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::linkat(file, c"", dir, name, AtFlags::EMPTY_PATH) {
        // Before 6.10 only for root. The way through /proc is for everybody.
        Err(Errno::NOENT | Errno::PERM) => {
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(rustix::fs::linkat(rustix::fs::CWD, own, dir, name, AtFlags::SYMLINK_FOLLOW)?)
        }
        linked => Ok(linked?),
    }
}

/// Whether anybody has the file open for writing: only then the kernel refuses a lease for reading.
pub fn is_open_for_writing(file: BorrowedFd<'_>) -> bool {
    /// From <asm-generic/fcntl.h>; the crate `libc` does not have it.
    const F_SETSIG: libc::c_int = 10;
    // SAFETY: both commands take a number and touch no memory of ours; the descriptor is open while it is borrowed.
    let ask = |what, number: libc::c_int| unsafe { libc::fcntl(file.as_raw_fd(), what, number) };
    // Whoever opens the file meanwhile lets us be told by a signal: by one that nobody hears.
    if ask(F_SETSIG, libc::SIGURG) != 0 {
        return false;
    }
    if ask(libc::F_SETLEASE, libc::F_RDLCK) == 0 {
        // Given back at once: nobody waits for us.
        ask(libc::F_SETLEASE, libc::F_UNLCK);
        return false;
    }
    // Where leases are unknown, or are for the owner only, it is not told.
    io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The UUID that udev found on a block device, as it spells it.
pub fn udev_uuid(major: u32, minor: u32) -> Option<String> {
    let wanted = rustix::fs::makedev(major, minor);
    let linked = fs::read_dir("/dev/disk/by-uuid").ok().and_then(|links| {
        links.flatten().find_map(|link| {
            let target = fs::metadata(link.path()).ok()?;
            (target.rdev() == wanted).then(|| link.file_name().to_string_lossy().into_owned())
        })
    });
    linked.or_else(|| {
        let record = fs::read_to_string(format!("/run/udev/data/b{major}:{minor}")).ok()?;
        record.lines().find_map(|line| line.strip_prefix("E:ID_FS_UUID=")).map(str::to_owned)
    })
}

/// The process that holds an exclusive or shared `flock` on an inode, from `/proc/locks`.
pub fn lock_holder(device: u64, inode: u64) -> Option<u32> {
    /// The table is handed out in pieces. While other processes lock and unlock, a line between two of them can be missed.
    const READINGS: usize = 5;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let look = |_| find_holder(&fs::read_to_string("/proc/locks").ok()?, device, inode);
    (0..READINGS).find_map(look)
}

/// Lines such as `1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`; device numbers hexadecimal.
fn find_holder(table: &str, device: (u32, u32), inode: u64) -> Option<u32> {
    let mut elsewhere = None;
    for line in table.lines() {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // A line with `->` is a process that waits.
        if fields.next() != Some("FLOCK") {
            continue;
        }
        let (Some(pid), Some(place)) = (fields.nth(2), fields.next()) else { continue };
        let mut parts = place.split(':');
        let (Some(major), Some(minor), Some(found)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if found.parse() != Ok(inode) {
            continue;
        }
        let Some(pid) = pid.parse().ok().filter(|&pid| pid > 0) else { continue };
        if (u32::from_str_radix(major, 16), u32::from_str_radix(minor, 16)) == (Ok(device.0), Ok(device.1)) {
            return Some(pid);
        }
        // Btrfs shows another device number here than `stat` does.
        elsewhere = elsewhere.or(Some(pid));
    }
    elsewhere
}

/// The name of a process and when it started, in nanoseconds since 1970.
pub fn describe_process(pid: u32) -> (Option<String>, Option<i64>) {
    let command = fs::read(format!("/proc/{pid}/comm"))
        .ok()
        .map(|name| distbackup_core::model::escape_bytes(name.trim_ascii_end()));
    (command, process_start(pid))
}

fn process_start(pid: u32) -> Option<i64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may itself hold blanks and brackets: the last one counts.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after_name..]).ok()?;
    // Field 22 of proc(5); field 3 is the first after the name.
    let ticks: i64 = text.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let kernel = fs::read_to_string("/proc/stat").ok()?;
    let boot_s: i64 = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    // SAFETY: takes a number, returns a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if per_second <= 0 {
        return None;
    }
    let after_boot_ns = i128::from(ticks) * 1_000_000_000 / i128::from(per_second);
    i64::try_from(i128::from(boot_s) * 1_000_000_000 + after_boot_ns).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert!(release_is_at_least("5.8.0", (5, 8)));
        assert!(release_is_at_least("6.1-rc3", (5, 8)));
        assert!(release_is_at_least("5.15.0-91-generic", (5, 8)));
        assert!(!release_is_at_least("5.4.0", (5, 8)));
        assert!(!release_is_at_least("4.19", (5, 8)));
        assert!(!release_is_at_least("unknown", (5, 8)));
    }

    #[test]
    fn c5_the_holder_of_a_lock_is_found_among_other_locks() {
        let table = "1: POSIX  ADVISORY  WRITE 11 fe:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:02:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 fe:01:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 14 fe:01:77 0 EOF\n\
                     damaged\n4: FLOCK\n5: FLOCK ADVISORY READ -1 fe:01:78 0 EOF\n";
        assert_eq!(find_holder(table, (0xfe, 1), 77), Some(13));
        assert_eq!(find_holder(table, (0, 0x1d), 77), Some(12), "the device may be spelt otherwise");
        assert_eq!(
            find_holder(table, (0xfe, 1), 78),
            None,
            "a process of another container has no number here"
        );
    }

    #[test]
    fn this_process_has_a_name_and_started_in_the_past() {
        let (command, started_ns) = describe_process(std::process::id());
        assert!(command.is_some());
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        let started_s = started_ns.unwrap() / 1_000_000_000;
        assert!(started_s <= now + 1 && started_s > now - 86_400, "{started_s} {now}");
    }
}
