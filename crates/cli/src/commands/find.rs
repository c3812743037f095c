//! `dsb ls` and `dsb where`.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use distbackup_core::model::{Bytes, DiskNo, Kind, escape_bytes};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::report;
use serde_json::json;

use super::{moment, raw, vpath};
use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::ago;

/// Lists entries.
pub fn ls(context: &Context<'_>, patterns: &[OsString], disk: Option<&str>, at: Option<&str>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let at = moment(&opened.catalog, at)?;
    let names: HashMap<DiskNo, String> =
        reader.disks()?.into_iter().map(|row| (row.disk, row.name)).collect();
    let only = disk.map(|disk| shelf::named(&reader, disk)).transpose()?.map(|row| row.disk);
    let mut any = false;
    report::list(reader, &raw(patterns), at, &mut |entry| {
        if only.is_some_and(|only| !entry.disks.contains(&only)) || entry.path.as_bytes() == b"/" {
            return Ok(());
        }
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        any = true;
        let held: Vec<&str> =
            entry.disks.iter().map(|disk| names.get(disk).map_or("?", String::as_str)).collect();
        context.render.object(
            "item",
            json!({ "path": entry.path.display(), "kind": entry.kind.letter().to_string(), "size": entry.size.0,
                    "mtime_ns": entry.mtime_ns, "disks": held, "pending": entry.pending }),
        );
        if context.render.is_json() {
            return Ok(());
        }
        let size = if entry.kind == Kind::File { context.render.size(entry.size) } else { String::new() };
        let place = match entry.kind {
            Kind::File if entry.pending => "(not hashed yet)".to_owned(),
            Kind::File if entry.size == Bytes(0) => String::new(),
            Kind::File if held.is_empty() => "(no copy)".to_owned(),
            Kind::File => held.join(","),
            _ => String::new(),
        };
        let end = match (entry.kind, entry.target) {
            (Kind::Directory, _) => "/".to_owned(),
            (Kind::Symlink, Some(target)) => format!(" -> {}", escape_bytes(target)),
            _ => String::new(),
        };
        context.render.line(&format!("{size:>9}  {place:<20} {}{end}", entry.path.display()));
        Ok(())
    })?;
    if !any && !patterns.is_empty() {
        let what = patterns.iter().map(|pattern| pattern.to_string_lossy()).collect::<Vec<_>>().join(" ");
        return Err(OpError::BadRequest { what, why: "nothing in the tree matches it".into() }.into());
    }
    Ok(Exit::DONE)
}

/// Says which disks hold a file, connected or in the drawer.
pub fn whereis(context: &Context<'_>, path: &OsStr, at: Option<&str>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let at = moment(&opened.catalog, at)?;
    let path = vpath(path)?;
    let (entry, id, holders) = report::holders(reader, &path, at)?;
    let now_ns = context.clock().now_ns();
    context.render.object(
        "where",
        json!({
            "path": path.display(), "size": entry.stamp.size, "sha256": id.map(|id| id.hex()), "pending": entry.pending,
            "copies": holders.iter().map(|holder| json!({
                "disk": holder.disk, "location": holder.location, "proven_ns": holder.proven_ns, "how": holder.how,
                "doubt": holder.doubt })).collect::<Vec<_>>(),
        }),
    );
    let render = context.render;
    if let Some(id) = id {
        render.line(&format!("{}   {}   sha256 {id}", path.display(), render.size(Bytes(entry.stamp.size))));
    } else {
        render.line(&path.display());
    }
    for holder in &holders {
        let place = holder.location.as_ref().map_or(String::new(), |place| format!(" ({place})"));
        let doubt = holder.doubt.as_ref().map_or(String::new(), |doubt| format!("   IN DOUBT: {doubt}"));
        render.line(&format!(
            "  {}{place}   {} {}{doubt}",
            holder.disk,
            holder.how,
            ago(Some(holder.proven_ns), now_ns)
        ));
    }
    match (entry.kind, id, holders.is_empty()) {
        (Kind::File, None, _) if entry.pending => render.line("  not hashed yet: unprotected"),
        (Kind::File, None, _) => render.line("  empty; every catalog copy has it"),
        (Kind::File, Some(_), true) => render.line("  on no disk yet"),
        (Kind::File, ..) => {}
        _ => render.line("  no content; every catalog copy has it"),
    }
    Ok(Exit::DONE)
}
