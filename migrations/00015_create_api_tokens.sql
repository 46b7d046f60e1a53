-- Creates a type and a table. It locks nothing in use.

-- +goose Up
-- Each scope includes those before it.
CREATE TYPE token_scope AS ENUM ('read', 'write', 'operate');

-- The API tokens. Only their hashes are stored, so a copy of this table gives no
-- access. SHA-256 without salt is enough, because a token is 256 random bits.
-- Revoked and expired tokens stay, so that an audit line still finds its token.
CREATE TABLE api_tokens (
    id           bigint      GENERATED ALWAYS AS IDENTITY (MAXVALUE 9007199254740991),
    name         text        NOT NULL,
    scope        token_scope NOT NULL,
    hash         bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- NULL means never.
    expires_at   timestamptz,
    revoked_at   timestamptz,
    -- Accurate to about a minute.
    last_used_at timestamptz,

    CONSTRAINT api_tokens_pkey        PRIMARY KEY (id),
    CONSTRAINT api_tokens_hash_key    UNIQUE (hash),
    CONSTRAINT api_tokens_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    CONSTRAINT api_tokens_hash_length CHECK (octet_length(hash) = 32)
);

-- +goose Down
DROP TABLE api_tokens;
DROP TYPE token_scope;
