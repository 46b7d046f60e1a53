-- CreateToken stores the hash of a new API token. Without a lifetime it never
-- expires. A hash that exists is that of the same call, which was repeated.
--
-- @retry
-- name: CreateToken :one
INSERT INTO api_tokens (name, scope, hash, expires_at)
VALUES (@name, @scope, @hash, now() + make_interval(secs => sqlc.narg('lifetime_seconds')::float8))
ON CONFLICT (hash) DO UPDATE SET name = excluded.name
RETURNING id, expires_at;

-- ListTokens returns a page of all tokens, also expired and revoked ones, sorted
-- by id, starting after the given id.
--
-- @plan uses api_tokens_pkey
-- name: ListTokens :many
SELECT id, name, scope, created_at, expires_at, revoked_at, last_used_at,
       COALESCE(expires_at <= now(), false)::boolean AS expired
FROM api_tokens
WHERE id > @key
ORDER BY id
LIMIT @row_limit::bigint;

-- ListValidTokens returns a page of the tokens that are neither revoked nor
-- expired, sorted by id, starting after the given id. read_at is the time by the
-- clock that decides about expires_at. It runs on the primary, because a replica
-- may not have replayed a revocation.
--
-- @timeout 1s
-- @plan uses api_tokens_pkey
-- name: ListValidTokens :many
SELECT id, name, scope, hash, expires_at, now()::timestamptz AS read_at
FROM api_tokens
WHERE id > @key
  AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > now())
ORDER BY id
LIMIT @row_limit::bigint;

-- RevokeToken revokes a token. A second call changes nothing.
--
-- @retry
-- @plan indexed
-- name: RevokeToken :one
UPDATE api_tokens
SET revoked_at = COALESCE(revoked_at, now())
WHERE id = @id
RETURNING id, name, scope;

-- SetTokensUsed stores when tokens were last used. The nth id was used the nth
-- number of seconds ago. Another process may have stored a later time.
--
-- @retry
-- @plan indexed
-- name: SetTokensUsed :exec
UPDATE api_tokens AS t
SET last_used_at = GREATEST(t.last_used_at, now() - make_interval(secs => u.seconds_ago))
FROM (
    -- Several unnests in one SELECT advance in step.
    SELECT unnest(@ids::bigint[])         AS id,
           unnest(@seconds_ago::float8[]) AS seconds_ago
) AS u
WHERE t.id = u.id;
