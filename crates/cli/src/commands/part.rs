//! `--for`, `--older-than`, `--sample`: what they mean, and what is said of what was left.

use distbackup_core::model::{DAY_NS, parse_duration_days, parse_share_ppm, parse_time_box};
use distbackup_engine::ops::Part;

use crate::args::PartArgs;
use crate::failure::Failure;

/// The part that the options mean.
pub fn parse(args: &PartArgs) -> Result<Part, Failure> {
    let days = args.older_than.as_deref().map(parse_duration_days).transpose()?;
    Ok(Part {
        time: args.time.as_deref().map(parse_time_box).transpose()?,
        older_than_ns: days.map(|days| i64::from(days) * DAY_NS),
        sample_ppm: args.sample.as_deref().map(parse_share_ppm).transpose()?,
    })
}

/// The options as they were given, to be pasted.
pub fn words(args: &PartArgs) -> String {
    let options = [("--for", &args.time), ("--older-than", &args.older_than), ("--sample", &args.sample)];
    let given = options.iter().filter_map(|(name, value)| Some(format!(" {name} {}", value.as_ref()?)));
    given.collect()
}
