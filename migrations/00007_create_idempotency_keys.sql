-- Creates a new table. It locks no existing table.

-- +goose Up
-- The answers to requests with an Idempotency-Key. An answer is stored in the
-- transaction of its request. A second request with the same key waits for the
-- first one on the primary key and gets the same answer.
CREATE TABLE idempotency_keys (
    key          text        NOT NULL,
    -- A hash of the request's method, path and body.
    request_hash bytea       NOT NULL,
    -- json instead of jsonb, so that a repeated answer has the same bytes. NULL
    -- only inside the transaction that is about to set it.
    response     json,
    created_at   timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT idempotency_keys_pkey       PRIMARY KEY (key),
    CONSTRAINT idempotency_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 255)
)
-- Each row is written twice, first without and then with its response. The
-- second version should fit on the same page, so that no index is written again.
WITH (fillfactor = 70);

-- Serves the sweep of old keys.
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
