//! The command line: verbs, options and their help.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use clap_complete::ArgValueCompleter;

use crate::complete;
use crate::render::{Settings, ShowProgress};

mod begin;
mod disk;
mod source;
mod usage;
mod visit;
mod watch;

pub use begin::InitArgs;
pub use disk::{DiskCommand, StagingArgs};
pub use source::{SetArgs, SourceCommand};
pub use usage::CopyArgs;
pub use visit::{AdoptArgs, BackupArgs, ForgetArgs, HowChoice, PartArgs, RestoreArgs, VerifyArgs};
pub use watch::WatchArgs;

/// One backup on a shelf of disks of all sizes, of which usually one is connected.
#[derive(Debug, Parser)]
#[command(name = "dsb", version, subcommand_required = false, arg_required_else_help = false)]
#[command(after_help = "Long global options may also stand after the command.\n\
    Exit codes: 0 done, 1 failed, 2 usage, 3 done in part, 4 damage found, 5 status --check,\n\
    10 no catalog, 11 in use, 12 disk not connected or wrong, 13 disk full, 14 confirmation needed, 130 interrupted.")]
pub struct Cli {
    /// Global options.
    #[command(flatten)]
    pub global: Global,
    /// What to do; without one, the status is shown.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Catalog, or the folder that holds it
    #[arg(short = 'd', long = "db", value_name = "PATH", env = "DISTBACKUP_PATH", hide_env_values = true)]
    pub db: Option<PathBuf>,
    /// Log file; @@ stands for the date; empty: none; usually log/log-@@.txt beside the catalog
    #[arg(short = 'l', long, value_name = "FILE")]
    pub log: Option<OsString>,
    /// Write no log file
    #[arg(short = 'L', long)]
    pub nolog: bool,
    /// Say more; twice: say everything
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what went wrong
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Change nothing, show what would be done
    #[arg(short = 'n', long = "dry-run", visible_alias = "noaction")]
    pub dry_run: bool,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Choice::Auto, value_name = "WHEN")]
    pub color: Choice,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressChoice::Auto, value_name = "HOW")]
    pub progress: ProgressChoice,
    /// Answer yes to every question
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// Never ask; what needs an answer fails
    #[arg(long)]
    pub no_input: bool,
    /// Explain queries; kept for scripts of distbackup 1.x, without effect
    #[arg(short = 'e', long, hide = true)]
    pub explain: bool,
    /// Show sizes in exact bytes
    #[arg(long)]
    pub bytes: bool,
}

