//! Numbers and names by which rows of the catalog know each other.

use std::fmt;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);
    )*};
}

numbers! {
    /// An object's row in the catalog: short, dense and only meaningful inside one catalog.
    ObjectNo;
    /// A disk's row; never used again after the disk has left the set (D14).
    DiskNo;
    /// A directory's permanent number: it keeps it when it is renamed or moved.
    DirNo;
    /// A snapshot: one `update` that changed something. Snapshots are ordered by this number, never by time (S11).
    SnapshotNo;
    /// One run of a command, as the log of runs remembers it.
    RunNo;
    /// What proves a copy: one batch that was written, or one pass that read it in full.
    ProofNo;
    /// A source mapping.
    SourceNo;
    /// A filesystem under a stable identity, whatever device number the kernel gives it today.
    FilesystemNo;
    /// A group of names that are hard links of one file.
    LinkNo;
}

impl DirNo {
    /// The root of the virtual tree, `/`.
    pub const ROOT: DirNo = DirNo(1);
}

macro_rules! uuids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

uuids! {
    /// The identity of a disk: the `uuid` of its `distbackup-disk.json`, kept as it was written.
    DiskUuid;
    /// The identity of a set: its catalog and all of its disks carry it.
    SetUuid;
}
