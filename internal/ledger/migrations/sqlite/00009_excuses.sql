-- +goose Up
-- The rules that excused lines of a log in a test.
ALTER TABLE results ADD COLUMN excuses_json TEXT NOT NULL DEFAULT '[]';

-- +goose Down
ALTER TABLE results DROP COLUMN excuses_json;
