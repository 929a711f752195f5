-- +goose Up
-- What ticks of schedules did, by branch: a tick that is retried records no run twice.
CREATE TABLE fired (
	schedule TEXT NOT NULL,
	branch   TEXT NOT NULL,
	tick     TEXT NOT NULL,
	run      TEXT NOT NULL,
	PRIMARY KEY (schedule, branch, tick)
);

-- +goose Down
DROP TABLE fired;
