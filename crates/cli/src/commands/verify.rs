//! `dsb verify`.

mod list;

use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::verify::{self, PartOutcome, VerifyOptions, VerifyOutcome};
use distbackup_engine::ops::{Part, shelf};
use distbackup_engine::platform::{self, Access};
use serde_json::json;

use super::part;
use super::plan::tally;
use crate::Outcome;
use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{ago, count, duration, grouped, share};
use list::ErrorList;

/// Reads and checks a disk.
pub fn run(context: &Context<'_>, args: &VerifyArgs) -> Outcome {
    let chosen = part::parse(&args.part)?;
    if args.restart && !chosen.is_all() {
        let why = "--restart begins a whole verify again; --for, --older-than and --sample read a part";
        return Err(Failure::Usage(why.into()));
    }
    if args.delete {
        let why = "dsb deletes no damaged object: --quarantine moves them to bad-objects/, and dsb heal or the next backup \
                   puts good ones in their place";
        return Err(Failure::Usage(why.into()));
    }
    if args.start.is_some() {
        context
            .render
            .note("--start: not needed any more; verify goes on by itself where it was interrupted.");
    }
    let mut opened = context.open_to_write()?;
    let run = context.begin_run(&mut opened.catalog)?;
    let outcome = work(context, args, chosen, &mut opened.catalog, run);
    context.end_run(&mut opened.catalog, run, &outcome, &json!({}))?;
    outcome
}

fn work(
    context: &Context<'_>,
    args: &VerifyArgs,
    chosen: Part,
    catalog: &mut Catalog,
    run: Option<distbackup_core::model::RunNo>,
) -> Outcome {
    let connected = shelf::open(catalog, args.disk.as_deref())?;
    let mode = if args.quarantine { Access::Exclusive } else { Access::Shared };
    let _lock = context.lock_disk(&connected, mode)?;
    context.render.note(&format!("{} recognised at {}", connected.row.name, connected.folder.display()));
    let list = match &args.errors {
        Some(target) => Some(ErrorList::open(target, context, &connected)?),
        None => None,
    };
    let options = VerifyOptions {
        restart: args.restart,
        check_only: args.check || context.global.dry_run,
        quarantine: args.quarantine && !context.global.dry_run,
        streams: if platform::is_rotational(&connected.folder) { 1 } else { 4 },
        part: chosen,
    };
    let observer: &dyn distbackup_engine::progress::Observer = match &list {
        Some(list) => list,
        None => context.render,
    };
    let (clock, row) = (context.clock(), &connected.row);
    let outcome = verify::verify(catalog, &connected.disk, row, &clock, run, &options, observer)?;
    let exit = report(context, args, &row.name, catalog, &outcome, &options)?;
    list.map_or(Ok(()), ErrorList::close)?;
    Ok(exit)
}

fn report(
    context: &Context<'_>,
    args: &VerifyArgs,
    disk: &str,
    catalog: &Catalog,
    outcome: &VerifyOutcome,
    options: &VerifyOptions,
) -> Outcome {
    let good_copies = good_copies(catalog, outcome)?;
    as_json(context, disk, outcome, &good_copies);
    say_what_was_read(context, disk, outcome);
    say_problems(context, outcome);
    if let Some(part) = &outcome.part {
        say_part(context, args, disk, outcome, part);
    }
    let damage = if outcome.all_good() { Exit::DONE } else { Exit::DAMAGE };
    say_end(context, disk, outcome, options, &good_copies);
    if outcome.interrupted {
        context.render.note("Stopped as asked; what was proven is recorded. The same command goes on.");
        return Ok(Exit::INTERRUPTED.or_graver(damage));
    }
    Ok(damage)
}

/// Names of the other disks that have what is damaged, with how many of the objects.
fn good_copies(catalog: &Catalog, outcome: &VerifyOutcome) -> Result<Vec<(String, u64)>, Failure> {
    let rows = catalog.read().disks()?;
    let with_name = |row: &distbackup_engine::catalog::DiskRow| {
        outcome.good_copies.disks.get(&row.disk).map(|objects| (row.name.clone(), *objects))
    };
    Ok(rows.iter().filter_map(with_name).collect())
}

fn as_json(context: &Context<'_>, disk: &str, outcome: &VerifyOutcome, good_copies: &[(String, u64)]) {
    let part = outcome.part.as_ref().map(|part| {
        json!({ "chosen": tally(part.chosen), "left": tally(part.left), "due": part.due.map(tally),
                "oldest_ns": part.oldest_ns, "out_of_time": part.out_of_time })
    });
    let copies: Vec<_> =
        good_copies.iter().map(|(disk, objects)| json!({ "disk": disk, "objects": objects })).collect();
    context.render.object(
        "verify",
        json!({
            "disk": disk, "good": outcome.good.objects, "bytes": outcome.good.bytes.0, "bad": outcome.bad.count,
            "unreadable": outcome.unreadable.count, "missing": outcome.missing.count,
            "unknown": outcome.unknown.objects, "bad_before": outcome.bad_before, "complete": outcome.complete,
            "resumed": outcome.resumed, "catalog_copy_damaged": outcome.catalog_copy_damaged,
            "damaged_files": outcome.beside.first.iter().map(|file| file.path.escape_ascii().to_string()).collect::<Vec<_>>(),
            "unlisted": outcome.unlisted.count, "quarantined": outcome.quarantined, "part": part,
            "good_copies": copies, "at_source": outcome.good_copies.at_source,
            "nowhere": outcome.good_copies.nowhere.count, "seconds": outcome.took.as_secs_f64(),
        }),
    );
}

