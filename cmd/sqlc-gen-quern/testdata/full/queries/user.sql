-- GetUser returns the user with the given id.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch
-- @queue
-- name: GetUser :one
SELECT id, username, age, tags, created_at
FROM users
WHERE id = @id;

-- ListUsersByIDs returns the users with the given ids in no particular order.
-- Unknown ids are omitted.
--
-- @route replica
-- @plan uses users_pkey
--
-- No statement is derived from it.
-- @queue
-- name: ListUsersByIDs :many
SELECT id, username, age, tags, created_at
FROM users
WHERE id = ANY(@ids::bigint[]);

-- CreateUser inserts a user and returns it.
--
-- @batch CreateUsers
-- @queue
-- name: CreateUser :one
INSERT INTO users (username, age, tags)
VALUES (@username, @age, @tags)
RETURNING id, username, age, tags, created_at;

-- CreateUsers inserts the rows that CreateUser would, each with its ordinal.
-- name: CreateUsers :many
WITH input AS (
    SELECT generate_subscripts(@usernames::text[], 1) AS ord,
           nextval('users_id_seq')                    AS id,
           unnest(@usernames::text[])                 AS username,
           unnest(@ages::integer[])                   AS age,
           unnest(@tags::jsonb[])                     AS tags
),
inserted AS (
    INSERT INTO users (id, username, age, tags)
    OVERRIDING SYSTEM VALUE
    SELECT input.id, input.username, input.age, input.tags FROM input
    ON CONFLICT DO NOTHING
    RETURNING id, username, age, tags, created_at
)
SELECT input.ord::integer AS ord, inserted.id, inserted.username, inserted.age, inserted.tags, inserted.created_at
FROM inserted
JOIN input ON input.id = inserted.id;

-- SetUserAge is idempotent.
-- @retry
-- @timeout 1m30s
-- @queue
-- name: SetUserAge :execrows
UPDATE users SET age = @age WHERE id = @id;

-- @queue
-- name: DeleteUser :exec
DELETE FROM users WHERE id = @id;

-- CopyUsers loads users. sqlc has no text for a COPY.
-- @timeout 5m
-- name: CopyUsers :copyfrom
INSERT INTO users (username, age, tags)
VALUES (@username, @age, @tags);
