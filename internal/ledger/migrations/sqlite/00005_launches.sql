-- +goose Up
-- What the servers of a lane's attempt were really launched from.
CREATE TABLE launches (
	run         TEXT NOT NULL REFERENCES runs (id),
	scenario    TEXT NOT NULL,
	origin      TEXT NOT NULL,
	attempt     BIGINT NOT NULL,
	branch      TEXT NOT NULL,
	commit_id   TEXT NOT NULL,
	set_id      TEXT NOT NULL,
	images_json TEXT NOT NULL,
	PRIMARY KEY (run, scenario, origin, attempt)
);
ALTER TABLE evidence ADD COLUMN upgraded_from TEXT NOT NULL DEFAULT '[]';
ALTER TABLE moves ADD COLUMN forced BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE moves DROP COLUMN forced;
ALTER TABLE evidence DROP COLUMN upgraded_from;
DROP TABLE launches;
