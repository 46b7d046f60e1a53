-- ListUsersAfter is a page. Its rows are the model's, its arguments a struct.
--
-- @route replica
-- @stream
-- name: ListUsersAfter :many
SELECT id, username, age, tags, created_at
FROM users
WHERE id > @after
  AND (sqlc.narg('min_age')::integer IS NULL OR age >= sqlc.narg('min_age'))
ORDER BY id
LIMIT @row_limit::bigint;

-- ListPostsByUser has one argument and the model's rows.
-- @stream
-- name: ListPostsByUser :many
SELECT id, user_id, title, rating, version FROM posts WHERE user_id = @user_id;

-- ListPostsWithUsers has a row struct with two columns of the same name.
-- @stream
-- @queue
-- name: ListPostsWithUsers :many
SELECT posts.id, users.id, title, 'it''s `quoted`' AS note, count(*)
FROM posts JOIN users ON users.id = posts.user_id
GROUP BY posts.id, users.id;

-- ListUsernames has one column and no arguments.
-- @stream
-- name: ListUsernames :many
SELECT username FROM users;

-- ListAges has one column that may be null.
-- @stream
-- @queue
-- name: ListAges :many
SELECT age FROM users WHERE id = ANY(@ids::bigint[]);

-- ListTags has an overridden column as argument and as row.
-- @stream
-- @queue
-- name: ListTags :many
SELECT tags FROM users WHERE tags = @tags;

-- ListLeases has a type that needs an import.
-- @stream
-- name: ListLeases :many
SELECT lease_until FROM tasks WHERE created_at > @created_at;

-- ListTaskIDs has an enum as argument.
-- @stream
-- name: ListTaskIDs :many
SELECT id FROM tasks WHERE status = @status;

-- ListStatuses has an enum as row, and an argument with a name that its stream
-- uses.
-- @stream
-- @queue
-- name: ListStatuses :many
SELECT status FROM tasks WHERE id > @postgres::bigint;

-- ListTypes has an argument named like a Go keyword.
-- @stream
-- name: ListTypes :many
SELECT sqlc.narg('type')::integer[] AS types FROM tasks;

-- GetTags has an overridden column, and an argument with a name that its
-- queueing method uses.
-- @queue
-- name: GetTags :one
SELECT tags FROM users WHERE id = sqlc.arg('b')::bigint;
