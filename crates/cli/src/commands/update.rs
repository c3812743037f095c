//! `dsb update`.

use distbackup_engine::catalog::Catalog;
use distbackup_engine::ops::guard::Held;
use distbackup_engine::ops::update::{self, Taker, UpdateOptions, UpdateOutcome};
use serde_json::json;

use super::reread::{self, Again};
use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, grouped};

/// What the command line asked for.
pub fn options(accept: bool, ignore_locks: bool) -> UpdateOptions {
    UpdateOptions { accept, ignore_locks, ..UpdateOptions::default() }
}

/// Scans and hashes, and reads again what is asked for.
pub fn run(context: &Context<'_>, options: &UpdateOptions, again: Option<&Again<'_>>) -> Outcome {
    let mut opened = context.open_to_write()?;
    let run = context.begin_run(&mut opened.catalog)?;
    // A dry run reads no file.
    let options = UpdateOptions { scan_only: context.global.dry_run, ..options.clone() };
    let outcome =
        work(context, &mut opened.catalog, run, &options, None).and_then(|(exit, updated)| match again {
            Some(again) if !updated.interrupted => {
                Ok(exit.or_graver(reread::work(context, &mut opened.catalog, again, &options, &updated)?))
            }
            _ => Ok(exit),
        });
    context.end_run(&mut opened.catalog, run, &outcome, &json!({}))?;
    outcome
}

/// Updates and says what came of it. `taker` may have what is read.
pub fn work(
    context: &Context<'_>,
    catalog: &mut Catalog,
    run: Option<distbackup_core::model::RunNo>,
    options: &UpdateOptions,
    taker: Option<&dyn Taker>,
) -> Result<(Exit, UpdateOutcome), Failure> {
    let outcome = update::update_with(catalog, &context.clock(), run, options, taker, context.render)?;
    report(context, &outcome);
    let exit = if outcome.interrupted {
        Exit::INTERRUPTED
    } else if outcome.held.is_some() {
        Exit::CONSENT
    } else if outcome.kept.is_empty() && outcome.problems.is_empty() {
        Exit::DONE
    } else {
        Exit::PART
    };
    Ok((exit, outcome))
}

fn report(context: &Context<'_>, outcome: &UpdateOutcome) {
    let render = context.render;
    let UpdateOutcome { files, others, added, changed, removed, moved, hashed, pending, .. } = outcome;
    render.object(
        "update",
        json!({
            "snapshot": outcome.snapshot.map(|snapshot| snapshot.0),
            "files": files.objects, "bytes": files.bytes.0, "others": others,
            "added": added, "changed": changed, "removed": removed, "moved": moved, "sockets": outcome.sockets,
            "locked": outcome.locked,
            "hashed_files": hashed.objects, "hashed_bytes": hashed.bytes.0,
            "pending_files": pending.objects, "pending_bytes": pending.bytes.0,
            "problems": outcome.problems.count, "kept": outcome.kept.len(), "expired": outcome.expired,
            "held": outcome.held.map(|held| held_json(&held)),
        }),
    );
    let seen = format!("{} ({})", count(files.objects, "file", "files"), render.size(files.bytes));
    match outcome.snapshot {
        None => render.say(&format!("{seen}: nothing changed.")),
        Some(snapshot) => {
            let mut parts = Vec::new();
            for (number, word) in [(added, "added"), (changed, "changed"), (removed, "removed")] {
                if *number > 0 {
                    parts.push(format!("{} {word}", grouped(*number)));
                }
            }
            if *moved > 0 {
                parts.push(format!("{} of them moved", grouped(*moved)));
            }
            render.say(&format!("{seen}: {}. Snapshot {}.", parts.join(", "), snapshot.0));
        }
    }
    if hashed.objects > 0 {
        let files = count(hashed.objects, "file", "files");
        render.say(&format!("Hashed {files}, {}.", render.size(hashed.bytes)));
    }
    if outcome.sockets > 0 {
        let sockets = count(outcome.sockets, "socket was", "sockets were");
        render.note(&format!("{sockets} left out: a socket means nothing without its program."));
    }
    if outcome.locked > 0 {
        let places = count(outcome.locked, "locked place was", "locked places were");
        render.note(&format!("{places} not looked at (dsb source lock lists them; --ignore-lock looks)."));
    }
    for kept in &outcome.kept {
        let path = distbackup_core::model::escape_bytes(&kept.path);
        render.warning(&format!(
            "{path}: {}; what is known of it is kept. If it is right: dsb update --accept",
            kept.reason
        ));
    }
    if let Some(held) = &outcome.held {
        say_held(context, held);
    }
    if outcome.clock_leapt {
        render.warning(
            "the clock has leapt by more than 30 days; no history expires because of it until a later run",
        );
    }
    render.problems("needs a look", &outcome.problems);
    if outcome.interrupted {
        render.note("Stopped as asked; what was hashed is recorded. Run the same command again to go on.");
    }
}

/// Says what the brake holds, and how to let it go (S3).
pub fn say_held(context: &Context<'_>, held: &Held) {
    let (gone, of) = (held.what.gone, held.what.of);
    context.render.warning(&format!(
        "{} of {} files ({} of {}) were deleted or changed since snapshot {}. They are kept, and no disk loses a copy of \
         them, until you say that it is right: dsb update --accept. If it is not: dsb restore --at {} --to DEST",
        grouped(gone.objects),
        grouped(of.objects),
        context.render.size(gone.bytes),
        context.render.size(of.bytes),
        held.accepted.0,
        held.accepted.0,
    ));
}

/// The same as JSON.
pub fn held_json(held: &Held) -> serde_json::Value {
    json!({ "since_snapshot": held.accepted.0, "files": held.what.gone.objects, "bytes": held.what.gone.bytes.0,
            "of_files": held.what.of.objects, "of_bytes": held.what.of.bytes.0 })
}
