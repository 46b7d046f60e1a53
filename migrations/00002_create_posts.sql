-- Creates a new table. The foreign key takes a SHARE ROW EXCLUSIVE lock on
-- users while it is created. Writes to users wait, reads do not.

-- +goose Up
CREATE TABLE posts (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    user_id    bigint      NOT NULL,
    title      text        NOT NULL,
    content    text        NOT NULL,
    tags       jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    integer     NOT NULL DEFAULT 1,

    CONSTRAINT posts_pkey         PRIMARY KEY (id),
    CONSTRAINT posts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT posts_title_length CHECK (char_length(title) BETWEEN 1 AND 200),
    CONSTRAINT posts_tags_array   CHECK (jsonb_typeof(tags) = 'array')
);

-- Serves a user's posts in keyset order, the eager load, the cascade, and the
-- counts by user, for which it is sufficient without reading the table.
CREATE INDEX posts_user_id_id_idx ON posts (user_id, id);

-- Serves the posts per day in a range of days.
CREATE INDEX posts_created_at_idx ON posts (created_at);

-- +goose Down
DROP TABLE posts;
