//! `dsb heal`, `dsb disk retire` and `dsb disk replace`: objects are carried from where they can be had to where they are
//! to be, also with a single bay.

mod next;

use distbackup_core::model::{DiskNo, RunNo, parse_size};
use distbackup_core::plan::Tally;
use distbackup_engine::catalog::{Catalog, DiskRow};
use distbackup_engine::ops::backup::Delivered;
use distbackup_engine::ops::carry::{self, Carried, Errand, Means, Staged, StagingFolder};
use distbackup_engine::ops::shelf::{self, Connected};
use distbackup_engine::platform::{Access, DirectoryLock};
use serde_json::json;

use super::plan::tally;
use crate::Outcome;
use crate::args::StagingArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::count;

/// Repairs what `verify` or a comparison found, on these disks or on all.
pub fn heal(context: &Context<'_>, disks: &[String], staging: &StagingArgs) -> Outcome {
    in_a_run(context, |catalog, run| {
        let reader = catalog.read();
        let named = disks.iter().map(|disk| shelf::named(&reader, disk)).collect::<Result<Vec<_>, _>>()?;
        let all = reader.disks()?.into_iter().filter(|row| !row.retiring);
        let targets = if named.is_empty() { all.collect() } else { named };
        let command = match disks {
            [] => "dsb heal".to_owned(),
            names => format!("dsb heal {}", names.join(" ")),
        };
        let task = Task { errand: Errand::Heal(numbers(&targets)), verb: "heal", command, goes: None };
        task.run(context, catalog, run, staging)
    })
}

/// Brings what only one disk holds to the others.
pub fn retire(context: &Context<'_>, disk: &str, staging: &StagingArgs) -> Outcome {
    in_a_run(context, |catalog, run| {
        let row = shelf::named(&catalog.read(), disk)?;
        let began = !row.retiring;
        carry::set_retiring(catalog, row.disk, true)?;
        if began && !context.global.dry_run {
            context.render.say(&format!(
                "{} is to leave the set: from now on its copies do not count. To keep it after all: dsb disk retire --cancel {}",
                row.name, row.name
            ));
        }
        let command = format!("dsb disk retire {}", row.name);
        Task { errand: Errand::Retire(row.disk), verb: "retire", command, goes: Some(row.name) }
            .run(context, catalog, run, staging)
    })
}

/// A disk that was to leave stays.
pub fn keep(context: &Context<'_>, disk: &str) -> Outcome {
    in_a_run(context, |catalog, _| {
        let row = shelf::named(&catalog.read(), disk)?;
        if !row.retiring {
            context.render.say(&format!("{} was not to leave; nothing was changed.", row.name));
            return Ok((Exit::DONE, json!({})));
        }
        carry::set_retiring(catalog, row.disk, false)?;
        context.render.say(&format!("{} stays in the set; its copies count again.", row.name));
        Ok((Exit::DONE, json!({})))
    })
}

/// Brings to one disk what another one should hold.
pub fn replace(context: &Context<'_>, old: &str, new: &str, staging: &StagingArgs) -> Outcome {
    in_a_run(context, |catalog, run| {
        let (from, to) = (shelf::named(&catalog.read(), old)?, shelf::named(&catalog.read(), new)?);
        if from.disk == to.disk {
            return Err(Failure::Usage("a disk cannot take its own place".into()));
        }
        if to.retiring {
            return Err(Failure::Usage(format!(
                "{} is to leave the set itself; to keep it: dsb disk retire --cancel {}",
                to.name, to.name
            )));
        }
        carry::set_retiring(catalog, from.disk, true)?;
        let command = format!("dsb disk replace {} {}", from.name, to.name);
        let errand = Errand::Replace { from: from.disk, to: to.disk };
        Task { errand, verb: "replace", command, goes: Some(from.name) }.run(context, catalog, run, staging)
    })
}

fn in_a_run(
    context: &Context<'_>,
    work: impl FnOnce(&mut Catalog, Option<RunNo>) -> Result<(Exit, serde_json::Value), Failure>,
) -> Outcome {
    let mut opened = context.open_to_write()?;
    let run = context.begin_run(&mut opened.catalog)?;
    let (outcome, details) = match work(&mut opened.catalog, run) {
        Ok((exit, details)) => (Ok(exit), details),
        Err(failure) => (Err(failure), json!({})),
    };
    context.end_run(&mut opened.catalog, run, &outcome, &details)?;
    outcome
}

