//! Disks: what tells one state of a disk from another.

/// Counter and random number that the last writing visit left on a disk (N5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStamp {
    /// Grows by one with every visit that writes.
    pub counter: u64,
    /// Tells apart two histories with the same counter: a clone in use beside its original.
    pub random: u64,
}
