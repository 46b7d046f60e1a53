-- GetUser returns the user with the given id.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch
-- @queue
-- name: GetUser :one
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE id = @id;

-- GetUserByUsername returns the user with the given username, compared to the
-- letter.
--
-- @route replica
-- @timeout 250ms
-- @plan uses users_username_key
-- @batch
-- name: GetUserByUsername :one
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE username = @username;

-- ListUsersAfter returns a page of users in the order of their ids, from the
-- first one behind the given id. A filter that is absent filters nothing.
--
-- @route replica
-- @plan uses users_pkey
-- @stream
-- @queue
-- name: ListUsersAfter :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE id > @key
  AND (sqlc.narg('min_age')::integer IS NULL OR age >= sqlc.narg('min_age'))
  AND (sqlc.narg('max_age')::integer IS NULL OR age <= sqlc.narg('max_age'))
  AND (sqlc.narg('username_prefix')::text IS NULL OR starts_with(username, sqlc.narg('username_prefix')))
ORDER BY id
LIMIT @row_limit::bigint;

-- ListUsersBefore returns a page of users in the falling order of their ids,
-- from the first one below the given id: a page turned back, to be reversed.
-- A filter that is absent filters nothing.
--
-- @route replica
-- @plan uses users_pkey
-- @stream
-- @queue
-- name: ListUsersBefore :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE id < @key
  AND (sqlc.narg('min_age')::integer IS NULL OR age >= sqlc.narg('min_age'))
  AND (sqlc.narg('max_age')::integer IS NULL OR age <= sqlc.narg('max_age'))
  AND (sqlc.narg('username_prefix')::text IS NULL OR starts_with(username, sqlc.narg('username_prefix')))
ORDER BY id DESC
LIMIT @row_limit::bigint;

-- CreateUser adds a user.
--
-- @batch CreateUserBatch
-- @queue
-- name: CreateUser :one
INSERT INTO users (username, email, age, tags)
VALUES (@username, @email, @age, @tags)
RETURNING id, username, email, age, tags, created_at, updated_at, version;

-- CreateUserBatch adds the users of several calls of CreateUser: the nth
-- username, email, age and tags make the user with ord n. A user whose username
-- is taken, also by one before it, is left out.
-- name: CreateUserBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is drawn here, because it
    -- tells afterwards to which call a row belongs. With generate_series PostgreSQL
    -- would make a new plan for each length.
    SELECT generate_subscripts(@username::text[], 1) AS ord,
           nextval('users_id_seq')                   AS id,
           unnest(@username::text[])                 AS username,
           unnest(@email::text[])                    AS email,
           unnest(@age::integer[])                   AS age,
           unnest(@tags::jsonb[])                    AS tags
    -- A call that must wait longer for another transaction is repeated by itself.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO users (id, username, email, age, tags)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.username, g.email, g.age, g.tags
    FROM given AS g
    -- Two batches that meet in several usernames wait for each other in one order.
    ORDER BY g.username
    ON CONFLICT (username) DO NOTHING
    RETURNING id, username, email, age, tags, created_at, updated_at, version
)
SELECT g.ord::integer AS ord, c.id, c.username, c.email, c.age, c.tags, c.created_at, c.updated_at, c.version
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- UpdateUser changes what is given of a user and keeps the rest; set_age tells
-- an age that is cleared from one that is kept. With if_version it changes
-- nothing unless the user still has that version.
--
-- @plan uses users_pkey
-- name: UpdateUser :one
UPDATE users
SET username   = COALESCE(sqlc.narg('username'), username),
    email      = COALESCE(sqlc.narg('email'), email),
    age        = CASE WHEN @set_age::boolean THEN sqlc.narg('age') ELSE age END,
    tags       = COALESCE(sqlc.narg('tags'), tags),
    updated_at = now(),
    version    = version + 1
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'))
RETURNING id, username, email, age, tags, created_at, updated_at, version;

-- DeleteUser removes a user and, by the foreign key, the user's posts. With
-- if_version it removes nothing unless the user still has that version.
--
-- @plan uses users_pkey
-- name: DeleteUser :execrows
DELETE FROM users
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'));

-- UpdateUsers changes many users at once: the nth id, version, username, email,
-- age and tags make the nth change, and no id may be given twice. It returns
-- the ids that it changed, in no order: not those that have another version than
-- if_version, which is 0 for any, and not those that do not exist.
--
-- An array cannot carry NULL here. So the set_ arrays tell what is set from what
-- is kept, -2147483648 is an age that is cleared, and JSON's null are tags that
-- are kept. An array that ends early keeps the rest: one that no change needs
-- is passed empty.
--
-- @timeout 30s
-- @plan indexed
-- @class bulk
-- name: UpdateUsers :many
UPDATE users AS u
SET username   = CASE WHEN g.set_username THEN g.username ELSE u.username END,
    email      = CASE WHEN g.set_email THEN g.email ELSE u.email END,
    age        = CASE WHEN g.set_age THEN NULLIF(g.age, -2147483648) ELSE u.age END,
    tags       = COALESCE(NULLIF(g.tags, 'null'), u.tags),
    updated_at = now(),
    version    = u.version + 1
FROM (
    -- Several unnests in one SELECT advance in step.
    SELECT unnest(@ids::bigint[])            AS id,
           unnest(@if_versions::integer[])   AS if_version,
           unnest(@set_usernames::boolean[]) AS set_username,
           unnest(@usernames::text[])        AS username,
           unnest(@set_emails::boolean[])    AS set_email,
           unnest(@emails::text[])           AS email,
           unnest(@set_ages::boolean[])      AS set_age,
           unnest(@ages::integer[])          AS age,
           unnest(@tags::jsonb[])            AS tags
) AS g
WHERE u.id = g.id
  AND (g.if_version = 0 OR u.version = g.if_version)
RETURNING u.id;

-- DeleteUsers removes many users at once and, by the foreign key, their posts:
-- the nth id with the nth version, and no id may be given twice. It returns
-- the ids that it removed, in no order: not those that have another version than
-- if_version, which is 0 for any, and not those that do not exist.
--
-- @timeout 30s
-- @plan indexed
-- @class bulk
-- name: DeleteUsers :many
DELETE FROM users AS u
USING (
    SELECT unnest(@ids::bigint[])          AS id,
           unnest(@if_versions::integer[]) AS if_version
) AS g
WHERE u.id = g.id
  AND (g.if_version = 0 OR u.version = g.if_version)
RETURNING u.id;

-- ListUserIDs returns those of the given ids of which there is a user, in no
-- order.
--
-- @plan indexed
-- name: ListUserIDs :many
SELECT id
FROM users
WHERE id = ANY(@ids::bigint[]);
