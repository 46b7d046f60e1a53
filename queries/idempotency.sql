-- ReserveIdempotencyKey takes a key for the transaction it runs in, and tells
-- how many rows that made: none means that the key is taken. While another
-- transaction holds it, this waits for that one to end.
--
-- @timeout 2s
-- name: ReserveIdempotencyKey :execrows
INSERT INTO idempotency_keys (key, request_hash)
VALUES (@key, @request_hash)
ON CONFLICT (key) DO NOTHING;

-- GetIdempotencyKey returns what was asked and answered with a key.
--
-- @plan indexed
-- name: GetIdempotencyKey :one
SELECT request_hash, response
FROM idempotency_keys
WHERE key = @key;

-- SetIdempotencyResponse keeps the answer to the request that reserved a key.
--
-- @plan indexed
-- @queue
-- name: SetIdempotencyResponse :exec
UPDATE idempotency_keys
SET response = @response
WHERE key = @key;

-- DeleteIdempotencyKeys removes up to row_limit keys that are older than a day,
-- longer than a client that was down over night needs to repeat, and tells how
-- many. Rows that another sweep holds are passed over.
--
-- @plan indexed
-- @retry
-- @class bulk
-- name: DeleteIdempotencyKeys :execrows
DELETE FROM idempotency_keys
WHERE key = ANY(ARRAY(
    -- Under an alias, because sqlc takes the columns for ambiguous otherwise.
    SELECT k.key
    FROM idempotency_keys AS k
    WHERE k.created_at < now() - interval '1 day'
    ORDER BY k.created_at
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
));
