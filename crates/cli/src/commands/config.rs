//! `dsb config`.

use distbackup_core::model::parse_duration_days;
use serde_json::json;

use crate::Outcome;
use crate::args::ConfigCommand;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Settings: name, what it is when never set, meaning.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("keep-deleted", "90d", "how long what left the tree is kept (0: not at all, off: for ever)"),
    ("keep-snapshots", "0", "besides, so many newest snapshots keep their history (off: all)"),
    ("trust-time", "2y", "how long a copy counts as proven after it was written or verified"),
];

/// Shows or changes settings.
pub fn run(context: &Context<'_>, command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Get { name } => {
            let opened = context.open_to_read()?;
            if let Some(name) = name {
                known(name)?;
            }
            for (setting, default, meaning) in SETTINGS {
                if name.as_ref().is_some_and(|name| name != setting) {
                    continue;
                }
                let value = opened.catalog.read().setting(setting)?.unwrap_or_else(|| default.to_owned());
                context.render.object("setting", json!({ "name": setting, "value": value }));
                match name {
                    Some(_) => context.render.line(&value),
                    None => context.render.line(&format!("{setting:<14} = {value:<6} {meaning}")),
                }
            }
            Ok(Exit::DONE)
        }
        ConfigCommand::Set { name, value } => {
            known(name)?;
            let value = value.trim().to_ascii_lowercase();
            match (name.as_str(), value.as_str()) {
                ("keep-deleted" | "keep-snapshots", "off") => {}
                ("keep-snapshots", number) => {
                    number.parse::<u32>().map_err(|_| Failure::Usage(format!("not a number: {number:?}")))?;
                }
                (_, text) => drop(parse_duration_days(text)?),
            }
            let mut opened = context.open_or_create()?;
            opened.catalog.write("change a setting", |writer| writer.record_setting(name, &value))?;
            context.render.say(&format!("{name} = {value}"));
            Ok(Exit::DONE)
        }
    }
}

fn known(name: &str) -> Result<(), Failure> {
    if SETTINGS.iter().any(|(setting, _, _)| *setting == name) {
        return Ok(());
    }
    let names: Vec<&str> = SETTINGS.iter().map(|(setting, _, _)| *setting).collect();
    Err(Failure::Usage(format!("there is no setting {name:?}; there are {}", names.join(", "))))
}
