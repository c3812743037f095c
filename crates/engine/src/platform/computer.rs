//! Which computer this is, so that two of them can use one set of disks.

use sha2::{Digest as _, Sha256};

/// A computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Computer {
    /// What tells it from others; stays the same when it gets another name.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// This computer; `None` where the system has no identity of its own, as in many containers.
///
/// `DISTBACKUP_COMPUTER` names it where the system does not. The identity is a part of the hash of `machine-id(5)`, which is not
/// to be given away as it is.
pub fn this_computer() -> Option<Computer> {
    if let Some(given) = std::env::var("DISTBACKUP_COMPUTER").ok().filter(|given| !given.trim().is_empty()) {
        return Some(Computer { id: given.clone(), name: given });
    }
    let machine = std::fs::read_to_string("/etc/machine-id").ok()?;
    let machine = machine.trim();
    if machine.len() < 32 {
        return None;
    }
    let hash = Sha256::digest(format!("distbackup {machine}"));
    let id = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    Some(Computer { id, name: if name.is_empty() { "another computer".to_owned() } else { name } })
}
