-- +goose Up
-- Events that people are told of by the command under notify.
CREATE TABLE notices (
	id        TEXT PRIMARY KEY,
	event     TEXT NOT NULL,
	subject   TEXT NOT NULL,
	created   TEXT NOT NULL,
	body_json TEXT NOT NULL,
	state     TEXT NOT NULL,
	tries     BIGINT NOT NULL,
	next      TEXT NOT NULL,
	error     TEXT NOT NULL
);
CREATE INDEX notices_by_state ON notices (state, next);
CREATE INDEX notices_by_subject ON notices (subject, created);

-- +goose Down
DROP TABLE notices;
