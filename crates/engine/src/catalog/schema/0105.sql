-- Schema 105: answers that are kept until something changes.

-- Grows with every transaction, except with those that no kept answer is about: the log of runs, times, and what was
-- seen of a disk.
ALTER TABLE catalog ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;

-- What took long to count. Holds as long as `catalog.changes` is the same; anybody may delete it.
CREATE TABLE kept_answer (
    question  TEXT    PRIMARY KEY,
    changes   INTEGER NOT NULL,     -- `catalog.changes` before the counting
    answer    TEXT    NOT NULL      -- JSON
) STRICT, WITHOUT ROWID;
