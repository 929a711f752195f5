-- +goose Up
-- Branches of which there are images, and that are deleted or retired: since when that is known.
CREATE TABLE gone_branches (
	branch TEXT PRIMARY KEY,
	since  TEXT NOT NULL
);

-- +goose Down
DROP TABLE gone_branches;
