//! `dsb verify`.

use distbackup_engine::ops::{shelf, verify};
use distbackup_engine::platform::{self, Access};
use serde_json::json;

use crate::Outcome;
use crate::args::VerifyArgs;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{count, grouped};

/// Reads and checks a disk.
pub fn run(context: &Context<'_>, args: &VerifyArgs) -> Outcome {
    let mut opened = context.open_to_write()?;
    let run = context.begin_run(&mut opened.catalog)?;
    let outcome = (|| {
        let connected = shelf::open(&opened.catalog, args.disk.as_deref())?;
        let mode = if args.quarantine { Access::Exclusive } else { Access::Shared };
        let _lock = context.lock_disk(&connected, mode)?;
        context.render.note(&format!("{} recognised at {}", connected.row.name, connected.folder.display()));
        let options = verify::VerifyOptions {
            restart: args.restart,
            check_only: args.check || context.global.dry_run,
            quarantine: args.quarantine && !context.global.dry_run,
            streams: if platform::is_rotational(&connected.folder) { 1 } else { 4 },
        };
        let outcome = verify::verify(
            &mut opened.catalog,
            &connected.disk,
            &connected.row,
            &context.clock(),
            run,
            &options,
            context.render,
        )?;
        Ok(report(context, &connected.row.name, &outcome, options.check_only))
    })();
    context.end_run(&mut opened.catalog, run, &outcome, &json!({}))?;
    outcome
}

fn report(context: &Context<'_>, disk: &str, outcome: &verify::VerifyOutcome, check_only: bool) -> Exit {
    let render = context.render;
    render.object(
        "verify",
        json!({
            "disk": disk, "good": outcome.good.objects, "bytes": outcome.good.bytes.0, "bad": outcome.bad.count,
            "unreadable": outcome.unreadable.count, "missing": outcome.missing.count,
            "unknown": outcome.unknown.objects, "bad_before": outcome.bad_before, "complete": outcome.complete, "resumed": outcome.resumed,
            "catalog_copy_damaged": outcome.catalog_copy_damaged, "quarantined": outcome.quarantined,
        }),
    );
    if outcome.resumed {
        render.note("Going on where an interrupted verify had stopped (--restart begins again).");
    }
    render.say(&format!(
        "Read {}, {} on {disk}.",
        render.size(outcome.good.bytes),
        count(outcome.good.objects + outcome.bad.count + outcome.unreadable.count, "object", "objects")
    ));
    let mut rows = vec![(outcome.good.objects, "good")];
    for (number, word) in [
        (outcome.bad.count, "BAD: content differs"),
        (outcome.unreadable.count, "UNREADABLE"),
        (outcome.missing.count, "MISSING"),
        (outcome.bad_before, "bad or missing, found before it was interrupted"),
        (outcome.unknown.objects, "not in the catalog (the next backup looks after them)"),
    ] {
        if number > 0 {
            rows.push((number, word));
        }
    }
    for (number, word) in rows {
        render.say(&format!("{:>12} {word}", grouped(number)));
    }
    render.problems("bad", &outcome.bad);
    render.problems("unreadable", &outcome.unreadable);
    render.problems("missing", &outcome.missing);
    render.problems("in the objects folder, but no objects; left alone", &outcome.foreign);
    if outcome.catalog_copy_damaged {
        render.warning("the catalog copy on the disk is missing or damaged; the next backup replaces it");
    }
    if outcome.quarantined > 0 {
        let objects = count(outcome.quarantined, "object", "objects");
        render.say(&format!("Moved {objects} to bad-objects/."));
    }
    if !outcome.complete {
        render.note("Not finished; run the same command again to go on.");
        return Exit::INTERRUPTED.or_graver(if outcome.all_good() { Exit::DONE } else { Exit::DAMAGE });
    }
    if outcome.all_good() {
        render.say("Every object is what its name says.");
        return Exit::DONE;
    }
    render.say(&match check_only {
        true => format!("Nothing was recorded: bad objects still count as copies. Next: dsb verify {disk}"),
        false => {
            format!("Nothing was deleted; bad objects no longer count as copies. Next: dsb backup {disk}")
        }
    });
    Exit::DAMAGE
}