impl Global {
    /// How to say things.
    pub fn render_settings(&self) -> Settings {
        Settings {
            json: self.json,
            quiet: self.quiet,
            verbose: self.verbose,
            exact: self.bytes,
            colour: match self.color {
                Choice::Auto => None,
                Choice::Always => Some(true),
                Choice::Never => Some(false),
            },
            progress: match self.progress {
                ProgressChoice::Auto => ShowProgress::Fitting,
                ProgressChoice::Plain => ShowProgress::Plain,
                ProgressChoice::None => ShowProgress::Never,
            },
        }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressChoice {
    /// Bars on a terminal, plain lines elsewhere.
    Auto,
    /// Plain lines.
    Plain,
    /// Nothing.
    None,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a set: four questions, or none with --no-input
    Init(InitArgs),
    /// What is to be protected
    Source {
        /// What to do with sources; without it they are listed
        #[command(subcommand)]
        command: Option<SourceCommand>,
    },
    /// The disks of the shelf
    Disk {
        /// What to do with disks; without it they are listed
        #[command(subcommand)]
        command: Option<DiskCommand>,
    },
    /// Scan the sources and hash what is new
    Update {
        /// Accept what looks like an accident: an empty or moved source, a leap of the clock
        #[arg(long)]
        accept: bool,
        /// Look at locked files and folders, too
        #[arg(long)]
        ignore_lock: bool,
        /// Of distbackup 1.x: there is no helper process any more
        #[arg(long, hide = true)]
        nohelper: bool,
        /// Read unchanged files again, too, and compare them with what they should be
        #[arg(long)]
        reread: bool,
        /// How much to read again
        #[command(flatten)]
        part: PartArgs,
    },
    /// Make the best use of a connected disk
    Backup(BackupArgs),
    /// Get files back
    Restore(RestoreArgs),
    /// Make objects of ordinary files that a drive of the set holds already
    Adopt(AdoptArgs),
    /// Take the catalog from a disk when this computer's is lost
    Recover {
        /// Folder of the disk
        #[arg(value_name = "PATH")]
        disk: PathBuf,
        /// Several computers use these disks in turn: take over where another one ended, and look at own sources only
        #[arg(long)]
        share: bool,
    },
    /// Take over the catalog of distbackup 1.x; nothing on the disks is touched
    #[command(name = "import-v1")]
    ImportV1 {
        /// The old catalog or its folder; without it, the one in the place of the new one, which is kept beside it
        path: Option<PathBuf>,
    },
    /// Read and check every object of a disk
    Verify(VerifyArgs),
    /// Bring back what disks have lost, from sources, other disks or a staging folder
    Heal {
        /// Names, UUIDs or paths; without any, every disk that has lost something
        #[arg(value_name = "DISK", add = ArgValueCompleter::new(complete::disks))]
        disks: Vec<String>,
        /// How objects get from one disk to another
        #[command(flatten)]
        staging: StagingArgs,
    },
    /// What is safe, and what to do next
    Status {
        /// End with 5 if anything has fewer copies than it should have, or a check is overdue: for scripts
        #[arg(long)]
        check: bool,
    },
    /// What a visit of a disk would do, and why
    Plan {
        /// Name, UUID or path; without it, the disk that is connected
        #[arg(add = ArgValueCompleter::new(complete::disks))]
        disk: Option<String>,
    },
    /// Which disk to connect next, and what it would gain
    Next,
    /// What would be if disks were lost or bought, or more copies wanted
    #[command(name = "whatif")]
    WhatIf {
        /// The question
        #[command(subcommand)]
        question: WhatIf,
    },
    /// Wait for disks to be connected, and back up to each
    Watch(WatchArgs),
    /// List files with their sizes and disks
    Ls {
        /// Patterns over whole virtual paths; `*` crosses `/`
        #[arg(value_name = "PATTERN", add = ArgValueCompleter::new(complete::vpaths))]
        patterns: Vec<OsString>,
        /// Only what this disk holds
        #[arg(short = 'd', long = "disk", value_name = "DISK", add = ArgValueCompleter::new(complete::disks))]
        disk: Option<String>,
        /// The tree at a date or of a snapshot
        #[arg(long, value_name = "DATE|SNAPSHOT", add = ArgValueCompleter::new(complete::snapshots))]
        at: Option<String>,
    },
    /// Find files by a part of their names, also those that are deleted and disks in the drawer
    Find {
        /// A part of the name, any case; with * ? [ ] a glob over the name; with a / over the whole path
        pattern: String,
        /// Only what is in the tree now
        #[arg(long)]
        now: bool,
    },
    /// What changed from one snapshot to another
    Diff {
        /// The older one: its number, a date, or `latest`
        #[arg(value_name = "DATE|SNAPSHOT", add = ArgValueCompleter::new(complete::snapshots))]
        from: String,
        /// The newer one; usually `latest`
        #[arg(value_name = "DATE|SNAPSHOT", add = ArgValueCompleter::new(complete::snapshots))]
        to: Option<String>,
        /// Only what this pattern matches; may be given again
        #[arg(short = 'f', long = "filter", value_name = "PATTERN", add = ArgValueCompleter::new(complete::vpaths))]
        patterns: Vec<OsString>,
    },
    /// Forget snapshots, and what only they have
    Forget(ForgetArgs),
    /// Which disks hold a file
    Where {
        /// Virtual path
        #[arg(add = ArgValueCompleter::new(complete::vpaths))]
        path: OsString,
        /// The tree at a date or of a snapshot
        #[arg(long, value_name = "DATE|SNAPSHOT", add = ArgValueCompleter::new(complete::snapshots))]
        at: Option<String>,
    },
    /// Folders and files by size, with files and bytes by number of copies
    Tree {
        /// Which files count
        #[command(flatten)]
        copies: CopyArgs,
        /// Only so many levels
        #[arg(long, value_name = "N")]
        depth: Option<usize>,
    },
    /// The same in the browser `ncdu`, or as a file for it
    Ncdu {
        /// Which files count
        #[command(flatten)]
        copies: CopyArgs,
        /// Write what `ncdu -f` reads; `-`: to standard output
        #[arg(short = 'o', long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Settings of the set
    Config {
        /// What to do
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// What each command did
    Log {
        /// What to do with the log; without it the newest runs are listed
        #[command(subcommand)]
        command: Option<LogCommand>,
        /// So many newest runs
        #[arg(short = 'n', long = "number", default_value_t = 20)]
        number: u32,
    },
    /// Snapshots of the tree
    Snapshots,
    /// Write the list of files for other programs, or as a page for a browser
    Export {
        /// In which form
        #[command(subcommand)]
        command: ExportCommand,
    },
    /// Bytes by number of copies, for the set and for each disk
    Info {
        /// Of distbackup 1.x, without effect
        #[arg(long, hide = true)]
        no_saturated: bool,
    },
    /// Check this computer, the catalog, the sources and the connected disks
    Doctor,
    /// Look closely at a file or an entry
    Debug {
        /// At what
        #[command(subcommand)]
        command: DebugCommand,
    },
    /// A script by which a shell completes commands, disks, paths and snapshots
    Completions {
        /// Which shell; for bash: source <(dsb completions bash)
        shell: Shell,
    },
    /// Write the manual pages
    Man {
        /// Into this folder, one for each command; without it, the first one to standard output
        folder: Option<PathBuf>,
    },
    /// What the exit codes mean
    #[command(name = "exit-codes", hide = true, long_about = EXIT_CODES)]
    ExitCodes,
}

/// Forms of the list of files.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// A table, for spreadsheets: path, kind, size, modified, sha256, copies, disks
    Csv {
        /// What to list
        #[command(flatten)]
        list: ListArgs,
    },
    /// One JSON object per line
    Json {
        /// What to list
        #[command(flatten)]
        list: ListArgs,
    },
    /// A page for a browser, as each disk has it: browse, search, see which disks hold what
    Html {
        /// Into this folder, which is new or empty
        dest: PathBuf,
    },
}

/// What `export` lists, and where to.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Patterns over whole virtual paths; without any, everything
    #[arg(value_name = "PATTERN", add = ArgValueCompleter::new(complete::vpaths))]
    pub patterns: Vec<OsString>,
    /// Into this file; without it, or with -, to standard output
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The tree at a date or of a snapshot
    #[arg(long, value_name = "DATE|SNAPSHOT", add = ArgValueCompleter::new(complete::snapshots))]
    pub at: Option<String>,
}

/// What to look at closely.
#[derive(Debug, Subcommand)]
pub enum DebugCommand {
    /// SHA-256 and size of a file, read as a backup reads it
    Hash {
        /// The file
        file: PathBuf,
    },
    /// Everything that the catalog knows of an entry
    Info {
        /// Virtual path
        #[arg(add = ArgValueCompleter::new(complete::vpaths))]
        path: OsString,
    },
}

/// Shells that can complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Elvish.
    Elvish,
    /// Fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// Z shell.
    Zsh,
}

/// What `dsb help exit-codes` says.
pub const EXIT_CODES: &str = "\
Exit code 0 means: all of what was asked is done, durably. If several apply, the gravest counts.

