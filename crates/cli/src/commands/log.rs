//! `dsb log` and `dsb snapshots`.

use distbackup_core::model::RunNo;
use distbackup_engine::ops::OpError;
use serde_json::{Value, json};

use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{duration, moment, table};

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

/// Shows one run: when, what, how it ended, and what it recorded.
pub fn show(context: &Context<'_>, number: i64) -> Outcome {
    let opened = context.open_to_read()?;
    let Some(run) = opened.catalog.read().run(RunNo(number))? else {
        let why = "there is no such run; `dsb log` lists them".to_owned();
        return Err(OpError::BadRequest { what: format!("run {number}"), why }.into());
    };
    let details: Option<Value> = run.details.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let render = context.render;
    render.object(
        "run",
        json!({ "id": number, "command": run.command, "started_ns": run.started_ns, "ended_ns": run.ended_ns,
                "exit": run.exit_code, "result": run.result, "details": details }),
    );
    render.line(&format!("Run {number}: dsb {}", run.command));
    render.line(&format!("  begun   {}", moment(run.started_ns)));
    match run.ended_ns {
        Some(ended_ns) => {
            let took = u64::try_from(ended_ns.saturating_sub(run.started_ns)).unwrap_or(0);
            let took = duration(std::time::Duration::from_nanos(took));
            render.line(&format!("  ended   {}, after {took}", moment(ended_ns)));
        }
        None => render.line("  it is running, or was killed"),
    }
    if let (Some(code), Some(result)) = (run.exit_code, &run.result) {
        render.line(&format!("  result  {result} (exit code {code})"));
    }
    if let Some(Value::Object(details)) = details {
        details.iter().for_each(|(name, value)| render.line(&format!("  {name}  {value}")));
    }
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
