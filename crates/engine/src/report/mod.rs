//! Questions answered as typed values, from the catalog alone.

mod advice;
mod differences;
mod find;
mod hits;
mod pace;
mod planned;
mod prospect;
mod search;
mod status;
mod usage;

pub use advice::{Advice, Suggestion, advice, advice_after_visit, advice_is_ready};
pub use differences::{Change, Difference, Differences, Tallied, differences};
pub use find::{Holder, Listing, holders, list};
pub use hits::{Hit, rule_hits};
pub use pace::{Pace, pace, visit_record};
pub use planned::{ByCopies, PlannedVisit};
pub use prospect::{Loss, Prospect, Shortage, Visitable};
pub use search::{Found, Pattern, find};
pub use status::{DiskStatus, Level, Status, status, status_ahead, status_is_ready};
pub use usage::{TreeLine, Usage, UsageStep, UsedFile, usage_tree, usage_walk};
