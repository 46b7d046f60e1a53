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

-- GetUserByUsername returns the user with the given username. It is
-- case-sensitive.
--
-- @route replica
-- @timeout 250ms
-- @plan uses users_username_key
-- @batch
-- name: GetUserByUsername :one
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE username = @username;

-- ListUsersAfter returns a page of users, sorted by id, starting after the
-- given id. An absent filter has no effect.
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

-- ListUsersBefore returns a page of users, sorted by descending id, starting
-- before the given id. Reverse it to get the previous page. An absent filter
-- has no effect.
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

-- CreateUserBatch adds the users of several calls of CreateUser. The nth username, email, age
-- and tags become the user with ord n. A user is omitted if its username is taken, even by an
-- earlier user of the same batch.
-- name: CreateUserBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is generated here
    -- because it later identifies the call of each row. With generate_series
    -- PostgreSQL would make a new plan for each length.
    SELECT generate_subscripts(@username::text[], 1) AS ord,
           nextval('users_id_seq')                   AS id,
           unnest(@username::text[])                 AS username,
           unnest(@email::text[])                    AS email,
           unnest(@age::integer[])                   AS age,
           unnest(@tags::jsonb[])                    AS tags
    -- A call that must wait longer for another transaction is then sent
    -- individually.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO users (id, username, email, age, tags)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.username, g.email, g.age, g.tags
    FROM given AS g
    -- Sorted, so that two batches with several common usernames wait for each other in the same
    -- order and cannot deadlock.
    ORDER BY g.username
    ON CONFLICT (username) DO NOTHING
    RETURNING id, username, email, age, tags, created_at, updated_at, version
)
SELECT g.ord::integer AS ord, c.id, c.username, c.email, c.age, c.tags, c.created_at, c.updated_at, c.version
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- UpdateUser changes the given fields of a user and keeps the others. set_age
-- distinguishes an age that is cleared from one that is kept. With if_version
-- it changes nothing unless the user still has that version.
--
-- @plan uses users_pkey
-- @batch
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

-- DeleteUser deletes a user and, through the foreign key, the user's posts.
-- With if_version it deletes nothing unless the user still has that version.
--
-- @plan uses users_pkey
-- name: DeleteUser :execrows
DELETE FROM users
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'));

-- UpdateUsers changes many users at once. The nth id, version, username, email,
-- age and tags are the nth change, and ids must be unique. It returns the ids
-- of the users that it has not changed, in no particular order: those that do
-- not exist and those whose version is not if_version, where 0 means any. These
-- are usually none. To return all others instead would take as long as 500 of
-- 10,000 changes.
--
-- Arrays cannot contain NULL here. So the set_ arrays tell which texts are set,
-- -2147483648 is a cleared age and -2147483647 one that is kept, and JSON's null
-- means that the tags are kept. Elements that a shorter array lacks are kept, so
-- an array that no change needs may be empty.
--
-- @timeout 30s
-- @plan uses users_pkey
-- @class bulk
-- name: UpdateUsers :many
WITH updated AS (
    UPDATE users AS u
    SET username   = CASE WHEN g.set_username THEN g.username ELSE u.username END,
        email      = CASE WHEN g.set_email THEN g.email ELSE u.email END,
        age        = CASE WHEN COALESCE(g.age, -2147483647) = -2147483647 THEN u.age ELSE NULLIF(g.age, -2147483648) END,
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
               unnest(@ages::integer[])          AS age,
               unnest(@tags::jsonb[])            AS tags
    ) AS g
    WHERE u.id = g.id
      AND (COALESCE(g.if_version, 0) = 0 OR u.version = g.if_version)
    RETURNING u.id
)
SELECT s.id::bigint AS id
FROM (SELECT unnest(@ids::bigint[]) AS id) AS s
-- If it is false, the ids are not compared.
WHERE (SELECT count(*) FROM updated) < cardinality(@ids::bigint[])
  AND NOT EXISTS (SELECT FROM updated AS c WHERE c.id = s.id);

-- DeleteUsers deletes many users at once and, through the foreign key, their
-- posts. The nth id has the nth version, and ids must be unique. It returns the
-- ids of the users that it has not deleted, in no particular order: those that
-- do not exist and those whose version is not if_version, where 0 means any.
--
-- @timeout 30s
-- @plan uses users_pkey
-- @class bulk
-- name: DeleteUsers :many
WITH deleted AS (
    DELETE FROM users AS u
    USING (
        SELECT unnest(@ids::bigint[])          AS id,
               unnest(@if_versions::integer[]) AS if_version
    ) AS g
    WHERE u.id = g.id
      AND (COALESCE(g.if_version, 0) = 0 OR u.version = g.if_version)
    RETURNING u.id
)
SELECT s.id::bigint AS id
FROM (SELECT unnest(@ids::bigint[]) AS id) AS s
WHERE (SELECT count(*) FROM deleted) < cardinality(@ids::bigint[])
  AND NOT EXISTS (SELECT FROM deleted AS d WHERE d.id = s.id);

-- ListUserIDs returns those of the given ids that belong to a user, in no
-- particular order.
--
-- @plan indexed
-- name: ListUserIDs :many
SELECT id
FROM users
WHERE id = ANY(@ids::bigint[]);
