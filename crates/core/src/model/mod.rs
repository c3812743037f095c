//! The words of DESIGN section 2 as types.
//!
//! Numbers that mean different things have different types, so that a disk can never be passed
//! where an object is expected, and bytes never where blocks are.

mod disk;
mod entry;
mod ids;
mod object;
mod path;
mod portion;
mod units;

pub use disk::DiskStamp;
pub use entry::{DeviceNumber, Holes, Kind, Metadata, Owner, Stamp, Xattr};
pub use ids::{
    DirNo, DiskNo, DiskUuid, FilesystemNo, LinkNo, ObjectNo, ProofNo, RunNo, SetUuid, SnapshotNo, SourceNo,
};
pub use object::{ObjectId, ObjectIdError};
pub use path::{PathError, VirtualPath, escape_bytes, harmless, is_steering};
pub use portion::{parse_share_ppm, parse_time_box};
pub use units::{
    BLOCK, Bytes, COPIES_WANTED, DAY_NS, SizeRule, UnitError, billed, parse_duration_days, parse_size,
};
