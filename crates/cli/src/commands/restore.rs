//! `dsb restore`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use distbackup_core::model::DiskNo;
use distbackup_engine::catalog::Catalog;
use distbackup_engine::ops::restore::{self, Readable, RestoreNeeds, RestoreOptions, RestoreOutcome};
use distbackup_engine::ops::shelf::{self, Connected};
use distbackup_engine::platform::{self, Access};
use serde_json::json;

use super::{moment, raw};
use crate::Outcome;
use crate::args::RestoreArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::count;

/// How often mounted disks are looked for while waiting for one.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);

/// Files that are written at the same time: while some wait for their disk, others are hashed.
const STREAMS: usize = 4;
/// Where one of the disks rotates, its heads would run from one to the other.
const STREAMS_ROTATING: usize = 2;

/// Restores from the connected disks and, on a terminal, waits for the others.
pub fn run(context: &Context<'_>, args: &RestoreArgs) -> Outcome {
    let opened = context.open_to_read()?;
    let (only, patterns, destination) = meaning(args)?;
    let at = moment(&opened.catalog, args.at.as_deref())?;
    let mut options = RestoreOptions {
        patterns,
        destination,
        at,
        overwrite: args.overwrite,
        numeric_ids: args.numeric_ids,
        streams: STREAMS,
        done: Vec::new(),
        again: Default::default(),
        existing: args.existing.clone(),
    };
    if args.link {
        context.render.note(
            "--link: files are copied all the same; an edit of a linked file would reach the object on the disk",
        );
    }
    if args.minset {
        return smallest_set(context, &opened.catalog, &options);
    }
    let mut exit = Exit::DONE;
    let mut first = true;
    loop {
        let connected = connect(context, &opened.catalog, only.as_deref(), &options.done)?;
        let numbers: Vec<DiskNo> = connected.iter().map(|disk| disk.row.disk).collect();
        // One moment of the catalog for all questions: each one by itself would lock the file anew.
        let view = opened.catalog.view()?;
        let needs = restore::needs(view.read(), &options, &numbers)?;
        if first {
            announce(context, &needs);
        }
        if context.global.dry_run {
            return Ok(Exit::DONE);
        }
        let _locks = connected
            .iter()
            .map(|disk| context.lock_disk(disk, Access::Shared))
            .collect::<Result<Vec<_>, _>>()?;
        let readable: Vec<Readable<'_>> = connected
            .iter()
            .map(|disk| Readable { disk: disk.row.disk, name: disk.row.name.clone(), port: &disk.disk })
            .collect();
        let rotates = connected.iter().any(|disk| platform::is_rotational(&disk.folder));
        options.streams = if rotates { STREAMS_ROTATING } else { STREAMS };
        let outcome = restore::restore(view.read(), &readable, &options, &needs, context.render)?;
        drop(view);
        let last = only.is_some() || outcome.missing.is_empty() || outcome.interrupted || !may_wait(context);
        exit = exit.or_graver(report(context, &opened.catalog, &outcome, &options, last)?);
        if last {
            return Ok(exit);
        }
        options.done.extend(numbers);
        options.again.extend(&outcome.again);
        first = false;
        if !wait_for_next(context, &opened.catalog, &outcome, &options.done)? {
            return Ok(exit.or_graver(Exit::PART));
        }
    }
}

/// Says which disks it takes, as few as there can be, whatever is connected.
fn smallest_set(context: &Context<'_>, catalog: &Catalog, options: &RestoreOptions) -> Outcome {
    let needs = restore::needs(catalog.read(), options, &[])?;
    announce(context, &needs);
    if !needs.plan.exact {
        context.render.note("With so many disks it is not proven that fewer would not do.");
    }
    Ok(if needs.plan.lost.objects > 0 { Exit::DAMAGE } else { Exit::DONE })
}

/// What the user means: only this disk, these patterns, this destination.
type Meaning = (Option<String>, Vec<Vec<u8>>, PathBuf);

