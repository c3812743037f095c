//! What a `stat` says about an entry that the catalog knows: unchanged, to be confirmed, or new.
//!
//! The rule is DESIGN 7.6. It errs on the side of reading: a changed size is always a change (S5), a
//! changed ctime alone means to read again, and an inode number means nothing without its filesystem (S6).

use crate::model::{FilesystemNo, Kind, Stamp};

/// What has to be done about one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All agree: nothing to read, nothing to record.
    Unchanged,
    /// A file whose ctime, inode or filesystem is another, but not its size and mtime: probably the same
    /// content, which has to be read to be sure.
    Confirm,
    /// A file with another size or mtime: new content.
    Changed,
    /// No file, but something of its `stat` differs: its metadata has to be compared.
    Compare,
    /// Another kind of thing under the same name.
    Replaced,
}

/// Compares what the catalog knows with what was found under the same name.
///
/// Where inode numbers mean nothing both stamps carry 0, and the path takes the inode's place.
pub fn judge(known: (Kind, &Stamp), found: (Kind, &Stamp)) -> Verdict {
    let ((known_kind, known), (found_kind, found)) = (known, found);
    if known_kind != found_kind {
        return Verdict::Replaced;
    }
    if known == found {
        return Verdict::Unchanged;
    }
    if found_kind != Kind::File {
        return Verdict::Compare;
    }
    if known.size == found.size && same_mtime(known, found) { Verdict::Confirm } else { Verdict::Changed }
}

/// Whether the mtimes agree. What was taken over from distbackup 1.x, which is on no filesystem, had whole milliseconds, cut
/// off in floating point; the content is read in any case.
fn same_mtime(known: &Stamp, found: &Stamp) -> bool {
    const ROUNDING_NS: u64 = 2_000_000;
    known.mtime_ns == found.mtime_ns
        || known.filesystem == FilesystemNo(0)
            && known.ctime_ns == 0
            && known.mtime_ns.abs_diff(found.mtime_ns) < ROUNDING_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Stamp =
        Stamp { filesystem: FilesystemNo(1), inode: 10, size: 100, mtime_ns: 5_000, ctime_ns: 6_000 };

    fn file(found: Stamp) -> Verdict {
        judge((Kind::File, &KNOWN), (Kind::File, &found))
    }

    #[test]
    fn a_file_is_unchanged_only_if_everything_agrees() {
        assert_eq!(file(KNOWN), Verdict::Unchanged);
        assert_eq!(file(Stamp { mtime_ns: 5_001, ..KNOWN }), Verdict::Changed, "one nanosecond");
    }

    #[test]
    fn s5_another_size_is_a_change_even_with_the_same_mtime() {
        assert_eq!(file(Stamp { size: 101, ..KNOWN }), Verdict::Changed);
    }

    #[test]
    fn s6_the_same_inode_on_another_filesystem_is_not_the_same_file() {
        assert_eq!(file(Stamp { filesystem: FilesystemNo(2), ..KNOWN }), Verdict::Confirm);
    }

    #[test]
    fn what_was_taken_over_with_whole_milliseconds_is_confirmed_by_reading() {
        let taken =
            Stamp { filesystem: FilesystemNo(0), inode: 0, size: 100, mtime_ns: 5_000_000, ctime_ns: 0 };
        let found = |mtime_ns| judge((Kind::File, &taken), (Kind::File, &Stamp { mtime_ns, ..KNOWN }));
        assert_eq!(found(5_999_999), Verdict::Confirm);
        assert_eq!(found(7_000_000), Verdict::Changed);
        assert_eq!(judge((Kind::File, &taken), (Kind::File, &Stamp { size: 99, ..taken })), Verdict::Changed);
    }

    #[test]
    fn a_changed_ctime_alone_means_read_again() {
        assert_eq!(file(Stamp { ctime_ns: 6_001, ..KNOWN }), Verdict::Confirm);
    }

    #[test]
    fn another_kind_of_thing_replaces_the_entry() {
        assert_eq!(judge((Kind::File, &KNOWN), (Kind::Symlink, &KNOWN)), Verdict::Replaced);
        let touched = Stamp { mtime_ns: 1, ..KNOWN };
        assert_eq!(judge((Kind::Directory, &KNOWN), (Kind::Directory, &touched)), Verdict::Compare);
    }
}
