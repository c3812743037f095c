//! Questions answered as typed values, from the catalog alone.

mod find;
mod status;

pub use find::{Holder, Listing, holders, list};
pub use status::{DiskStatus, Level, Status, status};
