//! `disk eject`: a disk is flushed, unmounted and powered off, and nothing is ever forced.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::OpError;
use super::shelf::Connected;
use super::tools::Tool;
use crate::catalog::Catalog;
use crate::platform::{self, BlockDevice, Devices, Holder, Mount, Mounts};

/// What it takes to let go of a connected disk.
#[derive(Debug, Clone)]
pub struct Ejection {
    /// The disk's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Why nothing is to be unmounted.
    pub stays: Option<Stays>,
    /// The mount on which the folder lies.
    mount: Mount,
    /// Its device; `None`: it has none.
    device: Option<BlockDevice>,
    /// The drives below that.
    drives: Vec<BlockDevice>,
    /// The device to be locked again, if the filesystem is an encrypted one.
    encrypted: Option<BlockDevice>,
    /// Other mount points on the same drives.
    others: Vec<PathBuf>,
}

/// Why a filesystem stays mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stays {
    /// A place that is needed here and lies on the same filesystem.
    pub because_of: PathBuf,
}

/// How a disk was let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ejected {
    /// Everything is durable; the folder lies on a filesystem that stays mounted.
    Flushed(Stays),
    /// Unmounted; there is no drive to be powered off.
    Unmounted,
    /// Unmounted, but the same drive carries these mount points: it was not powered off.
    Shared(Vec<PathBuf>),
    /// Unmounted, and every drive powered off.
    PoweredOff,
    /// Unmounted, and every drive told to let go of its medium, which stops it.
    Released,
}

/// Finds out what is to be done. `needed` are places without which this computer or this program does not work; whatever
/// lies on the same filesystem as one of them, or as a source, stays mounted.
pub fn prepare(catalog: &Catalog, connected: &Connected, needed: &[PathBuf]) -> Result<Ejection, OpError> {
    let mounts = read_mounts()?;
    let folder = connected.folder.clone();
    let mount = mounts
        .mount_of(&folder)
        .cloned()
        .ok_or_else(|| OpError::io("find the mount of", &folder)(io::Error::from(io::ErrorKind::NotFound)))?;
    let mut places = vec![PathBuf::from("/")];
    places.extend(needed.iter().cloned());
    places.extend(catalog.read().sources()?.into_iter().map(|source| source.path));
    let same = |place: &PathBuf| {
        let real = std::fs::canonicalize(place).ok();
        real.and_then(|real| Some(mounts.mount_of(&real)?.device == mount.device)).unwrap_or(false)
    };
    let stays = places.into_iter().find(same).map(|because_of| Stays { because_of });
    let devices = Devices::default();
    let device = devices.of_mount(&mount);
    let drives = device.as_ref().map(|device| devices.drives(device, false)).unwrap_or_default();
    let encrypted = device.as_ref().and_then(|device| devices.encrypted(device));
    let others = others(&mounts, &mount, &devices, &drives);
    Ok(Ejection { name: connected.row.name.clone(), folder, stays, mount, device, drives, encrypted, others })
}

/// Other mount points on the same drives.
fn others(mounts: &Mounts, mount: &Mount, devices: &Devices, drives: &[BlockDevice]) -> Vec<PathBuf> {
    let on_them = |other: &&Mount| {
        let below = devices.of_mount(other).map(|device| devices.drives(&device, false)).unwrap_or_default();
        other.mount_id != mount.mount_id
            && (other.device == mount.device || below.iter().any(|drive| drives.contains(drive)))
    };
    let mut points: Vec<PathBuf> =
        mounts.all().iter().filter(on_them).map(|other| other.point.clone()).collect();
    points.sort();
    points.dedup();
    points
}

fn read_mounts() -> Result<Mounts, OpError> {
    Mounts::read().map_err(OpError::io("read", "/proc/self/mountinfo"))
}

