//! Carrying objects between disks: what `heal`, `disk retire` and `disk replace` have in common.
//!
//! An errand says which disks are to receive which objects. Each of them that is connected receives what the sources, the
//! other connected disks or the staging folder can give. What only connected disks can give to absent ones goes into the
//! staging folder, if there is one: so one bay is enough. Nothing of an errand is kept but its wishes, which follow
//! from the catalog: it can be interrupted anywhere, and the same command goes on.

mod remaining;
mod staging;

use std::path::Path;

use distbackup_core::model::{DiskNo, RunNo};
use distbackup_core::plan::Tally;

use super::backup::{Delivered, Delivery, Holder, deliver};
use super::shelf::Connected;
use super::{OpError, Problems};
use crate::catalog::{Catalog, CatalogError, DiskRow, Reader, Wants};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::platform;
use crate::progress::Observer;
pub use remaining::Remaining;
pub use staging::{Staged, StagingFolder};

/// What is to be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// These disks get back what they should have and have lost.
    Heal(Vec<DiskNo>),
    /// The others get what only this disk holds.
    Retire(DiskNo),
    /// One disk gets everything that another one holds or has lost.
    Replace {
        /// The disk that goes.
        from: DiskNo,
        /// The disk that takes its place.
        to: DiskNo,
    },
}

impl Errand {
    /// Disks that are to receive something.
    fn targets(&self, rows: &[DiskRow]) -> Vec<DiskNo> {
        match self {
            Errand::Heal(disks) => disks.clone(),
            Errand::Retire(disk) => {
                let stays = |row: &&DiskRow| row.disk != *disk && !row.retiring;
                rows.iter().filter(stays).map(|row| row.disk).collect()
            }
            Errand::Replace { to, .. } => vec![*to],
        }
    }

    fn wants(&self, target: DiskNo) -> Wants {
        match *self {
            Errand::Heal(_) => Wants::LostBy(target),
            Errand::Retire(disk) => Wants::OnlyOn(disk),
            Errand::Replace { from, to } => Wants::Moving { from, to },
        }
    }

    /// Its wishes: for which disk, `None` for any that is to receive something, and which objects.
    fn wishes(&self) -> Vec<(Option<DiskNo>, Wants)> {
        match self {
            Errand::Heal(disks) => disks.iter().map(|disk| (Some(*disk), Wants::LostBy(*disk))).collect(),
            Errand::Retire(disk) => vec![(None, Wants::OnlyOn(*disk))],
            Errand::Replace { to, .. } => vec![(Some(*to), self.wants(*to))],
        }
    }
}

/// What an errand did, and what is left of it.
#[derive(Debug, Default)]
pub struct Carried {
    /// What each connected disk that was to receive something received.
    pub deliveries: Vec<Delivered>,
    /// Connected disks that failed, by name; the others were served.
    pub failed: Vec<(String, OpError)>,
    /// What became of the staging folder; `None`: there is none.
    pub staged: Option<Staged>,
    /// Wishes that are left, by disk.
    pub remaining: Vec<Remaining>,
    /// The user asked to stop; what was carried is recorded.
    pub interrupted: bool,
}

impl Carried {
    /// Objects that arrived.
    pub fn arrived(&self) -> Tally {
        let mut arrived = Tally::default();
        self.deliveries.iter().for_each(|one| arrived.merge(one.visit.copied.total()));
        arrived
    }

    /// What is left altogether.
    pub fn left(&self) -> Tally {
        let mut left = Tally::default();
        self.remaining.iter().for_each(|one| left.merge(one.left));
        left
    }

    /// What nothing known has whole any more.
    pub fn lost(&self) -> Problems {
        let mut lost = Problems::default();
        self.remaining.iter().for_each(|one| lost.extend(one.lost.clone()));
        lost
    }
}

/// With what an errand is run.
pub struct Means<'m> {
    /// The disks that are connected, locked by the caller.
    pub connected: &'m [Connected],
    /// The staging folder, if there is one.
    pub staging: Option<&'m StagingFolder>,
    /// The run to which proofs belong.
    pub run: Option<RunNo>,
    /// Disks are only compared; the catalog given is a private copy.
    pub dry_run: bool,
}

/// Runs an errand with the disks that are connected.
pub fn carry(
    catalog: &mut Catalog,
    errand: &Errand,
    means: &Means<'_>,
    clock: &dyn Clock,
    observer: &dyn Observer,
) -> Result<Carried, OpError> {
    let &Means { connected, staging, run, dry_run } = means;
    let mut carried = Carried::default();
    for target in receivers(&catalog.read(), errand, connected)? {
        let holders = holders(connected, staging, Some(target.row.disk));
        let delivery = Delivery {
            wants: errand.wants(target.row.disk),
            holders: &holders,
            streams: if platform::is_rotational(&target.folder) { 1 } else { 2 },
            dry_run,
        };
        let (row, now_ns) = (target.row.clone(), clock.now_ns());
        match deliver(catalog, &target.disk, row, now_ns, run, &delivery, observer) {
            Ok(delivered) => {
                carried.interrupted |= delivered.visit.interrupted;
                carried.deliveries.push(delivered);
            }
            Err(error @ OpError::Catalog(_)) => return Err(error),
            Err(error) => carried.failed.push((target.row.name.clone(), error)),
        }
        if carried.interrupted {
            break;
        }
    }
    if let Some(staging) = staging
        && !dry_run
        && !carried.interrupted
    {
        let holders = holders(connected, None, None);
        let now_ns = clock.now_ns();
        let (staged, interrupted) = staging.settle(catalog, errand, connected, &holders, now_ns, observer)?;
        carried.staged = Some(staged);
        carried.interrupted |= interrupted;
    }
    carried.remaining = remaining::remaining(&catalog.read(), errand, connected, staging)?;
    Ok(carried)
}

/// The connected disks that are to receive something, the one with the most room first.
fn receivers<'c>(
    reader: &Reader<'_>,
    errand: &Errand,
    connected: &'c [Connected],
) -> Result<Vec<&'c Connected>, CatalogError> {
    let targets = errand.targets(&reader.disks()?);
    let mut here: Vec<&Connected> = connected.iter().filter(|one| targets.contains(&one.row.disk)).collect();
    here.sort_by_key(|one| (std::cmp::Reverse(one.row.free), one.row.disk.0));
    Ok(here)
}

/// From where copies can be read for `target`: the staging folder first, it is nearer than any disk.
fn holders<'c>(
    connected: &'c [Connected],
    staging: Option<&'c StagingFolder>,
    target: Option<DiskNo>,
) -> Vec<Holder<'c>> {
    let staging = staging.map(|staging| Holder {
        disk: None,
        name: format!("the staging folder {}", staging.folder().display()),
        port: staging.port(),
    });
    let disks = connected.iter().filter(|one| Some(one.row.disk) != target).map(|one| Holder {
        disk: Some(one.row.disk),
        name: one.row.name.clone(),
        port: &one.disk as &dyn Disk,
    });
    staging.into_iter().chain(disks).collect()
}

/// Whether a folder is a staging folder, which is no disk of a shelf.
pub fn is_staging_folder(folder: &Path) -> bool {
    crate::disk::read_identity(folder).is_ok_and(|identity| staging::is_staging(&identity))
}

/// Records that a disk is to leave the set, or that it stays.
pub fn set_retiring(catalog: &mut Catalog, disk: DiskNo, retiring: bool) -> Result<(), CatalogError> {
    catalog.write("record that a disk is to leave", |writer| writer.record_retiring(disk, retiring))
}
