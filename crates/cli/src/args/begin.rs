//! Options of `dsb init`.

use std::ffi::OsString;

use clap::Args;

/// What is to be set up; what is not given is asked for.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A folder to protect, under its own name or as VPATH. May be repeated
    #[arg(long = "source", value_name = "[VPATH=]FOLDER")]
    pub sources: Vec<OsString>,
    /// Copies of each file that `status` asks for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub copies: Option<u32>,
    /// A rule for names to be left out everywhere. May be repeated
    #[arg(short = 'i', long = "ignore", value_name = "RULE")]
    pub ignore: Vec<String>,
    /// The folder of the first disk, and its name
    #[arg(long, value_name = "[NAME=]FOLDER")]
    pub disk: Option<String>,
    /// Where that disk is kept
    #[arg(long, value_name = "TEXT", requires = "disk")]
    pub location: Option<String>,
}