/// `restore DISK DEST [-f PATTERN]` or `restore [PATTERN...] --to DEST`.
fn meaning(args: &RestoreArgs) -> Result<Meaning, Failure> {
    if args.minset {
        let patterns: Vec<OsString> = args.arguments.iter().chain(&args.filter).cloned().collect();
        return Ok((None, raw(&patterns), PathBuf::new()));
    }
    if let Some(to) = &args.to {
        let patterns: Vec<OsString> = args.arguments.iter().chain(&args.filter).cloned().collect();
        return Ok((None, raw(&patterns), to.clone()));
    }
    match args.arguments.as_slice() {
        [disk, destination] => {
            Ok((Some(disk.to_string_lossy().into_owned()), raw(&args.filter), PathBuf::from(destination)))
        }
        _ => Err(Failure::Usage(
            "restore needs a destination: dsb restore [PATTERN...] --to DEST, or dsb restore DISK DEST"
                .into(),
        )),
    }
}

/// Opens the disks to read: the one named, or all of the set that are connected.
fn connect(
    context: &Context<'_>,
    catalog: &Catalog,
    only: Option<&str>,
    done: &[DiskNo],
) -> Result<Vec<Connected>, Failure> {
    if let Some(only) = only {
        return Ok(vec![shelf::open(catalog, Some(only))?]);
    }
    let mut connected = Vec::new();
    let folders = shelf::connected_folders(&catalog.read())?;
    for row in catalog.read().disks()? {
        let Some(folder) = folders.get(&row.disk).filter(|_| !done.contains(&row.disk)) else { continue };
        let name = row.name.clone();
        match shelf::open_at(catalog, row, folder) {
            Ok(disk) => connected.push(disk),
            Err(error) => context.render.warning(&format!("{name} is connected but cannot be used: {error}")),
        }
    }
    Ok(connected)
}

fn announce(context: &Context<'_>, needs: &RestoreNeeds) {
    let render = context.render;
    let name = |disk: u16| needs.disks.get(usize::from(disk)).map_or("?", |row| row.name.as_str());
    render.object(
        "restore-plan",
        json!({
            "files": needs.files.objects, "bytes": needs.files.bytes.0, "exact": needs.plan.exact,
            "elsewhere": super::plan::tally(needs.elsewhere),
            "steps": needs.plan.steps.iter().map(|step| json!({
                "disk": name(step.disk), "connected": step.connected,
                "files": step.tally.objects, "bytes": step.tally.bytes.0,
            })).collect::<Vec<_>>(),
        }),
    );
    let files = count(needs.files.objects, "file", "files");
    let disks = count(needs.plan.steps.len() as u64, "disk", "disks");
    render.say(&format!(
        "Restoring {files}, {} — {disks} needed{}",
        render.size(needs.files.bytes),
        if needs.plan.steps.len() > 1 { ", in this order:" } else { ":" }
    ));
    for (number, step) in needs.plan.steps.iter().enumerate() {
        let place = needs.disks.get(usize::from(step.disk)).and_then(|row| row.location.as_deref());
        let place = place.map_or(String::new(), |place| format!(" ({place})"));
        let state = if step.connected { "connected" } else { "to be connected" };
        render.say(&format!(
            "  {}. {}{place}  {:>16}  {:>9}  {state}",
            number + 1,
            name(step.disk),
            count(step.tally.objects, "file", "files"),
            render.size(step.tally.bytes)
        ));
    }
    if needs.elsewhere.objects > 0 {
        let files = count(needs.elsewhere.objects, "file is", "files are");
        render.say(&format!(
            "{files} there already, below --existing ({}); left out.",
            render.size(needs.elsewhere.bytes)
        ));
    }
    if needs.plan.lost.objects > 0 {
        let files = count(needs.plan.lost.objects, "file is", "files are");
        render.warning(&format!("{files} on no disk ({})", render.size(needs.plan.lost.bytes)));
    }
}

fn may_wait(context: &Context<'_>) -> bool {
    std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
        && !context.global.no_input
        && !context.global.json
}

