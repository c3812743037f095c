-- The catalog of distbackup, schema 100 (DESIGN 4). docs/format.md explains it field by field.
--
-- Names and paths are BLOBs (N12); times are nanoseconds since 1970; a flag is 0 or 1.
-- "Interval" rows are true from snapshot `born` on and no longer from snapshot `died` on;
-- `died` NULL means: true now.

-- One row: which set this is and how far its history has come.
CREATE TABLE catalog (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    set_uuid      TEXT    NOT NULL,
    created_ns    INTEGER NOT NULL,
    -- Grows with every transaction that changes what a disk's copy must know (not with times seen or the log of runs).
    generation    INTEGER NOT NULL,
    -- Catalog time (DESIGN 7.1): newest ever recorded; up to where it is confirmed; when an unconfirmed leap was seen.
    newest_ns     INTEGER NOT NULL,
    confirmed_ns  INTEGER NOT NULL,
    leap_ns       INTEGER
) STRICT;

CREATE TABLE setting (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What each command did: the log of runs.
CREATE TABLE run (
    id           INTEGER PRIMARY KEY,
    command      TEXT    NOT NULL,
    started_ns   INTEGER NOT NULL,
    ended_ns     INTEGER,
    exit_code    INTEGER,
    result       TEXT,             -- one sentence
    details      TEXT              -- JSON: figures and the first problems
) STRICT;

-- The tree as one update left it. Ordered by number, never by time (S11).
CREATE TABLE snapshot (
    id           INTEGER PRIMARY KEY,
    run          INTEGER,
    created_ns   INTEGER NOT NULL,
    pinned       INTEGER NOT NULL DEFAULT 0,   -- kept until forgotten by name
    note         TEXT
) STRICT;

-- A filesystem under a stable identity (DESIGN 7.6).
CREATE TABLE filesystem (
    id              INTEGER PRIMARY KEY,
    identity        TEXT    NOT NULL UNIQUE,
    kind            TEXT    NOT NULL,
    stable_inodes   INTEGER NOT NULL
) STRICT;

-- A real folder mounted at a virtual path.
CREATE TABLE source (
    id          INTEGER PRIMARY KEY,
    vpath       BLOB    NOT NULL UNIQUE,
    path        BLOB    NOT NULL,
    filesystem  INTEGER REFERENCES filesystem(id),   -- where its root was at the last complete scan
    scanned_ns  INTEGER
) STRICT;

-- Configuration of a virtual path; inherited down the tree except `lock`-like switches as documented.
CREATE TABLE path_config (
    vpath            BLOB PRIMARY KEY,
    priority         INTEGER,
    mincopies        INTEGER,
    maxcopies        INTEGER,
    lock             INTEGER,
    hide             INTEGER,
    follow_symlinks  INTEGER,
    noinherit        INTEGER,
    rules            TEXT            -- JSON list of rule texts, in order
) STRICT, WITHOUT ROWID;

-- Permissions, owner and extended attributes that many entries share.
CREATE TABLE metadata (
    id          INTEGER PRIMARY KEY,
    mode        INTEGER NOT NULL,
    uid         INTEGER NOT NULL,
    gid         INTEGER NOT NULL,
    user_name   BLOB,
    group_name  BLOB,
    xattrs      BLOB    NOT NULL,    -- for each: u16 length of name, name, u32 length of value, value; little-endian
    digest      INTEGER NOT NULL     -- of all of the above, to find equal rows
) STRICT;
CREATE INDEX metadata_by_digest ON metadata(digest);

-- One distinct non-empty content.
CREATE TABLE object (
    id      INTEGER PRIMARY KEY,
    sha256  BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    size    INTEGER NOT NULL CHECK (size > 0)
) STRICT;

-- The virtual tree by intervals. `directory` is the permanent number of the folder that the name stands in;
-- 1 is the root, which has no row. A directory's own permanent number is `node`.
CREATE TABLE entry (
    directory   INTEGER NOT NULL,
    name        BLOB    NOT NULL,
    born        INTEGER NOT NULL,
    died        INTEGER,
    kind        TEXT    NOT NULL,    -- f d l p c b, as `find -type` prints them
    node        INTEGER,             -- directories: permanent number
    object      INTEGER,             -- files: content; NULL for an empty file or one not captured
    pending     INTEGER NOT NULL,    -- 1: content still to be read (if `object` is set, it is presumed and to be confirmed)
    size        INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,
    ctime_ns    INTEGER NOT NULL,
    filesystem  INTEGER NOT NULL,    -- 0: a folder of the virtual tree without a source
    inode       INTEGER NOT NULL,
    metadata    INTEGER NOT NULL,
    link        INTEGER,             -- hard-link group
    target      BLOB,                -- symlinks: target; devices: "major:minor"
    holes       BLOB,                -- sparse files: pairs of LEB128 numbers (distance from the last hole's end, length)
    PRIMARY KEY (directory, name, born)
) STRICT, WITHOUT ROWID;
-- Finds the place of a directory, and by (filesystem, inode) a directory that was moved.
CREATE INDEX entry_by_node ON entry(node) WHERE node IS NOT NULL;
CREATE INDEX entry_by_inode ON entry(filesystem, inode) WHERE node IS NOT NULL AND died IS NULL;
-- What is referenced at all, and by whom.
CREATE INDEX entry_by_object ON entry(object) WHERE object IS NOT NULL;
-- Work to do, in tree order; small once everything is hashed.
CREATE INDEX entry_pending ON entry(directory, name) WHERE pending = 1 AND died IS NULL;
-- History, for expiry.
CREATE INDEX entry_died ON entry(died) WHERE died IS NOT NULL;
-- Other names of a hard-link group.
CREATE INDEX entry_by_link ON entry(link) WHERE link IS NOT NULL;

-- A disk of the set. Numbers are never used again (D14).
CREATE TABLE disk (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid            TEXT    NOT NULL UNIQUE,
    name            TEXT    NOT NULL UNIQUE,
    size_rule       TEXT    NOT NULL,    -- `auto`, bytes, `80.0%` or `-bytes`
    capacity        INTEGER NOT NULL,    -- billed bytes for objects when last seen
    total           INTEGER NOT NULL,    -- size of its filesystem
    free            INTEGER NOT NULL,    -- free there when last seen
    unit            INTEGER NOT NULL,    -- allocation unit
    file_max        INTEGER NOT NULL,    -- largest file
    filesystem      TEXT,                -- stable identity of the filesystem it lies on
    relative_path   BLOB    NOT NULL,    -- of its folder below the mount point
    last_path       BLOB,                -- where it was found last
    location        TEXT,
    note            TEXT,
    added_ns        INTEGER NOT NULL,
    seen_ns         INTEGER,
    visited_ns      INTEGER,             -- end of the last visit that ended in order
    verified_ns     INTEGER,             -- end of the last complete verify
    -- Stamps (N5): what the disk's identity file says, and what it may say if a visit was killed.
    stamp_counter   INTEGER NOT NULL DEFAULT 0,
    stamp_random    INTEGER NOT NULL DEFAULT 0,
    pending_counter INTEGER,
    pending_random  INTEGER,
    unproven        INTEGER NOT NULL DEFAULT 0,   -- accepts any stamp once, after recover or import
    -- Evidence (N3): why its claims do not stand, and whether a visit has not ended in order since the last comparison.
    doubt           TEXT,
    open_visit      INTEGER NOT NULL DEFAULT 0,
    -- The catalog copy there: its generation and SHA-256.
    copy_generation INTEGER,
    copy_sha256     BLOB
) STRICT;

-- What proves copies: one batch written, or one pass that read them.
CREATE TABLE proof (
    id     INTEGER PRIMARY KEY,
    run    INTEGER,
    at_ns  INTEGER NOT NULL,
    how    TEXT    NOT NULL CHECK (how IN ('written', 'read', 'adopted', 'imported'))
) STRICT;

-- Copies are facts: a row exists only while the object is durably on the disk (N1).
CREATE TABLE copy (
    object  INTEGER NOT NULL,
    disk    INTEGER NOT NULL,
    proof   INTEGER NOT NULL,
    PRIMARY KEY (object, disk)
) STRICT, WITHOUT ROWID;
CREATE INDEX copy_by_disk ON copy(disk, object);

-- Doubt about single copies; most have none.
CREATE TABLE copy_doubt (
    object    INTEGER NOT NULL,
    disk      INTEGER NOT NULL,
    since_ns  INTEGER NOT NULL,
    why       TEXT    NOT NULL,
    PRIMARY KEY (object, disk)
) STRICT, WITHOUT ROWID;

-- Removals recorded before the unlink (N2): what is found of them on the disk is no orphan.
CREATE TABLE removal (
    disk    INTEGER NOT NULL,
    sha256  BLOB    NOT NULL,
    PRIMARY KEY (disk, sha256)
) STRICT, WITHOUT ROWID;

-- Objects found on a disk that nothing kept refers to: they keep their room until their time has passed (DESIGN 6).
CREATE TABLE orphan (
    disk      INTEGER NOT NULL,
    sha256    BLOB    NOT NULL,
    size      INTEGER NOT NULL,
    first_ns  INTEGER NOT NULL,
    snapshot  INTEGER NOT NULL,      -- newest snapshot when it was first seen
    damaged   INTEGER NOT NULL DEFAULT 0,   -- its content does not match its name
    PRIMARY KEY (disk, sha256)
) STRICT, WITHOUT ROWID;

-- How far an interrupted verify of a disk has come.
CREATE TABLE verify_progress (
    disk        INTEGER PRIMARY KEY,
    started_ns  INTEGER NOT NULL,
    next        INTEGER NOT NULL,    -- the next of the 4096 folders
    good        INTEGER NOT NULL,
    bad         INTEGER NOT NULL,
    bytes       INTEGER NOT NULL
) STRICT;
