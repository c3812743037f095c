//! Options of `dsb source`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with sources.
#[derive(Debug, Subcommand)]
pub enum SourceCommand {
    /// List the mappings
    List,
    /// Protect a folder under a virtual path
    Map {
        /// Where it appears in the virtual tree
        vpath: OsString,
        /// The real folder
        path: PathBuf,
    },
    /// Protect a folder no longer; what it held becomes history
    #[command(visible_alias = "del")]
    Unmap {
        /// Its virtual path
        vpath: OsString,
    },
    /// Take files and folders to be unchanged, and keep what is known of them; without paths, list what is locked
    Lock {
        /// Virtual paths
        vpaths: Vec<OsString>,
    },
    /// Look at files and folders again
    Unlock {
        /// Virtual paths
        #[arg(required = true)]
        vpaths: Vec<OsString>,
    },
    /// Configure files and folders; without options, show how they are configured
    Set(SetArgs),
    /// Forget the configuration of files and folders
    Reset {
        /// Virtual paths
        #[arg(required = true)]
        vpaths: Vec<OsString>,
    },
    /// Show which files rules would hit, before they are set; without rules, those that are set
    Check {
        /// Rules, as for `set --ignore`
        rules: Vec<String>,
        /// The folder they would be set for
        #[arg(long = "in", value_name = "VPATH", default_value = "/")]
        folder: OsString,
    },
}

/// Options of `source set`.
#[derive(Debug, Args)]
#[command(
    after_help = "RULES are held against names; the first that matches decides, those of inner folders before\n\
    those of outer ones. `PATTERN` leaves out what it matches, `!PATTERN` takes it, `!!!PATTERN` takes it with\n\
    priority 3. A pattern with * ? [ ] is a glob, `/PATTERN` a regular expression, `:NAME` a literal name.\n\
    What is left out becomes history: its copies stay until the retention time has passed."
)]
pub struct SetArgs {
    /// Virtual paths
    #[arg(required = true)]
    pub vpaths: Vec<OsString>,
    /// Priority among equally few copies; 0 clears it
    #[arg(short = 'p', long, value_name = "N")]
    pub priority: Option<u32>,
    /// Copies beyond this number are not made; 0 clears it
    #[arg(short = 'm', long, value_name = "N")]
    pub maxcopies: Option<u32>,
    /// Copies that `status` asks for; 0 clears it
    #[arg(long, value_name = "N")]
    pub mincopies: Option<u32>,
    /// A rule for the names below; replaces the rules that are set. May be repeated
    #[arg(short = 'i', long = "ignore", value_name = "RULE")]
    pub rules: Vec<String>,
    /// Add the rules to those that are set
    #[arg(short = 'a', long, requires = "rules")]
    pub append: bool,
    /// Take it to be unchanged
    #[arg(short = 'l', long, conflicts_with = "unlock")]
    pub lock: bool,
    /// Look at it again
    #[arg(short = 'u', long)]
    pub unlock: bool,
    /// Leave it out of the tree; what it held becomes history
    #[arg(long, conflicts_with = "unhide")]
    pub hide: bool,
    /// Take it into the tree again
    #[arg(long)]
    pub unhide: bool,
    /// Take symlinks in this folder, not below it, as what they lead to
    #[arg(long, conflicts_with = "nofollow")]
    pub follow: bool,
    /// Take symlinks as links again
    #[arg(long)]
    pub nofollow: bool,
    /// Settings as a JSON object: priority, mincopies, maxcopies, lock, hide, follow_symlinks, noinherit, rules;
    /// null clears one
    #[arg(short = 'j', long = "settings", value_name = "JSON")]
    pub settings: Option<String>,
}
