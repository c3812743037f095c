//! How fast a disk was at its last visits, as the log of runs tells.

use std::time::Duration;

use distbackup_core::model::DiskUuid;
use distbackup_core::plan::Tally;
use serde_json::{Value, json};

use crate::catalog::{CatalogError, Reader};

/// Runs that are looked through, newest first.
const RUNS: u32 = 500;
/// Shorter visits say little about a disk.
const SECONDS_MIN: f64 = 1.0;

/// The best that a disk did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Content that it took, bytes per second.
    pub bytes_per_second: f64,
    /// Objects that it took per second.
    pub objects_per_second: f64,
}

impl Pace {
    /// Time that so many copies take: large files go by bytes, small ones by number.
    pub fn time_for(&self, copies: Tally) -> Duration {
        let by_bytes = copies.bytes.0 as f64 / self.bytes_per_second.max(1.0);
        let by_number = copies.objects as f64 / self.objects_per_second.max(1.0);
        Duration::from_secs_f64(by_bytes.max(by_number).min(1e9))
    }
}

/// What a run records of one visit.
pub fn visit_record(disk: &DiskUuid, copied: Tally, copying: Duration) -> Value {
    json!({ "disk": disk.0, "objects": copied.objects, "bytes": copied.bytes.0, "seconds": copying.as_secs_f64() })
}

/// How fast a disk was; `None` if no visit lasted long enough to tell.
pub fn pace(reader: &Reader<'_>, disk: &DiskUuid) -> Result<Option<Pace>, CatalogError> {
    let mut best: Option<Pace> = None;
    for run in reader.runs(RUNS)? {
        // Details are for people and for us; what an older or newer version wrote otherwise says nothing here.
        let details: Value =
            run.details.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        for visit in details["visits"].as_array().into_iter().flatten() {
            let number = |key: &str| visit[key].as_f64().unwrap_or(0.0);
            if visit["disk"].as_str() != Some(&disk.0) || number("seconds") < SECONDS_MIN {
                continue;
            }
            let (bytes, objects) =
                (number("bytes") / number("seconds"), number("objects") / number("seconds"));
            let before = best.unwrap_or(Pace { bytes_per_second: 0.0, objects_per_second: 0.0 });
            best = Some(Pace {
                bytes_per_second: before.bytes_per_second.max(bytes),
                objects_per_second: before.objects_per_second.max(objects),
            });
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use distbackup_core::model::Bytes;

    #[test]
    fn many_small_files_take_longer_than_their_bytes() {
        let pace = Pace { bytes_per_second: 100e6, objects_per_second: 1000.0 };
        assert_eq!(pace.time_for(Tally { objects: 1, bytes: Bytes(500_000_000) }).as_secs(), 5);
        assert_eq!(pace.time_for(Tally { objects: 60_000, bytes: Bytes(1_000_000) }).as_secs(), 60);
    }
}
