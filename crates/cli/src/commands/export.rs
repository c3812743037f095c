//! `dsb export`: what the catalog knows, for other programs.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::path::Path;

use distbackup_core::model::{DiskNo, escape_bytes};
use distbackup_engine::catalog::{Catalog, CatalogError};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::OpError;
use distbackup_engine::ops::page::{self, WrittenPage};
use distbackup_engine::report::{self, Listing};
use serde_json::json;

use super::{moment, raw};
use crate::Outcome;
use crate::args::{ExportCommand, ListArgs};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, timestamp};

/// Writes the list of files in one of several forms.
pub fn run(context: &Context<'_>, command: &ExportCommand) -> Outcome {
    let opened = context.open_to_read()?;
    match command {
        ExportCommand::Csv { list } => write(context, &opened.catalog, list, HEAD, csv_line),
        ExportCommand::Json { list } => write(context, &opened.catalog, list, "", json_line),
        ExportCommand::Html { dest } => html(context, &opened.catalog, dest),
    }
}

/// Writes the page by which the catalog can be browsed.
fn html(context: &Context<'_>, catalog: &Catalog, folder: &Path) -> Outcome {
    if context.global.dry_run {
        page::refuse_used_folder(folder)?;
        context.render.say(&format!("Would write CATALOG.html to {}.", folder.display()));
        return Ok(Exit::DONE);
    }
    let written = page::export(catalog.read(), context.clock().now_ns(), folder, context.render)?;
    let WrittenPage { files, folders, bytes } = written;
    context.render.object(
        "page",
        json!({ "folder": folder.display().to_string(), "files": files, "folders": folders, "bytes": bytes.0 }),
    );
    let (files, folders) = (count(files, "file", "files"), count(folders, "folder", "folders"));
    let size = context.render.size(bytes);
    context.render.say(&format!("{files} in {folders}: {size} written to {}.", folder.display()));
    context.render.say(&format!("Open {} in a browser.", folder.join("CATALOG.html").display()));
    Ok(Exit::DONE)
}

/// Columns of the table.
const HEAD: &str = "path,kind,size,modified,sha256,copies,disks\r\n";

/// One entry with what is needed to name its disks and its content.
struct Row<'r> {
    entry: Listing<'r>,
    sha256: Option<String>,
    disks: Vec<&'r str>,
}

fn write(
    context: &Context<'_>,
    catalog: &Catalog,
    list: &ListArgs,
    head: &str,
    line: fn(&Row<'_>) -> String,
) -> Outcome {
    let file = list.output.as_deref().filter(|file| *file != Path::new("-"));
    let mut out: Box<dyn Write> = match file {
        Some(file) => {
            let opened = std::fs::File::create(file).map_err(OpError::io("create", file))?;
            Box::new(BufWriter::new(opened))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let failed = |error: std::io::Error| match file {
        Some(file) => Failure::Operation(OpError::io("write", file)(error)),
        None => Failure::Output(error),
    };
    out.write_all(head.as_bytes()).map_err(failed)?;
    let number =
        rows(catalog, &list.patterns, list.at.as_deref(), &mut |row| out.write_all(line(row).as_bytes()))?;
    let number = number.map_err(failed)?;
    out.flush().map_err(failed)?;
    drop(out);
    if let Some(file) = file {
        let entries = count(number, "entry", "entries");
        context.render.say(&format!("{entries} in {}.", file.display()));
    }
    Ok(Exit::DONE)
}

/// Hands out all entries that the patterns select; returns how many, or the first trouble with the output.
fn rows(
    catalog: &Catalog,
    patterns: &[OsString],
    at: Option<&str>,
    each: &mut dyn FnMut(&Row<'_>) -> std::io::Result<()>,
) -> Result<std::io::Result<u64>, Failure> {
    let at = moment(catalog, at)?;
    let reader = catalog.read();
    let names: HashMap<DiskNo, String> =
        reader.disks()?.into_iter().map(|row| (row.disk, row.name)).collect();
    let mut outcome = Ok(0);
    let listed = report::list(reader, &raw(patterns), at, &mut |entry| -> Result<(), OpError> {
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        if entry.path.as_bytes() == b"/" {
            return Ok(());
        }
        let sha256 = match entry.object {
            Some(object) => reader.object(object)?.map(|row| row.id.hex()),
            None => None,
        };
        let disks = entry.disks.iter().map(|disk| names.get(disk).map_or("?", String::as_str)).collect();
        match (each(&Row { entry, sha256, disks }), &mut outcome) {
            (Ok(()), Ok(number)) => *number += 1,
            (Err(error), outcome) => {
                *outcome = Err(error);
                // Nothing more can be written: this ends the walk, and the error is told instead of this one.
                return Err(CatalogError::Stopped.into());
            }
            (Ok(()), Err(_)) => {}
        }
        Ok(())
    });
    match (listed, outcome) {
        (_, Err(error)) => Ok(Err(error)),
        (Err(error), _) => Err(error.into()),
        (Ok(()), outcome) => Ok(outcome),
    }
}

/// A field of a table, quoted where it has to be (RFC 4180).
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn csv_line(row: &Row<'_>) -> String {
    let Row { entry, sha256, disks } = row;
    format!(
        "{},{},{},{},{},{},{}\r\n",
        field(&entry.path.display()),
        entry.kind.letter(),
        entry.size.0,
        timestamp(entry.mtime_ns),
        sha256.as_deref().unwrap_or_default(),
        disks.len(),
        field(&disks.join(" ")),
    )
}

fn json_line(row: &Row<'_>) -> String {
    let Row { entry, sha256, disks } = row;
    let target = entry.target.map(escape_bytes);
    let value = json!({
        "path": entry.path.display(), "kind": entry.kind.letter().to_string(), "size": entry.size.0,
        "mtime_ns": entry.mtime_ns, "sha256": sha256, "disks": disks, "pending": entry.pending, "target": target,
    });
    format!("{value}\n")
}
