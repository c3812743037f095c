//! Delivery: named objects to one disk, from wherever they can be had.
//!
//! What `heal`, `disk retire` and `disk replace` have in common. It is a visit with another plan: the stamp, the room,
//! batches, claims and the catalog copy are those of a backup (DESIGN 6). Nothing is removed for it.

use std::collections::{BTreeMap, HashSet};

use distbackup_core::model::{Bytes, DiskNo, ObjectId, ObjectNo, RunNo, billed};
use distbackup_core::plan::Tally;

use super::execute::{finish, staged};
use super::ledger::Ledger;
use super::origins::{BadCopy, Copies, Holder, RottenFile, record_rot};
use super::sources::Finder;
use super::stage::{Task, Tools, large_streams};
use super::{Visit, VisitOutcome, name_of, publish};
use crate::catalog::{Catalog, CatalogError, DiskRow, HeldObject, PlanRow, Wants};
use crate::disk::Disk;
use crate::ops::filesystems::Filesystems;
use crate::ops::mapping::Mapping;
use crate::ops::{OpError, Problems};
use crate::platform::Accounts;
use crate::progress::{Event, Observer, Phase};

/// Objects looked up at a time, and the most of a batch.
const PAGE: u32 = 4096;
/// Content of a batch, in bytes: what replaces a damaged object lies beside it until the batch is durable.
const BATCH_BYTES: u64 = 256 << 20;

/// What to deliver, and from where.
pub struct Delivery<'d> {
    /// Which objects.
    pub wants: Wants,
    /// Copies that may be read, best first.
    pub holders: &'d [Holder<'d>],
    /// Files that are written at the same time; 1 for a rotating disk.
    pub streams: usize,
    /// Compare only; the catalog given is a private copy.
    pub dry_run: bool,
}

/// What a delivery did, and what it could not.
#[derive(Debug, Clone, Default)]
pub struct Delivered {
    /// The visit. Its problems are source files that are not what they were, and contents that the disk cannot take.
    pub visit: VisitOutcome,
    /// Found no room.
    pub no_room: Tally,
    /// Neither the sources nor connected disks have it, but others may; and how much each of these claims.
    pub away: Tally,
    /// The same by disk; what several disks claim is counted for each.
    pub held_by: BTreeMap<DiskNo, Tally>,
    /// Nothing known has it whole any more, by a path that had it.
    pub lost: Problems,
    /// Copies that were read and are damaged; they lost their claim.
    pub bad_copies: Problems,
    /// The disks where these were.
    pub bad_on: HashSet<DiskNo>,
    /// Not delivered, and their source files only look as if they could help.
    pub source_damaged: Vec<ObjectId>,
}

/// Delivers objects to a disk. `row` is what the catalog knows of it, with its place and room as they are now.
pub fn deliver(
    catalog: &mut Catalog,
    disk: &dyn Disk,
    row: DiskRow,
    clock_ns: i64,
    run: Option<RunNo>,
    delivery: &Delivery<'_>,
    observer: &dyn Observer,
) -> Result<Delivered, OpError> {
    let (mut visit, outcome) = Visit::begin(catalog, disk, row, clock_ns, run, observer)?;
    let mut delivered = Delivered { visit: outcome, ..Delivered::default() };
    let finished = visit
        .look_first(delivery.dry_run, delivery.streams, &mut delivered.visit)
        .and_then(|()| if delivery.dry_run { Ok(()) } else { carry(&mut visit, delivery, &mut delivered) });
    match finished {
        Err(OpError::Stopped) => delivered.visit.interrupted = true,
        other => other?,
    }
    // Before everything was compared, the catalog there may be the only one that knows some names (C1).
    if !delivery.dry_run && visit.compared {
        delivered.visit.published = publish::publish(&mut visit, delivered.visit.interrupted)?;
    }
    Ok(delivered)
}

