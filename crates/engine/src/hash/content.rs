//! Hashing of whatever can be read once.

use distbackup_core::model::ObjectId;

use super::{Digest, HashError};
use crate::content::Content;

/// Hashes a content to its end; calls `each` with the bytes of every segment and asks `stop` as often.
/// Returns its identity and its size in bytes.
pub fn hash_content(
    content: &mut dyn Content,
    each: &mut dyn FnMut(u64),
    stop: &dyn Fn() -> bool,
) -> Result<(ObjectId, u64), HashError> {
    let mut digest = Digest::new();
    let mut size = 0;
    while let Some(segment) = content.next_segment()? {
        if stop() {
            return Err(HashError::Stopped);
        }
        let bytes = segment.length();
        digest.update(&segment);
        size += bytes;
        each(bytes);
    }
    Ok((digest.finish(), size))
}
