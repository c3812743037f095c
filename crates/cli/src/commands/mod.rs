//! One file per verb: arguments into options, operation, outcome into words and an exit code.

mod adopt;
mod backup;
mod carry;
mod config;
mod debug;
mod diff;
mod disk;
mod doctor;
mod eject;
mod export;
mod find;
mod forget;
mod health;
mod import;
mod info;
mod init;
mod label;
mod log;
mod manual;
mod next;
mod part;
mod plan;
mod recover;
mod reread;
mod restore;
mod rot;
mod search;
mod source;
mod status;
mod update;
mod usage;
mod verify;
mod watch;
mod whatif;

use std::ffi::OsStr;
use std::path::Path;

use distbackup_core::model::{SnapshotNo, VirtualPath};
use distbackup_engine::catalog::{At, Catalog};
use distbackup_engine::ops::OpError;
use distbackup_engine::platform::bytes_of_path;

use crate::Outcome;
use crate::args::{Cli, Command, LogCommand};
use crate::context::Context;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(context: &Context<'_>, cli: &Cli) -> Outcome {
    match &cli.command {
        None => status::or_quick_start(context),
        Some(Command::Init(args)) => init::run(context, args),
        Some(Command::Source { command }) => source::run(context, command.as_ref()),
        Some(Command::Disk { command }) => disk::run(context, command.as_ref()),
        Some(Command::Update { accept, ignore_lock, reread, part, .. }) => {
            let options = update::options(*accept, *ignore_lock);
            update::run(context, &options, reread::asked_for(*reread, part)?.as_ref())
        }
        Some(Command::Backup(args)) => backup::run(context, args),
        Some(Command::Adopt(args)) => adopt::run(context, args),
        Some(Command::Restore(args)) => restore::run(context, args),
        Some(Command::Recover { disk, share }) => recover::run(context, disk, *share),
        Some(Command::ImportV1 { path }) => import::run(context, path.as_deref()),
        Some(Command::Verify(args)) => verify::run(context, args),
        Some(Command::Heal { disks, staging }) => carry::heal(context, disks, staging),
        Some(Command::Status { check }) => status::run(context, *check),
        Some(Command::Plan { disk }) => plan::run(context, disk.as_deref()),
        Some(Command::Next) => next::run(context),
        Some(Command::Watch(args)) => watch::run(context, args),
        Some(Command::WhatIf { question }) => whatif::run(context, question),
        Some(Command::Ls { patterns, disk, at }) => {
            find::ls(context, patterns, disk.as_deref(), at.as_deref())
        }
        Some(Command::Find { pattern, now }) => search::run(context, pattern, *now),
        Some(Command::Diff { from, to, patterns }) => diff::run(context, from, to.as_deref(), patterns),
        Some(Command::Forget(args)) => forget::run(context, args),
        Some(Command::Where { path, at }) => find::whereis(context, path, at.as_deref()),
        Some(Command::Tree { copies, depth }) => usage::tree(context, copies, *depth),
        Some(Command::Ncdu { copies, output }) => usage::ncdu(context, copies, output.as_deref()),
        Some(Command::Config { command }) => config::run(context, command),
        Some(Command::Log { command: Some(LogCommand::Show { run }), .. }) => log::show(context, *run),
        Some(Command::Log { command: None, number }) => log::runs(context, *number),
        Some(Command::Snapshots) => log::snapshots(context),
        Some(Command::Export { command }) => export::run(context, command),
        Some(Command::Info { .. }) => info::run(context),
        Some(Command::Doctor) => doctor::run(context),
        Some(Command::Debug { command }) => debug::run(context, command),
        Some(Command::Completions { shell }) => manual::completions(*shell),
        Some(Command::Man { folder }) => manual::pages(context, folder.as_deref()),
        Some(Command::ExitCodes) => manual::exit_codes(context),
    }
}

/// The verb's name, for the JSON summary.
pub fn name(cli: &Cli) -> &'static str {
    match &cli.command {
        None | Some(Command::Status { .. }) => "status",
        Some(Command::Init(_)) => "init",
        Some(Command::Source { .. }) => "source",
        Some(Command::Disk { .. }) => "disk",
        Some(Command::Update { .. }) => "update",
        Some(Command::Backup(_)) => "backup",
        Some(Command::Restore(_)) => "restore",
        Some(Command::Adopt(_)) => "adopt",
        Some(Command::Recover { .. }) => "recover",
        Some(Command::ImportV1 { .. }) => "import-v1",
        Some(Command::Verify(_)) => "verify",
        Some(Command::Heal { .. }) => "heal",
        Some(Command::Plan { .. }) => "plan",
        Some(Command::Next) => "next",
        Some(Command::Watch(_)) => "watch",
        Some(Command::WhatIf { .. }) => "whatif",
        Some(Command::Ls { .. }) => "ls",
        Some(Command::Find { .. }) => "find",
        Some(Command::Diff { .. }) => "diff",
        Some(Command::Forget(_)) => "forget",
        Some(Command::Where { .. }) => "where",
        Some(Command::Tree { .. }) => "tree",
        Some(Command::Ncdu { .. }) => "ncdu",
        Some(Command::Config { .. }) => "config",
        Some(Command::Log { .. }) => "log",
        Some(Command::Snapshots) => "snapshots",
        Some(Command::Export { .. }) => "export",
        Some(Command::Info { .. }) => "info",
        Some(Command::Doctor) => "doctor",
        Some(Command::Debug { .. }) => "debug",
        Some(Command::Completions { .. }) => "completions",
        Some(Command::Man { .. }) => "man",
        Some(Command::ExitCodes) => "exit-codes",
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
    let Some(text) = at.filter(|text| *text != "latest") else { return Ok(At::Now) };
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
        .ok_or_else(|| bad("neither a snapshot nor a date (2026-11-23, 2026-11-23T14:05) nor `latest`"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Dates are typed by people: understood, or refused, and never anything else.
    #[test]
    fn no_date_makes_the_program_fall() {
        let whole = [
            "2026-11-23",
            "2026-11-23 14:05",
            "2026-11-23T14:05:59.999999999",
            "2026-11-23T14:05:00+14:00",
            "-009999-01-02",
            "9999-12-31",
        ];
        assert!(whole[..4].iter().all(|date| parse_time(date).is_some()));
        let pieces =
            ["9", "-", "+", ":", "T", "Z", " ", ".", "[Europe/Rome]", "00", "\u{e9}", "99999", "24:00", "60"];
        // A generator of numbers as simple as they come; the inputs are the same every time.
        let mut state = 20_261_123u64;
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        for _ in 0..50_000 {
            let mut date: Vec<char> = whole[next(whole.len())].chars().collect();
            for _ in 0..=next(3) {
                let from = next(date.len() + 1);
                let to = (from + next(3)).min(date.len());
                let piece = pieces[next(pieces.len())];
                date.splice(from..to, piece.chars());
            }
            parse_time(&date.into_iter().collect::<String>());
        }
    }
}
