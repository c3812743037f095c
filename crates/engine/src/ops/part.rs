//! A part of what could be read: what was not proven for long, a random sample, or as much as there is time for.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use distbackup_core::model::Bytes;
use distbackup_core::plan::Tally;

use crate::catalog::Age;

/// What is equally old is read in the order of its place; so much at once is looked for by one pass over the catalog.
const SLICE_BYTES: Bytes = Bytes(32 << 30);
const SLICE_OBJECTS: u64 = 250_000;

/// Which part is to be read. Several limits hold together; none: all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Begin no further object after so long.
    pub time: Option<Duration>,
    /// Only what was not proven for so many nanoseconds.
    pub older_than_ns: Option<i64>,
    /// Of that, a random choice: so many of a million.
    pub sample_ppm: Option<u32>,
}

impl Part {
    /// Whether it is all.
    pub fn is_all(&self) -> bool {
        *self == Part::default()
    }

    /// The newest time of evidence that is old enough.
    pub(super) fn newest_ns(&self, now_ns: i64) -> i64 {
        self.older_than_ns.map_or(i64::MAX, |age| now_ns.saturating_sub(age))
    }

    /// When no further object may begin.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.time.and_then(|time| Instant::now().checked_add(time))
    }

    /// What of these ages is chosen; of a sample, how much it will be about.
    pub(super) fn chosen(&self, ages: &[Age], newest_ns: i64) -> Tally {
        let mut chosen = Tally::default();
        ages.iter().filter(|age| age.at_ns <= newest_ns).for_each(|age| chosen.merge(age.tally));
        if let Some(ppm) = self.sample_ppm {
            let share = |number: u64| (u128::from(number) * u128::from(ppm) / 1_000_000) as u64;
            chosen = Tally { objects: share(chosen.objects), bytes: Bytes(share(chosen.bytes.0)) };
        }
        chosen
    }

    /// Ranges of age, the oldest first, each of which is read in the order of the places. One range for a sample:
    /// its order means nothing. No range mixes what was read since this round of parts began, at `since_ns`, with what
    /// was not: the next part would begin again where the last one began.
    pub(super) fn slices(&self, ages: &[Age], newest_ns: i64, since_ns: i64) -> Vec<RangeInclusive<i64>> {
        self.slices_where(ages, newest_ns, &|end_ns, at_ns| at_ns < since_ns || end_ns >= since_ns)
    }

    /// The same, where `together` says whether the last age of a range and the next one may be in one range.
    pub(super) fn slices_where(
        &self,
        ages: &[Age],
        newest_ns: i64,
        together: &dyn Fn(i64, i64) -> bool,
    ) -> Vec<RangeInclusive<i64>> {
        let old = ages.iter().filter(|age| age.at_ns <= newest_ns);
        let mut slices: Vec<RangeInclusive<i64>> = Vec::new();
        let mut size = Tally::default();
        for age in old {
            let full = size.bytes >= SLICE_BYTES || size.objects >= SLICE_OBJECTS;
            match slices.last_mut() {
                Some(slice) if self.sample_ppm.is_some() || !full && together(*slice.end(), age.at_ns) => {
                    *slice = *slice.start()..=age.at_ns;
                }
                _ => {
                    slices.push(age.at_ns..=age.at_ns);
                    size = Tally::default();
                }
            }
            size.merge(age.tally);
        }
        slices
    }
}

/// A random draw: the same for one seed, another for the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    seed: u64,
    ppm: Option<u32>,
}

impl Draw {
    pub fn new(part: &Part) -> Self {
        Draw { seed: crate::platform::random_bits(), ppm: part.sample_ppm }
    }

    /// Whether this one is drawn; everything is, unless it is a sample.
    pub fn takes(&self, key: &[u8]) -> bool {
        let Some(ppm) = self.ppm else { return true };
        self.number(key) % 1_000_000 < u64::from(ppm)
    }

    /// Where to begin, of so many places: what has no time left is somewhere else each time.
    pub fn first(&self, places: u16) -> u16 {
        match self.ppm {
            Some(_) => (self.number(b"first") % u64::from(places.max(1))) as u16,
            None => 0,
        }
    }

    /// FNV-1a, then the mixing of SplitMix64: even, and different for each seed.
    fn number(&self, key: &[u8]) -> u64 {
        let mut z = self.seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in key {
            z = (z ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ages(list: &[(i64, u64, u64)]) -> Vec<Age> {
        let tally = |objects, bytes| Tally { objects, bytes: Bytes(bytes) };
        list.iter().map(|&(at_ns, objects, bytes)| Age { at_ns, tally: tally(objects, bytes) }).collect()
    }

    #[test]
    fn what_is_oldest_is_sliced_first_and_nothing_is_left_out() {
        let part = Part::default();
        let ages = ages(&[(0, 1, 5), (10, 300_000, 9), (20, 1, 40 << 30), (30, 1, 1), (40, 1, 1)]);
        assert_eq!(part.slices(&ages, i64::MAX, 0), [0..=10, 20..=20, 30..=40]);
        assert_eq!(part.slices(&ages, i64::MAX, 40), [0..=10, 20..=20, 30..=30, 40..=40]);
        assert_eq!(part.slices(&ages, 25, 0), [0..=10, 20..=20]);
        assert_eq!(part.slices(&[], 25, 0), []);
        let sample = Part { sample_ppm: Some(50_000), ..part };
        assert_eq!(sample.slices(&ages, i64::MAX, 20), [0..=40]);
    }

    #[test]
    fn a_sample_has_about_its_size_and_each_draw_is_another() {
        let part = Part { sample_ppm: Some(50_000), ..Part::default() };
        let draws = [Draw { seed: 1, ppm: part.sample_ppm }, Draw { seed: 2, ppm: part.sample_ppm }];
        let taken = draws.map(|draw| {
            (0u32..100_000).filter(|number| draw.takes(&number.to_le_bytes())).collect::<Vec<_>>()
        });
        for taken in &taken {
            assert!((4_500..5_500).contains(&taken.len()), "{}", taken.len());
        }
        assert_ne!(taken[0], taken[1]);
        let both = taken[0].iter().filter(|number| taken[1].binary_search(number).is_ok()).count();
        assert!((100..500).contains(&both), "independent draws share a twentieth: {both}");
        assert_eq!(part.chosen(&ages(&[(1, 1000, 10_000)]), 1), ages(&[(1, 50, 500)])[0].tally);
    }
}
