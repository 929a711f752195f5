-- +goose Up
ALTER TABLE environments ADD COLUMN ended TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE environments DROP COLUMN ended;
