//! Paths as bytes, private files, fresh identities.

use std::io;
use std::path::{Path, PathBuf};

/// The raw bytes of a path, as the catalog keeps it (N12).
#[cfg(unix)]
pub fn bytes_of_path(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

/// The path of raw bytes.
#[cfg(unix)]
pub fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// The raw bytes of a path: UTF-8 where names are not bytes.
#[cfg(not(unix))]
pub fn bytes_of_path(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

/// The path of raw bytes.
#[cfg(not(unix))]
pub fn path_of_bytes(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// Makes a file or folder readable by its owner only (C8).
pub fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if std::fs::metadata(path)?.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(())
    }
}

/// 64 random bits from the system. Without a source of randomness the time is the best there is:
/// the number only tells two histories of a disk apart.
pub fn random_bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |since| since.as_nanos() as u64)
    })
}

/// A random (version 4) UUID.
pub fn new_uuid() -> String {
    let bits = u128::from(random_bits()) << 64 | u128::from(random_bits());
    let bits = bits & !(0xf000 << 64) | 0x4000 << 64;
    let bits = bits & !(0xc000 << 48) | 0x8000 << 48;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let uuid = new_uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        assert_ne!(uuid, new_uuid());
    }

    #[test]
    fn paths_that_are_not_text_survive() {
        let raw = b"/a/\xff\n";
        assert_eq!(bytes_of_path(&path_of_bytes(raw)), raw);
    }
}
