//! `dsb forget`.

use distbackup_core::model::{SnapshotNo, parse_duration_days};
use distbackup_engine::catalog::{Catalog, Forgotten, SnapshotRow};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::forget::{self, Which};
use serde_json::json;

use crate::Outcome;
use crate::args::ForgetArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, moment};

/// Forgets snapshots: says first what goes with them, and asks.
pub fn run(context: &Context<'_>, args: &ForgetArgs) -> Outcome {
    let which = which(args)?;
    let now_ns = context.clock().now_ns();
    // Tried on a private copy: so the question has true figures.
    let (chosen, forgotten) = tried(&mut context.open_privately()?.catalog, &which, now_ns)?;
    if chosen.is_empty() {
        tell(context, &chosen, &forgotten);
        context.render.say("There is no such snapshot: nothing was forgotten.");
        return Ok(Exit::DONE);
    }
    for row in &chosen {
        let note = row.note.as_deref().map(|note| format!("  {note}")).unwrap_or_default();
        let pinned = if row.pinned { "  pinned" } else { "" };
        context.render.say(&format!("  {:>5}  {}{pinned}{note}", row.snapshot.0, moment(row.created_ns)));
    }
    let snapshots = count(chosen.len() as u64, "snapshot", "snapshots");
    context.render.say(&format!(
        "{snapshots} with {} that no other has: {} in {} are named by nothing then, and leave the disks at their next visits.",
        count(forgotten.entries, "entry", "entries"),
        context.render.size(forgotten.unnamed.bytes),
        count(forgotten.unnamed.objects, "object", "objects"),
    ));
    if context.global.dry_run {
        tell(context, &chosen, &forgotten);
        context.render.say("Nothing was changed.");
        return Ok(Exit::DONE);
    }
    if !context.global.yes && context.choose("Forget them for good? (y)es, (n)o", "yn") != Some('y') {
        return Err(Failure::Consent {
            what: format!("{snapshots} would be forgotten for good; nothing was changed"),
        });
    }
    let mut opened = context.open_to_write()?;
    let run = context.begin_run(&mut opened.catalog)?;
    let done = tried(&mut opened.catalog, &which, now_ns);
    let outcome = done.map(|(chosen, forgotten)| {
        tell(context, &chosen, &forgotten);
        context.render.say("Forgotten. No disk has lost anything yet.");
        Exit::DONE
    });
    context.end_run(&mut opened.catalog, run, &outcome, &json!({}))?;
    outcome
}

fn which(args: &ForgetArgs) -> Result<Which, Failure> {
    if !args.snapshots.is_empty() {
        return Ok(Which::These(args.snapshots.iter().map(|&number| SnapshotNo(number)).collect()));
    }
    let deleted_days = args.keep_deleted.as_deref().map(parse_duration_days).transpose()?;
    Ok(Which::AllBut { deleted_days, newest: args.keep_snapshots })
}

fn tried(
    catalog: &mut Catalog,
    which: &Which,
    now_ns: i64,
) -> Result<(Vec<SnapshotRow>, Forgotten), Failure> {
    let time = forget::time(catalog, now_ns)?;
    let chosen = forget::choose(&catalog.read(), which, time.confirmed_ns)?;
    if chosen.is_empty() {
        return Ok((chosen, Forgotten::default()));
    }
    let forgotten = forget::forget(catalog, &chosen)?;
    Ok((chosen, forgotten))
}

fn tell(context: &Context<'_>, chosen: &[SnapshotRow], forgotten: &Forgotten) {
    let snapshots: Vec<i64> = chosen.iter().map(|row| row.snapshot.0).collect();
    context.render.object(
        "forgotten",
        json!({ "snapshots": snapshots, "entries": forgotten.entries, "dry_run": context.global.dry_run,
                "unnamed": { "objects": forgotten.unnamed.objects, "bytes": forgotten.unnamed.bytes.0 } }),
    );
}
