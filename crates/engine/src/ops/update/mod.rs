//! Update: the sources are walked, what changed is recorded, new content is hashed.
//!
//! Two steps. The *scan* is one transaction: several threads list folders and compare them with a
//! frozen view of the catalog, one thread records the differences. It ends with a snapshot if
//! anything changed. The *hashing* reads pending files, several at once, and records them in batches, so
//! an interrupted update goes on at the file where it stopped.
//!
//! Files: `walk` (threads and folders), `folder` (one folder against its rows), `follow` (links
//! that are followed), `first` (files that a scan reads), `parcel` and `record` (the
//! transaction), `filesystems` (stable identities), `capture` (hashing), `sidecar` (files that rank the one beside them).

mod capture;
mod first;
mod folder;
mod follow;
mod parcel;
mod place;
mod record;
mod sidecar;
mod walk;

use distbackup_core::model::{Bytes, RunNo, SnapshotNo};
use distbackup_core::plan::Tally;

use super::ahead::look_ahead;
use super::guard::{self, Held, Moment};
use super::mapping::Mapping;
use super::problems::SharedProblems;
use super::sources::configuration;
use super::{OpError, Problems};
use crate::catalog::{Catalog, Pending, SourceRow};
use crate::clock::Clock;
use crate::ops::filesystems::Filesystems;
use crate::progress::{Event, Observer, Phase};

pub use first::Taker;

/// How to update.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// The user has confirmed what looked like an accident: an empty or moved source (S1, S2), a leap of the clock, a
    /// mass change (S3).
    pub accept: bool,
    /// Leave new content pending, for a backup that hashes while it copies. What is only presumed to be
    /// unchanged is read all the same.
    pub scan_only: bool,
    /// With `scan_only`, read the small files of a first scan all the same, as many as memory keeps until the backup: to
    /// find each of them again costs it more than to read it twice.
    pub small_at_first: bool,
    /// Look at locked places, too.
    pub ignore_locks: bool,
}

/// A source or a part of one whose entries were kept because it could not be seen (S1, S2, S12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Raw bytes of the virtual path.
    pub path: Vec<u8>,
    /// Why, in words.
    pub reason: String,
}

/// What an update did.
#[derive(Debug, Clone, Default)]
pub struct UpdateOutcome {
    /// The snapshot, if anything changed.
    pub snapshot: Option<SnapshotNo>,
    /// Files seen.
    pub files: Tally,
    /// Other entries seen.
    pub others: u64,
    /// New names.
    pub added: u64,
    /// Names with new content or metadata.
    pub changed: u64,
    /// Names that left the tree.
    pub removed: u64,
    /// Files found under a new name without reading them.
    pub moved: u64,
    /// Sockets, which are not backed up.
    pub sockets: u64,
    /// Locked places, whose entries were kept without a look.
    pub locked: u64,
    /// Files read and hashed; not those that a backup is going to hash once more while it copies them.
    pub hashed: Tally,
    /// Files whose content is still to be read.
    pub pending: Tally,
    /// Places whose entries were kept unseen.
    pub kept: Vec<Kept>,
    /// Files that could not be read.
    pub problems: Problems,
    /// So much has left the tree since it was last accepted that no visit removes anything for it (S3).
    pub held: Option<Held>,
    /// Entries of history that expired.
    pub expired: u64,
    /// The clock has leapt: nothing expires because of it yet.
    pub clock_leapt: bool,
    /// The user asked to stop before everything was hashed.
    pub interrupted: bool,
}

impl UpdateOutcome {
    /// Whether everything in the sources was seen and read (exit code 0 rather than 3).
    pub fn complete(&self) -> bool {
        self.kept.is_empty() && self.problems.is_empty() && !self.interrupted
    }
}

/// Scans all sources and hashes what is new.
pub fn update(
    catalog: &mut Catalog,
    clock: &dyn Clock,
    run: Option<RunNo>,
    options: &UpdateOptions,
    observer: &dyn Observer,
) -> Result<UpdateOutcome, OpError> {
    update_with(catalog, clock, run, options, None, observer)
}

/// As [`update`]; `taker` may have the small files that a first scan reads.
pub fn update_with(
    catalog: &mut Catalog,
    clock: &dyn Clock,
    run: Option<RunNo>,
    options: &UpdateOptions,
    taker: Option<&dyn Taker>,
    observer: &dyn Observer,
) -> Result<UpdateOutcome, OpError> {
    let sources = catalog.read().sources()?;
    if sources.is_empty() && !catalog.read().has_entries(distbackup_core::model::DirNo::ROOT)? {
        return Err(OpError::NoSources);
    }
    let mut outcome = UpdateOutcome { kept: hidden_by_others(&sources), ..UpdateOutcome::default() };
    let mapping = Mapping::of(sources).following(&catalog.read().path_configs()?);
    let config = configuration(&catalog.read(), options.ignore_locks)?;
    let filesystems = Filesystems::load(&catalog.read())?;
    let problems = SharedProblems::new(observer);
    let time =
        catalog.write_aside("note the time", |writer| writer.advance_time(clock.now_ns(), options.accept))?;
    outcome.clock_leapt = time.leap;

    observer.event(Event::Begin { phase: Phase::Scan, files: 0, bytes: Bytes(0) });
    let scanned = walk::scan(
        catalog,
        time,
        run,
        &mapping,
        &config,
        &filesystems,
        &problems,
        options,
        taker,
        observer,
        &mut outcome,
    );
    observer.event(Event::End);
    scanned?;
    // A backup that hashes while it copies takes what is new. What only may have changed has copies already
    // and would never be copied, so it is read here in any case.
    let which = if options.scan_only { Pending::Needed } else { Pending::All };
    capture::hash_pending(catalog, which, &mapping, &filesystems, &problems, observer, &mut outcome)?;
    let moment = Moment::Update { accept: options.accept };
    (outcome.held, outcome.expired) = guard::settle(catalog, time, moment)?;
    catalog.write_aside("forget old readings of sources", |writer| writer.forget_old_source_reads())?;
    let (files, bytes) = catalog.read().pending_total(Pending::All)?;
    outcome.pending = Tally { objects: files, bytes: Bytes(bytes) };
    outcome.problems = problems.into_inner();
    if !options.scan_only && !outcome.interrupted {
        look_ahead(catalog, time.now_ns, observer);
    }
    Ok(outcome)
}

/// Sources of this computer that are mapped below one of another computer, where nobody looks.
fn hidden_by_others(sources: &[SourceRow]) -> Vec<Kept> {
    let others: Vec<&SourceRow> = sources.iter().filter(|source| source.elsewhere.is_some()).collect();
    let own = sources.iter().filter(|source| source.elsewhere.is_none());
    let hidden = own.filter_map(|source| {
        let above = others.iter().find(|other| source.vpath.is_within(&other.vpath))?;
        let reason = format!(
            "it is mapped below {}, which belongs to {}; map it elsewhere",
            above.vpath.display(),
            above.elsewhere.as_deref().unwrap_or_default()
        );
        Some(Kept { path: source.vpath.as_bytes().to_vec(), reason })
    });
    hidden.collect()
}
