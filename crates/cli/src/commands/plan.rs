//! `dsb plan`: what a visit would do, and why.

use distbackup_core::plan::Tally;
use distbackup_core::planner::Outlook;
use distbackup_engine::catalog::DiskRow;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::backup::{self, BackupOptions};
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::platform::Access;
use distbackup_engine::report::{self, Pace, PlannedVisit, Prospect};
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, duration, grouped, share};

/// Plans a visit of a disk, of the connected one if none is named. One that is away is planned from the catalog.
pub fn run(context: &Context<'_>, disk: Option<&str>) -> Outcome {
    let mut opened = context.open_privately()?;
    let catalog = &mut opened.catalog;
    let now_ns = context.clock().now_ns();
    match shelf::open(catalog, disk) {
        Ok(connected) => {
            let _lock = context.lock_disk(&connected, Access::Shared)?;
            let row = connected.row.clone();
            let options = BackupOptions { dry_run: true, take_pending: true, ..BackupOptions::default() };
            let outcome =
                backup::visit(catalog, &connected.disk, row.clone(), now_ns, None, &options, context.render)?;
            let found = &outcome.reconciled;
            context.render.problems("claimed on the disk, but missing", &found.missing);
            context.render.problems("of the wrong size on the disk", &found.wrong_size);
            let reader = catalog.read();
            show(context, &Planned::new(&reader, &row, &outcome.planned, true)?);
        }
        Err(OpError::NotConnected { .. }) if disk.is_some() => {
            let reader = catalog.read();
            let row = shelf::named(&reader, disk.unwrap_or_default())?;
            let prospect = Prospect::load(&reader, now_ns, &[])?;
            let index = prospect.disks.iter().position(|known| known.disk == row.disk).unwrap_or(0);
            let planned = prospect.visit(index);
            context
                .render
                .note(&format!("{} is not connected: this is from what the catalog knows of it.", row.name));
            show(context, &Planned::new(&reader, &row, &planned, false)?);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::DONE)
}

/// A planned visit with what is said beside it.
pub struct Planned<'p> {
    row: &'p DiskRow,
    visit: &'p PlannedVisit,
    connected: bool,
    pace: Option<Pace>,
    /// Names of all disks, by index.
    names: Vec<String>,
}

impl<'p> Planned<'p> {
    /// Looks up what is said beside the figures.
    pub fn new(
        reader: &distbackup_engine::catalog::Reader<'_>,
        row: &'p DiskRow,
        visit: &'p PlannedVisit,
        connected: bool,
    ) -> Result<Self, Failure> {
        let names = reader.disks()?.into_iter().map(|row| row.name).collect();
        Ok(Planned { row, visit, connected, pace: report::pace(reader, &row.uuid)?, names })
    }
}

/// Shows a plan.
pub fn show(context: &Context<'_>, planned: &Planned<'_>) {
    let render = context.render;
    let visit = planned.visit;
    render.object("plan", as_json(planned));
    if render.is_json() {
        return;
    }
    let name = &planned.row.name;
    render.line(&format!("Plan for {name} — nothing will be changed"));
    let line = |verb: &str, tally: Tally, why: &str| {
        if tally.objects > 0 {
            let (objects, size) = (grouped(tally.objects), render.size(tally.bytes));
            render.line(&format!("  {verb:<7} {objects:>12} objects  {size:>9}   {why}"));
        }
    };
    for (before, tally) in visit.copies.0.iter().enumerate() {
        line("copy", *tally, &level(before));
    }
    line("remove", visit.clean, "kept by no snapshot any more");
    line("remove", visit.evict_history, "history that other disks hold too, to make room");
    line("remove", visit.evict_live, "redundant, to make room");
    if visit.is_idle() {
        render.line("  nothing to do");
    }
    let mut changes = Vec::new();
    let mut before = visit.before.live.clone();
    before.resize(visit.after.len().max(before.len()).max(1), Tally::default());
    before[0].merge(visit.before.pending);
    for (copies, old) in before.iter().enumerate().take(2) {
        let new = visit.after.get(copies).copied().unwrap_or_default();
        if *old != new {
            let what = if copies == 0 { "no copy" } else { "one copy" };
            changes.push(format!("{what} {} -> {}", render.size(old.bytes), render.size(new.bytes)));
        }
    }
    changes.push(format!("room left on {name}: {}", render.size(visit.room_after)));
    render.line(&format!("After: {}", changes.join(" · ")));
    render.line(&capability(&visit.outlook, "you will be at"));
    for (disk, tally) in &visit.stale {
        let Some(stale) = planned.names.get(usize::from(*disk)) else { continue };
        render.line(&format!(
            "{} that have no copy wait for room here: {stale} was not verified for too long to rely on it. dsb verify {stale}  frees the room.",
            count(tally.objects, "object", "objects"),
        ));
    }
    let total = visit.copies.total();
    if let (Some(pace), true) = (planned.pace, total.objects > 0) {
        render
            .line(&format!("Time: about {}, as fast as {name} was before.", duration(pace.time_for(total))));
    }
    if !visit.is_idle() {
        let update = if visit.before.pending.objects > 0 { " --update" } else { "" };
        let first = if planned.connected { "Do it: " } else { "Connect it, then: " };
        render.line(&format!("{first}dsb backup{update} {name}"));
    }
}

