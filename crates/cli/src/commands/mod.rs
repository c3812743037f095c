//! One file per verb: arguments into options, operation, outcome into words and an exit code.

mod backup;
mod config;
mod disk;
mod find;
mod log;
mod next;
mod part;
mod plan;
mod recover;
mod restore;
mod source;
mod status;
mod update;
mod verify;
mod whatif;

use std::ffi::OsStr;
use std::path::Path;

use distbackup_core::model::{SnapshotNo, VirtualPath};
use distbackup_engine::catalog::{At, Catalog};
use distbackup_engine::ops::OpError;
use distbackup_engine::platform::bytes_of_path;

use crate::Outcome;
use crate::args::{Cli, Command};
use crate::context::Context;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(context: &Context<'_>, cli: &Cli) -> Outcome {
    match &cli.command {
        None => status::or_quick_start(context),
        Some(Command::Source { command }) => source::run(context, command.as_ref()),
        Some(Command::Disk { command }) => disk::run(context, command.as_ref()),
        Some(Command::Update { accept }) => update::run(context, *accept),
        Some(Command::Backup(args)) => backup::run(context, args),
        Some(Command::Restore(args)) => restore::run(context, args),
        Some(Command::Recover { disk }) => recover::run(context, disk),
        Some(Command::Verify(args)) => verify::run(context, args),
        Some(Command::Status) => status::run(context),
        Some(Command::Plan { disk }) => plan::run(context, disk.as_deref()),
        Some(Command::Next) => next::run(context),
        Some(Command::WhatIf { question }) => whatif::run(context, question),
        Some(Command::Ls { patterns, disk, at }) => {
            find::ls(context, patterns, disk.as_deref(), at.as_deref())
        }
        Some(Command::Where { path, at }) => find::whereis(context, path, at.as_deref()),
        Some(Command::Config { command }) => config::run(context, command),
        Some(Command::Log { number }) => log::runs(context, *number),
        Some(Command::Snapshots) => log::snapshots(context),
    }
}

/// The verb's name, for the JSON summary.
pub fn name(cli: &Cli) -> &'static str {
    match &cli.command {
        None | Some(Command::Status) => "status",
        Some(Command::Source { .. }) => "source",
        Some(Command::Disk { .. }) => "disk",
        Some(Command::Update { .. }) => "update",
        Some(Command::Backup(_)) => "backup",
        Some(Command::Restore(_)) => "restore",
        Some(Command::Recover { .. }) => "recover",
        Some(Command::Verify(_)) => "verify",
        Some(Command::Plan { .. }) => "plan",
        Some(Command::Next) => "next",
        Some(Command::WhatIf { .. }) => "whatif",
        Some(Command::Ls { .. }) => "ls",
        Some(Command::Where { .. }) => "where",
        Some(Command::Config { .. }) => "config",
        Some(Command::Log { .. }) => "log",
        Some(Command::Snapshots) => "snapshots",
    }
}

/// A virtual path as the user wrote it.
fn vpath(text: &OsStr) -> Result<VirtualPath, Failure> {
    Ok(VirtualPath::parse(&bytes_of_path(Path::new(text)))?)
}

/// The raw bytes of arguments.
fn raw(arguments: &[std::ffi::OsString]) -> Vec<Vec<u8>> {
    arguments.iter().map(|argument| bytes_of_path(Path::new(argument))).collect()
}

/// A moment of the tree: a snapshot's number, or a date or time.
fn moment(catalog: &Catalog, at: Option<&str>) -> Result<At, Failure> {
    let Some(text) = at else { return Ok(At::Now) };
    let reader = catalog.read();
    let bad = |why: &str| OpError::BadRequest { what: text.to_owned(), why: why.to_owned() };
    if let Ok(number) = text.trim_start_matches('#').parse::<i64>()
        && text.len() < 8
    {
        return match reader.snapshot(SnapshotNo(number))? {
            Some(row) => Ok(At::Snapshot(row.snapshot)),
            None => Err(bad("there is no such snapshot; `dsb snapshots` lists them").into()),
        };
    }
    let time_ns = parse_time(text)
        .ok_or_else(|| bad("neither a snapshot nor a date (2026-11-23, 2026-11-23T14:05)"))?;
    match reader.snapshot_at(time_ns)? {
        Some(row) => Ok(At::Snapshot(row.snapshot)),
        None => Err(bad("no snapshot is that old").into()),
    }
}

/// A date means its end: what the tree was when the day was over.
fn parse_time(text: &str) -> Option<i64> {
    let zone = jiff::tz::TimeZone::system();
    let text = text.replacen(' ', "T", 1);
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return i64::try_from(time.as_nanosecond()).ok();
    }
    let zoned = if let Ok(date) = text.parse::<jiff::civil::Date>()
        && text.len() <= 10
    {
        date.tomorrow().ok()?.to_zoned(zone).ok()?
    } else {
        text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone).ok()?
    };
    i64::try_from(zoned.timestamp().as_nanosecond()).ok()
}
