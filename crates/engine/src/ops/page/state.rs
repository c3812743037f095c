//! The small part of the page's data: the set, its disks, and how safe it is.

use distbackup_core::model::COPIES_WANTED;
use serde_json::{Value, json};

use super::PageOptions;
use super::tree::WrittenTree;
use crate::catalog::{CatalogError, Reader};
use crate::report::{DiskStatus, Level, Status};

/// Version of the data's form. A page reads what it was written with; this is for others.
const FORMAT: u32 = 1;

fn seconds(time_ns: Option<i64>) -> Option<i64> {
    time_ns.map(|time_ns| time_ns.div_euclid(1_000_000_000))
}

fn level(level: &Level) -> Value {
    json!({ "files": level.files, "objects": level.objects, "bytes": level.bytes.0 })
}

fn disk(status: &DiskStatus) -> Value {
    let row = &status.row;
    json!({
        "name": row.name, "uuid": row.uuid.0, "location": row.location, "note": row.note,
        "total": row.total.0, "free": row.free.0,
        "objects": status.objects, "bytes": status.bytes.0, "alone": status.alone.0,
        "lost": { "objects": status.lost.objects, "bytes": status.lost.bytes.0 },
        "added": seconds(Some(row.added_ns)), "seen": seconds(row.seen_ns), "visited": seconds(row.visited_ns),
        "verified": seconds(row.verified_ns), "retiring": row.retiring, "doubt": row.doubt,
    })
}

/// The call of a function with one JSON object.
pub(super) fn text(
    reader: &Reader<'_>,
    options: PageOptions,
    status: &Status,
    sets: &[Vec<usize>],
    tree: &WrittenTree,
) -> Result<String, CatalogError> {
    let targets: Vec<Value> = reader
        .path_configs()?
        .iter()
        .filter(|(_, config)| config.mincopies.is_some())
        .map(|(path, config)| json!({ "path": path.display(), "copies": config.mincopies }))
        .collect();
    let place = options.disk.and_then(|disk| status.disks.iter().position(|other| other.row.disk == disk));
    let snapshot = status.snapshot.as_ref();
    let value = json!({
        "format": FORMAT,
        "program": env!("CARGO_PKG_VERSION"),
        "set": reader.set_uuid()?.0,
        "generation": reader.generation()?,
        "written": seconds(Some(options.written_ns)),
        "snapshot": snapshot.map(|row| row.snapshot.0),
        "snapshot_at": snapshot.and_then(|row| seconds(Some(row.created_ns))),
        "disk": place,
        "disks": status.disks.iter().map(disk).collect::<Vec<_>>(),
        "sets": sets,
        "copies_wanted": COPIES_WANTED,
        "targets": targets,
        "levels": status.levels.iter().map(level).collect::<Vec<_>>(),
        "pending": level(&status.pending),
        "empty_files": status.empty_files,
        "too_large": level(&status.too_large),
        "below_target": { "objects": status.below_target.objects, "bytes": status.below_target.bytes.0 },
        "root": tree.root,
        "files": tree.files,
        "folders": tree.folders,
        "files_chunks": tree.files_chunks,
        "folders_chunks": tree.folders_chunks,
    });
    // Texts come from people and disks: nothing in them may end a script, or a line of one.
    let text = value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Ok(format!("dsbState({text});\n"))
}
