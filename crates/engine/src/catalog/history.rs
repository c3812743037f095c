//! History: catalog time, and what expires with it.

use distbackup_core::model::SnapshotNo;

use super::{CatalogError, Reader, Writer};
use distbackup_core::model::DAY_NS;

/// A leap of the clock between two runs that is longer than this needs confirmation (DESIGN 7.1).
const LEAP_NS: i64 = 30 * DAY_NS;

/// Catalog time (DESIGN 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogTime {
    /// The larger of the system's clock and the newest time recorded.
    pub now_ns: i64,
    /// Up to where time is confirmed: what expires is measured against this.
    pub confirmed_ns: i64,
    /// The clock has leapt, and nothing expires because of it yet.
    pub leap: bool,
}

/// The state of catalog time, as a pure step from one run to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeState {
    newest_ns: i64,
    confirmed_ns: i64,
    leap_ns: Option<i64>,
}

impl TimeState {
    /// What a run that sees `clock_ns` makes of it. `accept`: the user has confirmed the leap.
    fn advance(mut self, clock_ns: i64, accept: bool) -> Self {
        let now = clock_ns.max(self.newest_ns);
        if let Some(leap) = self.leap_ns
            && now >= leap.saturating_add(DAY_NS)
        {
            // A later run, at least a day on: the clock did not just have a bad day.
            self.confirmed_ns = leap;
            self.leap_ns = None;
        }
        if now.saturating_sub(self.newest_ns) > LEAP_NS && self.leap_ns.is_none() {
            self.leap_ns = Some(now);
        }
        self.newest_ns = now;
        if accept {
            self.leap_ns = None;
        }
        if self.leap_ns.is_none() {
            self.confirmed_ns = now;
        }
        self
    }
}

impl Reader<'_> {
    fn time_state(&self) -> Result<TimeState, CatalogError> {
        self.connection
            .query_row("SELECT newest_ns, confirmed_ns, leap_ns FROM catalog", [], |row| {
                Ok(TimeState { newest_ns: row.get(0)?, confirmed_ns: row.get(1)?, leap_ns: row.get(2)? })
            })
            .map_err(|source| CatalogError::sql("read the catalog's time", source))
    }

    /// The newest time that the catalog has seen, nanoseconds since 1970.
    pub fn newest_ns(&self) -> Result<i64, CatalogError> {
        Ok(self.time_state()?.newest_ns)
    }

    /// The newest snapshot whose deaths have expired under the retention in force; nothing if none has.
    ///
    /// Its time must have passed by confirmed time, and at least two later snapshots must exist, unless
    /// the retention is 0 (DESIGN 7.1). Catalog time never runs backwards, so all earlier deaths have expired too.
    pub fn expired_up_to(&self, time: CatalogTime) -> Result<Option<SnapshotNo>, CatalogError> {
        let retention = self.retention()?;
        let (Some(days), Some(keep)) = (retention.days, retention.snapshots) else { return Ok(None) };
        let (later, cutoff_ns) = match days {
            0 => (0, i64::MAX),
            days => (2, time.confirmed_ns.saturating_sub(i64::from(days) * DAY_NS)),
        };
        const SQL: &str = "
            SELECT max(id) FROM snapshot
             WHERE created_ns < ?1 AND pinned = 0
               AND id <= (SELECT id FROM snapshot WHERE pinned = 0 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
        self.connection
            .query_row(SQL, (cutoff_ns, later.max(keep)), |row| row.get::<_, Option<i64>>(0))
            .map(|number| number.map(SnapshotNo))
            .map_err(|source| CatalogError::sql("find what has expired", source))
    }
}

impl Writer<'_> {
    /// Records that a run sees this clock, and tells catalog time.
    pub fn advance_time(&self, clock_ns: i64, accept_leap: bool) -> Result<CatalogTime, CatalogError> {
        let state = self.time_state()?.advance(clock_ns, accept_leap);
        self.connection
            .execute(
                "UPDATE catalog SET newest_ns = ?1, confirmed_ns = ?2, leap_ns = ?3",
                (state.newest_ns, state.confirmed_ns, state.leap_ns),
            )
            .map_err(|source| CatalogError::sql("record the catalog's time", source))?;
        Ok(CatalogTime {
            now_ns: state.newest_ns,
            confirmed_ns: state.confirmed_ns,
            leap: state.leap_ns.is_some(),
        })
    }

    /// Deletes the rows of history that have expired, and the snapshots that would be incomplete
    /// without them. What a pinned snapshot shows is kept, and what left the tree after `accepted` (DESIGN 7.3).
    /// Returns the number of entries.
    pub fn expire_history(&self, time: CatalogTime, accepted: SnapshotNo) -> Result<u64, CatalogError> {
        let Some(limit) = self.expired_up_to(time)?.map(|limit| limit.min(accepted)) else { return Ok(0) };
        const ENTRIES: &str = "
            DELETE FROM entry WHERE died <= ?1
               AND NOT EXISTS (SELECT 1 FROM snapshot
                                WHERE pinned = 1 AND snapshot.id >= entry.born AND snapshot.id < entry.died)";
        let work = || -> rusqlite::Result<usize> {
            let count = self.connection.execute(ENTRIES, [limit.0])?;
            self.connection.execute("DELETE FROM snapshot WHERE id < ?1 AND pinned = 0", [limit.0])?;
            Ok(count)
        };
        let count = work().map_err(|source| CatalogError::sql("expire history", source))?;
        if count > 0 {
            self.forget_unused_objects()?;
            self.advance_generation()?;
        }
        Ok(count as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: TimeState = TimeState { newest_ns: 100 * DAY_NS, confirmed_ns: 100 * DAY_NS, leap_ns: None };

    #[test]
    fn s11_a_clock_set_back_never_makes_time_run_backwards() {
        let state = START.advance(3 * DAY_NS, false);
        assert_eq!((state.newest_ns, state.confirmed_ns), (100 * DAY_NS, 100 * DAY_NS));
    }

    #[test]
    fn s11_a_leap_is_confirmed_only_by_a_later_run_a_day_on() {
        let leapt = START.advance(10_000 * DAY_NS, false);
        assert_eq!(leapt.confirmed_ns, 100 * DAY_NS, "nothing expires because of the leap");
        let same_day = leapt.advance(10_000 * DAY_NS + 1, false);
        assert_eq!(same_day.confirmed_ns, 100 * DAY_NS);
        let next_day = same_day.advance(10_001 * DAY_NS + 1, false);
        assert_eq!(next_day.confirmed_ns, 10_001 * DAY_NS + 1);
        assert_eq!(START.advance(10_000 * DAY_NS, true).confirmed_ns, 10_000 * DAY_NS, "--accept");
    }

    #[test]
    fn s11_a_clock_put_right_after_a_leap_does_not_confirm_it() {
        let leapt = START.advance(10_000 * DAY_NS, false);
        let back = leapt.advance(101 * DAY_NS, false);
        assert_eq!(back.confirmed_ns, 100 * DAY_NS);
    }

    #[test]
    fn a_user_who_comes_every_forty_days_still_sees_history_expire() {
        let mut state = START;
        for visit in 1..=5 {
            state = state.advance((100 + 40 * visit) * DAY_NS, false);
        }
        assert!(state.confirmed_ns >= (100 + 40 * 4) * DAY_NS);
    }
}
