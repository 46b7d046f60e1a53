-- ExportPosts returns all posts, or all posts of one user, with their authors'
-- names, sorted by id. It shows the tables as they were when it began, even if
-- it takes long.
--
-- It does not run on replicas, because they cancel long reads that conflict
-- with replay.
--
-- @timeout 12h
-- @class bulk
-- @stream
-- name: ExportPosts :many
SELECT p.id, p.user_id, u.username, p.title, p.content, p.tags::text AS tags, p.created_at, p.updated_at, p.version
FROM posts AS p
JOIN users AS u ON u.id = p.user_id
WHERE sqlc.narg('user_id')::bigint IS NULL OR p.user_id = sqlc.narg('user_id')
ORDER BY p.id;
