-- What the console's lists are ordered and found by. A binary of the schema before goes on beside it: what it writes
-- stands in the middle of the order, and is found by its case or playbook once a newer one wrote it.

-- The order in which people should look at open tasks. Until its next change a task stands where its kind and age put it.
ALTER TABLE tasks ADD COLUMN urgency BIGINT NOT NULL DEFAULT 1152921504606846976;
UPDATE tasks SET urgency = ((CASE kind WHEN 'release' THEN 2 WHEN 'held' THEN 2 WHEN 'manual' THEN 5 ELSE 4 END)::bigint << 58)
    + created_at WHERE open;
CREATE INDEX tasks_open_urgency ON tasks (urgency, id) WHERE open;

ALTER TABLE runs ADD COLUMN playbook TEXT COLLATE "C";
UPDATE runs SET playbook = doc::jsonb ->> 'playbook';
CREATE INDEX runs_playbook ON runs (playbook, opened_at, id);

-- The record's text stays as it is: the chain is over it. A record without a number yet is in no index of its case.
ALTER TABLE audit ADD COLUMN case_id TEXT COLLATE "C";
UPDATE audit SET case_id = doc::jsonb ->> 'case';
CREATE INDEX audit_case ON audit (case_id, seq) WHERE case_id IS NOT NULL AND seq IS NOT NULL;

CREATE INDEX sessions_reviewer ON sessions (reviewer, created_at);
