-- What the console's lists are ordered and found by.

-- The order in which people should look at open tasks. Until its next change a task stands where its kind and age put it.
ALTER TABLE tasks ADD COLUMN urgency INTEGER NOT NULL DEFAULT 1152921504606846976;
UPDATE tasks SET urgency = ((CASE kind WHEN 'release' THEN 2 WHEN 'held' THEN 2 WHEN 'manual' THEN 5 ELSE 4 END) << 58)
    + created_at WHERE open = 1;
CREATE INDEX tasks_open_urgency ON tasks (urgency, id) WHERE open = 1;

ALTER TABLE runs ADD COLUMN playbook TEXT;
UPDATE runs SET playbook = json_extract(doc, '$.playbook');
CREATE INDEX runs_playbook ON runs (playbook, opened_at, id);

-- The record's text stays as it is: the chain is over it.
ALTER TABLE audit ADD COLUMN case_id TEXT;
UPDATE audit SET case_id = json_extract(doc, '$.case');
CREATE INDEX audit_case ON audit (case_id) WHERE case_id IS NOT NULL;

CREATE INDEX sessions_reviewer ON sessions (reviewer, created_at);
