-- Takes an ACCESS EXCLUSIVE lock on idempotency_keys for a moment, and validates the new
-- constraint in a scan of the table, during which requests continue. If it is interrupted,
-- run it again.

-- +goose NO TRANSACTION
-- +goose Up
-- The key of a request with an API token is stored as the token's id, a space and the key,
-- so that tokens do not share keys. A client's key has no space, so none can be mistaken
-- for that of a token. The primary key stays as it is, because servers of the previous
-- version need it for their ON CONFLICT (key).
ALTER TABLE idempotency_keys
    DROP CONSTRAINT IF EXISTS idempotency_keys_key_length,
    ADD CONSTRAINT idempotency_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 300) NOT VALID;

-- Separate from the ALTER above, because this lock does not block reads and writes.
ALTER TABLE idempotency_keys VALIDATE CONSTRAINT idempotency_keys_key_length;

-- +goose Down
DELETE FROM idempotency_keys WHERE char_length(key) > 255;
ALTER TABLE idempotency_keys
    DROP CONSTRAINT IF EXISTS idempotency_keys_key_length,
    ADD CONSTRAINT idempotency_keys_key_length CHECK (char_length(key) BETWEEN 1 AND 255) NOT VALID;
ALTER TABLE idempotency_keys VALIDATE CONSTRAINT idempotency_keys_key_length;
