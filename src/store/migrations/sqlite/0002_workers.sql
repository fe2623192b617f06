-- Signals laid before the worker that holds the person. On one machine there is only one; the tables are the same.
CREATE TABLE forwarded (
    signal      TEXT PRIMARY KEY,
    tenant      TEXT NOT NULL,
    object_id   TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    doc         TEXT NOT NULL
) STRICT;
CREATE INDEX forwarded_person ON forwarded (tenant, object_id, received_at, signal);

-- When the browser of a task's recipient was last there.
CREATE TABLE seen (
    task TEXT PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT;

CREATE INDEX people_held ON people (owner, tenant, object_id, revision) WHERE owner IS NOT NULL;
