//! Small contents read one after another into one piece of memory, to be hashed together.

use std::io;

use distbackup_core::model::ObjectId;

use super::many::hash_many;
use crate::content::Content;

/// Contents that are gathered, each with something that belongs to it.
///
/// Reading one takes two steps, since what was read counts only if the file stood still meanwhile (S8):
/// [`Gather::read`], then [`Gather::keep`]. What is not kept is overwritten by the next reading.
#[derive(Debug)]
pub struct Gather<T> {
    /// The contents that are kept, without gaps, and what was read last.
    bytes: Vec<u8>,
    /// Where each content ends, and what belongs to it.
    kept: Vec<(usize, T)>,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        Gather { bytes: Vec::new(), kept: Vec::new() }
    }
}

impl<T> Gather<T> {
    /// The longest content that is gathered, in bytes. A longer one gains nothing by company.
    pub const CONTENT_MAX: u64 = 128 << 10;
    /// So many bytes are enough: for each lane one of the longest, and memory for every thread.
    const BYTES_ENOUGH: usize = 2 << 20;
    /// So many contents are enough to keep all lanes busy.
    const CONTENTS_ENOUGH: usize = 64;

    /// Reads a content to its end. `false`: it is longer than [`CONTENT_MAX`](Gather::CONTENT_MAX), and is not to be kept.
    pub fn read(&mut self, content: &mut dyn Content) -> io::Result<bool> {
        let start = self.end();
        self.bytes.truncate(start);
        content.append_to(&mut self.bytes, Self::CONTENT_MAX)
    }

    /// Keeps what was read last, together with something that belongs to it.
    pub fn keep(&mut self, with: T) {
        self.kept.push((self.bytes.len(), with));
    }

    /// Whether it is time to hash.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= Self::CONTENTS_ENOUGH || self.end() >= Self::BYTES_ENOUGH
    }

    /// Hashes what is kept; hands out each content with its identity and what belongs to it, in the order of reading.
    pub fn hash(&mut self, mut each: impl FnMut(ObjectId, &[u8], T)) {
        let mut rest = &self.bytes[..self.end()];
        let mut start = 0;
        let mut contents = Vec::with_capacity(self.kept.len());
        for (end, _) in &self.kept {
            let (content, further) = rest.split_at(end - start);
            contents.push(content);
            (rest, start) = (further, *end);
        }
        let ids = hash_many(&contents);
        for ((id, content), (_, with)) in ids.into_iter().zip(contents).zip(self.kept.drain(..)) {
            each(id, content, with);
        }
        self.bytes.clear();
    }

    fn end(&self) -> usize {
        self.kept.last().map_or(0, |(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{InMemory, Segment};
    use crate::hash::hash_one;

    /// Bytes and holes in turn.
    struct Parts(Vec<(Vec<u8>, u64)>, Vec<u8>);

    impl Content for Parts {
        fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
            let Some((data, zeros)) = self.0.first_mut() else { return Ok(None) };
            if !data.is_empty() {
                self.1 = std::mem::take(data);
                return Ok(Some(Segment::Data(&self.1)));
            }
            let zeros = *zeros;
            self.0.remove(0);
            Ok(Some(Segment::Zeros(zeros)))
        }
    }

    fn hashed<T>(gather: &mut Gather<T>) -> Vec<(ObjectId, Vec<u8>, T)> {
        let mut all = Vec::new();
        gather.hash(|id, content, with| all.push((id, content.to_vec(), with)));
        all
    }

    #[test]
    fn each_content_comes_back_with_its_hash_and_what_belongs_to_it() {
        let mut gather = Gather::default();
        for round in 0..2 {
            for number in 0..40u8 {
                assert!(gather.read(&mut InMemory::new(&vec![number; usize::from(number) * 10])).unwrap());
                gather.keep((round, number));
            }
            let all = hashed(&mut gather);
            assert_eq!(all.len(), 40);
            for (number, (id, content, with)) in (0..40u8).zip(all) {
                assert_eq!(
                    (content.as_slice(), with),
                    (vec![number; usize::from(number) * 10].as_slice(), (round, number))
                );
                assert_eq!(id, hash_one(&content));
            }
        }
        assert!(hashed(&mut gather).is_empty());
    }

    #[test]
    fn s8_what_is_not_kept_leaves_no_trace() {
        let mut gather = Gather::default();
        for (content, keep) in [("one", true), ("changed", false), ("two", true), ("changed again", false)] {
            assert!(gather.read(&mut InMemory::new(content.as_bytes())).unwrap());
            if keep {
                gather.keep(content);
            }
        }
        let all = hashed(&mut gather);
        let expected = ["one", "two"].map(|content| (hash_one(content.as_bytes()), content.into(), content));
        assert_eq!(all, expected);
    }

    #[test]
    fn holes_count_as_zeros_and_what_is_long_is_not_gathered() {
        let mut gather = Gather::default();
        let content = Parts(vec![(b"a".to_vec(), 5), (b"b".to_vec(), 0)], Vec::new());
        assert!(gather.read(&mut { content }).unwrap());
        gather.keep(());
        let max = Gather::<()>::CONTENT_MAX;
        assert!(gather.read(&mut InMemory::new(&vec![1; max as usize])).unwrap());
        for long in [vec![(vec![1; max as usize], 1)], vec![(Vec::new(), u64::MAX / 2)]] {
            assert!(!gather.read(&mut Parts(long, Vec::new())).unwrap());
        }
        let all = hashed(&mut gather);
        assert_eq!(all, [(hash_one(b"a\0\0\0\0\0b"), b"a\0\0\0\0\0b".to_vec(), ())]);
    }

    #[test]
    fn it_is_full_by_bytes_or_by_number() {
        for (length, number) in [(0, 64), (128 << 10, 16)] {
            let mut gather = Gather::default();
            for _ in 0..number {
                assert!(!gather.is_full());
                assert!(gather.read(&mut InMemory::new(&vec![1; length])).unwrap());
                gather.keep(());
            }
            assert!(gather.is_full(), "{length}");
        }
    }
}
