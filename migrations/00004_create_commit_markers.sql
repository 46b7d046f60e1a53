-- Creates a new table. It locks no existing table.

-- +goose Up
-- A transaction inserts its marker here. If the answer to its COMMIT is lost,
-- the transaction is repeated with the same marker, which tells whether it had
-- committed: the unique index waits for a first attempt that is still running,
-- and refuses the marker of one that committed.
CREATE TABLE commit_markers (
    -- Ids are time-ordered (UUID version 7). New ones are added at one end of
    -- the index, and old ones are swept from the other.
    id uuid NOT NULL,

    CONSTRAINT commit_markers_pkey PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE commit_markers;
