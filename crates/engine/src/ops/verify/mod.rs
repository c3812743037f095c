//! Verify: objects of a disk are read and hashed; what was proven is recorded.
//!
//! A *whole* verify looks in both directions: at what the catalog claims and at what the disk has. It goes on where an
//! interrupted one stopped. A *part* (`--for`, `--older-than`, `--sample`) reads claimed objects only, those with the
//! oldest evidence first; as proof is recorded while it goes, the next part goes on by itself.
//!
//! Read errors are one object's trouble (D8). A damaged or missing object loses its claim at once (D7) and is left to
//! `heal`; nothing is moved or deleted unless asked. Identity file and catalog copies are looked at too (C4).
//!
//! Files: `whole` and `part` choose what is read, `read` reads, `record` judges and records, `beside` is for the files
//! that are no objects.

mod beside;
mod part;
mod read;
mod record;
mod whole;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use distbackup_core::model::{DiskNo, RunNo};
use distbackup_core::plan::Tally;

use super::ahead::look_ahead;
use super::part::Part;
use super::{OpError, Problems};
use crate::catalog::{Catalog, CatalogTime, DiskRow, VerifyProgress};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::disk::layout::FOLDERS;
use crate::progress::Observer;
use record::Finding;

/// How to verify.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Begin again, although an earlier verify was interrupted.
    pub restart: bool,
    /// Report only: claims stay as they are.
    pub check_only: bool,
    /// Move damaged objects to `bad-objects/`.
    pub quarantine: bool,
    /// Objects that are read at the same time; 1 for a rotating disk.
    pub streams: usize,
    /// Only a part of the disk.
    pub part: Part,
}

/// What a verify of a part of a disk has looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartOutcome {
    /// What was chosen, by the catalog; of a sample, about so much.
    pub chosen: Tally,
    /// Claimed on the disk and not looked at.
    pub left: Tally,
    /// Of that, what has not been read since this round of parts began; `None` where parts go no rounds.
    pub due: Option<Tally>,
    /// Catalog time of the oldest evidence of what was not looked at; 0: there is none that counts.
    pub oldest_ns: Option<i64>,
    /// Time was up before everything chosen was read.
    pub out_of_time: bool,
}

/// Where the good copies of damaged and missing objects are.
#[derive(Debug, Clone, Default)]
pub struct GoodCopies {
    /// Other disks that claim one, with how many of these objects.
    pub disks: BTreeMap<DiskNo, u64>,
    /// Objects that a source should have.
    pub at_source: u64,
    /// Objects that neither a source nor another disk has.
    pub nowhere: Problems,
}

/// What a verify found.
#[derive(Debug, Clone, Default)]
pub struct VerifyOutcome {
    /// Objects read and found good.
    pub good: Tally,
    /// Objects whose content does not match their name (D7), by a path that has them.
    pub bad: Problems,
    /// Objects that could not be read (D8).
    pub unreadable: Problems,
    /// Claimed objects that are not there (D5).
    pub missing: Problems,
    /// Objects of the disk that the catalog does not claim there.
    pub unknown: Tally,
    /// Things in the objects folder that are no objects (D15).
    pub foreign: Problems,
    /// Folders that could not be listed: what is claimed there was read, what else is there is not known (D8).
    pub unlisted: Problems,
    /// Files beside the objects that are damaged, by name (C4).
    pub beside: Problems,
    /// The catalog copy on the disk is missing or damaged (C4).
    pub catalog_copy_damaged: bool,
    /// Objects of which a claim was lost.
    pub lost: u64,
    /// Who else has what is damaged or missing.
    pub good_copies: GoodCopies,
    /// It went on where an interrupted verify had stopped.
    pub resumed: bool,
    /// Everything that was to be looked at was.
    pub complete: bool,
    /// The user asked to stop.
    pub interrupted: bool,
    /// If only a part was to be looked at: what.
    pub part: Option<PartOutcome>,
    /// Bad and missing objects that the interrupted verify had found before.
    pub bad_before: u64,
    /// Damaged objects that were moved.
    pub quarantined: u64,
    /// How long the reading took.
    pub took: Duration,
}

impl VerifyOutcome {
    /// Whether nothing bad was found.
    pub fn all_good(&self) -> bool {
        self.bad.is_empty()
            && self.unreadable.is_empty()
            && self.missing.is_empty()
            && self.unlisted.is_empty()
            && self.beside.is_empty()
            && self.bad_before == 0
    }
}

/// A verify in progress.
struct Pass<'a> {
    catalog: &'a mut Catalog,
    disk: &'a dyn Disk,
    row: &'a DiskRow,
    time: CatalogTime,
    run: Option<RunNo>,
    options: &'a VerifyOptions,
    observer: &'a dyn Observer,
    outcome: VerifyOutcome,
    /// Sums that outlive this run.
    progress: VerifyProgress,
    /// Judged, not recorded yet.
    waiting: Vec<Finding>,
    recorded_at: Instant,
}

/// Reads and checks the objects of a disk, all of them or the part that the options say.
pub fn verify(
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: &DiskRow,
    clock: &dyn Clock,
    run: Option<RunNo>,
    options: &VerifyOptions,
    observer: &dyn Observer,
) -> Result<VerifyOutcome, OpError> {
    let time = catalog.write_aside("note the time", |writer| writer.advance_time(clock.now_ns(), false))?;
    let began = Instant::now();
    let mut pass = Pass {
        catalog,
        disk,
        row,
        time,
        run,
        options,
        observer,
        outcome: VerifyOutcome::default(),
        progress: VerifyProgress { started_ns: time.now_ns, next: 0, good: 0, bad: 0, bytes: 0 },
        waiting: Vec::new(),
        recorded_at: began,
    };
    if options.part.is_all() {
        pass.whole()?
    } else {
        pass.part()?
    }
    let mut outcome = pass.outcome;
    outcome.interrupted = observer.stop_requested() && !outcome.complete;
    outcome.took = began.elapsed();
    if !outcome.interrupted {
        look_ahead(catalog, time.now_ns, observer);
    }
    Ok(outcome)
}
