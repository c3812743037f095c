//! SplitMix64: small, and the same everywhere.

/// The random numbers of one seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// From `low` up to, not including, `high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low)
    }

    /// So often of a hundred times.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of them; `None` of none.
    pub fn pick<T: Clone>(&mut self, choices: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = choices.into_iter().collect();
        let at = self.below(all.len());
        all.get(at).cloned()
    }

    /// Bytes like no others.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