fn numbers(rows: &[DiskRow]) -> Vec<DiskNo> {
    rows.iter().map(|row| row.disk).collect()
}

/// An errand as the user asked for it.
struct Task {
    errand: Errand,
    /// For `--json`.
    verb: &'static str,
    /// The command that goes on with it, without options.
    command: String,
    /// The disk that leaves.
    goes: Option<String>,
}

impl Task {
    fn run(
        &self,
        context: &Context<'_>,
        catalog: &mut Catalog,
        run: Option<RunNo>,
        staging: &StagingArgs,
    ) -> Result<(Exit, serde_json::Value), Failure> {
        let (connected, _locks) = open_all(context, catalog)?;
        let folder = open_staging(context, catalog, staging)?;
        let dry_run = context.global.dry_run;
        let means = Means { connected: &connected, staging: folder.as_ref(), run, dry_run };
        let clock = context.clock();
        let carried = carry::carry(catalog, &self.errand, &means, &clock, context.render)?;
        self.report(context, catalog, &connected, staging, carried)
    }

    fn report(
        &self,
        context: &Context<'_>,
        catalog: &Catalog,
        connected: &[Connected],
        staging: &StagingArgs,
        carried: Carried,
    ) -> Result<(Exit, serde_json::Value), Failure> {
        let rows = catalog.read().disks()?;
        let value = self.as_json(&carried, &rows);
        context.render.object("carried", value.clone());
        for delivered in &carried.deliveries {
            say_delivered(context, delivered);
        }
        if let (Some(staged), Some(folder)) = (&carried.staged, &staging.staging) {
            say_staged(context, staged, &folder.display().to_string());
        }
        let lost = carried.lost();
        context.render.problems("NO COPY LEFT on any disk, nor at the sources", &lost);
        let mut exit = exit(&carried);
        let steps = next::Steps { task: self, rows: &rows, connected, staging, carried: &carried };
        steps.say(context);
        for (_, error) in carried.failed {
            exit = exit.or_graver(context.render.failure(&Failure::Operation(error)));
        }
        Ok((exit, value))
    }

    fn as_json(&self, carried: &Carried, rows: &[DiskRow]) -> serde_json::Value {
        let name = |disk: DiskNo| rows.iter().find(|row| row.disk == disk).map(|row| row.name.clone());
        let deliveries: Vec<_> = carried
            .deliveries
            .iter()
            .map(|one| {
                json!({ "disk": one.visit.disk, "arrived": tally(one.visit.copied.total()),
                        "no_room": tally(one.no_room), "bad_copies": one.bad_copies.count,
                        "missing": one.visit.reconciled.missing.count,
                        "wrong_size": one.visit.reconciled.wrong_size.count,
                        "problems": one.visit.problems.count })
            })
            .collect();
        let remaining: Vec<_> = carried
            .remaining
            .iter()
            .map(|one| {
                let from: serde_json::Map<_, _> =
                    one.from.iter().filter_map(|(disk, size)| Some((name(*disk)?, tally(*size)))).collect();
                json!({ "disk": one.disk.and_then(name), "left": tally(one.left), "at_hand": tally(one.at_hand),
                        "here": tally(one.here), "away": tally(one.away), "from": from, "lost": one.lost.count })
            })
            .collect();
        let staged = carried.staged.as_ref().map(|staged| {
            json!({ "added": tally(staged.added), "removed": tally(staged.removed), "holds": tally(staged.holds),
                    "no_room": tally(staged.no_room), "limit": staged.limit.0 })
        });
        json!({ "errand": self.verb, "leaves": self.goes, "deliveries": deliveries, "staging": staged,
                "remaining": remaining, "left": tally(carried.left()), "interrupted": carried.interrupted })
    }
}

