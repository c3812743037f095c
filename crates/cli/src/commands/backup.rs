//! `dsb backup`.

use std::path::Path;

use distbackup_core::model::{Bytes, RunNo, SizeRule, parse_size};
use distbackup_engine::catalog::{Catalog, DiskRow};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::backup::{self, BackupOptions, Early, ReadBackOutcome, VisitOutcome};
use distbackup_engine::ops::update::UpdateOptions;
use distbackup_engine::ops::{OpError, disks, shelf, sources};
use distbackup_engine::platform::{self, Access, DirectoryLock};
use distbackup_engine::report::visit_record;
use serde_json::json;

use crate::Outcome;
use crate::args::BackupArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, grouped};

use super::plan::{self, tally};
use super::{status, update};

/// Visits the disks that are named, one after the other; without any, the one that is connected.
pub fn run(context: &Context<'_>, args: &BackupArgs) -> Outcome {
    let mut opened =
        if args.source.is_empty() { context.open_to_write()? } else { context.open_or_create()? };
    let run = context.begin_run(&mut opened.catalog)?;
    let mut visits = Vec::new();
    let outcome = work(context, args, &mut opened.catalog, run, &mut visits);
    context.end_run(&mut opened.catalog, run, &outcome, &json!({ "visits": visits }))?;
    outcome
}

fn work(
    context: &Context<'_>,
    args: &BackupArgs,
    catalog: &mut Catalog,
    run: Option<RunNo>,
    visits: &mut Vec<serde_json::Value>,
) -> Outcome {
    let mut exit = Exit::DONE;
    for source in &args.source {
        let (vpath, new) = sources::map_by_name(catalog, source)?;
        if new {
            context.render.say(&format!(
                "{} is protected from now on, as {}.",
                source.display(),
                vpath.display()
            ));
        }
    }
    let mut disks = args.disks.clone();
    if !args.source.is_empty() {
        for disk in &mut disks {
            name_a_folder(catalog, disk);
        }
        for disk in disks.iter().filter(|disk| disk.contains('/')) {
            add_if_new(context, catalog, Path::new(disk))?;
        }
    }
    let updating = args.update || !args.source.is_empty();
    let options = BackupOptions {
        take_pending: updating,
        limit: args.limit.as_deref().map(parse_size).transpose()?,
        copies_max: args.maxcopies,
        reserve_percent: args.reserve,
        accept: args.accept || context.global.yes,
        dry_run: context.global.dry_run,
        streams: 2,
        read_back: args.read_back,
    };
    // New files are hashed by the copy. A dry run reads none at all.
    let update_options = UpdateOptions {
        scan_only: true,
        small_at_first: !options.dry_run,
        ..update::options(args.accept, args.ignore_lock)
    };
    let wanted: Vec<Option<&str>> =
        if disks.is_empty() { vec![None] } else { disks.iter().map(|disk| Some(disk.as_str())).collect() };
    if updating && let [disk] = &*wanted {
        // A disk that is not there is better known before a long scan than after it.
        let opened = Opened::new(context, catalog, *disk, &options)?;
        let early = Early::begin(catalog, &opened.connected.disk, &opened.connected.row, &opened.options)?;
        if let Some(early) = &early {
            return early.writing_out(|| {
                update_and_visit(context, catalog, run, &opened, early, &update_options, visits)
            });
        }
    }
    if updating {
        exit = exit.or_graver(update::work(context, catalog, run, &update_options, None)?.0);
        if exit == Exit::INTERRUPTED {
            return Ok(exit);
        }
    }
    for disk in wanted {
        let visited = Opened::new(context, catalog, disk, &options).and_then(|opened| {
            opened.tell(context);
            visit(context, catalog, run, &opened, opened.connected.row.clone(), None, visits)
        });
        exit = exit.or_graver(match visited {
            Ok(exit) => exit,
            // Several disks: one that fails does not keep the others from being visited.
            Err(failure) if disks.len() > 1 => context.render.failure(&failure),
            Err(failure) => return Err(failure),
        });
        if exit == Exit::INTERRUPTED {
            return Ok(exit);
        }
    }
    if !options.dry_run {
        status::closing(context, catalog)?;
    }
    Ok(exit)
}

