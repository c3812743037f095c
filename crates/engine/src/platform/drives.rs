//! Block devices: what a filesystem lies on, down to the drives that a hand can unplug.
//!
//! Linux tells it in `/sys`: a partition lies in the folder of its drive, a mapped device (dm-crypt, LVM, RAID) names what is
//! below it in `slaves`, a loop device its file. On other systems nothing is known.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mounts::{Mount, Mounts};

/// Devices stacked on devices, at most: a damaged or hostile `/sys` must not lead in circles.
const DEPTH_MAX: u32 = 8;

/// A block device as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockDevice {
    /// Its name in `/sys/class/block`: `sdb1`, `dm-0`, `cciss!c0d0`.
    pub name: String,
    /// Its file: `/dev/sdb1`, `/dev/mapper/red`.
    pub node: PathBuf,
}

/// The block devices that the system knows.
#[derive(Debug, Clone)]
pub struct Devices {
    /// `/sys`, or what a test puts in its place.
    sys: PathBuf,
}

impl Default for Devices {
    fn default() -> Self {
        Devices { sys: PathBuf::from("/sys") }
    }
}

impl Devices {
    /// The device of a mounted filesystem. `None` where it has none: in memory, on a network, or it does not say.
    pub fn of_mount(&self, mount: &Mount) -> Option<BlockDevice> {
        let named = || {
            // Btrfs shows a number of its own, but says on which device it was mounted.
            let source = super::path_of_bytes(&mount.source);
            let stat = source.starts_with("/dev").then(|| fs::metadata(source).ok()).flatten()?;
            Some((rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev())))
        };
        let number = if mount.device.0 == 0 { named()? } else { mount.device };
        self.by_number(number)
    }

    /// The device with a major and a minor number.
    fn by_number(&self, (major, minor): (u32, u32)) -> Option<BlockDevice> {
        let link = fs::read_link(self.sys.join(format!("dev/block/{major}:{minor}"))).ok()?;
        self.by_name(link.file_name()?.to_str()?)
    }

    fn by_name(&self, name: &str) -> Option<BlockDevice> {
        let folder = self.folder(name);
        if name.is_empty() || name.starts_with('.') || !folder.exists() {
            return None;
        }
        let node = match self.text(&folder.join("dm/name")) {
            Some(mapped) => Path::new("/dev/mapper").join(mapped),
            // The kernel writes `!` for a `/` in the name of a device.
            None => Path::new("/dev").join(name.replace('!', "/")),
        };
        Some(BlockDevice { name: name.to_owned(), node })
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.sys.join("class/block").join(name)
    }

    fn text(&self, file: &Path) -> Option<String> {
        fs::read_to_string(file).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The whole drives on which a device lies, in order of their names: itself if nothing is below it. With
    /// `through_files`, a loop device means the drives that hold its file, if they can be told.
    pub fn drives(&self, device: &BlockDevice, through_files: bool) -> Vec<BlockDevice> {
        let mut found = BTreeSet::new();
        self.descend(&device.name, through_files, DEPTH_MAX, &mut found);
        found.into_iter().filter_map(|name| self.by_name(&name)).collect()
    }

    fn descend(&self, name: &str, through_files: bool, depth: u32, found: &mut BTreeSet<String>) {
        if depth == 0 {
            return;
        }
        let below = self.below(name, through_files);
        if below.is_empty() {
            found.insert(name.to_owned());
        }
        for one in below {
            self.descend(&one, through_files, depth - 1, found);
        }
    }

    /// What a device lies on directly; empty: it is a drive.
    fn below(&self, name: &str, through_files: bool) -> Vec<String> {
        let folder = self.folder(name);
        if folder.join("partition").exists() {
            // The link leads into the folder of the drive: …/block/sdb/sdb1.
            let real = fs::canonicalize(&folder).ok();
            let drive = real.as_deref().and_then(Path::parent).and_then(Path::file_name);
            return drive.and_then(|drive| drive.to_str()).map(str::to_owned).into_iter().collect();
        }
        let mut slaves = self.slaves(name);
        if slaves.is_empty() && through_files {
            slaves.extend(self.holder_of_file(&folder));
        }
        slaves
    }

    fn slaves(&self, name: &str) -> Vec<String> {
        let Ok(names) = fs::read_dir(self.folder(name).join("slaves")) else { return Vec::new() };
        let mut names: Vec<String> =
            names.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The device that holds the file of a loop device.
    fn holder_of_file(&self, folder: &Path) -> Option<String> {
        let file = self.text(&folder.join("loop/backing_file"))?;
        let device = fs::metadata(&file).ok()?.dev();
        let number = (rustix::fs::major(device), rustix::fs::minor(device));
        let device = match number.0 {
            0 => self.of_mount(Mounts::read().ok()?.mount_of(&fs::canonicalize(file).ok()?)?)?,
            _ => self.by_number(number)?,
        };
        Some(device.name)
    }

    /// The encrypted device behind an unlocked one (dm-crypt); `None` if it is no such device.
    pub fn encrypted(&self, device: &BlockDevice) -> Option<BlockDevice> {
        let uuid = self.text(&self.folder(&device.name).join("dm/uuid"))?;
        if !uuid.starts_with("CRYPT-") {
            return None;
        }
        match self.slaves(&device.name).as_slice() {
            [one] => self.by_name(one),
            _ => None,
        }
    }

    /// Whether anything turns in one of the drives on which a device lies.
    fn rotates(&self, device: &BlockDevice) -> bool {
        self.drives(device, true).iter().any(|drive| {
            let real = fs::canonicalize(self.folder(&drive.name)).unwrap_or_default();
            let real = real.to_string_lossy();
            // Virtual drives say 1 without meaning it.
            let pretends = real.contains("/virtual/") || real.contains("/virtio");
            !pretends && self.text(&self.folder(&drive.name).join("queue/rotational")).as_deref() == Some("1")
        })
    }

    /// Whether a device exists in memory only: nothing that could be unplugged.
    pub fn is_virtual(&self, device: &BlockDevice) -> bool {
        fs::canonicalize(self.folder(&device.name))
            .is_ok_and(|real| real.components().any(|part| part.as_os_str() == "virtual"))
    }
}

/// Whether a folder lies on a rotating disk, which wants one sequential stream (DESIGN 8). Unknown means no.
pub fn is_rotational(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    let Ok(mounts) = Mounts::read() else { return false };
    let devices = Devices::default();
    let device = mounts.mount_of(&folder).and_then(|mount| devices.of_mount(mount));
    device.is_some_and(|device| devices.rotates(&device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A `/sys` with a USB disk `sdb` of two partitions, and an encrypted filesystem on the second.
    fn system() -> (tempfile::TempDir, Devices) {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path().to_owned();
        let write = |file: &str, text: &str| {
            let file = sys.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        fs::create_dir_all(sys.join("class/block")).unwrap();
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        let device = |name: &str, place: &str, number: &str| {
            fs::create_dir_all(sys.join("devices").join(place)).unwrap();
            symlink(format!("../../devices/{place}"), sys.join("class/block").join(name)).unwrap();
            symlink(format!("../../devices/{place}"), sys.join("dev/block").join(number)).unwrap();
        };
        device("sdb", "usb1/block/sdb", "8:16");
        device("sdb1", "usb1/block/sdb/sdb1", "8:17");
        device("sdb2", "usb1/block/sdb/sdb2", "8:18");
        device("dm-0", "virtual/block/dm-0", "253:0");
        write("devices/usb1/block/sdb/sdb1/partition", "1\n");
        write("devices/usb1/block/sdb/sdb2/partition", "2\n");
        write("devices/virtual/block/dm-0/dm/name", "luks-red\n");
        write("devices/virtual/block/dm-0/dm/uuid", "CRYPT-LUKS2-0123-luks-red\n");
        write("devices/virtual/block/dm-0/slaves/sdb2", "");
        (dir, Devices { sys })
    }

    fn names(devices: &[BlockDevice]) -> Vec<&str> {
        devices.iter().map(|device| device.name.as_str()).collect()
    }

    #[test]
    fn a_partition_lies_on_its_drive() {
        let (_dir, system) = system();
        let part = system.by_number((8, 17)).unwrap();
        assert_eq!(part.node, Path::new("/dev/sdb1"));
        assert_eq!(names(&system.drives(&part, true)), ["sdb"]);
        assert_eq!(names(&system.drives(&system.by_number((8, 16)).unwrap(), true)), ["sdb"]);
        assert!(!system.is_virtual(&part) && system.encrypted(&part).is_none());
    }

    #[test]
    fn an_unlocked_device_lies_on_the_drive_of_the_locked_one() {
        let (_dir, system) = system();
        let open = system.by_number((253, 0)).unwrap();
        assert_eq!(open.node, Path::new("/dev/mapper/luks-red"));
        assert_eq!(names(&system.drives(&open, true)), ["sdb"]);
        assert_eq!(system.encrypted(&open).unwrap().node, Path::new("/dev/sdb2"));
        assert!(system.is_virtual(&open));
    }

    #[test]
    fn what_is_encrypted_or_a_partition_turns_with_its_drive() {
        let (dir, system) = system();
        let queue = dir.path().join("devices/usb1/block/sdb/queue");
        fs::create_dir(&queue).unwrap();
        // What a mapped device says of itself does not count.
        fs::create_dir(dir.path().join("devices/virtual/block/dm-0/queue")).unwrap();
        for turns in [true, false] {
            fs::write(queue.join("rotational"), if turns { "1\n" } else { "0\n" }).unwrap();
            let other = if turns { "0\n" } else { "1\n" };
            fs::write(dir.path().join("devices/virtual/block/dm-0/queue/rotational"), other).unwrap();
            for number in [(8, 16), (8, 17), (253, 0)] {
                assert_eq!(system.rotates(&system.by_number(number).unwrap()), turns, "{number:?}");
            }
        }
    }

    #[test]
    fn a_drive_of_a_virtual_machine_says_that_it_turns_and_does_not() {
        let (dir, system) = system();
        let place = dir.path().join("devices/pci0/virtio0/block/vda");
        fs::create_dir_all(place.join("queue")).unwrap();
        fs::write(place.join("queue/rotational"), "1\n").unwrap();
        symlink("../../devices/pci0/virtio0/block/vda", dir.path().join("class/block/vda")).unwrap();
        assert!(!system.rotates(&system.by_name("vda").unwrap()));
    }

    #[test]
    fn devices_in_circles_and_unknown_ones_lead_nowhere() {
        let (dir, system) = system();
        fs::create_dir_all(dir.path().join("devices/usb1/block/sdb/slaves")).unwrap();
        fs::write(dir.path().join("devices/usb1/block/sdb/slaves/dm-0"), "").unwrap();
        let open = system.by_number((253, 0)).unwrap();
        assert_eq!(names(&system.drives(&open, true)), [""; 0]);
        assert!(system.by_number((9, 9)).is_none() && system.by_name("../../etc").is_none());
    }

    #[test]
    fn a_filesystem_in_memory_has_no_device() {
        let mounts =
            Mounts::parse(b"23 22 0:22 / /sys rw - sysfs sysfs rw\n24 22 0:30 / /t rw - tmpfs /dev/none rw");
        assert!(mounts.all().iter().all(|mount| Devices::default().of_mount(mount).is_none()));
    }
}
