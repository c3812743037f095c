-- Schema 104: several computers with one set of disks.

-- Whose source it is: an identity that lasts, and a name for people. Counts only where the setting `shared` is `on`:
-- then a computer looks at its own sources only, and keeps those of the others as they are known.
ALTER TABLE source ADD COLUMN computer TEXT;
ALTER TABLE source ADD COLUMN computer_name TEXT;
