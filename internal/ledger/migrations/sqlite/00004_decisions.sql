-- +goose Up
CREATE TABLE decisions (
	run       TEXT PRIMARY KEY REFERENCES runs (id),
	body_json TEXT NOT NULL,
	decided   TEXT NOT NULL
);
-- A run that promoted its set has passed: every look at a run asks.
CREATE INDEX moves_by_run ON moves (run, kind);

-- +goose Down
DROP INDEX moves_by_run;
DROP TABLE decisions;
