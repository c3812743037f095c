//! `dsb source`.

use std::ffi::{OsStr, OsString};

use distbackup_core::model::{Kind, VirtualPath};
use distbackup_core::rules::{PathConfig, RuleVerdict};
use distbackup_engine::ops::{OpError, sources};
use distbackup_engine::platform::bytes_of_path;
use distbackup_engine::report;
use serde::Deserialize;
use serde_json::json;

use super::vpath;
use crate::Outcome;
use crate::args::{SetArgs, SourceCommand};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::{count, moment, table};

/// Lists, maps, unmaps or configures sources.
pub fn run(context: &Context<'_>, command: Option<&SourceCommand>) -> Outcome {
    match command {
        None | Some(SourceCommand::List) => list(context),
        Some(SourceCommand::Map { vpath: at, path }) => {
            let mut opened = context.open_or_create()?;
            let at = vpath(at)?;
            let real = sources::map(&mut opened.catalog, &at, path)?;
            context.render.say(&format!("{} -> {}", at.display(), real.display()));
            Ok(Exit::DONE)
        }
        Some(SourceCommand::Unmap { vpath: at }) => {
            let mut opened = context.open_to_write()?;
            let at = vpath(at)?;
            sources::unmap(&mut opened.catalog, &at)?;
            context.render.say(&format!(
                "{} is protected no longer; what it held becomes history at the next update.",
                at.display()
            ));
            Ok(Exit::DONE)
        }
        Some(SourceCommand::Lock { vpaths }) if vpaths.is_empty() => locked(context),
        Some(SourceCommand::Lock { vpaths }) => change(context, vpaths, |config| config.lock = Some(true)),
        Some(SourceCommand::Unlock { vpaths }) => change(context, vpaths, |config| config.lock = None),
        Some(SourceCommand::Set(args)) => set(context, args),
        Some(SourceCommand::Reset { vpaths }) => {
            change(context, vpaths, |config| *config = PathConfig::default())
        }
        Some(SourceCommand::Check { rules, folder }) => check(context, rules, folder),
    }
}

/// Changes how paths are configured, and says what changed.
fn change(context: &Context<'_>, vpaths: &[OsString], edit: impl Fn(&mut PathConfig)) -> Outcome {
    let mut opened = context.open_to_write()?;
    for path in vpaths {
        let path = vpath(path)?;
        let (before, after) = sources::configure(&mut opened.catalog, &path, &edit)?;
        show_changes(context, &path, &before, &after);
    }
    Ok(Exit::DONE)
}

fn set(context: &Context<'_>, args: &SetArgs) -> Outcome {
    let settings = args.settings.as_deref().map(settings).transpose()?;
    change(context, &args.vpaths, |config| {
        let cleared = |number: u32| (number > 0).then_some(number);
        if let Some(settings) = &settings {
            settings.apply(config);
        }
        if let Some(number) = args.priority {
            config.priority = cleared(number);
        }
        if let Some(number) = args.maxcopies {
            config.maxcopies = cleared(number);
        }
        if let Some(number) = args.mincopies {
            config.mincopies = cleared(number);
        }
        if !args.rules.is_empty() {
            let mut rules = if args.append { config.rules.take().unwrap_or_default() } else { Vec::new() };
            for rule in &args.rules {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            config.rules = Some(rules);
        }
        for (wanted, lock) in [(args.lock, Some(true)), (args.unlock, None)] {
            config.lock = if wanted { lock } else { config.lock };
        }
        for (wanted, hide) in [(args.hide, Some(true)), (args.unhide, None)] {
            config.hide = if wanted { hide } else { config.hide };
        }
        for (wanted, follow) in [(args.follow, Some(true)), (args.nofollow, None)] {
            config.follow_symlinks = if wanted { follow } else { config.follow_symlinks };
        }
    })
}

/// Settings as JSON: what is named is set, `null` clears it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    #[serde(deserialize_with = "named")]
    priority: Option<Option<u32>>,
    #[serde(deserialize_with = "named")]
    mincopies: Option<Option<u32>>,
    #[serde(deserialize_with = "named")]
    maxcopies: Option<Option<u32>>,
    #[serde(deserialize_with = "named")]
    lock: Option<Option<bool>>,
    #[serde(deserialize_with = "named")]
    hide: Option<Option<bool>>,
    #[serde(deserialize_with = "named")]
    follow_symlinks: Option<Option<bool>>,
    #[serde(deserialize_with = "named")]
    noinherit: Option<Option<bool>>,
    #[serde(deserialize_with = "named")]
    rules: Option<Option<Vec<String>>>,
}

/// A key that stands there, even as `null`.
fn named<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl Settings {
    fn apply(&self, config: &mut PathConfig) {
        fn put<T: Clone>(slot: &mut Option<T>, given: &Option<Option<T>>) {
            if let Some(value) = given {
                slot.clone_from(value);
            }
        }
        put(&mut config.priority, &self.priority);
        put(&mut config.mincopies, &self.mincopies);
        put(&mut config.maxcopies, &self.maxcopies);
        put(&mut config.lock, &self.lock);
        put(&mut config.hide, &self.hide);
        put(&mut config.follow_symlinks, &self.follow_symlinks);
        put(&mut config.noinherit, &self.noinherit);
        put(&mut config.rules, &self.rules);
    }
}

