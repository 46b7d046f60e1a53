-- Locks commit_markers for a moment and rewrites nothing: the default is computed
-- once for the rows that exist.

-- +goose Up
-- Markers are swept by the server's clock. The time in an id is that of the
-- process that made it: with a slow clock a marker would be swept while its
-- transaction may still be repeated.
ALTER TABLE commit_markers
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();

-- +goose Down
ALTER TABLE commit_markers
    DROP COLUMN created_at;