/// All disks of the set that are connected, each locked. One that cannot be used is left out with a warning.
fn open_all(
    context: &Context<'_>,
    catalog: &Catalog,
) -> Result<(Vec<Connected>, Vec<DirectoryLock>), Failure> {
    let mode = if context.global.dry_run { Access::Shared } else { Access::Exclusive };
    let folders = shelf::connected_folders(&catalog.read())?;
    let (mut connected, mut locks) = (Vec::new(), Vec::new());
    for row in catalog.read().disks()? {
        let Some(folder) = folders.get(&row.disk) else { continue };
        let name = row.name.clone();
        let opened = shelf::open_at(catalog, row, folder).map_err(Failure::from);
        match opened.and_then(|one| Ok((context.lock_disk(&one, mode)?, one))) {
            Ok((lock, one)) => {
                context.render.note(&format!("{name} recognised at {}", one.folder.display()));
                locks.push(lock);
                connected.push(one);
            }
            Err(failure) => {
                context.render.warning(&format!("{name} is left out: {failure}"));
            }
        }
    }
    if connected.is_empty() {
        context.render.note("No disk of the set is connected.");
    }
    Ok((connected, locks))
}

/// Opens the staging folder; a dry run makes none.
fn open_staging(
    context: &Context<'_>,
    catalog: &Catalog,
    staging: &StagingArgs,
) -> Result<Option<StagingFolder>, Failure> {
    let Some(folder) = &staging.staging else { return Ok(None) };
    if context.global.dry_run && !carry::is_staging_folder(folder) {
        return Ok(None);
    }
    let limit = staging.staging_size.as_deref().map(parse_size).transpose()?;
    Ok(Some(StagingFolder::open(folder, &catalog.read().set_uuid()?, limit)?))
}

/// "12 objects (3.1 GB)".
fn objects(context: &Context<'_>, size: Tally) -> String {
    format!("{} ({})", count(size.objects, "object", "objects"), context.render.size(size.bytes))
}

fn say_delivered(context: &Context<'_>, delivered: &Delivered) {
    let (render, visit) = (context.render, &delivered.visit);
    let found = &visit.reconciled;
    render.problems("claimed on the disk, but missing; they no longer count as copies", &found.missing);
    render.problems("of the wrong size on the disk; they no longer count as copies", &found.wrong_size);
    render.problems("needed, but damaged on the disk", &found.damaged);
    let arrived = visit.copied.total();
    if arrived.objects > 0 {
        let rate = match visit.copying.as_secs_f64() {
            seconds if seconds >= 1.0 => {
                let rate = distbackup_core::model::Bytes((arrived.bytes.0 as f64 / seconds) as u64);
                format!(", {rate}/s")
            }
            _ => String::new(),
        };
        render.say(&format!("Brought {} to {}{rate}.", objects(context, arrived), visit.disk));
    }
    render
        .problems("damaged on the disk that was read; they no longer count as copies", &delivered.bad_copies);
    render.problems("not as they should be", &visit.problems);
    if delivered.no_room.objects > 0 {
        render.warning(&format!("no room on {} for {}", visit.disk, objects(context, delivered.no_room)));
    }
    if visit.full {
        render.warning("the disk refused room that it had promised; what was copied before is safe");
    }
}

fn say_staged(context: &Context<'_>, staged: &Staged, folder: &str) {
    let render = context.render;
    if staged.added.objects > 0 {
        render.say(&format!("Put {} into the staging folder {folder}.", objects(context, staged.added)));
    }
    if staged.removed.objects > 0 {
        render.say(&format!(
            "Removed {} from the staging folder: nothing waits for them any more.",
            objects(context, staged.removed)
        ));
    }
    if staged.no_room.objects > 0 {
        render.say(&format!(
            "No room in the staging folder for {} more (at most {}); they come with the next round.",
            objects(context, staged.no_room),
            render.size(staged.limit)
        ));
    }
    if staged.holds.objects == 0 && staged.removed.objects > 0 {
        render.say(&format!("Nothing waits in {folder}; it can be deleted."));
    }
}

fn exit(carried: &Carried) -> Exit {
    let mut exit = Exit::DONE;
    if carried.interrupted {
        exit = exit.or_graver(Exit::INTERRUPTED);
    }
    let full = carried.deliveries.iter().any(|one| one.visit.full);
    if full {
        exit = exit.or_graver(Exit::FULL);
    }
    if carried.left().objects > 0 {
        exit = exit.or_graver(Exit::PART);
    }
    if !carried.lost().is_empty() || carried.deliveries.iter().any(|one| !one.bad_copies.is_empty()) {
        exit = exit.or_graver(Exit::DAMAGE);
    }
    exit
}
