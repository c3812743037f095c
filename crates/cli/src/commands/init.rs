//! `dsb init`: a set begins with four questions.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use distbackup_core::model::{COPIES_WANTED, SizeRule, VirtualPath};
use distbackup_engine::catalog::Catalog;
use distbackup_engine::clock::Clock as _;
use distbackup_engine::ops::suggest::{self, Leftover};
use distbackup_engine::ops::{OpError, disks, sources};
use distbackup_engine::platform::bytes_of_path;
use serde_json::json;

use crate::Outcome;
use crate::args::InitArgs;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::shell_word;

/// How long to look for caches and trash, for each source.
const LOOK: Duration = Duration::from_secs(3);

/// What is to be set up.
#[derive(Debug, Default)]
struct Answers {
    sources: Vec<(Option<VirtualPath>, PathBuf)>,
    copies: Option<u32>,
    rules: Vec<String>,
    disk: Option<(String, PathBuf)>,
    location: Option<String>,
}

/// Asks what is not given, sets it up, and says what comes next.
pub fn run(context: &Context<'_>, args: &InitArgs) -> Outcome {
    if context.path.exists() {
        return Err(Failure::Exists { path: context.path.clone() });
    }
    let answers = asked(context, args)?;
    if context.global.dry_run {
        for line in by_hand(context, &answers) {
            context.render.line(&line);
        }
        context.render.say("Nothing was changed.");
        return Ok(Exit::DONE);
    }
    let mut opened = context.open_or_create()?;
    set_up(context, &mut opened.catalog, &answers)?;
    close(context, &answers);
    Ok(Exit::DONE)
}

fn set_up(context: &Context<'_>, catalog: &mut Catalog, answers: &Answers) -> Result<(), Failure> {
    let render = context.render;
    for (vpath, folder) in &answers.sources {
        let (vpath, real) = match vpath {
            Some(vpath) => (vpath.clone(), sources::map(catalog, vpath, folder)?),
            None => (sources::map_by_name(catalog, folder)?.0, folder.clone()),
        };
        render.object("source", json!({ "vpath": vpath.display(), "path": real.display().to_string() }));
        render.say(&format!("{} -> {}", vpath.display(), real.display()));
    }
    let root = VirtualPath::root();
    if answers.copies.is_some() || !answers.rules.is_empty() {
        sources::configure(catalog, &root, |config| {
            config.mincopies = answers.copies.filter(|copies| *copies != u32::from(COPIES_WANTED));
            config.rules = (!answers.rules.is_empty()).then(|| answers.rules.clone());
        })?;
    }
    if let Some((name, folder)) = &answers.disk {
        let location = answers.location.as_deref();
        let request = disks::AddDisk { name, folder, size: SizeRule::Automatic, location };
        let added = disks::add(catalog, &context.clock(), &request)?;
        super::disk::say_added(context, &added);
    }
    let began = context.clock().now_ns();
    render.object("init", json!({ "catalog": context.path.display().to_string(), "at_ns": began }));
    Ok(())
}

fn close(context: &Context<'_>, answers: &Answers) {
    let next = match (&answers.sources[..], &answers.disk) {
        ([], _) => "dsb source map /photos ~/Pictures",
        (_, None) => "connect a disk, then: dsb disk add NAME /media/FOLDER",
        _ => "dsb backup --update",
    };
    context.render.say(&format!("Next: {next}"));
}

/// The same as commands.
fn by_hand(context: &Context<'_>, answers: &Answers) -> Vec<String> {
    let word = |path: &Path| shell_word(&path.display().to_string());
    let mut lines = vec![format!("A catalog would begin in {}; the same by hand:", context.folder.display())];
    for (vpath, folder) in &answers.sources {
        let at = vpath.clone().unwrap_or_else(|| named(folder));
        lines.push(format!("  dsb source map {} {}", shell_word(&at.display()), word(folder)));
    }
    if let Some(copies) = answers.copies {
        lines.push(format!("  dsb source set --mincopies {copies} /"));
    }
    if !answers.rules.is_empty() {
        let rules: Vec<String> =
            answers.rules.iter().map(|rule| format!("-i {}", shell_word(rule))).collect();
        lines.push(format!("  dsb source set {} /", rules.join(" ")));
    }
    if let Some((name, folder)) = &answers.disk {
        let location = answers.location.as_ref().map(|place| format!(" --location {}", shell_word(place)));
        lines.push(format!("  dsb disk add {name} {}{}", word(folder), location.unwrap_or_default()));
    }
    lines
}

