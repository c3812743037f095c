//! Differences on their way from the threads that scan to the one that records.

use crossbeam_channel::Sender;

use super::record::Difference;

/// They are handed on so many at a time.
const PARCEL: usize = 1024;

/// Differences of one folder on their way out.
#[derive(Default)]
pub struct Parcel<'a> {
    out: Option<&'a Sender<Vec<Difference>>>,
    differences: Vec<Difference>,
}

impl<'a> Parcel<'a> {
    /// One that is sent as it fills.
    pub fn to(out: &'a Sender<Vec<Difference>>) -> Self {
        Parcel { out: Some(out), differences: Vec::new() }
    }

    /// What was not sent.
    pub fn into_differences(self) -> Vec<Difference> {
        self.differences
    }

    /// Adds one; sends all if they are enough.
    pub fn push(&mut self, difference: Difference) {
        self.differences.push(difference);
        if self.differences.len() >= PARCEL {
            self.send();
        }
    }

    /// Sends what there is.
    pub fn send(&mut self) {
        if let Some(out) = self.out
            && !self.differences.is_empty()
        {
            // The receiver lives as long as the scan; if it is gone, the scan has failed already.
            let _ = out.send(std::mem::take(&mut self.differences));
        }
    }
}
