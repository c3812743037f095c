//! `dsb man`, `dsb completions` and `dsb help exit-codes`: what comes from the description of the command line itself.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::env::Shells;
use distbackup_engine::ops::OpError;

use crate::Outcome;
use crate::args::{Cli, EXIT_CODES, Shell};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::render::words::count;

/// Prints the script by which a shell completes. It asks the program again at every press of the key.
pub fn completions(shell: Shell) -> Outcome {
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(name) else {
        return Err(Failure::Usage(format!("there are no completions for {name}")));
    };
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "dsb", "dsb", "dsb", &mut script)?;
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(Exit::DONE)
}

/// Writes the manual pages: all of them into a folder, or the first one to standard output.
pub fn pages(context: &Context<'_>, folder: Option<&Path>) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let Some(folder) = folder else {
        let mut page = Vec::new();
        page_of(&command, &mut page)?;
        std::io::Write::write_all(&mut std::io::stdout().lock(), &page)?;
        return Ok(Exit::DONE);
    };
    std::fs::create_dir_all(folder).map_err(OpError::io("make the folder", folder))?;
    let mut written = 0;
    write_pages(&command, "dsb", folder, &mut written)?;
    context.render.say(&format!(
        "{} in {}.",
        count(written, "manual page", "manual pages"),
        folder.display()
    ));
    Ok(Exit::DONE)
}

fn write_pages(command: &clap::Command, name: &str, folder: &Path, written: &mut u64) -> Result<(), Failure> {
    let mut page = Vec::new();
    page_of(&command.clone().name(name.to_owned()).display_name(name.to_owned()), &mut page)?;
    let file = folder.join(format!("{name}.1"));
    std::fs::write(&file, page).map_err(OpError::io("write", file.clone()))?;
    *written += 1;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), folder, written)?;
    }
    Ok(())
}

/// One page, with the exit codes at its end.
fn page_of(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let manual = clap_mangen::Man::new(command.clone()).manual("distbackup");
    manual.render(page)?;
    page.extend_from_slice(b".SH \"EXIT STATUS\"\n.nf\n");
    for line in EXIT_CODES.lines() {
        page.extend_from_slice(line.trim_end().as_bytes());
        page.push(b'\n');
    }
    page.extend_from_slice(b".fi\n");
    Ok(())
}

/// Says what the exit codes mean.
pub fn exit_codes(context: &Context<'_>) -> Outcome {
    EXIT_CODES.lines().for_each(|line| context.render.line(line));
    Ok(Exit::DONE)
}
