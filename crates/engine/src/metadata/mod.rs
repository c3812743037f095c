//! Metadata: permissions, owners and extended attributes, taken from a source and put back at a restore.
//!
//! Taking is exact: what this user may read is recorded. Putting back is best effort and honest:
//! a destination may lack owners, modes or attributes, and this user the right to set them; what
//! could not be set is returned, and the caller says so once for each kind (R6).

mod apply;
mod capture;

pub use apply::{Options, Unset, apply, apply_at, apply_to};
pub use capture::{capture, capture_open, capture_path};
