//! `dsb whatif`: what would be if disks were lost or bought, or more copies wanted.

use distbackup_core::model::{Bytes, parse_size};
use distbackup_core::plan::Tally;
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::shelf;
use distbackup_engine::report::Prospect;
use serde_json::json;

use super::plan::{capability, level, reach_json, tallies, tally};
use crate::Outcome;
use crate::args::WhatIf;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{count, grouped, table};

/// Answers from the catalog; nothing is changed.
pub fn run(context: &Context<'_>, question: &WhatIf) -> Outcome {
    match question {
        WhatIf::Lose { disks } => lose(context, disks),
        WhatIf::Add { sizes } => add(context, sizes),
        WhatIf::Target { copies } => target(context, *copies),
    }
}

fn lose(context: &Context<'_>, names: &[String]) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let render = context.render;
    let mut prospect = Prospect::load(&reader, context.clock().now_ns(), &[])?;
    let mut lost = Vec::new();
    for name in names {
        let row = shelf::named(&reader, name)?;
        lost.extend(prospect.disks.iter().position(|known| known.disk == row.disk));
    }
    let loss = prospect.lose(&lost);
    render.object(
        "whatif-lose",
        json!({ "disks": names, "before": tallies(&loss.before.live), "after": tallies(&loss.after.live),
                "unprotected": tally(loss.unprotected), "history_gone": tally(loss.gone),
                "reach": reach_json(&loss.outlook) }),
    );
    render.line(&format!("Without {}:", names.join(" and ")));
    levels(context, &loss.before.live, &loss.after.live, "now", "then");
    render.line("");
    render.line(&match loss.unprotected {
        Tally { objects: 0, .. } => "Every file would still have a copy on another disk.".to_owned(),
        tally => format!(
            "{} in {} would have no copy on a disk any more; the sources had them at the last update.",
            render.size(tally.bytes),
            count(tally.objects, "object", "objects")
        ),
    });
    if loss.gone.objects > 0 {
        render.line(&format!(
            "{} in {} that the sources no longer have would be lost for good.",
            render.size(loss.gone.bytes),
            count(loss.gone.objects, "object", "objects")
        ));
    }
    render.line(&capability(&loss.outlook, "you would be at"));
    Ok(Exit::DONE)
}

fn add(context: &Context<'_>, sizes: &[String]) -> Outcome {
    let sizes: Vec<Bytes> = sizes.iter().map(|size| parse_size(size)).collect::<Result<_, _>>()?;
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let render = context.render;
    let now_ns = context.clock().now_ns();
    let before = Prospect::load(&reader, now_ns, &[])?.outlook();
    let prospect = Prospect::load(&reader, now_ns, &sizes)?;
    let after = prospect.outlook();
    let first_new = prospect.disks.len();
    let planned = prospect.visit(first_new);
    render.object(
        "whatif-add",
        json!({ "sizes": sizes.iter().map(|size| size.0).collect::<Vec<_>>(), "reach_before": reach_json(&before),
                "reach_after": reach_json(&after), "first_visit": tallies(&planned.copies.0) }),
    );
    if first_new > 0 {
        render.line(&format!("Now:  {}", capability(&before, "you are at")));
    }
    let new = sizes.iter().map(|size| render.size(*size)).collect::<Vec<_>>().join(" and ");
    render.line(&format!("With {new} more: {}", capability(&after, "you begin at")));
    let copies = planned.copies.0.iter().enumerate().filter(|(_, tally)| tally.objects > 0);
    for (before, tally) in copies {
        let (objects, size) = (grouped(tally.objects), render.size(tally.bytes));
        render.line(&format!("  its first visit: {objects:>12} objects  {size:>9}   {}", level(before)));
    }
    Ok(Exit::DONE)
}

fn target(context: &Context<'_>, copies: u16) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let render = context.render;
    let prospect = Prospect::load(&reader, context.clock().now_ns(), &[])?;
    let state = prospect.by_state();
    let reached = state.live.iter().skip(usize::from(copies)).fold(Tally::default(), |mut sum, level| {
        sum.merge(*level);
        sum
    });
    let missing = state.live.iter().take(usize::from(copies)).chain([&state.pending]).fold(
        Tally::default(),
        |mut sum, level| {
            sum.merge(*level);
            sum
        },
    );
    let shortage = prospect.shortage(copies);
    let outlook = prospect.outlook();
    render.object(
        "whatif-target",
        json!({ "copies": copies, "reached": tally(reached), "missing": tally(missing), "reach": reach_json(&outlook),
                "new_disks": shortage.map(|short| json!({ "disks": short.disks, "bytes_each": short.bytes_each.0 })) }),
    );
    let wanted = count(copies.into(), "copy", "copies");
    render.line(&format!(
        "{} have {wanted} or more; {} have fewer.",
        render.size(reached.bytes),
        render.size(missing.bytes)
    ));
    render.line(&capability(&outlook, "you are at"));
    render.line(&match shortage {
        None => format!("They have room for {wanted} of everything."),
        Some(short) => format!(
            "For {wanted} of everything {} missing, with room for {}{}.",
            if short.disks == 1 { "one disk is".to_owned() } else { format!("{} disks are", short.disks) },
            render.size(short.bytes_each),
            if short.disks == 1 { "" } else { " each" }
        ),
    });
    Ok(Exit::DONE)
}

fn levels(context: &Context<'_>, before: &[Tally], after: &[Tally], then: &str, now: &str) {
    let render = context.render;
    let size = |levels: &[Tally], at: usize| {
        levels.get(at).map_or_else(String::new, |level| render.size(level.bytes))
    };
    let rows: Vec<Vec<String>> = (0..before.len().max(after.len()))
        .map(|at| vec![at.to_string(), size(before, at), size(after, at)])
        .collect();
    let head = [">copies", &format!(">{then}"), &format!(">{now}")].map(str::to_owned);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(&head, &rows).iter().for_each(|line| render.line(line));
}
