//! `dsb source`.

use distbackup_engine::catalog::PathConfig;
use distbackup_engine::ops::sources;
use distbackup_engine::platform::bytes_of_path;
use serde_json::json;

use super::vpath;
use crate::Outcome;
use crate::args::SourceCommand;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{moment, table};

/// Lists, maps, unmaps or configures sources.
pub fn run(context: &Context<'_>, command: Option<&SourceCommand>) -> Outcome {
    match command {
        None | Some(SourceCommand::List) => list(context),
        Some(SourceCommand::Map { vpath: at, path }) => {
            let mut opened = context.open_or_create()?;
            let at = vpath(at)?;
            let real = sources::map(&mut opened.catalog, &at, path)?;
            context.render.say(&format!("{} -> {}", at.display(), real.display()));
            Ok(Exit::DONE)
        }
        Some(SourceCommand::Unmap { vpath: at }) => {
            let mut opened = context.open_to_write()?;
            let at = vpath(at)?;
            sources::unmap(&mut opened.catalog, &at)?;
            context.render.say(&format!(
                "{} is protected no longer; what it held becomes history at the next update.",
                at.display()
            ));
            Ok(Exit::DONE)
        }
        Some(SourceCommand::Set { vpaths, priority, maxcopies, mincopies }) => {
            let mut opened = context.open_to_write()?;
            for path in vpaths {
                let path = vpath(path)?;
                let cleared = |number: u32| (number > 0).then_some(number);
                let (before, after) = sources::configure(&mut opened.catalog, &path, |config| {
                    if let Some(number) = *priority {
                        config.priority = cleared(number);
                    }
                    if let Some(number) = *maxcopies {
                        config.maxcopies = cleared(number);
                    }
                    if let Some(number) = *mincopies {
                        config.mincopies = cleared(number);
                    }
                })?;
                context.render.say(&format!("{}:", path.display()));
                show_changes(context, &before, &after);
            }
            Ok(Exit::DONE)
        }
    }
}

fn show_changes(context: &Context<'_>, before: &PathConfig, after: &PathConfig) {
    let word = |number: Option<u32>| number.map_or("not set".to_owned(), |number| number.to_string());
    for (key, old, new) in [
        ("priority", before.priority, after.priority),
        ("maxcopies", before.maxcopies, after.maxcopies),
        ("mincopies", before.mincopies, after.mincopies),
    ] {
        if old != new {
            context.render.say(&format!("  {key}: {} -> {}", word(old), word(new)));
        } else if new.is_some() {
            context.render.say(&format!("  {key}: {}", word(new)));
        }
    }
}

fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open_to_read()?;
    let sources = opened.catalog.read().sources()?;
    for source in &sources {
        context.render.object(
            "source",
            json!({ "vpath": source.vpath.display(), "path": source.path.display().to_string(),
                    "scanned_ns": source.scanned_ns }),
        );
    }
    if sources.is_empty() {
        context.render.note("No source is mapped. dsb source map /photos ~/Pictures  says what to protect.");
    }
    let rows: Vec<Vec<String>> = sources
        .iter()
        .map(|source| {
            let real = distbackup_core::model::escape_bytes(&bytes_of_path(&source.path));
            vec![source.vpath.display(), real, source.scanned_ns.map_or("never".into(), moment)]
        })
        .collect();
    if !rows.is_empty() {
        table(&["virtual path", "folder", "last scan"], &rows)
            .iter()
            .for_each(|line| context.render.line(line));
    }
    Ok(Exit::DONE)
}
