//! The SHA-256 of many small contents at once.
//!
//! Where the processor can, sixteen contents share its registers, each in a lane of its own (`platform`). They are of
//! different lengths: when one ends, the next one takes its lane. The last few, which would leave most lanes empty, and all
//! of them on other processors, are hashed one after another.

use distbackup_core::model::ObjectId;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of each content, in the same order.
pub fn hash_many(contents: &[&[u8]]) -> Vec<ObjectId> {
    #[cfg(target_arch = "x86_64")]
    if contents.len() >= lanes::WORTH_WHILE
        && let Some(lanes) = crate::platform::Lanes::detect()
    {
        return lanes::hash(lanes, contents);
    }
    contents.iter().map(|content| hash_one(content)).collect()
}

/// The SHA-256 of a content that lies in memory.
pub fn hash_one(content: &[u8]) -> ObjectId {
    ObjectId(Sha256::digest(content).into())
}

#[cfg(target_arch = "x86_64")]
mod lanes {
    use distbackup_core::model::ObjectId;
    use sha2::block_api::compress256;

    use crate::platform::Lanes;

    const LANES: usize = Lanes::COUNT;
    const BLOCK: usize = Lanes::BLOCK;

    /// With fewer lanes in use the processor's instructions for a single SHA-256 are as fast.
    pub const WORTH_WHILE: usize = 7;