fn named(folder: &Path) -> VirtualPath {
    let name = folder.file_name().map_or_else(|| b"root".to_vec(), |name| bytes_of_path(Path::new(name)));
    VirtualPath::root().join(&name)
}

/// What the options say, and for the rest the answers of whoever sits there.
fn asked(context: &Context<'_>, args: &InitArgs) -> Result<Answers, Failure> {
    let mut answers = Answers { copies: args.copies, rules: args.ignore.clone(), ..Answers::default() };
    for source in &args.sources {
        let (vpath, folder) = source_of(source)?;
        answers.sources.push((vpath, existing(&folder)?));
    }
    if let Some(text) = &args.disk {
        answers.disk = Some(disk_of(text)?);
    }
    answers.location.clone_from(&args.location);
    let silent = context.global.no_input || context.global.json;
    if !silent && answers.sources.is_empty() && !std::io::stdin().is_terminal() {
        let why = "nobody is there to answer; say what to protect with --source FOLDER, or --no-input";
        return Err(Failure::Usage(why.into()));
    }
    if silent || !std::io::stdin().is_terminal() {
        return Ok(answers);
    }
    if answers.sources.is_empty() {
        ask_sources(context, &mut answers);
    }
    if answers.copies.is_none() {
        let asked = context
            .ask(&format!("2/4  How many copies of each file, each on a disk of its own? [{COPIES_WANTED}]"));
        answers.copies = asked.and_then(|text| text.parse().ok()).filter(|copies| (1..=100).contains(copies));
    }
    if answers.rules.is_empty() && !answers.sources.is_empty() {
        ask_rules(context, &mut answers);
    }
    if answers.disk.is_none() {
        ask_disk(context, &mut answers)?;
    }
    Ok(answers)
}

fn ask_sources(context: &Context<'_>, answers: &mut Answers) {
    let home = std::env::home_dir().unwrap_or_default();
    let usual: Vec<PathBuf> = ["Documents", "Pictures", "Music", "Videos", "Desktop"]
        .iter()
        .map(|name| home.join(name))
        .filter(|folder| std::fs::read_dir(folder).is_ok_and(|mut names| names.next().is_some()))
        .collect();
    let list = usual.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    let proposal = if list.is_empty() { String::new() } else { format!(" [{list}]") };
    loop {
        let question = format!("1/4  Where are your files? Folders, with commas between them{proposal}");
        let Some(text) = context.ask(&question) else { return };
        let given: Vec<PathBuf> = match text.is_empty() {
            true => usual.clone(),
            false => text.split(',').map(|part| expand(part.trim(), &home)).collect(),
        };
        match given.iter().map(|folder| existing(folder)).collect::<Result<Vec<_>, _>>() {
            Ok(folders) => {
                answers.sources = folders.into_iter().map(|folder| (None, folder)).collect();
                return;
            }
            Err(failure) => context.render.warning(&failure.to_string()),
        }
    }
}

