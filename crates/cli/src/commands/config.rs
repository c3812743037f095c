//! `dsb config`.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use distbackup_core::model::VirtualPath;
use distbackup_engine::catalog::Catalog;
use distbackup_engine::ops::OpError;
use distbackup_engine::ops::config_file::{self, ConfigFile, Imported, Part};
use distbackup_engine::ops::tempdir::TempFolder;
use serde_json::json;

use super::vpath;
use crate::Outcome;
use crate::args::{ConfigCommand, EditPart};
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Settings: name, what it is when never set, meaning.
const SETTINGS: [(&str, &str, &str); 4] = [
    ("keep-deleted", "90d", "how long what left the tree is kept (0: not at all, off: for ever)"),
    ("keep-snapshots", "0", "besides, so many newest snapshots keep their history (off: all)"),
    (
        "page",
        "on",
        "whether visits leave CATALOG.html on disks, to browse the catalog there (off: it is removed)",
    ),
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
            let value = config_file::check_setting(name, value)?;
            let mut opened = context.open_or_create()?;
            opened.catalog.write("change a setting", |writer| writer.record_setting(name, &value))?;
            context.render.say(&format!("{name} = {value}"));
            Ok(Exit::DONE)
        }
        ConfigCommand::Export { file, prefix } => export(context, file, prefix),
        ConfigCommand::Import { file, prefix } => {
            let text = read(file)?;
            let mut opened = context.open_or_create()?;
            let imported = import(&mut opened.catalog, &text, &vpath(prefix)?, Part::All)?;
            say_imported(context, &imported);
            Ok(Exit::DONE)
        }
        ConfigCommand::Edit { part, vpath: below, editor } => edit(context, *part, below, editor.as_deref()),
    }
}

fn export(context: &Context<'_>, file: &Path, prefix: &OsStr) -> Outcome {
    let opened = context.open_to_read()?;
    let exported = config_file::export(&opened.catalog.read(), &vpath(prefix)?, Part::All)?;
    let text = to_text(&exported)?;
    if file == Path::new("-") {
        text.lines().for_each(|line| context.render.line(line));
        context.render.object("configuration", serde_json::to_value(&exported).unwrap_or_default());
    } else {
        std::fs::write(file, &text).map_err(io("write", file))?;
        context.render.say(&format!("Written to {}.", file.display()));
    }
    Ok(Exit::DONE)
}

fn to_text(file: &ConfigFile) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(file);
    text.map(|text| text + "\n").map_err(|error| Failure::Usage(error.to_string()))
}

fn io<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(std::io::Error) -> OpError + 'p {
    move |source| OpError::Io { action, path: path.to_owned(), source }
}

fn read(file: &Path) -> Result<String, Failure> {
    if file == Path::new("-") {
        return Ok(
            std::io::read_to_string(std::io::stdin()).map_err(io("read", Path::new("standard input")))?
        );
    }
    Ok(std::fs::read_to_string(file).map_err(io("read", file))?)
}

fn import(catalog: &mut Catalog, text: &str, prefix: &VirtualPath, part: Part) -> Result<Imported, Failure> {
    let file: ConfigFile = serde_json::from_str(text)
        .map_err(|error| OpError::BadRequest { what: "the configuration".into(), why: error.to_string() })?;
    Ok(config_file::import(catalog, &file, prefix, part)?)
}

fn say_imported(context: &Context<'_>, imported: &Imported) {
    imported.ignored.iter().for_each(|text| context.render.warning(&format!("left out: {text}")));
    imported.changes.iter().for_each(|text| context.render.say(text));
    context.render.object("imported", json!({ "changes": imported.changes, "ignored": imported.ignored }));
    if imported.changes.is_empty() {
        context.render.say("Nothing changed.");
    }
}

/// Lets the user edit the configuration, again and again until it can be read.
fn edit(context: &Context<'_>, part: EditPart, below: &OsStr, editor: Option<&str>) -> Outcome {
    let part = match part {
        EditPart::All => Part::All,
        EditPart::Map => Part::Map,
        EditPart::Path => Part::Paths,
        EditPart::Disks => Part::Disks,
    };
    let editor = editor.map(str::to_owned).or_else(|| std::env::var("VISUAL").ok());
    let editor = editor.or_else(|| std::env::var("EDITOR").ok()).unwrap_or_else(|| "vi".to_owned());
    let mut opened = context.open_to_write()?;
    let prefix = vpath(below)?;
    let original = to_text(&config_file::export(&opened.catalog.read(), &prefix, part)?)?;
    let folder = TempFolder::new().map_err(io("make a folder for", Path::new("the configuration")))?;
    let file = folder.path().join("distbackup.json");
    std::fs::write(&file, &original).map_err(io("write", &file))?;
    loop {
        // A shell, so that an editor may be given with options, as git does.
        let status = Command::new("sh")
            .args(["-c", &format!("{editor} \"$1\""), "editor"])
            .arg(&file)
            .status()
            .map_err(io("start", Path::new(&editor)))?;
        if !status.success() {
            let why = format!("it ended with {status}; nothing was changed");
            return Err(OpError::BadRequest { what: editor, why }.into());
        }
        match import(&mut opened.catalog, &read(&file)?, &prefix, part) {
            Ok(imported) => {
                say_imported(context, &imported);
                return Ok(Exit::DONE);
            }
            Err(error) => match context.choose(&format!("{error}\n(e)dit again, (r)evert, (c)ancel?"), "erc")
            {
                Some('e') => {}
                Some('r') => std::fs::write(&file, &original).map_err(io("write", &file))?,
                _ => return Err(error),
            },
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