fn as_json(planned: &Planned<'_>) -> Value {
    let visit = planned.visit;
    json!({
        "disk": planned.row.name, "connected": planned.connected,
        "copies": tallies(&visit.copies.0), "removed": tally(visit.clean),
        "evicted": tally(visit.evict_live), "evicted_history": tally(visit.evict_history),
        "unplaced": tallies(&visit.unplaced.0), "fits_nowhere": tally(visit.fits_nowhere),
        "before": tallies(&visit.before.live), "pending": tally(visit.before.pending), "after": tallies(&visit.after),
        "room_after": visit.room_after.0, "reach": reach_json(&visit.outlook),
        "stale": visit.stale.iter().map(|(disk, one)| json!({
            "disk": planned.names.get(usize::from(*disk)), "objects": one.objects, "bytes": one.bytes.0,
        })).collect::<Vec<_>>(),
        "seconds": planned.pace.map(|pace| pace.time_for(visit.copies.total()).as_secs()),
    })
}

/// A tally as JSON.
pub fn tally(tally: Tally) -> Value {
    json!({ "objects": tally.objects, "bytes": tally.bytes.0 })
}

/// Tallies by number of copies as JSON.
pub fn tallies(levels: &[Tally]) -> Value {
    levels.iter().map(|level| tally(*level)).collect()
}

/// Levels and bound as JSON, in billed bytes.
pub fn reach_json(outlook: &Outlook) -> Value {
    let bytes =
        |levels: &[distbackup_core::model::Bytes]| levels.iter().map(|bytes| bytes.0).collect::<Vec<_>>();
    json!({ "live": outlook.live.0, "levels": bytes(&outlook.levels), "bound": bytes(&outlook.bound) })
}

/// `first copy`, `second copy` …
pub fn level(copies_before: usize) -> String {
    match copies_before {
        0 => "first copy".into(),
        1 => "second copy".into(),
        2 => "third copy".into(),
        3 => "fourth copy".into(),
        n => format!("copy {}", n + 1),
    }
}

/// What the disks of the set can hold, and how far they are, in one sentence.
pub fn capability(outlook: &Outlook, at: &str) -> String {
    let full = outlook.bound.iter().take_while(|&&level| level >= outlook.live).count();
    let partly = outlook.bound.get(full).copied().filter(|level| level.0 > 0);
    let can = match (full, partly) {
        (0, None) => return "These disks can hold nothing yet.".into(),
        (0, Some(part)) => format!("one copy of {}", share(part, outlook.live)),
        (1, None) => "one copy of everything".into(),
        (n, None) => format!("{n} copies of everything"),
        (1, Some(part)) => format!("one copy of everything and a second of {}", share(part, outlook.live)),
        (n, Some(part)) => {
            format!("{n} copies of everything and one more of {}", share(part, outlook.live))
        }
    };
    let levels = full + usize::from(partly.is_some());
    let shares: Vec<String> =
        outlook.levels.iter().take(levels).map(|&level| share(level, outlook.live)).collect();
    format!("These disks can hold {can}; {at} {}.", shares.join(" / "))
}
