//! SHA-256 of sixteen contents at a time, with the AVX-512 instructions of a processor that has them.
//!
//! The instructions made for SHA-256 work on one content, each step waits for the one before. Sixteen contents in sixteen lanes
//! wait together, so a processor is through with them sooner than one after another.

use std::arch::x86_64::{
    __m512i, _mm_set_epi8, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_ror_epi32,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

const LANES: usize = Lanes::COUNT;
const BLOCK: usize = Lanes::BLOCK;

/// The constants of the rounds (FIPS 180-4, 4.2.2).
const ROUNDS: [[u32; 16]; 4] = [
    [
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
        0x72be_5d74,
        0x80de_b1fe,
        0x9bdc_06a7,
        0xc19b_f174,
    ],
    [
        0xe49b_69c1,
        0xefbe_4786,
        0x0fc1_9dc6,
        0x240c_a1cc,
        0x2de9_2c6f,
        0x4a74_84aa,
        0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152,
        0xa831_c66d,
        0xb003_27c8,
        0xbf59_7fc7,
        0xc6e0_0bf3,
        0xd5a7_9147,
        0x06ca_6351,
        0x1429_2967,
    ],
    [
        0x27b7_0a85,
        0x2e1b_2138,
        0x4d2c_6dfc,
        0x5338_0d13,
        0x650a_7354,
        0x766a_0abb,
        0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1,
        0xa81a_664b,
        0xc24b_8b70,
        0xc76c_51a3,
        0xd192_e819,
        0xd699_0624,
        0xf40e_3585,
        0x106a_a070,
    ],
    [
        0x19a4_c116,
        0x1e37_6c08,
        0x2748_774c,
        0x34b0_bcb5,
        0x391c_0cb3,
        0x4ed8_aa4a,
        0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee,
        0x78a5_636f,
        0x84c8_7814,
        0x8cc7_0208,
        0x90be_fffa,
        0xa450_6ceb,
        0xbef9_a3f7,
        0xc671_78f2,
    ],
];

/// Proof that this processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub struct Lanes(());

impl Lanes {
    /// Contents that are worked on at a time.
    pub const COUNT: usize = 16;
    /// Bytes of one step of SHA-256.
    pub const BLOCK: usize = 64;

    /// `None` on a processor without them.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        has.then_some(Lanes(()))
    }

    /// Takes each lane's hash on over as many whole blocks as the shortest content has: `state` holds word by word those of all
    /// lanes. Returns how many blocks these were.
    pub fn compress(self, state: &mut [[u32; LANES]; 8], contents: &[&[u8]; LANES]) -> usize {
        let blocks = contents.iter().map(|content| content.len() / BLOCK).min().unwrap_or(0);
        // SAFETY: `Lanes` is only made where the instructions are there.
        unsafe { compress(state, contents, blocks) };
        blocks
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

/// The next word of the schedule, in place of the one sixteen before it (FIPS 180-4, 6.2.2).
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn schedule(word: &[__m512i; 16], t: usize) -> __m512i {
    let (w2, w7, w15, w16) = (word[(t + 14) % 16], word[(t + 9) % 16], word[(t + 1) % 16], word[t % 16]);
    let small0 = xor3(_mm512_ror_epi32::<7>(w15), _mm512_ror_epi32::<18>(w15), _mm512_srli_epi32::<3>(w15));
    let small1 = xor3(_mm512_ror_epi32::<17>(w2), _mm512_ror_epi32::<19>(w2), _mm512_srli_epi32::<10>(w2));
    add(add(w16, w7), add(small0, small1))
}

/// Rows become columns: word by word those of all lanes, out of lane by lane its words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(r: &[__m512i; 16]) -> [__m512i; 16] {
    let mut t = [_mm512_setzero_si512(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut u = [_mm512_setzero_si512(); 16];
    for i in 0..4 {
        u[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        u[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    // Now u[4 i + j] holds words j, 4 + j, 8 + j, 12 + j of the lanes 4 i to 4 i + 3.
    let mut out = [_mm512_setzero_si512(); 16];
    for j in 0..4 {
        let low01 = _mm512_shuffle_i32x4::<0x88>(u[j], u[4 + j]);
        let high01 = _mm512_shuffle_i32x4::<0xdd>(u[j], u[4 + j]);
        let low23 = _mm512_shuffle_i32x4::<0x88>(u[8 + j], u[12 + j]);
        let high23 = _mm512_shuffle_i32x4::<0xdd>(u[8 + j], u[12 + j]);
        out[j] = _mm512_shuffle_i32x4::<0x88>(low01, low23);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(low01, low23);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(high01, high23);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high01, high23);
    }
    out
}

/// One round: the new `a` goes to where `h` was, the new `e` to where `d` was (FIPS 180-4, 6.2.2).
macro_rules! round {
    ($a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $g:ident, $h:ident, $word:expr, $constant:expr) => {
        let large1 = xor3(_mm512_ror_epi32::<6>($e), _mm512_ror_epi32::<11>($e), _mm512_ror_epi32::<25>($e));
        let choice = _mm512_ternarylogic_epi32::<0xca>($e, $f, $g);
        let with_constant = add($word, _mm512_set1_epi32($constant.cast_signed()));
        let t1 = add(add($h, with_constant), add(large1, choice));
        let large0 = xor3(_mm512_ror_epi32::<2>($a), _mm512_ror_epi32::<13>($a), _mm512_ror_epi32::<22>($a));
        let majority = _mm512_ternarylogic_epi32::<0xe8>($a, $b, $c);
        $d = add($d, t1);
        $h = add(t1, add(large0, majority));
    };
}

#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut [[u32; LANES]; 8], contents: &[&[u8]; LANES], blocks: usize) {
    // SHA-256 reads the bytes of a word from the highest on.
    let swap = _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    let mut hash = [_mm512_setzero_si512(); 8];
    for (word, lanes) in hash.iter_mut().zip(state.iter()) {
        // SAFETY: sixteen words of four bytes are what is loaded.
        *word = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
    }
    for block in 0..blocks {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (row, content) in rows.iter_mut().zip(contents) {
            let bytes = &content[block * BLOCK..][..BLOCK];
            // SAFETY: 64 bytes are what is loaded.
            *row = _mm512_shuffle_epi8(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }, swap);
        }
        let mut word = transpose(&rows);
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = hash;
        // The eight names change places from round to round: written out, so that nothing is moved for it and every word
        // of the schedule has a register of its own.
        macro_rules! eight_rounds {
            ($first:literal, $constants:expr) => {
                round!(a, b, c, d, e, f, g, h, word[$first], $constants[$first]);
                round!(h, a, b, c, d, e, f, g, word[$first + 1], $constants[$first + 1]);
                round!(g, h, a, b, c, d, e, f, word[$first + 2], $constants[$first + 2]);
                round!(f, g, h, a, b, c, d, e, word[$first + 3], $constants[$first + 3]);
                round!(e, f, g, h, a, b, c, d, word[$first + 4], $constants[$first + 4]);
                round!(d, e, f, g, h, a, b, c, word[$first + 5], $constants[$first + 5]);
                round!(c, d, e, f, g, h, a, b, word[$first + 6], $constants[$first + 6]);
                round!(b, c, d, e, f, g, h, a, word[$first + 7], $constants[$first + 7]);
            };
        }
        macro_rules! next_words {
            ($($t:literal)*) => { $(word[$t] = schedule(&word, $t);)* };
        }
        let [first, others @ ..] = &ROUNDS;
        eight_rounds!(0, first);
        eight_rounds!(8, first);
        for constants in others {
            next_words!(0 1 2 3 4 5 6 7);
            eight_rounds!(0, constants);
            next_words!(8 9 10 11 12 13 14 15);
            eight_rounds!(8, constants);
        }
        for (word, with) in hash.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *word = add(*word, with);
        }
    }
    for (word, lanes) in hash.iter().zip(state.iter_mut()) {
        // SAFETY: sixteen words of four bytes are what is stored.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), *word) };
    }
}
