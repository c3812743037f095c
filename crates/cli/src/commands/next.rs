//! `dsb next`: which disk to connect, and what it would gain.

use distbackup_core::model::Bytes;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::shelf;
use distbackup_engine::report::{self, Suggestion};
use serde_json::json;

use super::plan::{capability, level, reach_json, tallies};
use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{ago, table};

/// Compares visits of all disks, the best one first.
pub fn run(context: &Context<'_>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let now_ns = context.clock().now_ns();
    let render = context.render;
    let disks = reader.disks()?;
    if disks.is_empty() {
        render.line("There is no disk yet. Next: dsb disk add NAME PATH");
        return Ok(Exit::DONE);
    }
    // Where disks are looked for can fail, for instance in a container; the question is about all disks.
    let connected = shelf::connected_folders(&reader).unwrap_or_else(|error| {
        render.warning(&format!("cannot tell which disks are connected: {error}"));
        Default::default()
    });
    let advice = report::advice(&reader, now_ns)?;
    let mut rows = Vec::new();
    for suggestion in &advice.visits {
        let Some(row) = disks.get(suggestion.disk) else { continue };
        let here = connected.contains_key(&row.disk);
        render.object(
            "item",
            json!({ "disk": row.name, "location": row.location, "connected": here, "seen_ns": row.seen_ns,
                    "copies": tallies(&suggestion.copies), "after": tallies(&suggestion.after) }),
        );
        rows.push(vec![
            row.name.clone(),
            row.location.clone().unwrap_or_default(),
            if here { "connected".to_owned() } else { ago(row.seen_ns, now_ns) },
            gain(context, suggestion),
        ]);
    }
    render.object("reach", reach_json(&advice.outlook));
    table(&["disk", "where", "last seen", "would bring"], &rows).iter().for_each(|line| render.line(line));
    render.line("");
    render.line(&capability(&advice.outlook, "you are at"));
    if let Some((best, row)) = advice.visits.first().and_then(|best| Some((best, disks.get(best.disk)?))) {
        let here = connected.contains_key(&row.disk);
        render.line(&words(row.name.as_str(), here, best, advice.pending, advice.reached));
        for (disk, tally) in &best.stale {
            let Some(stale) = disks.get(*disk) else { continue };
            render.line(&format!(
                "      dsb verify {}, which was not verified for too long: that frees room for {} without a copy",
                stale.name,
                render.size(tally.bytes)
            ));
        }
    }
    Ok(Exit::DONE)
}

fn gain(context: &Context<'_>, suggestion: &Suggestion) -> String {
    let copies = suggestion.copies.iter().enumerate();
    let parts: Vec<String> = copies
        .filter(|(_, tally)| tally.objects > 0)
        .map(|(before, tally)| format!("{} of {}", plural(&level(before)), context.render.size(tally.bytes)))
        .collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// `first copy` to `first copies`.
fn plural(level: &str) -> String {
    level.strip_suffix('y').map_or_else(|| format!("{level}'s"), |stem| format!("{stem}ies"))
}

fn words(name: &str, here: bool, best: &Suggestion, pending: bool, reached: bool) -> String {
    let update = if pending { " --update" } else { "" };
    let brings = best.copies.iter().any(|tally| tally.bytes > Bytes(0));
    match (brings, here) {
        (false, _) if reached => "Next: nothing is urgent: everything has its copies.".to_owned(),
        (false, _) => "Next: nothing to gain from any disk; a new one would help most.".to_owned(),
        (true, true) => format!("Next: dsb backup{update} {name}"),
        (true, false) => format!("Next: connect {name}, then dsb backup{update} {name}"),
    }
}
