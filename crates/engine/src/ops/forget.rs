//! Forgetting snapshots: what only they had is history no longer.
//!
//! Nothing is deleted from a disk here. Contents that nothing names any more leave at a later visit of each disk (N7).

use distbackup_core::model::{DAY_NS, SnapshotNo};

use super::{OpError, guard};
use crate::catalog::{Catalog, CatalogTime, Forgotten, Reader, SnapshotRow};

/// Which snapshots are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// These, pinned ones too.
    These(Vec<SnapshotNo>),
    /// All ordinary ones but those that either rule keeps.
    AllBut {
        /// Keeps what showed something that left the tree no longer than so many days ago.
        deleted_days: Option<u32>,
        /// Keeps so many newest ones.
        newest: Option<u32>,
    },
}

/// The snapshots that would be forgotten, oldest first; never the newest, and none that the brake needs.
pub fn choose(reader: &Reader<'_>, which: &Which, now_ns: i64) -> Result<Vec<SnapshotRow>, OpError> {
    let all = reader.snapshots()?;
    let newest = reader.newest_ordinary_snapshot()?;
    let held = guard::held(reader)?.map(|held| held.accepted);
    let refuse = |snapshot: SnapshotNo, why: &str| OpError::BadRequest {
        what: format!("snapshot {}", snapshot.0),
        why: why.to_owned(),
    };
    match which {
        Which::These(numbers) => {
            let mut chosen = Vec::new();
            for &number in numbers {
                let Some(row) = all.iter().find(|row| row.snapshot == number) else {
                    return Err(refuse(number, "there is no such snapshot; `dsb snapshots` lists them"));
                };
                if Some(number) == newest {
                    return Err(refuse(number, "it is the tree as it is now, which is never forgotten"));
                }
                if !row.pinned && held.is_some_and(|accepted| number >= accepted) {
                    let why =
                        "much was deleted or changed since, and waits for your word: `dsb update --accept`";
                    return Err(refuse(number, why));
                }
                chosen.push(row.clone());
            }
            chosen.sort_by_key(|row| row.snapshot);
            chosen.dedup();
            Ok(chosen)
        }
        Which::AllBut { deleted_days, newest } => {
            let ordinary: Vec<SnapshotRow> = all.into_iter().filter(|row| !row.pinned).collect();
            let mut given_up = given_up(&ordinary, *deleted_days, *newest, now_ns);
            given_up.retain(|row| held.is_none_or(|accepted| row.snapshot < accepted));
            Ok(given_up)
        }
    }
}

/// Those of the ordinary snapshots, oldest first, that neither rule keeps. The newest is always kept.
fn given_up(
    ordinary: &[SnapshotRow],
    deleted_days: Option<u32>,
    newest: Option<u32>,
    now_ns: i64,
) -> Vec<SnapshotRow> {
    let kept = usize::try_from(newest.unwrap_or(0)).unwrap_or(usize::MAX).max(1);
    let candidates = ordinary.len().saturating_sub(kept);
    let cutoff_ns = deleted_days.map(|days| now_ns.saturating_sub(i64::from(days) * DAY_NS));
    // What a snapshot alone shows left the tree when the next one was made.
    let left = |next: &SnapshotRow| cutoff_ns.is_none_or(|cutoff| next.created_ns < cutoff);
    let followed = ordinary.iter().zip(ordinary.iter().skip(1)).take(candidates);
    followed.filter(|(_, next)| left(next)).map(|(row, _)| row.clone()).collect()
}

/// Forgets snapshots that [`choose`] gave.
pub fn forget(catalog: &mut Catalog, chosen: &[SnapshotRow]) -> Result<Forgotten, OpError> {
    let reader = catalog.read();
    let Some(newest) = reader.newest_ordinary_snapshot()? else { return Ok(Forgotten::default()) };
    let limit = guard::held(&reader)?.map_or(newest, |held| held.accepted);
    let numbers: Vec<SnapshotNo> = chosen.iter().map(|row| row.snapshot).collect();
    Ok(catalog.write("forget snapshots", |writer| writer.forget_snapshots(&numbers, limit))?)
}

/// Catalog time as a run sees it that forgets: nothing is given up for a leap of the clock.
pub fn time(catalog: &mut Catalog, clock_ns: i64) -> Result<CatalogTime, OpError> {
    Ok(catalog.write_aside("read the time", |writer| writer.advance_time(clock_ns, false))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_up_of(days: &[i64], deleted_days: Option<u32>, newest: Option<u32>) -> Vec<i64> {
        let row = |(at, day): (usize, &i64)| SnapshotRow {
            snapshot: SnapshotNo(at as i64 + 1),
            created_ns: day * DAY_NS,
            pinned: false,
            note: None,
        };
        let rows: Vec<_> = days.iter().enumerate().map(row).collect();
        given_up(&rows, deleted_days, newest, 100 * DAY_NS).iter().map(|row| row.snapshot.0).collect()
    }

    #[test]
    fn what_left_the_tree_lately_or_belongs_to_the_newest_is_kept() {
        let days = [1, 2, 50, 60, 99];
        assert_eq!(given_up_of(&days, None, Some(2)), [1, 2, 3]);
        assert_eq!(given_up_of(&days, None, Some(9)), [0i64; 0]);
        assert_eq!(given_up_of(&days, None, Some(0)), [1, 2, 3, 4], "never the newest");
        // What 3 shows and 4 does not left the tree on day 60.
        assert_eq!(given_up_of(&days, Some(45), None), [1, 2]);
        assert_eq!(given_up_of(&days, Some(45), Some(4)), [1], "both rules keep");
        assert_eq!(given_up_of(&[], Some(0), None), [0i64; 0]);
    }
}
