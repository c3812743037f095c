//! Differences on their way from the threads that scan to the one that records.

use crossbeam_channel::Sender;

use super::first::{Gathered, Taker};
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

    /// Hashes what a thread has gathered, and adds it; `taker` may have the contents.
    pub fn hash(&mut self, gathered: &mut Gathered, taker: Option<&dyn Taker>) {
        gathered.hash(|id, content, entry| {
            // Here holes are filled, and a copy shall have them.
            if let Some(taker) = taker.filter(|_| entry.holes.0.is_empty()) {
                taker.take(id, content);
            }
            self.push(Difference::Read(entry, id));
        });
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
