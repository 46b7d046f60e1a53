-- Creates a new table: locks nothing that exists.

-- +goose Up
-- What was answered to a request that carried an Idempotency-Key, stored in the
-- transaction of what the request did. A second request with the same key waits
-- on the primary key for the first, and is answered the same.
CREATE TABLE idempotency_keys (
    key          text        NOT NULL,
    -- Of the request: its method, path and body.
    request_hash bytea       NOT NULL,
    -- json, not jsonb: what is answered again is what was answered, to the byte.
    -- NULL only within the transaction that is about to set it.
    response     json,
    created_at   timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT idempotency_keys_pkey       PRIMARY KEY (key),
    CONSTRAINT idempotency_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 255)
)
-- Each row is written twice, without its response and with it: the second time
-- should find room on the same page, so that no index is written again.
WITH (fillfactor = 70);

-- Serves the sweep of the old ones.
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
