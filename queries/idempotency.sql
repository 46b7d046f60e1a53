-- ReserveIdempotencyKey reserves a key for its transaction. It returns 0 if the
-- key exists already. While another transaction holds the key, it waits for the
-- end of that transaction.
--
-- @timeout 2s
-- name: ReserveIdempotencyKey :execrows
INSERT INTO idempotency_keys (key, request_hash)
VALUES (@key, @request_hash)
ON CONFLICT (key) DO NOTHING;

-- GetIdempotencyKey returns the request and the response of a key.
--
-- @plan indexed
-- name: GetIdempotencyKey :one
SELECT request_hash, response
FROM idempotency_keys
WHERE key = @key;

-- SetIdempotencyResponse stores the response to the request that reserved a
-- key.
--
-- @plan indexed
-- @queue
-- name: SetIdempotencyResponse :exec
UPDATE idempotency_keys
SET response = @response
WHERE key = @key;

-- DeleteIdempotencyKeys deletes up to row_limit keys that are older than a day,
-- and returns their number. A client that was down overnight can still repeat
-- its requests. It skips rows that another sweep has locked.
--
-- @plan indexed
-- @retry
-- @class bulk
-- name: DeleteIdempotencyKeys :execrows
DELETE FROM idempotency_keys
WHERE key = ANY(ARRAY(
    -- The alias is needed because otherwise sqlc reports the columns as ambiguous.
    SELECT k.key
    FROM idempotency_keys AS k
    WHERE k.created_at < now() - interval '1 day'
    ORDER BY k.created_at
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
));
