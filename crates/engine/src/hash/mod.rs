//! Hash: a source file read once, hashed, and found to have stood still meanwhile.
//!
//! A [`SourceFile`] is a [`Content`](crate::content::Content): `update` hashes it, a visit streams it to a disk. Either
//! way [`SourceFile::finish`] tells whether the file changed while it was read; if so, what was read
//! never existed and must not be kept (S8). Holes are not read, only hashed.

mod content;
mod digest;
mod gather;
mod many;
mod source;
mod sparse;
mod stable;

pub use content::hash_content;
pub use digest::Digest;
pub use gather::Gather;
pub use many::{hash_many, hash_one};
pub use source::{Reading, SourceFile};
pub use sparse::SparseReader;
pub use stable::{ATTEMPTS, HashError, Hashed, read_stable};
