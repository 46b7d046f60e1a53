-- Takes an ACCESS EXCLUSIVE lock on commit_markers for a moment. It does not
-- rewrite the table, because the default is computed once for the existing rows.

-- +goose Up
-- Markers are swept by the server's clock. The time in an id is that of the
-- process that created it. If that clock is slow, a marker would be swept while
-- its transaction may still be repeated.
ALTER TABLE commit_markers
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();

-- +goose Down
ALTER TABLE commit_markers
    DROP COLUMN created_at;