/// A first scan that hands what it reads to the only disk there is to visit, and the visit.
fn update_and_visit(
    context: &Context<'_>,
    catalog: &mut Catalog,
    run: Option<RunNo>,
    opened: &Opened,
    early: &Early<'_>,
    options: &UpdateOptions,
    visits: &mut Vec<serde_json::Value>,
) -> Outcome {
    let (exit, _) = update::work(context, catalog, run, options, Some(early))?;
    if exit == Exit::INTERRUPTED {
        return Ok(exit);
    }
    opened.tell(context);
    let row = shelf::look_again(catalog, &opened.connected, early.billed())?;
    let exit = exit.or_graver(visit(context, catalog, run, opened, row, Some(early), visits)?);
    if exit != Exit::INTERRUPTED {
        status::closing(context, catalog)?;
    }
    Ok(exit)
}

/// With `--source`, a word that names no disk but a folder means the folder: `dsb backup usb --source photos`.
fn name_a_folder(catalog: &Catalog, disk: &mut String) {
    let unknown = !disk.contains('/')
        && matches!(shelf::named(&catalog.read(), disk), Err(OpError::NoSuchDisk { .. }))
        && Path::new(disk.as_str()).is_dir();
    if unknown {
        disk.insert_str(0, "./");
    }
}

/// `backup PATH --source FOLDER`: a folder that is no disk yet joins under its own name.
fn add_if_new(context: &Context<'_>, catalog: &mut Catalog, folder: &Path) -> Result<(), Failure> {
    use distbackup_engine::disk::{DiskError, read_identity};
    if folder.is_dir() {
        match read_identity(folder) {
            Ok(_) => return Ok(()),
            Err(DiskError::NotADisk { .. }) => {}
            Err(error) => return Err(OpError::disk(&folder.display().to_string())(error).into()),
        }
    }
    if context.global.dry_run {
        let why = "it is no disk of the set yet; a dry run does not make it one".to_owned();
        return Err(OpError::BadRequest { what: folder.display().to_string(), why }.into());
    }
    let name = unused_name(catalog, folder)?;
    let request = disks::AddDisk { name: &name, folder, size: SizeRule::Automatic, location: None };
    let added = disks::add(catalog, &context.clock(), &request)?;
    super::disk::say_added(context, &added);
    Ok(())
}

/// A name for a disk at a folder, whether or not it is taken.
pub fn name_for(folder: &Path) -> String {
    let base: String = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    let base = base.trim_start_matches(['-', '.']).to_owned();
    if base.is_empty() { "disk".to_owned() } else { base }
}

/// A disk's name from its folder's.
fn unused_name(catalog: &Catalog, folder: &Path) -> Result<String, Failure> {
    let base = name_for(folder);
    let taken: Vec<String> = catalog.read().disks()?.into_iter().map(|row| row.name).collect();
    let mut name = base.clone();
    let mut number = 2;
    while taken.contains(&name) {
        name = format!("{base}-{number}");
        number += 1;
    }
    Ok(name)
}

/// A disk that is open and locked, and how to visit it.
struct Opened {
    connected: shelf::Connected,
    options: BackupOptions,
    _lock: DirectoryLock,
}

impl Opened {
    fn new(
        context: &Context<'_>,
        catalog: &Catalog,
        disk: Option<&str>,
        options: &BackupOptions,
    ) -> Result<Self, Failure> {
        let connected = shelf::open(catalog, disk)?;
        let mode = if options.dry_run { Access::Shared } else { Access::Exclusive };
        let lock = context.lock_disk(&connected, mode)?;
        let streams = if platform::is_rotational(&connected.folder) { 1 } else { options.streams };
        let options = BackupOptions { streams, ..options.clone() };
        Ok(Opened { connected, options, _lock: lock })
    }

    /// Says which disk it is.
    fn tell(&self, context: &Context<'_>) {
        let shelf::Connected { row, folder, unnamed_filesystem, .. } = &self.connected;
        context.render.note(&format!("{} recognised at {}", row.name, folder.display()));
        if *unnamed_filesystem {
            context
                .render
                .warning("its filesystem has no identity of its own: the disk is found by its path alone");
        }
    }
}

fn visit(
    context: &Context<'_>,
    catalog: &mut Catalog,
    run: Option<RunNo>,
    opened: &Opened,
    row: DiskRow,
    early: Option<&Early<'_>>,
    visits: &mut Vec<serde_json::Value>,
) -> Outcome {
    let (disk, options, render) = (&opened.connected.disk, &opened.options, context.render);
    let now_ns = context.clock().now_ns();
    let outcome = backup::visit_with(early, catalog, disk, row.clone(), now_ns, run, options, render)?;
    visits.push(visit_record(&row.uuid, outcome.copied.total(), outcome.copying));
    let exit = report(context, catalog, &outcome, options)?;
    if options.dry_run {
        plan::show(context, &plan::Planned::new(&catalog.read(), &row, &outcome.planned, true)?);
    }
    Ok(exit)
}

