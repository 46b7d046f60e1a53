-- Creates a new table. The foreign key takes a SHARE ROW EXCLUSIVE lock on
-- accounts while it is created. Writes to accounts wait, reads do not.

-- +goose Up
CREATE TABLE notes (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    account_id bigint      NOT NULL,
    title      text        NOT NULL,
    content    text        NOT NULL,
    tags       jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    integer     NOT NULL DEFAULT 1,

    CONSTRAINT notes_pkey            PRIMARY KEY (id),
    CONSTRAINT notes_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id) ON DELETE CASCADE,
    CONSTRAINT notes_title_length    CHECK (char_length(title) BETWEEN 1 AND 200),
    CONSTRAINT notes_tags_array      CHECK (jsonb_typeof(tags) = 'array')
);

-- Serves the cascade.
CREATE INDEX notes_account_id_id_idx ON notes (account_id, id);

-- +goose Down
DROP TABLE notes;
