-- Creates a new table: locks nothing that exists.

-- +goose Up
-- A transaction leaves its marker here. When the answer to its COMMIT is lost,
-- repeating it with the same marker tells whether it had committed: the unique
-- index waits for a first attempt that still runs, and refuses the marker of
-- one that committed.
CREATE TABLE commit_markers (
    -- Time-ordered (UUID version 7): new ones go to one end of the index, and
    -- old ones are swept from the other.
    id         uuid        NOT NULL,
    -- Markers are swept by the server's clock, because the time in an id is that of
    -- the process that made it.
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT commit_markers_pkey PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE commit_markers;
