-- Schema 101: what is to be healed, disks that are being emptied, and when sources were read last.

-- A copy that a disk should have and has not: struck out because it was damaged, cut off, unreadable or gone.
-- `heal` brings it back; the row goes when the copy is claimed again, or nothing refers to the object any more.
CREATE TABLE lost_copy (
    disk      INTEGER NOT NULL,
    object    INTEGER NOT NULL,
    since_ns  INTEGER NOT NULL,
    why       TEXT    NOT NULL,     -- in words, for people
    PRIMARY KEY (disk, object)
) STRICT, WITHOUT ROWID;

-- 1: the disk is to leave the set; its copies count as evidence, and no longer as copies that anything has.
ALTER TABLE disk ADD COLUMN retiring INTEGER NOT NULL DEFAULT 0;

-- When the content of an unchanged source file was last read and found to be the object it should be.
-- Only files that were read again, or moved since they were read, have a row; for all others it was when their entry was born.
CREATE TABLE source_read (
    directory  INTEGER NOT NULL,
    name       BLOB    NOT NULL,
    read_ns    INTEGER NOT NULL,
    PRIMARY KEY (directory, name)
) STRICT, WITHOUT ROWID;
