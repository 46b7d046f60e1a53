-- GetUser returns the user with the given id.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch ListUsersByIDs by id
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
-- @batch ListUsersByUsernames by username
-- name: GetUserByUsername :one
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE username = @username;

-- ListUsersByIDs returns the users with the given ids, in no order; ids that
-- do not exist are left out.
--
-- @route replica
-- @plan indexed
-- name: ListUsersByIDs :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE id = ANY(@ids::bigint[]);

-- ListUsersByUsernames returns the users with the given usernames, in no
-- order; usernames that do not exist are left out.
--
-- @route replica
-- @plan uses users_username_key
-- name: ListUsersByUsernames :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE username = ANY(@usernames::text[]);

-- ListUsersAfter returns a page of users in the order of their ids, from the
-- first one behind the given id. A filter that is absent filters nothing.
--
-- @route replica
-- @plan indexed
-- @stream
-- name: ListUsersAfter :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE id > @after
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
-- @plan indexed
-- name: ListUsersBefore :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM users
WHERE id < @before
  AND (sqlc.narg('min_age')::integer IS NULL OR age >= sqlc.narg('min_age'))
  AND (sqlc.narg('max_age')::integer IS NULL OR age <= sqlc.narg('max_age'))
  AND (sqlc.narg('username_prefix')::text IS NULL OR starts_with(username, sqlc.narg('username_prefix')))
ORDER BY id DESC
LIMIT @row_limit::bigint;

-- CreateUser adds a user.
-- name: CreateUser :one
INSERT INTO users (username, email, age, tags)
VALUES (@username, @email, @age, @tags)
RETURNING id, username, email, age, tags, created_at, updated_at, version;

-- UpdateUser changes what is given of a user and keeps the rest; set_age tells
-- an age that is cleared from one that is kept. With if_version it changes
-- nothing unless the user still has that version.
--
-- @plan indexed
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
-- @plan indexed
-- name: DeleteUser :execrows
DELETE FROM users
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'));
