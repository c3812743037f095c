-- Schema 103: what files `NAME.meta-inf` say about the files beside them.

-- One content of such files, read when the file was; the text is kept whole. It holds wherever a current
-- file with this content stands beside its partner. The hash is a hint: what was read counts, and a
-- difference is reported.
CREATE TABLE sidecar (
    object     INTEGER PRIMARY KEY,
    text       TEXT    NOT NULL,
    sha256     BLOB,                -- of the partner, if it says so
    priority   INTEGER,
    maxcopies  INTEGER              -- 0: no limit
) STRICT;
