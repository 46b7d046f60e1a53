-- ExportPosts returns every post, or every post of one user, in the order of
-- their ids and with the names of their authors: as the tables were when it
-- began, however long it takes.
--
-- It is not for replicas, which break off long reads for what they replay.
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
