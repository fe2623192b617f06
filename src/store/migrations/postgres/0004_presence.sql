-- A browser counts only while the session lives that it was there with. The key is the session's `hash`. What a binary of
-- the schema before says of browsers counts for nothing here: what waits for them waits for a newer one's word.
ALTER TABLE seen ADD COLUMN session TEXT COLLATE "C" NOT NULL DEFAULT '';

-- What was sealed is of no use once its task ended; not all that ended took it along.
DELETE FROM sealed WHERE task NOT IN (SELECT id FROM tasks WHERE open);
