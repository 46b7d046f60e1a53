-- ExportUsers returns all users that match the filters, sorted by id. It shows
-- the table as it was when it began, even if it takes long. An absent filter
-- has no effect.
--
-- It does not run on replicas, because they cancel long reads that conflict
-- with replay.
--
-- @timeout 12h
-- @class bulk
-- @stream
-- name: ExportUsers :many
SELECT id, username, email, age, tags::text AS tags, created_at, updated_at, version
FROM users
WHERE (sqlc.narg('min_age')::integer IS NULL OR age >= sqlc.narg('min_age'))
  AND (sqlc.narg('max_age')::integer IS NULL OR age <= sqlc.narg('max_age'))
  AND (sqlc.narg('username_prefix')::text IS NULL OR starts_with(username, sqlc.narg('username_prefix')))
ORDER BY id;
