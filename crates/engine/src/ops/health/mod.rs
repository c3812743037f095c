//! `disk health`: what the drives below a connected disk say of themselves, asked through `smartctl`.

mod smart;

use std::ffi::OsStr;
use std::path::PathBuf;

pub use smart::{Smart, Verdict};

use super::OpError;
use super::shelf::Connected;
use super::tools::{Tool, said};
use crate::platform::{self, BlockDevice, Devices, Mounts};

/// What one drive says.
#[derive(Debug, Clone)]
pub struct DriveHealth {
    /// Its device file.
    pub drive: PathBuf,
    /// What was understood of it.
    pub smart: Smart,
    /// What to think of it.
    pub verdict: Verdict,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// The command that would tell more, if it was not allowed here.
    pub command: Option<String>,
}

/// What the drives below a disk say.
#[derive(Debug, Clone)]
pub struct DiskHealth {
    /// The disk's name.
    pub name: String,
    /// One for each drive; none: no drive is known below it.
    pub drives: Vec<DriveHealth>,
}

impl DiskHealth {
    /// The gravest verdict of its drives.
    pub fn verdict(&self) -> Verdict {
        self.drives.iter().map(|drive| drive.verdict).max().unwrap_or(Verdict::Unknown)
    }
}

/// Asks the drives below a connected disk. [`OpError::NoProgram`] if smartctl is not installed.
pub fn health(connected: &Connected) -> Result<DiskHealth, OpError> {
    if platform::find_program("smartctl").is_none() {
        return Err(OpError::NoProgram {
            program: "smartctl",
            what: "only it can ask a drive how it is",
            command: "sudo apt install smartmontools",
        });
    }
    let mounts = Mounts::read().map_err(OpError::io("read", "/proc/self/mountinfo"))?;
    let devices = Devices::default();
    let device = mounts.mount_of(&connected.folder).and_then(|mount| devices.of_mount(mount));
    let drives = device.map(|device| devices.drives(&device, true)).unwrap_or_default();
    Ok(DiskHealth { name: connected.row.name.clone(), drives: drives.iter().map(ask).collect() })
}

/// Asks one drive; behind a USB bridge that smartctl does not know, as most of them want to be asked.
fn ask(drive: &BlockDevice) -> DriveHealth {
    let plain = question(drive, None);
    let mut smart = answer(&plain);
    let mut asked = plain;
    if smart.passed.is_none() && (smart.wants_device_type || drive.name.starts_with("sd")) {
        let translated = question(drive, Some("sat"));
        let second = answer(&translated);
        if second.passed.is_some() {
            (smart, asked) = (second, translated);
        }
    }
    let (verdict, reasons) = smart.verdict();
    let forbidden = reasons.iter().any(|why| why.contains("ermission denied"));
    let command = (verdict == Verdict::Unknown && forbidden).then(|| asked.pasted());
    DriveHealth { drive: drive.node.clone(), smart, verdict, reasons, command }
}

fn question(drive: &BlockDevice, kind: Option<&str>) -> Tool {
    let mut words = vec![OsStr::new("--json"), OsStr::new("-a")];
    words.extend(kind.into_iter().flat_map(|kind| [OsStr::new("-d"), OsStr::new(kind)]));
    words.push(drive.node.as_os_str());
    Tool::new("smartctl", words)
}

fn answer(question: &Tool) -> Smart {
    match question.run() {
        // Its exit status is a set of bits, most of which mean that there is something to be read.
        Some(Ok(output)) if !output.stdout.trim_ascii().is_empty() => Smart::parse(&output.stdout),
        Some(Ok(output)) => silent(said(&output)),
        Some(Err(error)) => silent(error),
        None => silent("smartctl is not there any more".to_owned()),
    }
}

fn silent(why: String) -> Smart {
    Smart { silent_because: Some(why), ..Smart::default() }
}
