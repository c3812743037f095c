//! `dsb diff`.

use std::ffi::OsString;

use distbackup_core::model::Kind;
use distbackup_engine::ops::OpError;
use distbackup_engine::report::{self, Change, Difference, Differences, Tallied};
use serde_json::{Value, json};

use super::{moment, raw};
use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::grouped;

/// Lists what changed from one snapshot to another.
pub fn run(context: &Context<'_>, from: &str, to: Option<&str>, patterns: &[OsString]) -> Outcome {
    let opened = context.open_to_read()?;
    let before = moment(&opened.catalog, Some(from))?;
    let after = moment(&opened.catalog, to)?;
    let reader = opened.catalog.read();
    let totals = report::differences(reader, before, after, &raw(patterns), &mut |difference| {
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        match context.render.is_json() {
            true => context.render.object("item", as_json(difference)),
            false => context.render.line(&as_text(context, difference)),
        }
        Ok(())
    })?;
    let tally = |tallied: &Tallied| json!({ "entries": tallied.entries, "bytes": tallied.bytes.0 });
    let object = json!({
        "added": tally(&totals.added), "removed": tally(&totals.removed), "changed": tally(&totals.changed),
        "renamed": tally(&totals.renamed), "metadata": tally(&totals.metadata),
    });
    context.render.object("diff", object);
    context.render.say(&sentence(context, &totals));
    Ok(Exit::DONE)
}

/// The word for a change, in JSON and in text.
fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Changed => "changed",
        Change::Renamed => "renamed",
        Change::Metadata => "metadata",
    }
}

fn as_json(difference: &Difference<'_>) -> Value {
    json!({
        "change": word(difference.change), "path": difference.path.display(),
        "from": difference.from.map(|path| path.display()), "kind": difference.kind.letter().to_string(),
        "size_before": difference.before.map(|size| size.0), "size": difference.after.map(|size| size.0),
    })
}

fn as_text(context: &Context<'_>, difference: &Difference<'_>) -> String {
    let render = context.render;
    let size = match (difference.change, difference.before, difference.after) {
        (Change::Changed, Some(before), Some(after)) if before != after => {
            format!("{} -> {}", render.size(before), render.size(after))
        }
        (_, before, after) => after.or(before).map(|size| render.size(size)).unwrap_or_default(),
    };
    let from = difference.from.map(|from| format!("{} -> ", from.display())).unwrap_or_default();
    let end = if difference.kind == Kind::Directory { "/" } else { "" };
    format!("{:<8} {size:>20}  {from}{}{end}", word(difference.change), difference.path.display())
}

fn sentence(context: &Context<'_>, totals: &Differences) -> String {
    if totals.is_empty() {
        return "Nothing differs.".into();
    }
    let ways = [
        ("added", totals.added),
        ("removed", totals.removed),
        ("changed", totals.changed),
        ("renamed", totals.renamed),
        ("with other metadata only", totals.metadata),
    ];
    let parts = ways.iter().filter(|(_, tallied)| tallied.entries > 0).map(|(word, tallied)| {
        format!("{} {word} ({})", grouped(tallied.entries), context.render.size(tallied.bytes))
    });
    format!("{}.", parts.collect::<Vec<_>>().join(", "))
}
