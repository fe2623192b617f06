-- A browser counts only while the session lives that it was there with. The key is the session's `hash`.
ALTER TABLE seen ADD COLUMN session TEXT NOT NULL DEFAULT '';
