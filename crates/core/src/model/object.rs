//! Objects: distinct file contents, named by their SHA-256.

use std::fmt;
use std::str::FromStr;

/// The SHA-256 of a file's content: the identity of an object and its name on every disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 32]);

/// A text is not the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 in lower-case hexadecimal: {0:?}")]
pub struct ObjectIdError(pub String);

impl ObjectId {
    /// The name of an object on disk: 64 lower-case hexadecimal digits (DESIGN 3).
    pub fn hex(&self) -> String {
        self.to_string()
    }

    /// Reads the name of an object from raw bytes of a folder listing.
    ///
    /// Only the exact spelling that we write is accepted: an upper-case name is another file.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        if name.len() != 64 {
            return None;
        }
        let mut id = [0u8; 32];
        for (byte, pair) in id.iter_mut().zip(name.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(ObjectId(id))
    }
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written for every copy: in one piece, not byte by byte.
        let mut text = [0; 64];
        for (two, byte) in text.as_chunks_mut().0.iter_mut().zip(self.0) {
            *two = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_name(text.as_bytes()).ok_or_else(|| ObjectIdError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_64_lower_case_digits_and_nothing_else() {
        let id = ObjectId([0xab; 32]);
        assert_eq!(id.hex().parse::<ObjectId>(), Ok(id));
        let id = ObjectId(std::array::from_fn(|n| (n * 37 + 5) as u8));
        assert_eq!(id.hex(), id.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_eq!(ObjectId::from_name(id.hex().to_uppercase().as_bytes()), None);
        assert_eq!(ObjectId::from_name(&id.hex().as_bytes()[1..]), None);
        assert_eq!(ObjectId::from_name("g".repeat(64).as_bytes()), None);
    }
}