/// Caches and trash are proposed, and left out only if somebody says so.
fn ask_rules(context: &Context<'_>, answers: &mut Answers) {
    context.render.note("     looking for caches and trash …");
    let mut found: Vec<Leftover> = Vec::new();
    for (_, folder) in &answers.sources {
        for leftover in suggest::leftovers(folder, LOOK) {
            match found.iter_mut().find(|known| known.rule == leftover.rule) {
                Some(known) => known.seen += leftover.seen,
                None => found.push(leftover),
            }
        }
    }
    if found.is_empty() {
        context.render.note("3/4  Nothing there looks like caches or trash; everything is taken.");
        return;
    }
    context.render.note("3/4  These look like caches and trash:");
    for leftover in &found {
        context.render.note(&format!(
            "       {:<26} {:>6} × {}, first {}",
            leftover.rule,
            leftover.seen,
            leftover.what,
            leftover.first.display()
        ));
    }
    match context.choose("     Leave them out? (y)es, (n)o, (a)sk for each", "yna") {
        Some('y') => answers.rules = found.into_iter().map(|leftover| leftover.rule).collect(),
        Some('a') => {
            for leftover in found {
                if context.choose(&format!("     {}: (l)eave out, (t)ake", leftover.rule), "lt") == Some('l')
                {
                    answers.rules.push(leftover.rule);
                }
            }
        }
        _ => {}
    }
}

fn ask_disk(context: &Context<'_>, answers: &mut Answers) -> Result<(), Failure> {
    let home = std::env::home_dir().unwrap_or_default();
    let folders: Vec<PathBuf> = answers.sources.iter().map(|(_, folder)| folder.clone()).collect();
    let candidates = suggest::candidates(&folders)?;
    let render = context.render;
    render.note(match candidates.len() {
        0 => "4/4  No disk is mounted that could be the first of the shelf. The folder of one, or nothing: later",
        _ => "4/4  Which is the first disk of the shelf? A number, a folder, or nothing: later",
    });
    for (number, candidate) in (1..).zip(&candidates) {
        render.note(&format!(
            "     {number}  {}   {} free of {}, {}",
            candidate.point.display(),
            render.size(candidate.free),
            render.size(candidate.total),
            candidate.fstype
        ));
    }
    loop {
        let Some(text) = context.ask("").filter(|text| !text.is_empty()) else { return Ok(()) };
        let chosen = text.parse::<usize>().ok().and_then(|number| candidates.get(number.wrapping_sub(1)));
        let folder = chosen.map_or_else(|| expand(&text, &home), |candidate| candidate.point.clone());
        if !folder.is_dir() {
            render.warning(&format!("{}: there is no such folder", folder.display()));
            continue;
        }
        let proposed = super::backup::name_for(&folder);
        let name =
            context.ask(&format!("     Its name, to be written on the disk itself, too? [{proposed}]"));
        let name = name.filter(|name| !name.is_empty()).unwrap_or(proposed);
        if let Err(error) = disks::check_name(&name) {
            render.warning(&error.to_string());
            continue;
        }
        let place = context.ask("     Where will it be kept? (home shelf, office …) [not said]");
        answers.location = place.filter(|place| !place.is_empty());
        answers.disk = Some((name, folder));
        return Ok(());
    }
}

fn expand(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None if text == "~" => home.to_owned(),
        None => PathBuf::from(text),
    }
}

fn existing(folder: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(folder).map_err(OpError::io("find", folder))?;
    if absolute.is_dir() {
        return Ok(absolute);
    }
    let why = "there is no such folder".to_owned();
    Err(OpError::BadRequest { what: absolute.display().to_string(), why }.into())
}

/// `[VPATH=]FOLDER`.
fn source_of(given: &std::ffi::OsStr) -> Result<(Option<VirtualPath>, PathBuf), Failure> {
    use distbackup_engine::platform::path_of_bytes;
    let bytes = bytes_of_path(Path::new(given));
    match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) if bytes.starts_with(b"/") && !Path::new(given).is_dir() => {
            Ok((Some(VirtualPath::parse(&bytes[..at])?), path_of_bytes(&bytes[at + 1..]).to_owned()))
        }
        _ => Ok((None, PathBuf::from(given))),
    }
}

/// `[NAME=]FOLDER`.
fn disk_of(text: &str) -> Result<(String, PathBuf), Failure> {
    let (name, folder) = match text.split_once('=') {
        Some((name, folder)) if !name.contains('/') => (name.to_owned(), PathBuf::from(folder)),
        _ => (super::backup::name_for(Path::new(text)), PathBuf::from(text)),
    };
    disks::check_name(&name)?;
    Ok((name, folder))
}
