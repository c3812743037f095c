//! What `dsb watch` takes.

use clap::Args;

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// After each backup, read for so long what was proven longest ago (30min, 2h); 0: not at all
    #[arg(long, value_name = "TIME", default_value = "10min")]
    pub verify: String,
    /// End after the first disk
    #[arg(long, conflicts_with_all = ["install", "uninstall"])]
    pub once: bool,
    /// Have systemd watch whenever you are logged in
    #[arg(long, conflicts_with = "uninstall")]
    pub install: bool,
    /// Take that back
    #[arg(long)]
    pub uninstall: bool,
}
