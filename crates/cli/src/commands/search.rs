//! `dsb find`.

use std::collections::HashMap;

use distbackup_core::model::{Bytes, DiskNo, Kind};
use distbackup_engine::ops::OpError;
use distbackup_engine::report::{self, Found, Pattern};
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{count, shell_word};

/// Finds names, of all times or of now, and says where their contents are.
pub fn run(context: &Context<'_>, pattern: &str, now_only: bool) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let wanted = Pattern::parse(pattern)?;
    let names: HashMap<DiskNo, String> =
        reader.disks()?.into_iter().map(|row| (row.disk, row.name)).collect();
    let (mut any, mut gone) = (0, None);
    report::find(reader, &wanted, now_only, &mut |found| {
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        any += 1;
        let held: Vec<&str> =
            found.disks.iter().map(|disk| names.get(disk).map_or("?", String::as_str)).collect();
        context.render.object(
            "item",
            json!({ "path": found.path.display(), "kind": found.kind.letter().to_string(), "size": found.size.0,
                    "mtime_ns": found.mtime_ns, "disks": held, "pending": found.pending, "older": found.older,
                    "gone": found.gone.is_some(),
                    "snapshot": found.gone.flatten().map(|snapshot| snapshot.0) }),
        );
        if !context.render.is_json() {
            context.render.line(&as_text(context, &found, &held));
        }
        if gone.is_none()
            && let Some(Some(snapshot)) = found.gone
        {
            gone = Some((snapshot, found.path.display()));
        }
        Ok(())
    })?;
    if any == 0 {
        context.render.say(match now_only {
            true => "Nothing in the tree has such a name. Without --now, deleted files are found, too.",
            false => "Nothing has or had such a name, as far as history is kept.",
        });
        return Ok(Exit::DONE);
    }
    context.render.note(&format!("{} found.", count(any, "name", "names")));
    if let Some((snapshot, path)) = gone {
        let path = shell_word(&path);
        context
            .render
            .note(&format!("Bring back what is deleted: dsb restore --at {} --to FOLDER {path}", snapshot.0));
    }
    Ok(Exit::DONE)
}

fn as_text(context: &Context<'_>, found: &Found, held: &[&str]) -> String {
    let file = found.kind == Kind::File;
    let size = if file { context.render.size(found.size) } else { String::new() };
    let place = match held {
        _ if !file || found.size == Bytes(0) => String::new(),
        _ if found.pending => "(not hashed yet)".to_owned(),
        [] => "(no copy)".to_owned(),
        held => held.join(","),
    };
    let end = if found.kind == Kind::Directory { "/" } else { "" };
    let mut notes = Vec::new();
    match found.gone {
        Some(Some(snapshot)) => notes.push(format!("deleted, last in snapshot {}", snapshot.0)),
        Some(None) => notes.push("deleted".to_owned()),
        None => {}
    }
    if found.older > 0 {
        notes.push(count(found.older as u64, "older version", "older versions"));
    }
    let notes = if notes.is_empty() { String::new() } else { format!("   [{}]", notes.join("; ")) };
    format!("{size:>9}  {place:<20} {}{end}{notes}", found.path.display())
}
