-- Takes an ACCESS EXCLUSIVE lock on import_checkpoints for a moment. Only
-- imports use the table. Its existing rows identify a chunk in a way that cannot
-- be compared with a longer file, so they are deleted. Finish interrupted
-- imports before this migration, or remove the stored rows from their files.

-- +goose Up
-- A checkpoint stores where its chunk begins, so that the chunks of an import
-- follow each other regardless of their size. The end of a file need not be the
-- end of the import.
TRUNCATE import_checkpoints;
ALTER TABLE import_checkpoints
    DROP CONSTRAINT import_checkpoints_pkey,
    -- The number of input rows before this chunk, and in it.
    ADD COLUMN first_row bigint NOT NULL,
    ADD COLUMN rows      bigint NOT NULL,
    -- A description of how the rows were read and stored.
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
