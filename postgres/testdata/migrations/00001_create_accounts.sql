-- Creates a new table. It locks no existing table.

-- +goose Up
CREATE TABLE accounts (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    username   text        NOT NULL,
    email      text        NOT NULL,
    age        integer,
    tags       jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version    integer     NOT NULL DEFAULT 1,

    CONSTRAINT accounts_pkey            PRIMARY KEY (id),
    CONSTRAINT accounts_username_key    UNIQUE (username),
    CONSTRAINT accounts_username_length CHECK (char_length(username) BETWEEN 1 AND 50),
    CONSTRAINT accounts_email_length    CHECK (char_length(email) BETWEEN 1 AND 100),
    CONSTRAINT accounts_age_range       CHECK (age BETWEEN 0 AND 150),
    CONSTRAINT accounts_tags_array      CHECK (jsonb_typeof(tags) = 'array')
);

-- +goose Down
DROP TABLE accounts;