fn report(
    context: &Context<'_>,
    catalog: &Catalog,
    outcome: &VisitOutcome,
    options: &BackupOptions,
) -> Outcome {
    let render = context.render;
    let found = &outcome.reconciled;
    let planned = &outcome.planned;
    let copied = outcome.copied.total();
    render.object(
        "visit",
        json!({
            "disk": outcome.disk, "dry_run": options.dry_run,
            "planned_copies": tally(planned.copies.total()), "planned_evictions": tally(planned.evicted()),
            "planned_removals": tally(planned.clean),
            "copied": outcome.copied.0.iter().map(|one| tally(*one)).collect::<Vec<_>>(),
            "removed": tally(outcome.cleaned), "evicted": tally(outcome.evicted),
            "missing": found.missing.count, "wrong_size": found.wrong_size.count, "adopted": tally(found.adopted),
            "orphans": tally(found.orphans), "unplaced": tally(planned.unplaced.total()),
            "fits_nowhere": tally(planned.fits_nowhere), "pending": tally(outcome.pending),
            "held": outcome.held.map(|held| super::update::held_json(&held)),
            "waiting": outcome.waiting.map(|waiting| tally(waiting.gone)),
            "read_back": outcome.read_back.as_ref().map(|read| json!({
                "good": tally(read.good), "from_memory": tally(read.from_memory), "bad": read.bad.count,
            })),
            "problems": outcome.problems.count, "rotten": outcome.rotten, "full": outcome.full, "interrupted": outcome.interrupted,
        }),
    );
    render.problems("claimed on the disk, but missing; they no longer count as copies", &found.missing);
    render.problems("of the wrong size on the disk; they no longer count as copies", &found.wrong_size);
    render.problems("needed, but damaged on the disk", &found.damaged);
    render.problems("in the objects folder, but no objects; left alone", &found.foreign);
    if found.adopted.objects > 0 {
        let objects = count(found.adopted.objects, "object", "objects");
        render.say(&format!(
            "Found {objects} on the disk that the catalog did not know there; read and taken over."
        ));
    }
    if found.merged_names > 0 {
        let names = count(found.merged_names, "name", "names");
        render.say(&format!(
            "Took over {names} from the disk's own catalog; `dsb snapshots` shows where they are."
        ));
    }
    if found.orphans.objects > 0 {
        let (objects, size) =
            (count(found.orphans.objects, "object", "objects"), render.size(found.orphans.bytes));
        render
            .say(&format!("{objects} ({size}) on the disk belong to nothing known; they are kept for now."));
    }
    if let Some(held) = &outcome.held {
        super::update::say_held(context, held);
    }
    if let Some(waiting) = &outcome.waiting {
        let (gone, all) = (count(waiting.gone.objects, "copy", "copies"), grouped(waiting.of.objects));
        render.warning(&format!(
            "the plan would remove {gone} of {all} from {}: more than a quarter. Nothing was removed for new copies; \
             if it is right: dsb backup --accept {}",
            outcome.disk, outcome.disk
        ));
    }
    if outcome.in_doubt {
        render.warning("this disk is older than the catalog expects (put back from an image, or a clone): nothing was deleted; run dsb verify");
    }
    if outcome.retiring {
        render.warning(&format!(
            "{0} is to leave the set: nothing is copied to it. To go on: dsb disk retire {0}; to keep it: dsb disk retire --cancel {0}",
            outcome.disk
        ));
    } else if !options.dry_run {
        report_done(context, outcome, copied);
    }
    if let Some(read) = &outcome.read_back {
        report_read_back(context, outcome, read);
    }
    render.problems("could not be copied; they will be tried again next time", &outcome.problems);
    if planned.fits_nowhere.objects > 0 {
        let (objects, size) = (
            count(planned.fits_nowhere.objects, "file is", "files are"),
            render.size(planned.fits_nowhere.bytes),
        );
        render.warning(&format!("{objects} larger than every disk of the set ({size})"));
    }
    let unprotected = planned.unplaced.0.first().copied().unwrap_or_default();
    if unprotected.objects > 0 && !options.dry_run {
        let (objects, size) =
            (count(unprotected.objects, "object", "objects"), render.size(unprotected.bytes));
        render.say(&format!(
            "No room here for {objects} ({size}) that no disk holds yet: another disk is needed."
        ));
    }
    if outcome.pending.objects > 0 && !options.dry_run {
        let (files, size) =
            (count(outcome.pending.objects, "file is", "files are"), render.size(outcome.pending.bytes));
        render.warning(&format!(
            "{files} not hashed yet ({size}) and left out; dsb update, or backup --update, takes them"
        ));
    }
    super::rot::say(context, catalog, outcome.rotten)?;
    if outcome.full {
        render.warning("the disk refused room that it had promised; what was copied before is safe");
    }
    Ok(exit(outcome, options))
}