fn carry(visit: &mut Visit<'_>, delivery: &Delivery<'_>, delivered: &mut Delivered) -> Result<(), OpError> {
    let total = visit.catalog.read().wanted_total(delivery.wants)?;
    if total.objects == 0 {
        return Ok(());
    }
    let mapping = Mapping::load(&visit.catalog.read())?;
    let filesystems = Filesystems::load(&visit.catalog.read())?;
    let accounts = Accounts::new();
    let copies = Copies { holders: delivery.holders, ..Copies::default() };
    let ledger = Ledger::new(room(visit)?);
    let tools = Tools {
        mapping: &mapping,
        filesystems: &filesystems,
        accounts: &accounts,
        ledger: &ledger,
        unit: visit.row.unit,
        disk: visit.disk,
        odd_places: !delivered.visit.reconciled.foreign.is_empty(),
        hashes: true,
        copies: &copies,
        read_back: None,
        large_streams: large_streams(visit.disk, &mapping, delivery.streams),
        early: None,
        observer: visit.observer,
    };
    visit.observer.event(Event::Begin { phase: Phase::Copy, files: total.objects, bytes: total.bytes });
    let began = std::time::Instant::now();
    let carried = pages(visit, delivery, &tools, delivered);
    delivered.visit.copying += began.elapsed();
    delivered.visit.room_left = ledger.left();
    visit.observer.event(Event::End);
    carried
}

/// Room for objects that is free now, in billed bytes.
pub(super) fn room(visit: &Visit<'_>) -> Result<Bytes, CatalogError> {
    let (reader, row) = (visit.catalog.read(), &visit.row);
    let held = reader.held_billed(row.disk, row.unit)? + reader.orphans_billed(row.disk, row.unit)?;
    Ok(row.capacity - held)
}

