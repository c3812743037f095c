//! What lies on a simulated disk: what is durable, what only memory knows, and the changes between the two.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use distbackup_core::model::{BLOCK, Bytes, ObjectId, billed};
use sha2::{Digest, Sha256};

use crate::content::{Content, Segment};
use crate::disk::layout;

/// A part of a content; holes cost no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Data(Vec<u8>),
    Zeros(u64),
}

/// The content of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blob {
    pieces: Vec<Piece>,
    size: u64,
}

impl Blob {
    pub fn of(bytes: &[u8]) -> Self {
        let mut blob = Blob::default();
        blob.push(&Segment::Data(bytes));
        blob
    }

    pub fn push(&mut self, segment: &Segment<'_>) {
        let size = match segment {
            Segment::Data(bytes) => bytes.len() as u64,
            Segment::Zeros(run) => *run,
        };
        self.size = self.size.saturating_add(size);
        match (segment, self.pieces.last_mut()) {
            _ if size == 0 => {}
            (Segment::Data(bytes), Some(Piece::Data(last))) => last.extend_from_slice(bytes),
            (Segment::Data(bytes), _) => self.pieces.push(Piece::Data(bytes.to_vec())),
            (Segment::Zeros(run), _) => self.pieces.push(Piece::Zeros(*run)),
        }
    }

    pub fn size(&self) -> Bytes {
        Bytes(self.size)
    }

    /// All bytes, for small files.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Data(bytes) => all.extend_from_slice(bytes),
                Piece::Zeros(run) => all.resize(all.len().saturating_add(*run as usize), 0),
            }
        }
        all
    }

    pub fn hash(&self) -> ObjectId {
        let mut hash = Sha256::new();
        let zeros = [0; 4096];
        for piece in &self.pieces {
            match piece {
                Piece::Data(bytes) => hash.update(bytes),
                Piece::Zeros(run) => {
                    let mut rest = *run;
                    while rest > 0 {
                        let part = rest.min(zeros.len() as u64);
                        hash.update(&zeros[..part as usize]);
                        rest -= part;
                    }
                }
            }
        }
        ObjectId(hash.finalize().into())
    }

    /// The first `size` bytes.
    pub fn cut_off(&self, size: u64) -> Self {
        let mut short = Blob::default();
        for piece in &self.pieces {
            let room = size.saturating_sub(short.size);
            match piece {
                Piece::Data(bytes) => {
                    short.push(&Segment::Data(
                        &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))],
                    ));
                }
                Piece::Zeros(run) => short.push(&Segment::Zeros(room.min(*run))),
            }
        }
        short
    }

    /// The same with one bit turned over, in the middle (D7).
    pub fn rotten(&self) -> Self {
        let middle = self.size / 2;
        let mut rotten = self.cut_off(middle);
        let mut position = 0u64;
        for piece in &self.pieces {
            let (start, end) = match piece {
                Piece::Data(bytes) => (position, position + bytes.len() as u64),
                Piece::Zeros(run) => (position, position + run),
            };
            position = end;
            if end <= middle {
                continue;
            }
            let skip = middle.saturating_sub(start);
            match piece {
                Piece::Data(bytes) => {
                    let mut rest = bytes[skip as usize..].to_vec();
                    if start <= middle {
                        rest[0] ^= 1;
                    }
                    rotten.push(&Segment::Data(&rest));
                }
                Piece::Zeros(run) if start <= middle => {
                    rotten.push(&Segment::Data(&[1]));
                    rotten.push(&Segment::Zeros(run - skip - 1));
                }
                Piece::Zeros(run) => rotten.push(&Segment::Zeros(*run)),
            }
        }
        rotten
    }
}

/// A blob that is being read.
pub(super) struct BlobContent {
    pub blob: Arc<Blob>,
    pub next: usize,
}

impl Content for BlobContent {
    fn next_segment(&mut self) -> io::Result<Option<Segment<'_>>> {
        let piece = self.blob.pieces.get(self.next);
        self.next += 1;
        Ok(piece.map(|piece| match piece {
            Piece::Data(bytes) => Segment::Data(bytes),
            Piece::Zeros(run) => Segment::Zeros(*run),
        }))
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Symlink,
    Folder,
}

/// One change that a sync makes durable.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { inode: u64, blob: Arc<Blob> },
    Name { path: String, node: Node },
    Rename { from: String, to: String, node: Node },
    Unlink { path: String },
}

/// Names and contents at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub names: BTreeMap<String, Node>,
    contents: BTreeMap<u64, Arc<Blob>>,
}

