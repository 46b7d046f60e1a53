-- Creates a new table. It locks no existing table.

-- +goose Up
-- The progress of imports. Each chunk of an import's input inserts a row here
-- in the transaction that stores the chunk's rows. So an interrupted import can
-- be resumed, and no row is stored twice.
CREATE TABLE import_checkpoints (
    -- Identifies the import: a hash of its options and of the first chunk.
    import     bytea       NOT NULL,
    -- A hash of the options and of the input up to the end of this chunk.
    hash       bytea       NOT NULL,
    inserted   bigint      NOT NULL DEFAULT 0,
    updated    bigint      NOT NULL DEFAULT 0,
    unchanged  bigint      NOT NULL DEFAULT 0,
    skipped    bigint      NOT NULL DEFAULT 0,
    -- The rows that the database rejected: [[row of the chunk, field, reason]].
    rejects    jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    -- The end of its retention, which is longer while the import is incomplete.
    expires_at timestamptz NOT NULL,

    CONSTRAINT import_checkpoints_pkey PRIMARY KEY (import, hash)
);

-- Serves the sweep.
CREATE INDEX import_checkpoints_expires_at_idx ON import_checkpoints (expires_at);

-- +goose Down
DROP TABLE import_checkpoints;