fn report(
    context: &Context<'_>,
    catalog: &Catalog,
    outcome: &RestoreOutcome,
    options: &RestoreOptions,
    last: bool,
) -> Outcome {
    let render = context.render;
    let names = disk_names(catalog)?;
    let held_by = |disks: &[DiskNo]| -> Vec<String> {
        disks.iter().map(|disk| names.get(disk).cloned().unwrap_or_else(|| "?".into())).collect()
    };
    render.object(
        "restore",
        json!({
            "restored": outcome.restored.objects, "bytes": outcome.restored.bytes.0, "present": outcome.present.objects,
            "others": outcome.others, "bad": outcome.bad.count, "rescued": outcome.rescued.count, "conflicts": outcome.conflicts.count,
            "problems": outcome.problems.count, "lost": outcome.lost.count,
            "never_captured": outcome.never_captured.count, "unconfirmed": outcome.unconfirmed.count,
            "missing": outcome.missing.iter().map(|(disks, tally)| json!({
                "disks": held_by(disks), "files": tally.objects, "bytes": tally.bytes.0 })).collect::<Vec<_>>(),
            "unset": outcome.unset.iter().map(|(what, count, why)| json!({
                "what": what, "entries": count, "reason": why })).collect::<Vec<_>>(),
        }),
    );
    let others = match outcome.others {
        0 => String::new(),
        others => format!(", and {}", count(others, "folder or other entry", "folders and other entries")),
    };
    let checked =
        if outcome.restored.objects > 0 { "; every file was checked against its SHA-256" } else { "" };
    render.say(&format!(
        "Restored {}, {}{others}, to {}{checked}.",
        count(outcome.restored.objects, "file", "files"),
        render.size(outcome.restored.bytes),
        options.destination.display()
    ));
    if outcome.present.objects > 0 {
        render.say(&format!(
            "{} were there already, and equal.",
            count(outcome.present.objects, "file", "files")
        ));
    }
    render.problems("damaged on every disk that is connected", &outcome.bad);
    render.problems("damaged on one disk, but restored from another disk", &outcome.rescued);
    render.problems("in the way at the destination; kept (--overwrite replaces files)", &outcome.conflicts);
    render.problems("could not be restored", &outcome.problems);
    render.problems("on no disk any more", &outcome.lost);
    render.problems("never captured by any backup", &outcome.never_captured);
    render.problems("brought back as last read, which may not be the last version", &outcome.unconfirmed);
    for (what, number, why) in &outcome.unset {
        render.warning(&format!("{what} could not be set on {}: {why}", count(*number, "entry", "entries")));
    }
    for (disks, tally) in &outcome.missing {
        let files = count(tally.objects, "file", "files");
        let text = format!(
            "{files}, {} still to come from {}",
            render.size(tally.bytes),
            held_by(disks).join(" or ")
        );
        if last { render.warning(&text) } else { render.note(&text) }
    }
    if last && !outcome.missing.is_empty() {
        render.note("Connect one of these disks and run the same command again to go on.");
    }
    let mut exit = Exit::DONE;
    if outcome.interrupted {
        exit = exit.or_graver(Exit::INTERRUPTED);
    }
    if !outcome.bad.is_empty() || !outcome.rescued.is_empty() || !outcome.lost.is_empty() {
        exit = exit.or_graver(Exit::DAMAGE);
    }
    let in_part = !outcome.conflicts.is_empty()
        || !outcome.problems.is_empty()
        || !outcome.unset.is_empty()
        || !outcome.never_captured.is_empty()
        || !outcome.unconfirmed.is_empty()
        || (last && !outcome.missing.is_empty());
    if in_part {
        exit = exit.or_graver(Exit::PART);
    }
    Ok(exit)
}

fn disk_names(catalog: &Catalog) -> Result<std::collections::HashMap<DiskNo, String>, Failure> {
    Ok(catalog.read().disks()?.into_iter().map(|row| (row.disk, row.name)).collect())
}

/// Waits until a disk that holds something missing is connected; `false` if the user stops.
fn wait_for_next(
    context: &Context<'_>,
    catalog: &Catalog,
    outcome: &RestoreOutcome,
    done: &[DiskNo],
) -> Result<bool, Failure> {
    let names = disk_names(catalog)?;
    let wanted: Vec<DiskNo> = outcome.missing.iter().flat_map(|(disks, _)| disks.iter().copied()).collect();
    let list: Vec<&str> =
        names.iter().filter(|(disk, _)| wanted.contains(disk)).map(|(_, name)| name.as_str()).collect();
    context.render.note(&format!("Please connect {} … (Ctrl-C to stop and go on later)", list.join(" or ")));
    let _ = std::io::stderr().flush();
    loop {
        if platform::interrupted() {
            return Ok(false);
        }
        let folders = shelf::connected_folders(&catalog.read())?;
        if folders.keys().any(|disk| wanted.contains(disk) && !done.contains(disk)) {
            return Ok(true);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
