//! How each type is stored in a column; damage is an error here, never a wrap-around.

use std::error::Error;
use std::fmt;

use distbackup_core::model::{Bytes, FilesystemNo, Kind, ObjectId, Stamp, VirtualPath, Xattr};
use rusqlite::types::Type;
use rusqlite::{Error as SqlError, Result, Row};

/// A stored value that no program of ours writes.
#[derive(Debug)]
struct Impossible(&'static str);

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "impossible value: {}", self.0)
    }
}

impl Error for Impossible {}

fn impossible(column: usize, what: &'static str) -> SqlError {
    SqlError::FromSqlConversionFailure(column, Type::Null, Box::new(Impossible(what)))
}

/// A count of bytes; negative is damage.
pub fn bytes(row: &Row<'_>, column: usize) -> Result<Bytes> {
    unsigned(row, column).map(Bytes)
}

/// A number that is never negative.
pub fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| impossible(column, "a negative size"))
}

/// What `stat` said of a file: five columns, the size first.
pub fn stamp(row: &Row<'_>, first: usize) -> Result<Stamp> {
    Ok(Stamp {
        size: unsigned(row, first)?,
        mtime_ns: row.get(first + 1)?,
        ctime_ns: row.get(first + 2)?,
        filesystem: FilesystemNo(row.get(first + 3)?),
        inode: bits(row, first + 4)?,
    })
}

/// A number that is never negative and fits 32 bits.
pub fn small(row: &Row<'_>, column: usize) -> Result<u32> {
    u32::try_from(row.get::<_, i64>(column)?).map_err(|_| impossible(column, "a number out of range"))
}

/// An inode or random number: all 64 bits, stored as the signed number of the same bits.
pub fn bits(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// For storing [`bits`].
pub fn to_bits(value: u64) -> i64 {
    value as i64
}

/// For storing a size or a count; sizes over 8 EiB do not exist.
pub fn to_signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A list of texts, stored as JSON; `NULL` is none.
pub fn texts(row: &Row<'_>, column: usize) -> Result<Option<Vec<String>>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|_| impossible(column, "a list that is none"))
}

/// The identities that begin with the 12 bits `prefix` are those from the first bound on and below the second one.
pub fn prefix_bounds(prefix: u16) -> (Vec<u8>, Vec<u8>) {
    let bound = |prefix: u32| {
        // Past the last folder: longer than any identity, so larger than all of them.
        if prefix > 0xfff { vec![0xff; 33] } else { vec![(prefix >> 4) as u8, (prefix << 4) as u8] }
    };
    (bound(u32::from(prefix)), bound(u32::from(prefix) + 1))
}

/// A SHA-256.
pub fn object_id(row: &Row<'_>, column: usize) -> Result<ObjectId> {
    row.get::<_, [u8; 32]>(column).map(ObjectId)
}

/// The letter of a kind.
pub fn kind(row: &Row<'_>, column: usize) -> Result<Kind> {
    let letter: String = row.get(column)?;
    Kind::from_letter(&letter).ok_or_else(|| impossible(column, "an unknown kind of entry"))
}

/// A virtual path.
pub fn virtual_path(row: &Row<'_>, column: usize) -> Result<VirtualPath> {
    let raw: Vec<u8> = row.get(column)?;
    VirtualPath::parse(&raw).map_err(|_| impossible(column, "a virtual path"))
}

/// Extended attributes: for each u16 length, name, u32 length, value, little-endian.
pub fn encode_xattrs(xattrs: &[Xattr]) -> Vec<u8> {
    let mut out = Vec::new();
    for xattr in xattrs {
        let name_length = u16::try_from(xattr.name.len()).unwrap_or(u16::MAX);
        let value_length = u32::try_from(xattr.value.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&name_length.to_le_bytes());
        out.extend_from_slice(&xattr.name);
        out.extend_from_slice(&value_length.to_le_bytes());
        out.extend_from_slice(&xattr.value);
    }
    out
}

/// Reads [`encode_xattrs`] back; `None` if damaged.
pub fn decode_xattrs(mut raw: &[u8]) -> Option<Vec<Xattr>> {
    let mut xattrs = Vec::new();
    while !raw.is_empty() {
        let name_length = u16::from_le_bytes(raw.get(..2)?.try_into().ok()?) as usize;
        let name = raw.get(2..2 + name_length)?.to_vec();
        raw = &raw[2 + name_length..];
        let value_length = u32::from_le_bytes(raw.get(..4)?.try_into().ok()?) as usize;
        let value = raw.get(4..4usize.checked_add(value_length)?)?.to_vec();
        raw = &raw[4 + value_length..];
        xattrs.push(Xattr { name, value });
    }
    Some(xattrs)
}

/// Extended attributes of a column.
pub fn xattrs(row: &Row<'_>, column: usize) -> Result<Vec<Xattr>> {
    let raw: Vec<u8> = row.get(column)?;
    decode_xattrs(&raw).ok_or_else(|| impossible(column, "extended attributes"))
}

/// Holes of a column; NULL: none.
pub fn holes(row: &Row<'_>, column: usize) -> Result<distbackup_core::model::Holes> {
    match row.get::<_, Option<Vec<u8>>>(column)? {
        None => Ok(Default::default()),
        Some(raw) => distbackup_core::model::Holes::decode(&raw).ok_or_else(|| impossible(column, "holes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_and_damage_is_noticed() {
        let xattrs = vec![
            Xattr { name: b"user.a".to_vec(), value: vec![] },
            Xattr { name: b"security.capability".to_vec(), value: vec![0, 255, 7] },
        ];
        let raw = encode_xattrs(&xattrs);
        assert_eq!(decode_xattrs(&raw), Some(xattrs));
        for cut in 1..raw.len() {
            let decoded = decode_xattrs(&raw[..cut]);
            assert!(decoded.is_none() || decoded.is_some_and(|list| list.len() == 1), "cut at {cut}");
        }
    }
}
