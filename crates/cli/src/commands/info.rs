//! `dsb info`: bytes by number of copies, and the same for each disk, as distbackup 1.x showed it.

use std::collections::BTreeMap;

use distbackup_core::model::{Bytes, DiskNo};
use distbackup_engine::ops::shelf;
use distbackup_engine::report;
use serde_json::json;

use crate::Outcome;
use crate::context::Context;
use crate::failure::Exit;
use crate::render::words::{grouped, table};

/// Shows the levels of the set and of each disk.
pub fn run(context: &Context<'_>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let status = report::status(&reader)?;
    let mut by_disk: BTreeMap<DiskNo, BTreeMap<u64, Bytes>> = BTreeMap::new();
    for (disk, copies, bytes) in reader.levels_by_disk()? {
        by_disk.entry(disk).or_default().insert(copies, bytes);
    }
    let connected = shelf::connected_folders(&reader).unwrap_or_default();
    let render = context.render;
    let most = by_disk.values().flat_map(|levels| levels.keys().copied()).max().unwrap_or(0);
    let mut rows = Vec::new();
    for (copies, level) in status.levels.iter().enumerate() {
        render.object("level", json!({ "copies": copies, "files": level.files, "bytes": level.bytes.0 }));
        rows.push(vec![copies.to_string(), grouped(level.files), render.size(level.bytes)]);
    }
    table(&[">copies", ">files", ">size"], &rows).iter().for_each(|line| render.line(line));
    render.line("");
    let mut rows = Vec::new();
    for disk in &status.disks {
        let levels = by_disk.remove(&disk.row.disk).unwrap_or_default();
        let bytes = |copies: u64| levels.get(&copies).copied().unwrap_or_default();
        render.object(
            "disk-levels",
            json!({ "name": disk.row.name, "capacity": disk.row.capacity.0, "bytes": disk.bytes.0,
                    "levels": (1..=most).map(|copies| bytes(copies).0).collect::<Vec<_>>() }),
        );
        let mark = if connected.contains_key(&disk.row.disk) { ">" } else { "" };
        let mut row = vec![
            format!("{mark}{}", disk.row.name),
            render.size(disk.row.capacity),
            render.size(disk.row.capacity - disk.bytes),
        ];
        row.extend((1..=most).map(|copies| render.size(bytes(copies))));
        rows.push(row);
    }
    if !rows.is_empty() {
        let heads: Vec<String> = (1..=most).map(|copies| format!(">{copies}")).collect();
        let head: Vec<&str> =
            ["disk", ">size", ">free"].into_iter().chain(heads.iter().map(String::as_str)).collect();
        table(&head, &rows).iter().for_each(|line| render.line(line));
        render.line("What a disk holds, by how many disks have it. > is connected.");
    }
    Ok(Exit::DONE)
}
