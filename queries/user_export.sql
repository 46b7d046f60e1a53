-- ExportUsers returns every user that the filters let through, in the order of
-- their ids: as the table was when it began, however long it takes. A filter
-- that is absent filters nothing.
--
-- It is not for replicas, which break off long reads for what they replay.
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
