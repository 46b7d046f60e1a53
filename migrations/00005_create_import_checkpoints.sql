-- Creates a new table: locks nothing that exists.

-- +goose Up
-- How far imports have come. A stretch of an import's input leaves its row here
-- in the transaction that stores what the stretch says, so that an import that
-- was broken off goes on where it stopped, and none stores a row twice.
CREATE TABLE import_checkpoints (
    -- Which import: a hash of its options and of the first stretch.
    import     bytea       NOT NULL,
    -- A hash of the options and of all up to the end of this stretch.
    hash       bytea       NOT NULL,
    inserted   bigint      NOT NULL DEFAULT 0,
    updated    bigint      NOT NULL DEFAULT 0,
    unchanged  bigint      NOT NULL DEFAULT 0,
    skipped    bigint      NOT NULL DEFAULT 0,
    -- The rows that the database refused: [[row of the stretch, field, reason]].
    rejects    jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Until when it is kept: longer while the import is not whole.
    expires_at timestamptz NOT NULL,

    CONSTRAINT import_checkpoints_pkey PRIMARY KEY (import, hash)
);

-- Serves the sweep.
CREATE INDEX import_checkpoints_expires_at_idx ON import_checkpoints (expires_at);

-- +goose Down
DROP TABLE import_checkpoints;
