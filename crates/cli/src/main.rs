//! `dsb`: parses, renders and chooses exit codes; the engine does the work.
#![allow(missing_docs, reason = "a program has no public interface but its command line")]

mod args;
mod commands;
mod complete;
mod context;
mod failure;
mod render;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::Cli;
use context::Context;
use failure::{Exit, Failure};
use render::Render;

fn main() -> ExitCode {
    // A shell that completes asks in its own way, and gets its answer before anything else happens.
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut cli = match Cli::try_parse_from(args::hoist_global(arguments.clone())) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers (0); everything else is wrong usage (2).
            let code = if error.use_stderr() { Exit::USAGE } else { Exit::DONE };
            let _ = error.print();
            return ExitCode::from(code.0);
        }
    };
    // The older spelling of a dry run means all of it: a private catalog, no log.
    if let Some(args::Command::Backup(args::BackupArgs { simulate: true, .. })) = cli.command {
        cli.global.dry_run = true;
    }
    distbackup_engine::platform::watch_interrupts();
    distbackup_engine::platform::raise_open_files_limit();
    let log = context::log_file(&cli.global);
    let render = Render::new(&cli.global.render_settings(), log, distbackup_engine::platform::interrupted);
    let outcome =
        Context::new(&cli.global, &render, &arguments).and_then(|context| commands::run(&context, &cli));
    let exit = match outcome {
        Ok(exit) => exit,
        Err(failure) => render.failure(&failure),
    };
    render.summary(commands::name(&cli), exit);
    ExitCode::from(exit.0)
}

/// What a command ends with.
type Outcome = Result<Exit, Failure>;
