//! Names of users and groups, which mean more on another computer than their numbers.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Asks the system for each user and group once. May be used from several threads.
///
/// What the system cannot answer (no such user, a directory service that is down) is `None`: a
/// name is a hint beside the number, and its lack is no error.
#[derive(Debug, Default)]
pub struct Accounts {
    users: Mutex<HashMap<u32, Option<Vec<u8>>>>,
    groups: Mutex<HashMap<u32, Option<Vec<u8>>>>,
    uids: Mutex<HashMap<Vec<u8>, Option<u32>>>,
    gids: Mutex<HashMap<Vec<u8>, Option<u32>>>,
}

impl Accounts {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a user.
    pub fn user(&self, uid: u32) -> Option<Vec<u8>> {
        remember(&self.users, uid, || user_by_uid(uid))
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<Vec<u8>> {
        remember(&self.groups, gid, || group_by_gid(gid))
    }

    /// The number of the user with this name here.
    pub fn uid(&self, name: &[u8]) -> Option<u32> {
        remember(&self.uids, name.to_vec(), || uid_by_name(&CString::new(name).ok()?))
    }

    /// The number of the group with this name here.
    pub fn gid(&self, name: &[u8]) -> Option<u32> {
        remember(&self.gids, name.to_vec(), || gid_by_name(&CString::new(name).ok()?))
    }
}

fn remember<K: Eq + Hash, V: Clone>(known: &Mutex<HashMap<K, V>>, key: K, ask: impl FnOnce() -> V) -> V {
    // The table stays usable if a thread died while holding it: entries are whole or absent.
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(key).or_insert_with(ask).clone()
}

/// Enough for a group with tens of thousands of members; a larger one has no name for us.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Calls a `get…_r` function with a growing buffer for the strings until they fit.
fn with_buffer<T>(mut call: impl FnMut(&mut [u8]) -> Result<Option<T>, i32>) -> Option<T> {
    let mut size = 1024;
    while size <= BUFFER_BYTES_MAX {
        match call(&mut vec![0; size]) {
            Ok(found) => return found,
            Err(libc::ERANGE | libc::EINTR) => size *= 4,
            Err(_) => return None,
        }
    }
    None
}

macro_rules! lookup {
    ($name:ident, $key:ty => $argument:expr, $call:path, $record:ty, $found:ty, $pick:expr) => {
        fn $name(key: $key) -> Option<$found> {
            with_buffer(|buffer| {
                let mut record = std::mem::MaybeUninit::<$record>::uninit();
                let mut result: *mut $record = std::ptr::null_mut();
                // SAFETY: record, buffer (with its true length) and result are ours and live through the call;
                // a string argument is terminated and outlives the call too.
                let error = unsafe {
                    $call(
                        $argument(key),
                        record.as_mut_ptr(),
                        buffer.as_mut_ptr().cast::<libc::c_char>(),
                        buffer.len(),
                        &mut result,
                    )
                };
                if error != 0 {
                    return Err(error);
                }
                // SAFETY: the call succeeded, so `result` is null or points to `record`, filled in, with
                // strings inside `buffer`, which is alive until the value has been copied out.
                Ok(unsafe { result.as_ref() }.map($pick))
            })
        }
    };
}

lookup!(user_by_uid, u32 => |uid| uid, libc::getpwuid_r, libc::passwd, Vec<u8>, |record| c_bytes(record.pw_name));
lookup!(group_by_gid, u32 => |gid| gid, libc::getgrgid_r, libc::group, Vec<u8>, |record| c_bytes(record.gr_name));
lookup!(uid_by_name, &CStr => CStr::as_ptr, libc::getpwnam_r, libc::passwd, u32, |record| record.pw_uid);
lookup!(gid_by_name, &CStr => CStr::as_ptr, libc::getgrnam_r, libc::group, u32, |record| record.gr_gid);

fn c_bytes(text: *const libc::c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, and the system's records hold terminated strings (see `lookup`).
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        let accounts = Accounts::new();
        assert_eq!(accounts.user(0), Some(b"root".to_vec()));
        assert_eq!(accounts.uid(b"root"), Some(0));
        let group = accounts.group(0).unwrap();
        assert_eq!(accounts.gid(&group), Some(0));
    }

    #[test]
    fn unknown_accounts_have_no_name_and_nonsense_no_number() {
        let accounts = Accounts::new();
        assert_eq!(accounts.user(3_999_999_999), None);
        assert_eq!(accounts.uid(b"no such user here"), None);
        assert_eq!(accounts.gid(b"with\0zero"), None);
        assert_eq!(accounts.gid(b""), None);
    }
}
