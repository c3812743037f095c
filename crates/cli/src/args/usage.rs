//! Options of `dsb tree` and `dsb ncdu`: which files count.

use clap::Args;

/// Which files count, by where their copies are.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Only files with at least so many copies
    #[arg(short = 'm', long, value_name = "N")]
    pub mincopies: Option<u16>,
    /// Only files with at most so many copies
    #[arg(short = 'x', long, value_name = "N")]
    pub maxcopies: Option<u16>,
    /// Only files with exactly so many copies
    #[arg(short = 'c', long, value_name = "N", conflicts_with_all = ["mincopies", "maxcopies"])]
    pub copies: Option<u16>,
    /// Only files that this disk holds; repeated: that all of them hold
    #[arg(short = 'i', long, value_name = "DISK")]
    pub include: Vec<String>,
    /// Only files that this disk does not hold
    #[arg(short = 'e', long, value_name = "DISK")]
    pub exclude: Vec<String>,
    /// As it would be after `disk drop DISK`
    #[arg(short = 'd', long, value_name = "DISK")]
    pub simulate_drop: Vec<String>,
}
