-- Open cases are counted by where they stand, however many there are.
DROP INDEX cases_parked;
CREATE INDEX cases_open_state ON cases (state) WHERE closed_at IS NULL;
