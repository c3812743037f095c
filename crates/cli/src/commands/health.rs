//! `dsb disk health`.

use distbackup_engine::ops::health::{self, DiskHealth, DriveHealth, Verdict};
use distbackup_engine::ops::{OpError, shelf};
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::grouped;

/// Asks the drives of the disks named, or of all that are connected.
pub fn run(context: &Context<'_>, disks: &[String]) -> Outcome {
    let opened = context.open_to_read()?;
    let mut names = disks.to_vec();
    if names.is_empty() {
        let folders = shelf::connected_folders(&opened.catalog.read())?;
        let rows = opened.catalog.read().disks()?;
        names.extend(rows.into_iter().filter(|row| folders.contains_key(&row.disk)).map(|row| row.name));
        if names.is_empty() {
            return Err(OpError::WhichDisk { connected: Vec::new() }.into());
        }
    }
    let mut exit = Exit::DONE;
    for name in &names {
        exit = exit.or_graver(match one(context, &opened.catalog, name) {
            Ok(exit) => exit,
            // One that is not there does not keep the others from being asked.
            Err(failure @ Failure::Operation(OpError::NoProgram { .. })) => return Err(failure),
            Err(failure) if names.len() > 1 => context.render.failure(&failure),
            Err(failure) => return Err(failure),
        });
    }
    Ok(exit)
}

fn one(context: &Context<'_>, catalog: &distbackup_engine::catalog::Catalog, name: &str) -> Outcome {
    let connected = shelf::open(catalog, Some(name))?;
    let health = health::health(&connected)?;
    let verdict = health.verdict();
    as_json(context, &health);
    let render = context.render;
    if health.drives.is_empty() {
        render.line(&format!("{}: unknown: the system names no drive below it", health.name));
    }
    for drive in &health.drives {
        render.line(&line(&health.name, drive));
        if let Some(command) = &drive.command {
            render.note(&format!("to ask it with more rights: {command}"));
        }
    }
    if verdict == Verdict::Failing {
        let name = &health.name;
        render.warning(&format!(
            "{name} is failing. While it can still be read: dsb disk add NEW PATH, then dsb disk replace {name} NEW"
        ));
        return Ok(Exit::DAMAGE);
    }
    if verdict == Verdict::Worn {
        render.note(&format!("Whether {} still gives back what it holds: dsb verify {0}", health.name));
    }
    Ok(Exit::DONE)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Worn => "worn",
        Verdict::Failing => "failing",
        Verdict::Unknown => "unknown",
    }
}

/// `red: good (WDC WD40EFRX, /dev/sdb): 8,123 h, 34 °C`.
fn line(name: &str, drive: &DriveHealth) -> String {
    let smart = &drive.smart;
    let place = drive.drive.display();
    let what = smart.model.as_ref().map_or_else(|| place.to_string(), |model| format!("{model}, {place}"));
    let mut facts = Vec::new();
    let mut fact = |value: Option<u64>, unit: &str| {
        facts.extend(value.map(|value| format!("{}{unit}", grouped(value))));
    };
    fact(smart.power_on_hours, " h under power");
    fact(smart.temperature_c, " °C");
    if drive.verdict == Verdict::Good {
        fact(smart.percentage_used, " % of its life used");
    }
    let mut text = format!("{name}: {} ({what})", word(drive.verdict));
    for part in [drive.reasons.join(", "), facts.join(", ")].iter().filter(|part| !part.is_empty()) {
        text.push_str(if text.ends_with(')') { ": " } else { "; " });
        text.push_str(part);
    }
    text
}

fn as_json(context: &Context<'_>, health: &DiskHealth) {
    let drives: Vec<_> = health
        .drives
        .iter()
        .map(|drive| {
            let smart = &drive.smart;
            json!({
                "drive": drive.drive.display().to_string(), "verdict": word(drive.verdict), "reasons": drive.reasons,
                "model": smart.model, "serial": smart.serial, "passed": smart.passed, "reallocated": smart.reallocated,
                "pending": smart.pending, "uncorrectable": smart.uncorrectable, "media_errors": smart.media_errors,
                "power_on_hours": smart.power_on_hours, "temperature_c": smart.temperature_c,
                "percentage_used": smart.percentage_used,
            })
        })
        .collect();
    let value = json!({ "disk": health.name, "verdict": word(health.verdict()), "drives": drives });
    context.render.object("health", value);
}
