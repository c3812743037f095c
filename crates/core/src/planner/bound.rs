//! What the whole set can reach: the Gale-Ryser bound for divisible data (PLACEMENT 3).

/// The most bytes that can have at least 1, 2, … copies on disks of these `capacities`, level by
/// level: what level 1 cannot have is not given up for level 2.
///
/// `demand[k]` are the bytes that may have at least `k + 1` copies. All figures are billed bytes.
/// The answer has one level per disk. An upper bound: whole objects can miss it by what does not
/// fit into the last gaps. `O(m² log D)`.
///
/// ```
/// use distbackup_core::planner::reachable_levels;
/// // PLACEMENT 8, example 2: a disk larger than the data.
/// assert_eq!(reachable_levels(&[4, 4, 4], &[10, 3, 3]), [4, 4, 2]);
/// ```
pub fn reachable_levels(demand: &[u64], capacities: &[u64]) -> Vec<u64> {
    let mut levels: Vec<u64> = Vec::with_capacity(capacities.len());
    for level in 0..capacities.len() {
        let wanted = demand.get(level).copied().unwrap_or(0);
        let mut high = levels.last().map_or(wanted, |&before| before.min(wanted));
        levels.push(high);
        if !fits(&levels, capacities) {
            let mut low = 0;
            while low < high {
                let middle = high - (high - low) / 2;
                levels[level] = middle;
                if fits(&levels, capacities) { low = middle } else { high = middle - 1 }
            }
            levels[level] = low;
        }
    }
    levels
}

/// Whether a placement with these level sizes exists: at every height `t`, the levels need no more
/// than the disks give. The left side bends only at levels, the right side only at capacities.
fn fits(levels: &[u64], capacities: &[u64]) -> bool {
    let up_to = |sizes: &[u64], t: u64| sizes.iter().map(|&size| u128::from(size.min(t))).sum::<u128>();
    levels.iter().chain(capacities).all(|&t| up_to(levels, t) <= up_to(capacities, t))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_maxcopies_the_bound_is_the_water_level() {
        assert_eq!(reachable_levels(&[6; 3], &[4, 4, 4]), [6, 6, 0]);
        assert_eq!(reachable_levels(&[10; 3], &[6, 8, 4]), [10, 8, 0]);
        assert_eq!(reachable_levels(&[10; 2], &[3, 4]), [7, 0]);
        assert_eq!(reachable_levels(&[], &[]), [0; 0]);
    }

    #[test]
    fn capped_objects_leave_room_that_only_others_may_use() {
        // Example 9: three objects with one copy at most, one without limit.
        assert_eq!(reachable_levels(&[4, 1, 1], &[2, 2, 2]), [4, 1, 1]);
    }
}