impl Ejection {
    /// Where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount.point
    }

    /// Its device, if it has one.
    pub fn device(&self) -> Option<&Path> {
        self.device.as_ref().map(|device| device.node.as_path())
    }

    /// The drives that are to be powered off.
    pub fn drives(&self) -> Vec<&Path> {
        self.drives.iter().map(|drive| drive.node.as_path()).collect()
    }

    /// What would be done, as commands.
    pub fn commands(&self) -> Vec<String> {
        let first = |tools: Vec<Tool>| {
            let there = tools.iter().find(|tool| platform::find_program(tool.program).is_some());
            there.or(tools.last()).map(Tool::line)
        };
        if self.stays.is_some() {
            return Vec::new();
        }
        let mut lines: Vec<String> = first(self.ways_to_unmount()).into_iter().collect();
        if self.others.is_empty() {
            lines.extend(self.encrypted.as_ref().and_then(|below| first(self.ways_to_lock(below))));
            let devices = Devices::default();
            let real = self.drives.iter().filter(|drive| !devices.is_virtual(drive));
            lines.extend(real.filter_map(|drive| first(ways_to_power_off(drive))));
        }
        lines
    }

    fn ways_to_unmount(&self) -> Vec<Tool> {
        let mut ways = Vec::new();
        // It unmounts a device, not a place: only where there is no other place.
        if let (Some(device), true) = (&self.device, self.others.is_empty()) {
            ways.push(udisks("unmount", device));
        }
        ways.push(Tool::new("umount", [&self.mount.point]));
        ways
    }

    fn ways_to_lock(&self, below: &BlockDevice) -> Vec<Tool> {
        let mut ways = vec![udisks("lock", below)];
        let mapped = self.device.as_ref().and_then(|device| device.node.file_name());
        ways.extend(mapped.map(|name| Tool::new("cryptsetup", [OsStr::new("close"), name])));
        ways
    }

    /// Makes everything durable, unmounts and powers off. The caller has let go of the disk and of its lock; whoever still uses
    /// it makes the system refuse.
    ///
    /// Fails with [`OpError::Busy`] before anything was changed, and with [`OpError::NotEjected`] where a step did not succeed.
    pub fn carry_out(&self) -> Result<Ejected, OpError> {
        self.flush()?;
        if let Some(stays) = &self.stays {
            return Ok(Ejected::Flushed(stays.clone()));
        }
        let holders = self.holders_that_stay();
        if !holders.is_empty() {
            return Err(OpError::Busy { name: self.name.clone(), holders });
        }
        self.unmount()?;
        if !self.others.is_empty() {
            return Ok(Ejected::Shared(self.others.clone()));
        }
        if let Some(below) = &self.encrypted {
            self.try_each(&self.ways_to_lock(below), "unmounted, but not locked")?;
        }
        self.power_off()
    }

    /// Who has something of the disk open. Whoever only looks at what is mounted, as this program does to find a disk, is gone
    /// in a moment.
    fn holders_that_stay(&self) -> Vec<Holder> {
        const LOOKS: u32 = 5;
        const BETWEEN: Duration = Duration::from_millis(100);
        for _ in 1..LOOKS {
            if platform::holders(&self.mount).is_empty() {
                return Vec::new();
            }
            std::thread::sleep(BETWEEN);
        }
        platform::holders(&self.mount)
    }

    fn flush(&self) -> Result<(), OpError> {
        let folder =
            platform::open_folder_following(&self.folder).map_err(OpError::io("open", &self.folder))?;
        match platform::sync_filesystem(&folder) {
            // Then unmounting alone has to do.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done.map_err(OpError::io("make durable what is on", &self.folder)),
        }
    }

    fn unmount(&self) -> Result<(), OpError> {
        let ways = self.ways_to_unmount();
        let mut why = Vec::new();
        for way in &ways {
            let done = way.does();
            // The table of mounts has the last word, whatever a program says.
            if !read_mounts()?.all().iter().any(|mount| mount == &self.mount) {
                return Ok(());
            }
            why.push(
                done.err()
                    .unwrap_or_else(|| format!("{} says that it did, but it is mounted still", way.program)),
            );
        }
        if why.iter().any(|why| why.contains("busy")) {
            return Err(OpError::Busy { name: self.name.clone(), holders: platform::holders(&self.mount) });
        }
        Err(self.failed("not unmounted", &why, &ways))
    }

    fn power_off(&self) -> Result<Ejected, OpError> {
        let devices = Devices::default();
        let mut how = Ejected::Unmounted;
        for drive in &self.drives {
            let off = udisks("power-off", drive).does();
            if devices.is_virtual(drive) {
                // A loop device: nothing to be powered off, and by now it may be another's. Only who refuses that was asked.
                how = if off.is_ok() { Ejected::PoweredOff } else { how };
                continue;
            }
            if off.is_ok() {
                how = if how == Ejected::Released { how } else { Ejected::PoweredOff };
                continue;
            }
            self.try_each(&ways_to_power_off(drive)[1..], "unmounted, but not powered off").map_err(
                |error| {
                    match (error, off) {
                        // Of two reasons the first is the better one, unless it is only that the program is missing.
                        (OpError::NotEjected { name, what, why, command }, Err(first)) => {
                            OpError::NotEjected { name, what, why: format!("{first}; {why}"), command }
                        }
                        (error, _) => error,
                    }
                },
            )?;
            how = Ejected::Released;
        }
        Ok(how)
    }

    fn try_each(&self, ways: &[Tool], what: &'static str) -> Result<(), OpError> {
        let mut why = Vec::new();
        for way in ways {
            match way.does() {
                Ok(()) => return Ok(()),
                Err(error) => why.push(error),
            }
        }
        Err(self.failed(what, &why, ways))
    }

    fn failed(&self, what: &'static str, why: &[String], ways: &[Tool]) -> OpError {
        let there = ways.iter().find(|way| platform::find_program(way.program).is_some());
        let command = there.or(ways.last()).map(Tool::pasted).unwrap_or_default();
        OpError::NotEjected { name: self.name.clone(), what, why: why.join("; "), command }
    }
}

fn udisks(verb: &str, device: &BlockDevice) -> Tool {
    let words =
        [OsStr::new(verb), OsStr::new("--no-user-interaction"), OsStr::new("-b"), device.node.as_os_str()];
    Tool::new("udisksctl", words)
}

/// The second one stops a drive without unmounting anything else that lies on it.
fn ways_to_power_off(drive: &BlockDevice) -> Vec<Tool> {
    vec![udisks("power-off", drive), Tool::new("eject", [OsStr::new("--no-unmount"), drive.node.as_os_str()])]
}
