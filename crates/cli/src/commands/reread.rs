//! `dsb update --reread`.

use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::Part;
use distbackup_engine::ops::reread::{self, RereadOptions, RereadOutcome};
use distbackup_engine::ops::update::{UpdateOptions, UpdateOutcome};
use serde_json::json;

use super::plan::tally;
use super::{part, rot};
use crate::Outcome;
use crate::args::PartArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{ago, count, duration};

/// What is to be read again, and how that was said.
pub struct Again<'a> {
    part: Part,
    given: &'a PartArgs,
}

/// What the command line asked for, if it did.
pub fn asked_for(reread: bool, given: &PartArgs) -> Result<Option<Again<'_>>, Failure> {
    let part = part::parse(given)?;
    if !reread && !part.is_all() {
        let why = "--for, --older-than and --sample say how much is read again: dsb update --reread …";
        return Err(Failure::Usage(why.into()));
    }
    Ok(reread.then_some(Again { part, given }))
}

/// Reads again after an update, and says what came of it.
pub fn work(
    context: &Context<'_>,
    catalog: &mut Catalog,
    again: &Again<'_>,
    update: &UpdateOptions,
    updated: &UpdateOutcome,
) -> Outcome {
    let options = RereadOptions {
        part: again.part,
        ignore_locks: update.ignore_locks,
        fresh: updated.snapshot,
        dry_run: context.global.dry_run,
    };
    let outcome = reread::reread(catalog, &context.clock(), &options, context.render)?;
    as_json(context, &outcome, &options);
    report(context, again, &outcome, &options);
    rot::say(context, catalog, outcome.rotten.count)?;
    let mut exit = Exit::DONE;
    if !outcome.unreadable.is_empty() {
        exit = exit.or_graver(Exit::PART);
    }
    if !outcome.rotten.is_empty() {
        exit = exit.or_graver(Exit::DAMAGE);
    }
    if outcome.interrupted {
        exit = exit.or_graver(Exit::INTERRUPTED);
    }
    Ok(exit)
}

fn as_json(context: &Context<'_>, outcome: &RereadOutcome, options: &RereadOptions) {
    context.render.object(
        "reread",
        json!({
            "dry_run": options.dry_run, "chosen": tally(outcome.chosen), "good": tally(outcome.good),
            "rotten": outcome.rotten.count, "unreadable": outcome.unreadable.count, "changed": outcome.changed,
            "locked": outcome.locked, "left": tally(outcome.left), "oldest_ns": outcome.oldest_ns,
            "out_of_time": outcome.out_of_time, "interrupted": outcome.interrupted,
            "seconds": outcome.took.as_secs_f64(),
        }),
    );
}

fn report(context: &Context<'_>, again: &Again<'_>, outcome: &RereadOutcome, options: &RereadOptions) {
    let render = context.render;
    if options.dry_run {
        let files = count(outcome.chosen.objects, "unchanged file", "unchanged files");
        let about = if options.part.sample_ppm.is_some() { "about " } else { "" };
        let within = again.given.time.as_ref().map_or(String::new(), |time| format!(", for {time} at most"));
        render.say(&format!(
            "Would read {about}{files} again, {}{within}; oldest reading {}.",
            render.size(outcome.chosen.bytes),
            ago(outcome.oldest_ns.filter(|then| *then > 0), context.clock().now_ns())
        ));
        return;
    }
    if outcome.chosen.objects == 0 {
        let files = count(outcome.left.objects, "file was", "files were");
        render.say(&format!("Nothing to read again: {files} read more recently than that."));
        return;
    }
    let files = count(outcome.good.objects, "unchanged file", "unchanged files");
    let took = match outcome.took.as_secs() {
        0 => String::new(),
        _ => format!(" in {}", duration(outcome.took)),
    };
    render.say(&format!("Read {files} again, {}{took}: good.", render.size(outcome.good.bytes)));
    render.problems("ROTTEN", &outcome.rotten);
    render.problems("could not be read again", &outcome.unreadable);
    if outcome.changed > 0 {
        let files = count(outcome.changed, "file has", "files have");
        render.note(&format!("{files} changed or gone since the scan; the next update sees to them."));
    }
    if outcome.locked > 0 {
        let files = count(outcome.locked, "locked file was", "locked files were");
        render.note(&format!("{files} left alone (--ignore-lock reads them, too)."));
    }
    if options.part.sample_ppm.is_some() {
        render.say("A random sample: it proves nothing of the rest.");
    }
    if outcome.interrupted {
        render.note("Stopped as asked; what was read is recorded. The same command goes on.");
    } else if outcome.out_of_time {
        let oldest = ago(outcome.oldest_ns.filter(|then| *then > 0), context.clock().now_ns());
        render.say(&format!(
            "Time was up; oldest reading: {oldest}. To go on: dsb update --reread{}",
            part::words(again.given)
        ));
    }
}
