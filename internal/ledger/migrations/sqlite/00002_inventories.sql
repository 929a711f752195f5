-- +goose Up
CREATE TABLE inventories (
	run           TEXT NOT NULL REFERENCES runs (id),
	scenario      TEXT NOT NULL,
	origin        TEXT NOT NULL,
	server        TEXT NOT NULL,
	role          TEXT NOT NULL,
	packages_json TEXT NOT NULL,
	PRIMARY KEY (run, scenario, origin, server)
);

-- +goose Down
DROP TABLE inventories;