fn exit(outcome: &VisitOutcome, options: &BackupOptions) -> Exit {
    let mut exit = Exit::DONE;
    if outcome.interrupted {
        exit = exit.or_graver(Exit::INTERRUPTED);
    }
    if outcome.waiting.is_some() || outcome.held.is_some() {
        exit = exit.or_graver(Exit::CONSENT);
    }
    if outcome.full {
        exit = exit.or_graver(Exit::FULL);
    }
    if !outcome.problems.is_empty() || (outcome.pending.objects > 0 && !options.dry_run) {
        exit = exit.or_graver(Exit::PART);
    }
    let found = &outcome.reconciled;
    if !found.wrong_size.is_empty() || !found.missing.is_empty() || !found.damaged.is_empty() {
        exit = exit.or_graver(Exit::DAMAGE);
    }
    if outcome.read_back.as_ref().is_some_and(|read| !read.bad.is_empty()) {
        exit = exit.or_graver(Exit::DAMAGE);
    }
    exit
}

/// What did not come back from the medium, and what that means.
fn report_read_back(context: &Context<'_>, outcome: &VisitOutcome, read: &ReadBackOutcome) {
    let render = context.render;
    if read.from_memory.objects > 0 {
        let objects = count(read.from_memory.objects, "object was", "objects were");
        render.note(&format!(
            "{objects} read back from memory, not from the medium: its filesystem keeps its files there, or does not let \
             go of them. They count as written, not as read."
        ));
    }
    render.problems("not copied: the disk did not give back what was written", &read.bad);
    if !read.bad.is_empty() {
        let disk = &outcome.disk;
        render.warning(&format!(
            "{disk} took what it cannot give back: it may be failing, or smaller than it says. What it holds from before: \
             dsb verify {disk}"
        ));
    }
}

fn report_done(context: &Context<'_>, outcome: &VisitOutcome, copied: distbackup_core::plan::Tally) {
    let render = context.render;
    for (before, tally) in outcome.copied.0.iter().enumerate().filter(|(_, tally)| tally.objects > 0) {
        let objects = count(tally.objects, "object", "objects");
        render.say(&format!("Copied {objects}, {}: {}.", render.size(tally.bytes), plan::level(before)));
    }
    if let Some(read) = outcome.read_back.as_ref().filter(|read| read.good.objects > 0) {
        let (objects, size) = (count(read.good.objects, "object", "objects"), render.size(read.good.bytes));
        render.say(&format!("Read back {objects}, {size}: the disk holds what was written."));
    }
    for (tally, why) in [
        (outcome.cleaned, "kept by no snapshot any more"),
        (outcome.evicted, "redundant"),
        (outcome.reconciled.expired, "unknown for longer than the retention time"),
    ] {
        if tally.objects > 0 {
            let objects = count(tally.objects, "object", "objects");
            render.say(&format!("Removed {objects}, {}: {why}.", render.size(tally.bytes)));
        }
    }
    if copied.objects == 0 && outcome.cleaned.objects == 0 && outcome.evicted.objects == 0 {
        render.say(&format!("Nothing to copy to {}.", outcome.disk));
    }
    if outcome.interrupted {
        render.note("Stopped as asked; what was copied is recorded. Run the same command again to go on.");
    } else if outcome.published {
        render.say(&format!(
            "Everything is written and flushed. Safe to unplug {} once it is unmounted.",
            outcome.disk
        ));
    } else {
        render.say(&format!("{} is up to date; nothing was written to it.", outcome.disk));
    }
    if outcome.room_left > Bytes(0) && context.global.verbose > 0 {
        render.say(&format!("Room left for objects: {}.", render.size(outcome.room_left)));
    }
}
