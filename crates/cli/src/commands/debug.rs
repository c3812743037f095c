//! `dsb debug`: what distbackup 1.x offered for looking closely.

use std::ffi::OsStr;
use std::path::Path;

use distbackup_core::model::Bytes;
use distbackup_engine::hash::{ATTEMPTS, HashError, SourceFile, read_stable};
use distbackup_engine::ops::OpError;
use distbackup_engine::report;
use serde_json::json;

use super::vpath;
use crate::Outcome;
use crate::args::DebugCommand;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{grouped, timestamp};

/// Hashes a file, or tells everything about an entry.
pub fn run(context: &Context<'_>, command: &DebugCommand) -> Outcome {
    match command {
        DebugCommand::Hash { file } => hash(context, file),
        DebugCommand::Info { path } => info(context, path),
    }
}

fn hash(context: &Context<'_>, file: &Path) -> Outcome {
    let stop = || distbackup_engine::platform::interrupted();
    let hashed =
        read_stable(|| SourceFile::open(file), ATTEMPTS, &mut |_| {}, &stop).map_err(
            |error| match error {
                HashError::Stopped => OpError::Stopped,
                HashError::Io(error) => OpError::io("read", file)(error),
                HashError::Unstable => OpError::BadRequest {
                    what: file.display().to_string(),
                    why: "it changes while it is read".into(),
                },
            },
        )?;
    context.render.object(
        "hash",
        json!({ "path": file.display().to_string(), "sha256": hashed.id.hex(), "size": hashed.size.0 }),
    );
    context.render.line(&format!("{}  {}  {}", hashed.id, grouped(hashed.size.0), file.display()));
    Ok(Exit::DONE)
}

fn info(context: &Context<'_>, path: &OsStr) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let path = vpath(path)?;
    let (entry, id, holders) = report::holders(reader, &path, distbackup_engine::catalog::At::Now)?;
    let metadata = reader.metadata(entry.metadata)?;
    let references = match entry.object {
        Some(object) => reader.references(object, 1000)?.len(),
        None => 0,
    };
    let disks: Vec<&str> = holders.iter().map(|holder| holder.disk.as_str()).collect();
    context.render.object(
        "entry",
        json!({
            "path": path.display(), "kind": entry.kind.letter().to_string(), "size": entry.stamp.size,
            "mtime_ns": entry.stamp.mtime_ns, "ctime_ns": entry.stamp.ctime_ns, "inode": entry.stamp.inode,
            "mode": format!("{:04o}", metadata.mode), "uid": metadata.owner.uid, "gid": metadata.owner.gid,
            "sha256": id.map(|id| id.hex()), "pending": entry.pending, "born": entry.born.0,
            "references": references, "disks": disks, "attributes": metadata.xattrs.len(),
        }),
    );
    let render = context.render;
    render.line(&format!("{}:", path.display()));
    let row = |name: &str, value: String| render.line(&format!("  {name:<12} {value}"));
    row("sha256", id.map_or_else(|| "none".to_owned(), |id| id.hex()));
    row("size", format!("{} ({})", grouped(entry.stamp.size), Bytes(entry.stamp.size)));
    row("modified", timestamp(entry.stamp.mtime_ns));
    row(
        "inode",
        format!(
            "{}, mode {:04o}, owner {}:{}",
            entry.stamp.inode, metadata.mode, metadata.owner.uid, metadata.owner.gid
        ),
    );
    row("like this", format!("since snapshot {}", entry.born.0));
    row("names", format!("{references} of this content, history included"));
    row("disks", if disks.is_empty() { "none".to_owned() } else { disks.join(" ") });
    if entry.pending {
        row("pending", "its content is still to be read, or to be confirmed".to_owned());
    }
    Ok(Exit::DONE)
}
