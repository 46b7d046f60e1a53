-- Creates a new table. It locks no existing table.

-- +goose Up
CREATE TABLE users (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    username   text        NOT NULL,
    email      text        NOT NULL,
    age        integer,
    tags       jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    integer     NOT NULL DEFAULT 1,

    CONSTRAINT users_pkey            PRIMARY KEY (id),
    CONSTRAINT users_username_key    UNIQUE (username),
    CONSTRAINT users_username_length CHECK (char_length(username) BETWEEN 1 AND 50),
    CONSTRAINT users_email_length    CHECK (char_length(email) BETWEEN 1 AND 100),
    CONSTRAINT users_age_range       CHECK (age BETWEEN 0 AND 150),
    CONSTRAINT users_tags_array      CHECK (jsonb_typeof(tags) = 'array')
);

-- Serves username_prefix with any collation of the database. LIKE 'x%' can use
-- the unique index only under the C collation.
CREATE INDEX users_username_prefix_idx ON users (username text_pattern_ops);

-- Serves min_age and max_age with pages in the order of id.
CREATE INDEX users_age_id_idx ON users (age, id);

-- +goose Down
DROP TABLE users;
