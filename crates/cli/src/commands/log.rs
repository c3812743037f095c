//! `dsb log` and `dsb snapshots`.

use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{moment, table};

/// Lists what commands did.
pub fn runs(context: &Context<'_>, number: u32) -> Outcome {
    let opened = context.open_to_read()?;
    let mut cells = Vec::new();
    for run in opened.catalog.read().runs(number)? {
        context.render.object(
            "run",
            json!({ "id": run.run.0, "command": run.command, "started_ns": run.started_ns, "ended_ns": run.ended_ns,
                    "exit": run.exit_code, "result": run.result }),
        );
        let result = match (run.exit_code, &run.result) {
            (Some(0), _) => "done".to_owned(),
            (Some(code), Some(result)) => format!("{code}: {result}"),
            _ => "running, or killed".to_owned(),
        };
        cells.push(vec![run.run.0.to_string(), moment(run.started_ns), run.command, result]);
    }
    table(&[">run", "begun", "command", "result"], &cells).iter().for_each(|line| context.render.line(line));
    Ok(Exit::DONE)
}

/// Lists the snapshots that can be restored.
pub fn snapshots(context: &Context<'_>) -> Outcome {
    let opened = context.open_to_read()?;
    let mut cells = Vec::new();
    for row in opened.catalog.read().snapshots()? {
        context.render.object(
            "snapshot",
            json!({ "id": row.snapshot.0, "created_ns": row.created_ns, "pinned": row.pinned, "note": row.note }),
        );
        let note = row.note.unwrap_or_default();
        cells.push(vec![row.snapshot.0.to_string(), moment(row.created_ns), note]);
    }
    table(&[">snapshot", "made", ""], &cells).iter().for_each(|line| context.render.line(line));
    Ok(Exit::DONE)
}
