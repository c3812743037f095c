-- Schema 102: source files that were seen to be rotten.

-- A source file whose content is not the object it should be, although its size and times say that nobody changed
-- it. The object stays the truth. The row goes when the file is read and found good; it counts only as long as the
-- current entry still has this object and this ctime, so a file that changed or was repaired ends it as well.
CREATE TABLE source_rot (
    directory  INTEGER NOT NULL,
    name       BLOB    NOT NULL,
    object     INTEGER NOT NULL,     -- what its content should be
    ctime_ns   INTEGER NOT NULL,     -- of the file, when it was seen
    seen_ns    INTEGER NOT NULL,
    PRIMARY KEY (directory, name)
) STRICT, WITHOUT ROWID;
