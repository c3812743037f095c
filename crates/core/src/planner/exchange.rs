//! The gap exchange: plans are swapped until the room left is of no use to anything.
//!
//! After the last object that fits, some room is left. Planning a slightly larger object instead of
//! a planned one uses it, and costs nothing: both are only plans.

use crate::model::BLOCK;
use crate::plan::Row;
use crate::planner::shelf::Shelf;

/// Exchanges at most.
const EXCHANGES_MAX: usize = 64;

/// Objects looked at on each side, the last ones in order. Among so many some difference is close
/// to every gap.
const LOOKED_AT_MAX: usize = 1 << 15;

/// Large planned objects of which two may go for one, the smallest of them.
const PAIRED_MAX: usize = 200;

/// Swaps planned objects for larger ones that are not planned, while `room` shrinks; returns what
/// is left of it. Objects that are swapped go to the end of the other list.
pub(super) fn exchange(shelf: &Shelf<'_>, taken: &mut Vec<Row>, rest: &mut Vec<Row>, mut room: u64) -> u64 {
    if rest.is_empty() || taken.is_empty() || room <= BLOCK {
        return room;
    }
    let sorted = |rows: &[Row]| {
        let from = rows.len().saturating_sub(LOOKED_AT_MAX);
        let mut sizes: Vec<(u64, Row)> = rows[from..].iter().map(|&row| (shelf.bill_row(row), row)).collect();
        sizes.sort_unstable();
        sizes
    };
    let mut planned = sorted(taken);
    let mut others = sorted(rest);
    let mut swapped = false;
    for _ in 0..EXCHANGES_MAX {
        if room <= BLOCK {
            break;
        }
        let single = best_single(&planned, &others, room).filter(|&(gain, ..)| gain >= BLOCK);
        let (gain, gone, came) = match single {
            Some((gain, y, x)) => (gain, vec![y], x),
            None => match best_pair(&planned, &others, room) {
                Some((gain, y, z, x)) => (gain, vec![y, z], x),
                None => break,
            },
        };
        let came = others.remove(came);
        // Indices ascending: the later one goes first, so that the earlier one stays right.
        for &at in gone.iter().rev() {
            let row = planned.remove(at);
            insert(&mut others, row);
        }
        insert(&mut planned, came);
        room -= gain;
        swapped = true;
    }
    if swapped {
        put_back(taken, rest, &planned, &others);
    }
    room
}

fn insert(sizes: &mut Vec<(u64, Row)>, item: (u64, Row)) {
    let at = sizes.partition_point(|known| *known < item);
    sizes.insert(at, item);
}

/// The first of the largest objects that bill at most `limit`.
fn largest_up_to(sizes: &[(u64, Row)], limit: u64) -> Option<usize> {
    sizes.partition_point(|&(size, _)| size <= limit).checked_sub(1)
}

/// The best exchange of one for one: what it gains, and both indices.
fn best_single(planned: &[(u64, Row)], others: &[(u64, Row)], room: u64) -> Option<(u64, usize, usize)> {
    let mut best: Option<(u64, usize, usize)> = None;
    for (y, &(size, _)) in planned.iter().enumerate() {
        // Equal sizes give equal answers.
        if y > 0 && planned[y - 1].0 == size {
            continue;
        }
        let Some(x) = largest_up_to(others, size + room) else { continue };
        let gain = others[x].0.saturating_sub(size);
        if gain > 0 && best.is_none_or(|(known, ..)| gain > known) {
            best = Some((gain, y, x));
            if gain == room {
                break;
            }
        }
    }
    best
}

/// The best exchange of two large planned ones for one; the indices of the two ascend.
fn best_pair(planned: &[(u64, Row)], others: &[(u64, Row)], room: u64) -> Option<(u64, usize, usize, usize)> {
    let from = planned.partition_point(|&(size, _)| size <= 2 * BLOCK);
    let large = &planned[from..planned.len().min(from + PAIRED_MAX)];
    let mut best: Option<(u64, usize, usize, usize)> = None;
    for (z, &(second, _)) in large.iter().enumerate() {
        for (y, &(first, _)) in large[..z].iter().enumerate() {
            let Some(x) = largest_up_to(others, first + second + room) else { continue };
            let gain = others[x].0.saturating_sub(first + second);
            if gain >= BLOCK && best.is_none_or(|(known, ..)| gain > known) {
                best = Some((gain, from + y, from + z, x));
            }
        }
    }
    best
}

/// Brings the result back into the two lists; what stayed keeps its place.
fn put_back(taken: &mut Vec<Row>, rest: &mut Vec<Row>, planned: &[(u64, Row)], others: &[(u64, Row)]) {
    let rows = |sizes: &[(u64, Row)]| {
        let mut rows: Vec<Row> = sizes.iter().map(|&(_, row)| row).collect();
        rows.sort_unstable();
        rows
    };
    let (planned, others) = (rows(planned), rows(others));
    let from = |list: &[Row]| list.len().saturating_sub(LOOKED_AT_MAX);
    let settle = |list: &mut Vec<Row>, from: usize, mine: &[Row]| {
        let looked_at: Vec<Row> = list.split_off(from);
        let mut known = looked_at.clone();
        known.sort_unstable();
        list.extend(looked_at.iter().filter(|&row| mine.binary_search(row).is_ok()));
        list.extend(mine.iter().filter(|&row| known.binary_search(row).is_err()));
    };
    let (taken_from, rest_from) = (from(taken), from(rest));
    settle(taken, taken_from, &planned);
    settle(rest, rest_from, &others);
}