fn say_what_was_read(context: &Context<'_>, disk: &str, outcome: &VerifyOutcome) {
    let render = context.render;
    if outcome.resumed {
        render.note("Going on where an interrupted verify had stopped (--restart begins again).");
    }
    let read = outcome.good.objects + outcome.bad.count + outcome.unreadable.count + outcome.unknown.objects;
    let rate = match outcome.took.as_secs_f64() {
        seconds if seconds >= 1.0 => {
            let rate = distbackup_core::model::Bytes((outcome.good.bytes.0 as f64 / seconds) as u64);
            format!(" in {} ({rate}/s)", duration(outcome.took))
        }
        _ => String::new(),
    };
    let objects = count(read, "object", "objects");
    render.say(&format!("Read {}, {objects} on {disk}{rate}.", render.size(outcome.good.bytes)));
    let mut rows = vec![(outcome.good.objects, "good")];
    let others = [
        (outcome.bad.count, "BAD: content differs"),
        (outcome.unreadable.count, "UNREADABLE"),
        (outcome.missing.count, "MISSING"),
        (outcome.bad_before, "bad or missing, found before it was interrupted"),
        (outcome.unknown.objects, "not in the catalog (the next backup looks after them)"),
    ];
    rows.extend(others.into_iter().filter(|(number, _)| *number > 0));
    for (number, word) in rows {
        render.say(&format!("{:>12} {word}", grouped(number)));
    }
}

fn say_problems(context: &Context<'_>, outcome: &VerifyOutcome) {
    let render = context.render;
    render.problems("bad", &outcome.bad);
    render.problems("unreadable", &outcome.unreadable);
    render.problems("missing", &outcome.missing);
    render.problems(
        "folders of objects that cannot be listed; what is claimed there was read",
        &outcome.unlisted,
    );
    render.problems("in the objects folder, but no objects; left alone", &outcome.foreign);
    render.problems("damaged beside the objects; the next backup replaces what is damaged", &outcome.beside);
    if outcome.catalog_copy_damaged {
        render.warning("the catalog copy on the disk is missing or damaged; the next backup replaces it");
    }
    if outcome.quarantined > 0 {
        let objects = count(outcome.quarantined, "object", "objects");
        render.say(&format!("Moved {objects} to bad-objects/."));
    }
}

/// What a part did not look at, and when the disk will be through.
fn say_part(
    context: &Context<'_>,
    args: &VerifyArgs,
    disk: &str,
    outcome: &VerifyOutcome,
    part: &PartOutcome,
) {
    let render = context.render;
    let read = outcome.good.bytes;
    if part.chosen.objects == 0 {
        let all = part.left.objects;
        render.say(&format!(
            "Nothing was chosen: {} on {disk} have newer evidence.",
            count(all, "object", "objects")
        ));
        return;
    }
    if args.part.sample.is_some() {
        let whole = read + part.left.bytes;
        render.say(&format!(
            "A random sample: {} of what {disk} holds was read. It proves nothing of the rest.",
            share(read, whole)
        ));
    }
    if part.left.objects > 0 {
        let oldest = match part.oldest_ns {
            Some(0) => ", some of it never proven".to_owned(),
            then => format!(", the oldest evidence of it {}", ago(then, context.clock().now_ns())),
        };
        let objects = count(part.left.objects, "object", "objects");
        render.say(&format!("Not looked at: {} in {objects}{oldest};", render.size(part.left.bytes)));
        render.say("and whether the disk has anything that the catalog does not know.");
    }
    match part.due {
        Some(due) if due.objects == 0 => {
            render.say(&format!(
                "With this, everything on {disk} has been read once since the first of these runs."
            ));
        }
        Some(due) if outcome.good.bytes.0 > 0 => {
            let runs = due.bytes.0.div_ceil(read.0).max(1);
            let size = render.size(due.bytes);
            let more = count(runs, "more run", "more runs");
            render.say(&format!("{size} are due; about {more} like this and {disk} is through."));
        }
        _ if part.out_of_time => {
            render.say(&format!("Time was up. To go on: dsb verify {disk}{}", part::words(&args.part)));
        }
        _ => {}
    }
}

/// Who else has what is damaged, and what repairs it.
fn say_end(
    context: &Context<'_>,
    disk: &str,
    outcome: &VerifyOutcome,
    options: &VerifyOptions,
    good_copies: &[(String, u64)],
) {
    let render = context.render;
    let nowhere = &outcome.good_copies.nowhere;
    if outcome.lost > 0 {
        let mut who: Vec<String> = good_copies
            .iter()
            .map(|(name, objects)| match *objects == outcome.lost {
                true => name.clone(),
                false => format!("{name} (of {})", grouped(*objects)),
            })
            .collect();
        match outcome.good_copies.at_source {
            0 => {}
            all if all == outcome.lost => who.push("the source".to_owned()),
            some => who.push(format!("the source (of {})", grouped(some))),
        }
        if !who.is_empty() {
            render.say(&format!("Another copy: {}.", who.join(", ")));
        }
    }
    render.problems("NO OTHER COPY on any disk, nor at a source", nowhere);
    let objects_bad = outcome.lost > 0
        || outcome.bad_before > 0
        || !outcome.bad.is_empty()
        || !outcome.unreadable.is_empty()
        || !outcome.missing.is_empty();
    if outcome.all_good() {
        let all = if outcome.part.is_none() { "Every object" } else { "Every object that was read" };
        if outcome.complete && outcome.good.objects > 0 {
            render.say(&format!("{all} is what its name says."));
        }
    } else if options.check_only {
        render.say(&format!(
            "Nothing was recorded: bad objects still count as copies. Next: dsb verify {disk}"
        ));
    } else if objects_bad {
        render.say("Nothing was deleted; bad objects no longer count as copies.");
        render.say(&format!("To bring them back: dsb heal {disk}"));
    } else {
        render.say(&format!("Replace what is damaged: dsb backup {disk}"));
    }
}
