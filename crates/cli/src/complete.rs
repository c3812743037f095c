//! Completion of names that only the catalog knows: disks, virtual paths one component at a time, snapshots, settings.
//!
//! A shell asks for them by running the program at every press of a key, so they take no lock, write nothing, and give a few
//! answers soon rather than all. Where there is no catalog, or it cannot be read, there is nothing to offer.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::Parser;
use clap_complete::engine::CompletionCandidate;
use distbackup_core::model::{DirNo, Kind, VirtualPath};
use distbackup_engine::catalog::{At, CheckedCopy, Reader, peek};
use distbackup_engine::ops::config_file::SETTINGS;
use distbackup_engine::platform::{bytes_of_path, path_of_bytes};

use crate::args::Global;
use crate::context::locate;
use crate::render::words::moment;

/// Answers, at most.
const ANSWERS_MAX: u32 = 200;

/// The global options of the line that is being completed, as far as they say where the catalog is.
#[derive(Parser)]
#[command(ignore_errors = true, disable_help_flag = true, disable_version_flag = true)]
struct Line {
    #[command(flatten)]
    global: Global,
}

/// The catalog that the line is about.
fn catalog() -> Option<CheckedCopy> {
    let words: Vec<_> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let line = Line::try_parse_from(words).ok()?;
    let (_, path) = locate(&line.global).ok()?;
    peek(&path).ok()
}

fn begins(name: &str, current: &OsStr) -> bool {
    name.as_bytes().starts_with(current.as_encoded_bytes())
}

/// Names of disks, with where they are kept.
pub fn disks(current: &OsStr) -> Vec<CompletionCandidate> {
    let rows = catalog().and_then(|catalog| catalog.read().disks().ok()).unwrap_or_default();
    let known = rows.into_iter().filter(|row| begins(&row.name, current));
    known.map(|row| CompletionCandidate::new(row.name).help(row.location.map(Into::into))).collect()
}

/// Either, for arguments that may be both.
pub fn disks_and_vpaths(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut all = disks(current);
    all.extend(vpaths(current));
    all
}

/// Virtual paths, one component at a time.
pub fn vpaths(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(catalog) = catalog() else { return Vec::new() };
    let text = bytes_of_path(&PathBuf::from(current));
    let (folder, begun) = match text.iter().rposition(|&byte| byte == b'/') {
        Some(at) => text.split_at(at + 1),
        None => (&b"/"[..], &text[..]),
    };
    let names = children(&catalog.read(), folder, begun).unwrap_or_default();
    let candidate = |(name, kind): (Vec<u8>, Kind)| {
        let mut path = folder.to_vec();
        path.extend_from_slice(&name);
        if kind == Kind::Directory {
            path.push(b'/');
        }
        CompletionCandidate::new(path_of_bytes(&path).into_os_string())
    };
    names.into_iter().map(candidate).collect()
}

fn children(reader: &Reader<'_>, folder: &[u8], begun: &[u8]) -> Option<Vec<(Vec<u8>, Kind)>> {
    let mut at = DirNo::ROOT;
    for name in VirtualPath::parse(folder).ok()?.components() {
        at = reader.entry(at, name, At::Now).ok()??.node?;
    }
    reader.names_with_prefix(at, begun, ANSWERS_MAX).ok()
}

/// Numbers of snapshots, the newest first, with their dates.
pub fn snapshots(current: &OsStr) -> Vec<CompletionCandidate> {
    let rows = catalog().and_then(|catalog| catalog.read().snapshots().ok()).unwrap_or_default();
    let newest = rows.into_iter().rev().take(ANSWERS_MAX as usize);
    let numbers = newest.map(|row| (row.snapshot.0.to_string(), moment(row.created_ns)));
    let known = numbers.filter(|(number, _)| begins(number, current));
    known.map(|(number, date)| CompletionCandidate::new(number).help(Some(date.into()))).collect()
}

/// Names of settings.
pub fn settings(current: &OsStr) -> Vec<CompletionCandidate> {
    SETTINGS.iter().filter(|name| begins(name, current)).map(|name| CompletionCandidate::new(*name)).collect()
}
