//! Content on its way: what is read from a source or a disk, in segments.
//!
//! A segment is either bytes or a run of zeros that nobody had to read, because it is a hole of a
//! sparse file. So 200 GB of hole cost no buffer, no read and no room; they are only hashed.

mod buffer;

use std::io;

pub use buffer::Buffer;

/// How much is read and written at once: large enough that system calls do not count, small
/// enough to stay in the processor's cache.
pub const BUFFER_BYTES: usize = 1 << 19;

/// From this size in bytes on, a content is written straight to a disk that takes that, and together with others: whoever
/// writes it waits for the disk, not for the processor.
pub const LARGE_BYTES: u64 = 4 << 20;

/// The next part of a content, in order and without gaps.
#[derive(Debug)]
pub enum Segment<'a> {
    /// Bytes that were read.
    Data(&'a [u8]),
    /// So many zero bytes, from a hole.
    Zeros(u64),
}

impl Segment<'_> {
    /// Bytes of content that it stands for.
    pub fn length(&self) -> u64 {
        match self {
            Segment::Data(data) => data.len() as u64,
            Segment::Zeros(length) => *length,
        }
    }
}

/// A content that can be read once, from the beginning to the end.
pub trait Content {
    /// The next segment, or `None` at the end.
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>>;

    /// How many bytes it probably has, for whoever prepares for it; 0 if nobody knows, or if there may be holes in it.
    fn probable_bytes(&self) -> u64 {
        0
    }

    /// Appends all of it to `bytes`, holes filled. `false`: it is longer than `max`, and some of it may have been appended.
    fn append_to(&mut self, bytes: &mut Vec<u8>, max: u64) -> io::Result<bool> {
        append_segments(self, bytes, max)
    }
}

/// What [`Content::append_to`] does where there is no shorter way.
pub(crate) fn append_segments<C: Content + ?Sized>(
    content: &mut C,
    bytes: &mut Vec<u8>,
    max: u64,
) -> io::Result<bool> {
    let mut length = 0u64;
    while let Some(segment) = content.next_segment()? {
        length = segment.length().saturating_add(length);
        if length > max {
            return Ok(false);
        }
        match segment {
            Segment::Data(data) => bytes.extend_from_slice(data),
            Segment::Zeros(run) => bytes.resize(bytes.len() + run as usize, 0),
        }
    }
    Ok(true)
}

/// A content held in memory.
#[derive(Debug)]
pub struct InMemory<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> InMemory<'a> {
    /// Reads `bytes` once.
    pub fn new(bytes: &'a [u8]) -> Self {
        InMemory { rest: Some(bytes) }
    }
}

impl Content for InMemory<'_> {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        Ok(self.rest.take().filter(|bytes| !bytes.is_empty()).map(Segment::Data))
    }
}
