//! `dsb watch --install`: a service of the user for systemd, written and taken away again.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use distbackup_engine::catalog::CatalogError;
use distbackup_engine::ops::OpError;
use distbackup_engine::ops::tools::{Tool, said};
use serde_json::json;

use crate::Outcome;
use crate::context::{CATALOG, Context};
use crate::failure::{Exit, Failure};

const UNIT: &str = "distbackup-watch.service";
/// The first line of every unit that is ours: no other one is replaced or removed.
const OURS: &str = "# Written by `dsb watch --install`; `dsb watch --uninstall` removes it.";

/// Writes the unit, and starts it where systemd runs.
pub fn install(context: &Context<'_>, verify: &str) -> Outcome {
    if !context.path.exists() {
        return Err(CatalogError::Missing { path: context.path.clone() }.into());
    }
    let file = file()?;
    let program = std::env::current_exe().map_err(OpError::io("find", "this program"))?;
    let catalog = if context.path == context.folder.join(CATALOG) { &context.folder } else { &context.path };
    let catalog = std::path::absolute(catalog).map_err(OpError::io("find", catalog))?;
    let text = unit(&program, &catalog, verify)?;
    let render = context.render;
    render.object(
        "unit",
        json!({ "path": file.display().to_string(), "text": text, "dry_run": context.global.dry_run }),
    );
    refuse_foreign(&file)?;
    if context.global.dry_run {
        render.line(&format!("{} would say:", file.display()));
        text.lines().for_each(|line| render.line(line));
        return Ok(Exit::DONE);
    }
    write(&file, &text)?;
    render.say(&format!("Written: {}", file.display()));
    render.say(&format!("  to end the watch: systemctl --user stop {UNIT}      to begin it again: systemctl --user start {UNIT}"));
    render.say(&format!(
        "  what it does: journalctl --user -u {UNIT}      to take it away: dsb watch --uninstall"
    ));
    let started = match systemctl(context, &["daemon-reload"]) {
        Some(true) => systemctl(context, &["enable", "--now", UNIT]),
        otherwise => otherwise,
    };
    Ok(match started {
        Some(true) => {
            render.say("The watch is running, and will be whenever you log in.");
            Exit::DONE
        }
        Some(false) => Exit::PART,
        None => {
            render.note(&format!(
                "There is no systemctl here. Where there is one: systemctl --user enable --now {UNIT}"
            ));
            Exit::DONE
        }
    })
}

/// Stops the service and removes the unit.
pub fn uninstall(context: &Context<'_>) -> Outcome {
    let file = file()?;
    let render = context.render;
    refuse_foreign(&file)?;
    if !file.exists() {
        render.say(&format!("Nothing to remove: there is no {}.", file.display()));
        return Ok(Exit::DONE);
    }
    if context.global.dry_run {
        render.line(&format!("{} would be removed.", file.display()));
        return Ok(Exit::DONE);
    }
    let stopped = systemctl(context, &["disable", "--now", UNIT]);
    std::fs::remove_file(&file).map_err(OpError::io("remove", &file))?;
    render.say(&format!("Removed: {}", file.display()));
    let known = stopped == Some(true) && systemctl(context, &["daemon-reload"]) == Some(true);
    Ok(if known || stopped.is_none() { Exit::DONE } else { Exit::PART })
}

/// Whether systemd did it; what it did not do is a warning with the command. `None`: there is no systemd.
fn systemctl(context: &Context<'_>, words: &[&str]) -> Option<bool> {
    let tool = Tool::new("systemctl", std::iter::once(&"--user").chain(words));
    let why = match tool.run()? {
        Ok(output) if output.status.success() => return Some(true),
        Ok(output) => said(&output),
        Err(error) => error,
    };
    context.render.warning(&format!("systemd did not do it ({why}); in a session of yours: {}", tool.line()));
    Some(false)
}

/// Where the units of the user are.
fn file() -> Result<PathBuf, Failure> {
    use etcetera::BaseStrategy;
    let base = etcetera::base_strategy::Xdg::new()
        .map_err(|_| Failure::Usage("there is no home folder to which the service could belong".into()))?;
    Ok(base.config_dir().join("systemd/user").join(UNIT))
}

/// A unit that somebody else wrote stays, and so does what a link leads to.
fn refuse_foreign(file: &Path) -> Result<(), Failure> {
    let why = match std::fs::symlink_metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpError::io("look at", file)(error).into()),
        Ok(found) if !found.is_file() => "it is no ordinary file",
        Ok(_) => {
            let text = std::fs::read(file).map_err(OpError::io("read", file))?;
            if text.starts_with(OURS.as_bytes()) {
                return Ok(());
            }
            "dsb did not write it; nothing was changed. Move it away first"
        }
    };
    Err(OpError::BadRequest { what: file.display().to_string(), why: why.to_owned() }.into())
}

/// Writes it in one step, so that systemd never reads half of it.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(OpError::io("make the folder", folder))?;
    let unfinished = file.with_extension("service-unfinished");
    let written = std::fs::File::create(&unfinished).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()
    });
    written.map_err(OpError::io("write", &unfinished))?;
    Ok(std::fs::rename(&unfinished, file).map_err(OpError::io("write", file))?)
}

/// The unit. Ctrl-C's code is an orderly end; without a catalog or with wrong arguments, trying again is of no use. Only the
/// watch itself gets the signal to stop, and passes it on.
fn unit(program: &Path, catalog: &Path, verify: &str) -> Result<String, Failure> {
    Ok(format!(
        "{OURS}\n\
         [Unit]\n\
         Description=Back up to the disks of the shelf as they are connected (distbackup)\n\
         \n\
         [Service]\n\
         ExecStart={} --db {} --no-input watch --verify {}\n\
         KillMode=mixed\n\
         TimeoutStopSec=10min\n\
         SuccessExitStatus=130\n\
         Restart=on-failure\n\
         RestartSec=1min\n\
         RestartPreventExitStatus=2 10\n\
         Nice=10\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        word(program)?,
        word(catalog)?,
        word(Path::new(verify))?
    ))
}

/// A path as one word of a systemd command line, in which nothing is replaced (systemd.service(5), "Command lines").
fn word(path: &Path) -> Result<String, Failure> {
    let bad = || Failure::Usage(format!("{} cannot stand in a unit of systemd", path.display()));
    let text = path.to_str().ok_or_else(bad)?;
    if text.chars().any(char::is_control) {
        return Err(bad());
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word_whatever_it_contains() {
        assert_eq!(word(Path::new("/a b/c")).ok().unwrap(), "\"/a b/c\"");
        assert_eq!(word(Path::new(r#"/50%/"x"\$HOME"#)).ok().unwrap(), r#""/50%%/\"x\"\\$$HOME""#);
        assert!(word(Path::new("/a\n[Service]\nExecStart=/bin/rm")).is_err());
    }
}
