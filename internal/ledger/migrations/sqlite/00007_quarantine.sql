-- +goose Up
-- Which ledger this is, how often it was seen, and since when it may lack what happened.
CREATE TABLE identity (
	one       BIGINT PRIMARY KEY CHECK (one = 1),
	id        TEXT NOT NULL,
	created   TEXT NOT NULL,
	seen      BIGINT NOT NULL,
	forgotten TEXT NOT NULL
);

-- What is this installation's and was not removed, because the ledger may not know all of it.
CREATE TABLE quarantine (
	kind  TEXT NOT NULL,
	id    TEXT NOT NULL,
	name  TEXT NOT NULL,
	why   TEXT NOT NULL,
	first TEXT NOT NULL,
	PRIMARY KEY (kind, id)
);

CREATE INDEX images_by_provider ON images (provider_id);

-- +goose Down
DROP INDEX images_by_provider;
DROP TABLE quarantine;
DROP TABLE identity;
