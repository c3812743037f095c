//! How much of each directory lies on the connected disk, as the plan goes on.
//!
//! Files of one directory should be restored from one disk, so directories that are already on the
//! disk are completed first, and those with little presence lose copies first.

use crate::plan::Row;

/// Runs of rows with the same directory, with their blocks in all and here.
#[derive(Debug, Default, Clone)]
pub(super) struct Directories {
    last: Option<u32>,
    starts: Vec<Row>,
    all: Vec<u32>,
    here: Vec<u32>,
}

impl Directories {
    /// Counts one live object; rows come in ascending order.
    pub fn count(&mut self, row: Row, directory: u32, blocks: u32, here: bool) {
        if self.last != Some(directory) {
            self.last = Some(directory);
            self.starts.push(row);
            self.all.push(0);
            self.here.push(0);
        }
        let at = self.starts.len() - 1;
        // One block more each, as billed: directories of tiny files count too.
        self.all[at] = self.all[at].saturating_add(blocks.saturating_add(1));
        if here {
            self.here[at] = self.here[at].saturating_add(blocks.saturating_add(1));
        }
    }

    /// The run of a row. `hint` is the answer for a row nearby, mostly right in ordered passes.
    pub fn find(&self, row: Row, hint: usize) -> usize {
        let begins = self.starts.get(hint).is_some_and(|&start| start <= row);
        if begins && self.starts.get(hint + 1).is_none_or(|&next| row < next) {
            return hint;
        }
        self.starts.partition_point(|&start| start <= row).saturating_sub(1)
    }

    /// How much of a run is here, in quarters: 0 to 4.
    pub fn presence(&self, run: usize) -> u8 {
        let (Some(&all), Some(&here)) = (self.all.get(run), self.here.get(run)) else { return 0 };
        let all = u64::from(all.max(1));
        ((u64::from(here) * 4 + all / 2) / all).min(4) as u8
    }

    /// An object came to the disk.
    pub fn arrive(&mut self, run: usize, blocks: u32) {
        if let Some(here) = self.here.get_mut(run) {
            *here = here.saturating_add(blocks.saturating_add(1));
        }
    }

    /// An object left the disk.
    pub fn leave(&mut self, run: usize, blocks: u32) {
        if let Some(here) = self.here.get_mut(run) {
            *here = here.saturating_sub(blocks.saturating_add(1));
        }
    }
}