    0  done
    1  failed; what was recorded before is safe
    2  wrong usage
    3  done in part: the output lists what was left out
    4  damage found: objects are bad or missing, or a source file rotted
    5  status --check: something has fewer copies than it should have
   10  no catalog here, or a damaged or outdated one
   11  another dsb uses the catalog or the disk
   12  the disk is not connected, not recognised, read-only, or another one
   13  the disk refused room that it had promised
   14  a confirmation was needed and not given
  130  interrupted in order; the same command goes on";

/// Questions about what is not so.
#[derive(Debug, Subcommand)]
pub enum WhatIf {
    /// These disks are lost, all at once
    Lose {
        /// Names or UUIDs
        #[arg(required = true, value_name = "DISK", add = ArgValueCompleter::new(complete::disks))]
        disks: Vec<String>,
    },
    /// New empty disks join
    Add {
        /// Their sizes: 8T, 500G, 1.5TiB
        #[arg(required = true, value_name = "SIZE")]
        sizes: Vec<String>,
    },
    /// Everything should have so many copies
    Target {
        /// Copies
        #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
        copies: u16,
    },
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings
    Get {
        /// Which; without it, all
        #[arg(add = ArgValueCompleter::new(complete::settings))]
        name: Option<String>,
    },
    /// Change a setting
    Set {
        /// keep-deleted, keep-snapshots, page or trust-time
        #[arg(add = ArgValueCompleter::new(complete::settings))]
        name: String,
        /// 90d, 12w, 2y, 0 (nothing) or off (for ever); of page: on or off
        value: String,
    },
    /// Write mappings, configured paths, disks and settings as JSON
    Export {
        /// File; `-`: standard output
        file: PathBuf,
        /// Only at and below this virtual path
        #[arg(short = 'p', long, value_name = "VPATH", default_value = "/")]
        prefix: OsString,
    },
    /// Take over what was exported; mappings and configured paths are replaced, disks only changed
    Import {
        /// File; `-`: standard input
        file: PathBuf,
        /// Only at and below this virtual path
        #[arg(short = 'p', long, value_name = "VPATH", default_value = "/")]
        prefix: OsString,
    },
    /// Edit the same with an editor
    Edit {
        /// What of it
        #[arg(value_enum, default_value_t = EditPart::All)]
        part: EditPart,
        /// Only at and below this virtual path
        #[arg(default_value = "/")]
        vpath: OsString,
        /// Editor; otherwise $VISUAL, $EDITOR or vi
        #[arg(short = 'e', long, value_name = "COMMAND")]
        editor: Option<String>,
    },
}

/// Parts of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EditPart {
    /// Everything.
    All,
    /// Mappings.
    Map,
    /// Configured paths.
    Path,
    /// Disks.
    Disks,
}

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// One run: when, what, how it ended
    Show {
        /// Its number
        run: i64,
    },
}

