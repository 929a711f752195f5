-- +goose Up
-- What was found on the disk that an image was captured from; null: it was not looked at.
ALTER TABLE images ADD COLUMN seal_json TEXT NOT NULL DEFAULT 'null';

-- +goose Down
ALTER TABLE images DROP COLUMN seal_json;