    /// The hash of nothing yet (FIPS 180-4, 5.3.3).
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    /// A content in a lane.
    struct Lane<'c> {
        /// Which one it is; `None`: the lane is empty.
        content: Option<usize>,
        /// What is left of its whole blocks.
        whole: &'c [u8],
        /// Its last bytes with what SHA-256 puts behind them: one block or two.
        end: [u8; 2 * BLOCK],
        /// What is left of them.
        end_from: usize,
        end_to: usize,
    }

    impl<'c> Lane<'c> {
        fn of(number: usize, content: &'c [u8]) -> Self {
            let (whole, rest) = content.split_at(content.len() - content.len() % BLOCK);
            let mut end = [0; 2 * BLOCK];
            end[..rest.len()].copy_from_slice(rest);
            end[rest.len()] = 0x80;
            let bits = (content.len() as u64) * 8;
            let end_to = if rest.len() < BLOCK - size_of_val(&bits) { BLOCK } else { 2 * BLOCK };
            end[end_to - size_of_val(&bits)..end_to].copy_from_slice(&bits.to_be_bytes());
            Lane { content: Some(number), whole, end, end_from: 0, end_to }
        }

        /// Bytes that can be worked on in one go.
        fn next(&self) -> &[u8] {
            if self.whole.is_empty() { &self.end[self.end_from..self.end_to] } else { self.whole }
        }

        /// So many bytes are done; tells whether these were the last ones.
        fn advance(&mut self, bytes: usize) -> bool {
            match self.whole.is_empty() {
                true => self.end_from += bytes,
                false => self.whole = &self.whole[bytes..],
            }
            self.end_from == self.end_to
        }
    }

    /// Hashes contents in lanes as long as enough of them are in use.
    pub fn hash(wide: Lanes, contents: &[&[u8]]) -> Vec<ObjectId> {
        let mut ids = vec![ObjectId([0; 32]); contents.len()];
        // The longest first, so that the last ones are short and end together.
        let mut order: Vec<usize> = (0..contents.len()).collect();
        order.sort_unstable_by_key(|&number| std::cmp::Reverse(contents[number].len()));
        let mut waiting = order.into_iter();
        let mut state = [[0; LANES]; 8];
        let mut lanes: Vec<Lane<'_>> = Vec::with_capacity(LANES);
        for lane in 0..LANES {
            match waiting.next() {
                Some(number) => {
                    lanes.push(Lane::of(number, contents[number]));
                    set(&mut state, lane, INITIAL);
                }
                None => lanes.push(Lane { content: None, ..Lane::of(0, &[]) }),
            }
        }
        let mut used = contents.len().min(LANES);
        while used >= WORTH_WHILE {
            // An empty lane works on what another one works on; nobody looks at the result.
            let Some(any) = lanes.iter().position(|lane| lane.content.is_some()) else { break };
            let mut parts: [&[u8]; LANES] = [lanes[any].next(); LANES];
            for (part, lane) in parts.iter_mut().zip(&lanes) {
                if lane.content.is_some() {
                    *part = lane.next();
                }
            }
            let done = wide.compress(&mut state, &parts) * BLOCK;
            for (number, lane) in lanes.iter_mut().enumerate() {
                let Some(content) = lane.content.filter(|_| lane.advance(done)) else { continue };
                ids[content] = name(get(&state, number));
                match waiting.next() {
                    Some(next) => {
                        *lane = Lane::of(next, contents[next]);
                        set(&mut state, number, INITIAL);
                    }
                    None => {
                        lane.content = None;
                        used -= 1;
                    }
                }
            }
        }
        for (number, lane) in lanes.iter().enumerate() {
            let Some(content) = lane.content else { continue };
            let mut hash = get(&state, number);
            for part in [lane.whole, &lane.end[lane.end_from..lane.end_to]] {
                compress256(&mut hash, part.as_chunks().0);
            }
            ids[content] = name(hash);
        }
        ids
    }

    fn get(state: &[[u32; LANES]; 8], lane: usize) -> [u32; 8] {
        std::array::from_fn(|word| state[word][lane])
    }

    fn set(state: &mut [[u32; LANES]; 8], lane: usize, hash: [u32; 8]) {
        for (words, word) in state.iter_mut().zip(hash) {
            words[lane] = word;
        }
    }

    fn name(hash: [u32; 8]) -> ObjectId {
        let mut bytes = [0; 32];
        for (four, word) in bytes.as_chunks_mut().0.iter_mut().zip(hash) {
            *four = word.to_be_bytes();
        }
        ObjectId(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from place to place, the same for the same seed.
    fn bytes(seed: &mut u64, length: usize) -> Vec<u8> {
        let mut next = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn check(contents: &[Vec<u8>], what: &str) {
        let slices: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let expected: Vec<ObjectId> = slices.iter().map(|content| hash_one(content)).collect();
        assert!(hash_many(&slices) == expected, "{what}");
    }

    #[test]
    fn known_answers_of_fips_180_hold_in_every_lane() {
        let contents: Vec<&[u8]> =
            (0..40).map(|n| if n % 2 == 0 { b"abc".as_slice() } else { b"" }).collect();
        for (number, id) in hash_many(&contents).into_iter().enumerate() {
            let expected = match number % 2 {
                0 => "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                _ => "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            };
            assert_eq!(id.hex(), expected, "{number}");
        }
    }

    #[test]
    fn many_contents_have_the_hashes_that_each_has_alone() {
        if !on_this_processor() {
            eprintln!("SKIPPED: this processor hashes one content at a time");
            return;
        }
        let mut seed = 7;
        // All lengths around the end of a block, so many at a time that lanes stay empty, are just full, and change hands.
        for count in [0, 1, 6, 7, 15, 16, 17, 33, 300] {
            let contents: Vec<_> = (0..count).map(|n| bytes(&mut seed, n)).collect();
            check(&contents, &format!("{count} contents"));
        }
        let long: Vec<_> = (0..40).map(|n| bytes(&mut seed, n * n * 37)).collect();
        check(&long, "contents of very different lengths");
        let equal: Vec<_> = (0..23).map(|_| bytes(&mut seed, 4096)).collect();
        check(&equal, "contents of one length");
    }

    #[test]
    fn random_contents_have_the_hashes_that_each_has_alone() {
        if !on_this_processor() {
            eprintln!("SKIPPED: this processor hashes one content at a time");
            return;
        }
        let mut seed =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        eprintln!("seed {seed}");
        for round in 0..50 {
            let mut random = |below: usize| {
                let two = bytes(&mut seed, 2);
                usize::from(u16::from_le_bytes([two[0], two[1]])) % below
            };
            let lengths: Vec<usize> = (0..random(80)).map(|_| random(20_000)).collect();
            let contents: Vec<_> = lengths.into_iter().map(|length| bytes(&mut seed, length)).collect();
            check(&contents, &format!("round {round}"));
        }
    }

    fn on_this_processor() -> bool {
        #[cfg(target_arch = "x86_64")]
        return crate::platform::Lanes::detect().is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }
}