impl Tree {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Write { inode, blob } => {
                self.contents.insert(inode, blob);
            }
            Change::Name { path, node } => {
                self.names.insert(path, node);
            }
            Change::Rename { from, to, node } => {
                self.names.remove(&from);
                self.names.insert(to, node);
            }
            Change::Unlink { path } => {
                self.names.remove(&path);
            }
        }
    }

    /// The content of an inode; empty if its name got to the disk and its content did not.
    pub fn content(&self, inode: u64) -> Arc<Blob> {
        self.contents.get(&inode).cloned().unwrap_or_default()
    }

    /// Names that begin with `prefix`, with what follows it.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let names = self.names.range(prefix.to_owned()..);
        names.map_while(move |(path, node)| Some((path.strip_prefix(prefix)?, node)))
    }

    /// Billed room of all files.
    pub fn used(&self) -> Bytes {
        let mut inodes: Vec<u64> = self
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                _ => None,
            })
            .collect();
        inodes.sort_unstable();
        inodes.dedup();
        inodes.into_iter().map(|inode| billed(self.content(inode).size(), BLOCK)).sum()
    }

    fn drop_unnamed(&mut self) {
        let named: std::collections::BTreeSet<u64> = self
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                _ => None,
            })
            .collect();
        self.contents.retain(|inode, _| named.contains(inode));
    }
}

/// What a power cut leaves of the changes that no sync has covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Nothing.
    LoseAll,
    /// Whatever this seed chooses: some are there, some not, some contents in part, in any order.
    Keep {
        /// The same seed makes the same choice.
        seed: u64,
    },
}

/// Durable and cached state.
#[derive(Debug, Clone, Default)]
pub(super) struct Medium {
    pub durable: Tree,
    pub cached: Tree,
    pending: Vec<Change>,
    last_inode: u64,
}

impl Medium {
    pub fn new_inode(&mut self) -> u64 {
        self.last_inode += 1;
        self.last_inode
    }

    /// Makes a change that only memory knows yet.
    pub fn change(&mut self, change: Change) {
        self.cached.apply(change.clone());
        self.pending.push(change);
    }

    /// Whether everything is durable. Data of an older page may come back: nothing names them.
    pub fn is_clean(&self) -> bool {
        let of_old_page = |change: &Change| matches!(change, Change::Unlink { path } if path.starts_with(layout::PAGE_DATA));
        self.pending.iter().all(of_old_page)
    }

    /// Makes all changes durable.
    pub fn sync(&mut self) {
        for change in self.pending.drain(..) {
            self.durable.apply(change);
        }
    }

    /// A bit of a durable file turns over beneath the cache.
    pub fn rot_beneath(&mut self, path: &str) {
        if let Some(&Node::File(inode)) = self.durable.names.get(path) {
            let rotten = self.durable.content(inode).rotten();
            self.durable.contents.insert(inode, Arc::new(rotten));
        }
    }

    /// A sync that failed: contents are marked clean and never written, a later sync succeeds on nothing.
    pub fn fail_sync(&mut self) {
        self.pending.retain(|change| !matches!(change, Change::Write { .. }));
    }

    /// Cuts the power.
    pub fn power_cut(&mut self, cut: PowerCut) {
        let mut pending = std::mem::take(&mut self.pending);
        if let PowerCut::Keep { seed } = cut {
            let mut random = Random(seed);
            for at in (1..pending.len()).rev() {
                pending.swap(at, random.below(at + 1));
            }
            for change in pending {
                match (random.below(4), change) {
                    (0 | 1, _) => {}
                    (2, Change::Write { inode, blob }) => {
                        let size = random.next() % (blob.size + 1);
                        self.durable.apply(Change::Write { inode, blob: Arc::new(blob.cut_off(size)) });
                    }
                    (_, change) => self.durable.apply(change),
                }
            }
        }
        self.durable.drop_unnamed();
        self.cached = self.durable.clone();
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rot_and_cutting_off_change_exactly_that() {
        let mut blob = Blob::of(b"abcd");
        blob.push(&Segment::Zeros(4));
        blob.push(&Segment::Data(b"xy"));
        assert_eq!(blob.bytes(), b"abcd\0\0\0\0xy");
        assert_eq!(blob.rotten().bytes(), b"abcd\0\x01\0\0xy");
        assert_eq!(Blob::of(b"abc").rotten().bytes(), b"acc");
        assert_eq!(blob.cut_off(6).bytes(), b"abcd\0\0");
        assert_ne!(blob.hash(), blob.rotten().hash());
        assert_eq!(blob.hash(), Blob::of(b"abcd\0\0\0\0xy").hash());
    }

    #[test]
    fn a_failed_sync_loses_contents_although_names_get_there_later() {
        let mut medium = Medium::default();
        let inode = medium.new_inode();
        medium.change(Change::Write { inode, blob: Arc::new(Blob::of(b"x")) });
        medium.change(Change::Name { path: "a".into(), node: Node::File(inode) });
        medium.fail_sync();
        medium.sync();
        assert_eq!(medium.cached.content(inode).bytes(), b"x");
        medium.power_cut(PowerCut::LoseAll);
        assert_eq!(medium.cached.names.get("a"), Some(&Node::File(inode)));
        assert_eq!(medium.cached.content(inode).bytes(), b"");
    }
}
