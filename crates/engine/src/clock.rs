//! The time port: operations ask a clock, so that tests can be at any moment.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Sync {
    /// Nanoseconds since 1970, as the system believes; may leap in both directions (S11).
    fn now_ns(&self) -> i64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ns(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
        }
    }
}
