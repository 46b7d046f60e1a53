-- Locks import_checkpoints for a moment; nothing but imports uses it. What it
-- holds names a chunk in a way that a longer file cannot be compared with, and
-- is forgotten: finish the imports that were broken off before this migration,
-- or pass their files on without the rows that are stored.

-- +goose Up
-- A checkpoint says where its stretch begins, so that the stretches of an import
-- follow each other whatever their size: the end of a file need not be the end
-- of the import.
TRUNCATE import_checkpoints;
ALTER TABLE import_checkpoints
    DROP CONSTRAINT import_checkpoints_pkey,
    -- How many rows of the input come before this stretch, and how many it has.
    ADD COLUMN first_row bigint NOT NULL,
    ADD COLUMN rows      bigint NOT NULL,
    -- How the rows were read and stored, in words.
    ADD COLUMN options   text   NOT NULL,
    ADD CONSTRAINT import_checkpoints_pkey PRIMARY KEY (import, first_row);
COMMENT ON COLUMN import_checkpoints.import IS 'A hash of what is imported, its key and its first row.';
COMMENT ON COLUMN import_checkpoints.hash IS 'A hash of the options and of all rows up to the end of this stretch.';

-- +goose Down
TRUNCATE import_checkpoints;
COMMENT ON COLUMN import_checkpoints.import IS NULL;
COMMENT ON COLUMN import_checkpoints.hash IS NULL;
ALTER TABLE import_checkpoints
    DROP CONSTRAINT import_checkpoints_pkey,
    DROP COLUMN first_row,
    DROP COLUMN rows,
    DROP COLUMN options,
    ADD CONSTRAINT import_checkpoints_pkey PRIMARY KEY (import, hash);