/// Long global options, and whether each takes a value.
const GLOBAL_LONG: [(&str, bool); 14] = [
    ("--db", true),
    ("--log", true),
    ("--nolog", false),
    ("--verbose", false),
    ("--quiet", false),
    ("--dry-run", false),
    ("--noaction", false),
    ("--json", false),
    ("--color", true),
    ("--progress", true),
    ("--yes", false),
    ("--no-input", false),
    ("--bytes", false),
    ("--explain", false),
];

/// Moves long global options that stand after the verb in front of it, where the parser expects them.
///
/// Short ones belong to the verb there (INTERFACE 1.1), so the parser's own notion of global options does not fit.
pub fn hoist_global(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut front: Vec<OsString> = arguments.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments);
            break;
        }
        let known = |argument: &OsStr| {
            let text = argument.to_string_lossy();
            let (name, value) = text.split_once('=').map_or((&*text, false), |(name, _)| (name, true));
            GLOBAL_LONG.iter().find(|(long, _)| *long == name).map(|(_, takes)| *takes && !value)
        };
        match known(&argument) {
            None => rest.push(argument),
            Some(takes_next) => {
                front.push(argument);
                if takes_next {
                    front.extend(arguments.next());
                }
            }
        }
    }
    front.extend(rest);
    front
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn long_global_options_may_follow_the_verb() {
        let parse =
            |line: &str| Cli::try_parse_from(hoist_global(line.split(' ').map(OsString::from).collect()));
        let cli = parse("dsb status --json --db /x").unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.db, Some("/x".into()));
        let cli = parse("dsb -d /y ls -d red --color=never").unwrap();
        assert_eq!(cli.global.db, Some("/y".into()));
        assert!(matches!(cli.command, Some(Command::Ls { disk: Some(disk), .. }) if disk == "red"));
        assert_eq!(cli.global.color, Choice::Never);
    }
}