fn pages(
    visit: &mut Visit<'_>,
    delivery: &Delivery<'_>,
    tools: &Tools<'_>,
    delivered: &mut Delivered,
) -> Result<(), OpError> {
    let mut after = ObjectNo(0);
    loop {
        if visit.observer.stop_requested() {
            return Err(OpError::Stopped);
        }
        let page = visit.catalog.read().wanted(delivery.wants, after, PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.object;
        let mut batch = Vec::new();
        let mut bytes = 0;
        for want in page {
            if visit.observer.stop_requested() {
                return Err(OpError::Stopped);
            }
            match reachable(visit, tools, want)? {
                Ok(()) => {
                    if bytes + want.size.0 > BATCH_BYTES && !batch.is_empty() {
                        run_batch(visit, delivery, tools, std::mem::take(&mut batch), delivered)?;
                        bytes = 0;
                    }
                    bytes += want.size.0;
                    batch.push(want);
                }
                Err((path, why)) => delivered.note_missing(visit, want, &path, &why)?,
            }
            if delivered.visit.full {
                return Ok(());
            }
        }
        if !batch.is_empty() {
            run_batch(visit, delivery, tools, batch, delivered)?;
        }
    }
}

/// Whether anything connected may have an object; otherwise says in words why the sources have not. An object that
/// nothing can give must not make the disk be written to.
fn reachable(
    visit: &Visit<'_>,
    tools: &Tools<'_>,
    want: HeldObject,
) -> Result<Result<(), (Vec<u8>, String)>, CatalogError> {
    let reader = visit.catalog.read();
    for holder in tools.copies.holders {
        if holder.may_have(&reader, want.object)? {
            return Ok(Ok(()));
        }
    }
    Ok(Finder::new(&reader, tools.mapping, tools.filesystems).open_known(want.object)?.map(drop))
}

fn run_batch(
    visit: &mut Visit<'_>,
    delivery: &Delivery<'_>,
    tools: &Tools<'_>,
    batch: Vec<HeldObject>,
    delivered: &mut Delivered,
) -> Result<(), OpError> {
    visit.begin_writing()?;
    let reader = visit.catalog.read();
    let mut tasks = Vec::with_capacity(batch.len());
    for want in &batch {
        let replaced = reader.orphaned_bytes(visit.row.disk, want.object)?;
        let replaced = if replaced.0 > 0 { billed(replaced, tools.unit) } else { Bytes(0) };
        tasks.push(Task {
            what: PlanRow::Known(want.object),
            // What lies there damaged under the same name makes room when it is replaced.
            billed: billed(want.size, tools.unit) - replaced,
            copies_before: u16::try_from(reader.holders(want.object)?.len()).unwrap_or(u16::MAX),
            victims: Vec::new(),
            source: None,
        });
    }
    let outcome = staged(visit, delivery.streams, tools, tasks);
    let (bad, rotten) = tools.copies.take_noticed();
    record_bad(visit, tools.copies, bad, delivered)?;
    record_rot(visit, &rotten)?;
    delivered.visit.rotten += rotten.len() as u64;
    let outcome = outcome?;
    delivered.visit.full |= outcome.full;
    // What did not come back as it was written stays wanted, and is told of in the visit's outcome.
    let _still_wanted = finish(visit, tools, outcome.copied, &mut delivered.visit)?;
    for RottenFile { path, .. } in &rotten {
        let why = "its content differs from what was recorded, with the same size and times: the source may be damaged";
        visit.observer.event(Event::Skipped { path, reason: why });
        delivered.visit.problems.add(path, why);
    }
    let known: BTreeMap<ObjectNo, HeldObject> = batch.into_iter().map(|want| (want.object, want)).collect();
    let want = |row: &PlanRow| match row {
        PlanRow::Known(object) => known.get(object).copied(),
        PlanRow::Pending(..) => None,
    };
    for want in outcome.displaced.iter().filter_map(want) {
        delivered.no_room.add(want.size);
    }
    for (row, path, why) in outcome.left_out {
        let Some(want) = want(&row) else { continue };
        if rotten.iter().any(|file| file.object == want.object) {
            delivered.source_damaged.push(want.id);
        }
        delivered.note_missing(visit, want, &path, &why)?;
    }
    for want in outcome.unfit.iter().filter_map(|(row, path, why)| {
        delivered.visit.problems.add(path, why.clone());
        want(row)
    }) {
        delivered.no_room.add(want.size);
    }
    Ok(())
}

/// Copies that were found bad lose their claim; what is bad in the staging folder is dropped.
fn record_bad(
    visit: &mut Visit<'_>,
    copies: &Copies<'_>,
    bad: Vec<BadCopy>,
    delivered: &mut Delivered,
) -> Result<(), OpError> {
    if bad.is_empty() {
        return Ok(());
    }
    for BadCopy { disk, object, why } in &bad {
        let Some(holder) = copies.holders.iter().find(|holder| holder.disk == *disk) else { continue };
        let reader = visit.catalog.read();
        if disk.is_none() {
            if let Some(row) = reader.object(*object)? {
                holder.port.remove(row.id).map_err(OpError::disk(&holder.name))?;
            }
            continue;
        }
        delivered.bad_on.extend(disk);
        let why = format!("on {}: {why}", holder.name);
        delivered.bad_copies.try_add(|| name_of(&reader, *object), why)?;
    }
    Ok(strike_out_bad(visit.catalog, visit.time.now_ns, &bad)?)
}

/// Takes the claim from copies on disks that were found bad (D7).
pub fn strike_out_bad(catalog: &mut Catalog, now_ns: i64, bad: &[BadCopy]) -> Result<(), CatalogError> {
    if bad.iter().all(|bad| bad.disk.is_none()) {
        return Ok(());
    }
    catalog.write("record damaged copies", |writer| -> Result<(), CatalogError> {
        for BadCopy { disk, object, why } in bad {
            if let Some(disk) = disk {
                writer.lose_copy(*object, *disk, now_ns, why)?;
            }
        }
        writer.advance_generation()
    })
}

impl Delivered {
    /// Notes an object that could not be had now: from the disks that claim it, or from nowhere any more.
    fn note_missing(
        &mut self,
        visit: &Visit<'_>,
        want: HeldObject,
        path: &[u8],
        why: &str,
    ) -> Result<(), CatalogError> {
        let reader = visit.catalog.read();
        let holders = reader.holders(want.object)?;
        for &holder in holders.iter().filter(|holder| **holder != visit.row.disk) {
            self.held_by.entry(holder).or_default().add(want.size);
        }
        if holders.is_empty() {
            let name = || if path.is_empty() { name_of(&reader, want.object) } else { Ok(path.to_vec()) };
            return self.lost.try_add(name, format!("no disk has it whole, and the source: {why}"));
        }
        self.away.add(want.size);
        Ok(())
    }
}
