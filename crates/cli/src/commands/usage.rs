//! `dsb tree` and `dsb ncdu`: where the bytes are, by number of copies.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use distbackup_core::model::{Bytes, DiskNo, Kind};
use distbackup_engine::catalog::{CopyFilter, Reader};
use distbackup_engine::clock::Clock;
use distbackup_engine::ops::{OpError, shelf};
use distbackup_engine::report::{self, TreeLine, UsageStep};
use serde_json::json;

use crate::Outcome;
use crate::args::CopyArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::grouped;

/// Shows folders and files by falling size.
pub fn tree(context: &Context<'_>, args: &CopyArgs, depth: Option<usize>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let filter = filter(&reader, args)?;
    let render = context.render;
    let mut levels = 0;
    report::usage_tree(reader, &filter, depth.unwrap_or(usize::MAX), &mut |line| -> Result<(), OpError> {
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        if render.is_json() {
            render.object("item", tree_json(line));
            return Ok(());
        }
        if line.depth == 0 {
            levels = line.usage.levels.len().max(1);
            render.line(&heading(levels));
        }
        render.line(&tree_line(context, line, levels));
        Ok(())
    })?;
    Ok(Exit::DONE)
}

fn tree_json(line: &TreeLine) -> serde_json::Value {
    let total = line.usage.total();
    let level =
        |level: &distbackup_core::plan::Tally| json!({ "files": level.objects, "bytes": level.bytes.0 });
    json!({
        "path": line.path.display(), "kind": line.kind.letter().to_string(), "depth": line.depth,
        "files": total.objects, "bytes": total.bytes.0,
        "levels": line.usage.levels.iter().map(level).collect::<Vec<_>>(),
    })
}

fn heading(levels: usize) -> String {
    let mut head = format!("{:>9} {:>9}", "size", "files");
    for copies in 0..levels {
        let word = if copies == 1 { "copy" } else { "copies" };
        head.push_str(&format!(" {:>18}", format!("{copies} {word}")));
    }
    head
}

fn tree_line(context: &Context<'_>, line: &TreeLine, levels: usize) -> String {
    let total = line.usage.total();
    let mut out = format!("{:>9} {:>9}", context.render.size(total.bytes), grouped(total.objects));
    for copies in 0..levels {
        let level = line.usage.levels.get(copies).copied().unwrap_or_default();
        let cell = match level.objects {
            0 => "–".to_owned(),
            files => format!("{} / {}", grouped(files), context.render.size(level.bytes)),
        };
        out.push_str(&format!(" {cell:>18}"));
    }
    let name = line
        .path
        .parent()
        .map_or_else(|| "/".to_owned(), |(_, name)| distbackup_core::model::escape_bytes(name));
    let end = if line.kind == Kind::Directory && line.depth > 0 { "/" } else { "" };
    format!("{out}  {}{name}{end}", "  ".repeat(line.depth))
}

/// Hands the tree to `ncdu`, or writes what `ncdu -f` reads.
pub fn ncdu(context: &Context<'_>, args: &CopyArgs, output: Option<&Path>) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let filter = filter(&reader, args)?;
    let now_ns = context.clock().now_ns();
    match output {
        Some(path) if path == Path::new("-") => {
            export(reader, &filter, now_ns, std::io::stdout().lock())?;
        }
        Some(path) => {
            let io = |source| OpError::Io { action: "write", path: path.to_owned(), source };
            let file = std::fs::File::create(path).map_err(io)?;
            export(reader, &filter, now_ns, &file)?;
            file.sync_all().map_err(io)?;
        }
        None => browse(reader, &filter, now_ns)?,
    }
    Ok(Exit::DONE)
}

fn browse(reader: Reader<'_>, filter: &CopyFilter, now_ns: i64) -> Result<(), Failure> {
    let mut child =
        Command::new("ncdu").args(["-f", "-"]).stdin(Stdio::piped()).spawn().map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "the program ncdu is not installed; `dsb tree` shows the same".to_owned()
                }
                _ => error.to_string(),
            };
            OpError::BadRequest { what: "ncdu".into(), why }
        })?;
    let written = match child.stdin.take() {
        Some(stdin) => export(reader, filter, now_ns, stdin),
        None => Ok(()),
    };
    let ended =
        child.wait().map_err(|source| OpError::Io { action: "wait for", path: "ncdu".into(), source })?;
    match written {
        // Whoever leaves the browser early has seen enough.
        Err(Failure::Operation(OpError::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    if !ended.success() {
        return Err(OpError::BadRequest { what: "ncdu".into(), why: format!("it ended with {ended}") }.into());
    }
    Ok(())
}

/// Writes the format of `ncdu -f`, version 1.2 (<https://dev.yorhel.nl/ncdu/jsonfmt>). Names of several files with one
/// content count once there, as hard links do.
fn export(reader: Reader<'_>, filter: &CopyFilter, now_ns: i64, out: impl Write) -> Result<(), Failure> {
    let names: HashMap<DiskNo, String> =
        reader.disks()?.into_iter().map(|row| (row.disk, row.name)).collect();
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let io = |source| OpError::Io { action: "write", path: "the export for ncdu".into(), source };
    let version = env!("CARGO_PKG_VERSION");
    let seconds = now_ns / 1_000_000_000;
    write!(out, r#"[1,2,{{"progname":"dsb","progver":"{version}","timestamp":{seconds}}}"#).map_err(io)?;
    report::usage_walk(reader, filter, &mut |step| -> Result<(), OpError> {
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        match step {
            UsageStep::Folder(name) => {
                out.write_all(b",\n[{\"name\":\"").map_err(io)?;
                out.write_all(&json_bytes(name)).map_err(io)?;
                out.write_all(b"\",\"dev\":1}").map_err(io)
            }
            UsageStep::End => out.write_all(b"]").map_err(io),
            UsageStep::File(name, file, disks) => {
                let held: Vec<&str> =
                    disks.iter().map(|disk| names.get(disk).map_or("?", String::as_str)).collect();
                out.write_all(b",\n{\"name\":\"").map_err(io)?;
                out.write_all(&json_bytes(name)).map_err(io)?;
                let Bytes(size) = file.size;
                write!(out, r#"  ({})","asize":{size},"dsize":{size}"#, held.join(",")).map_err(io)?;
                if let Some(object) = file.object.filter(|_| file.names > 1) {
                    write!(out, r#","ino":{},"hlnkc":true,"nlink":{}"#, object.0, file.names).map_err(io)?;
                }
                out.write_all(b"}").map_err(io)
            }
        }
    })?;
    out.write_all(b"]\n").map_err(io)?;
    out.flush().map_err(io)?;
    Ok(())
}

/// The inside of a JSON string; bytes that are no UTF-8 stay as they are, as the format has it.
fn json_bytes(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            0..0x20 | 0x7f => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out
}

fn filter(reader: &Reader<'_>, args: &CopyArgs) -> Result<CopyFilter, Failure> {
    let numbers = |names: &[String]| -> Result<Vec<DiskNo>, OpError> {
        names.iter().map(|name| shelf::named(reader, name).map(|row| row.disk)).collect()
    };
    Ok(CopyFilter {
        min: args.copies.or(args.mincopies),
        max: args.copies.or(args.maxcopies),
        on: numbers(&args.include)?,
        not_on: numbers(&args.exclude)?,
        dropped: numbers(&args.simulate_drop)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_names_stand_in_json_without_breaking_it() {
        assert_eq!(json_bytes(b"a\"b\\c\n\xff"), b"a\\\"b\\\\c\\u000a\xff");
    }
}