fn settings(text: &str) -> Result<Settings, Failure> {
    serde_json::from_str(text)
        .map_err(|error| OpError::BadRequest { what: text.to_owned(), why: error.to_string() }.into())
}

/// What is configured, key by key, in words.
fn words(config: &PathConfig) -> [(&'static str, Option<String>); 8] {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let flag = |flag: Option<bool>| flag.map(|flag| if flag { "yes" } else { "no" }.to_owned());
    let rules = config.rules.as_ref().map(|rules| rules.join("   "));
    [
        ("priority", number(config.priority)),
        ("maxcopies", number(config.maxcopies)),
        ("mincopies", number(config.mincopies)),
        ("lock", flag(config.lock)),
        ("hide", flag(config.hide)),
        ("follow_symlinks", flag(config.follow_symlinks)),
        ("noinherit", flag(config.noinherit)),
        ("rules", rules),
    ]
}

fn show_changes(context: &Context<'_>, path: &VirtualPath, before: &PathConfig, after: &PathConfig) {
    let render = context.render;
    let json = |config: &PathConfig| {
        json!({ "priority": config.priority, "maxcopies": config.maxcopies, "mincopies": config.mincopies,
                "lock": config.lock, "hide": config.hide, "follow_symlinks": config.follow_symlinks,
                "noinherit": config.noinherit, "rules": config.rules })
    };
    render.object("path", json!({ "vpath": path.display(), "before": json(before), "now": json(after) }));
    render.line(&format!("{}:", path.display()));
    let word = |text: Option<String>| text.unwrap_or_else(|| "not set".to_owned());
    let mut any = false;
    for ((key, old), (_, new)) in words(before).into_iter().zip(words(after)) {
        any |= old.is_some() || new.is_some();
        if old != new {
            render.line(&format!("  {key}: {} -> {}", word(old), word(new)));
        } else if new.is_some() {
            render.line(&format!("  {key}: {}", word(new)));
        }
    }
    if !any {
        render.line("  nothing is configured");
    }
}

fn locked(context: &Context<'_>) -> Outcome {
    let opened = context.open_to_read()?;
    let configs = opened.catalog.read().path_configs()?;
    let mut locked = configs.iter().filter(|(_, config)| config.lock == Some(true)).peekable();
    if locked.peek().is_none() {
        context.render.note("Nothing is locked.");
    }
    for (path, _) in locked {
        context.render.object("locked", json!({ "vpath": path.display() }));
        context.render.line(&path.display());
    }
    Ok(Exit::DONE)
}

/// Shows what rules hit in the tree as it is known.
fn check(context: &Context<'_>, rules: &[String], folder: &OsStr) -> Outcome {
    let opened = context.open_to_read()?;
    let reader = opened.catalog.read();
    let config = if rules.is_empty() {
        sources::configuration(&reader, false)?
    } else {
        sources::configuration_with(&reader, &vpath(folder)?, rules)?
    };
    let render = context.render;
    let leaving = report::rule_hits(reader, &config, &mut |hit| -> Result<(), OpError> {
        if distbackup_engine::platform::interrupted() {
            return Err(OpError::Stopped);
        }
        let (word, priority) = match hit.verdict {
            RuleVerdict::Ignore => ("leaves out".to_owned(), None),
            RuleVerdict::Include { priority: None } => ("takes".to_owned(), None),
            RuleVerdict::Include { priority: Some(priority) } => {
                (format!("takes, priority {priority}"), Some(priority))
            }
        };
        render.object(
            "item",
            json!({ "path": hit.path.display(), "kind": hit.kind.letter().to_string(), "size": hit.size.0,
                    "rule": hit.rule, "ignored": hit.verdict == RuleVerdict::Ignore, "priority": priority }),
        );
        let end = if hit.kind == Kind::Directory { "/" } else { "" };
        render.line(&format!(
            "{:<20} {word:<18} {}{end}",
            hit.rule.unwrap_or("(hidden)"),
            hit.path.display()
        ));
        Ok(())
    })?;
    let files = count(leaving.objects, "file", "files");
    render.say(&match leaving.objects {
        0 => "No file of the tree would be left out.".to_owned(),
        _ => format!("{files} ({}) would leave the tree and become history.", render.size(leaving.bytes)),
    });
    Ok(Exit::DONE)
}

fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let opened = context.open_to_read()?;
    let sources = opened.catalog.read().sources()?;
    for source in &sources {
        context.render.object(
            "source",
            json!({ "vpath": source.vpath.display(), "path": source.path.display().to_string(),
                    "scanned_ns": source.scanned_ns }),
        );
    }
    if sources.is_empty() {
        context.render.note("No source is mapped. dsb source map /photos ~/Pictures  says what to protect.");
    }
    let rows: Vec<Vec<String>> = sources
        .iter()
        .map(|source| {
            let real = distbackup_core::model::escape_bytes(&bytes_of_path(&source.path));
            vec![source.vpath.display(), real, source.scanned_ns.map_or("never".into(), moment)]
        })
        .collect();
    if !rows.is_empty() {
        table(&["virtual path", "folder", "last scan"], &rows)
            .iter()
            .for_each(|line| context.render.line(line));
    }
    Ok(Exit::DONE)
}
