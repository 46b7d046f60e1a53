-- GetPost returns the post with the given id.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch
-- name: GetPost :one
SELECT id, user_id, title, content, tags, created_at, updated_at, version
FROM posts
WHERE id = @id;

-- ListPostsOfUsersAfter returns all posts of the users that ListUsersAfter
-- returns for the same arguments, sorted by user and id. It is the eager load
-- of that page and can be sent before the page's result is known.
--
-- The users are an array, so that the posts are looked up by key regardless of
-- the planner's estimates.
--
-- @route replica
-- @plan uses posts_user_id_id_idx
-- @stream
-- @queue
-- name: ListPostsOfUsersAfter :many
SELECT id, user_id, title, content, tags, created_at, updated_at, version
FROM posts
WHERE user_id = ANY(ARRAY(
    SELECT u.id
    FROM users AS u
    WHERE u.id > @key
      AND (sqlc.narg('min_age')::integer IS NULL OR u.age >= sqlc.narg('min_age'))
      AND (sqlc.narg('max_age')::integer IS NULL OR u.age <= sqlc.narg('max_age'))
      AND (sqlc.narg('username_prefix')::text IS NULL OR starts_with(u.username, sqlc.narg('username_prefix')))
    ORDER BY u.id
    LIMIT @row_limit::bigint
))
ORDER BY user_id, id;

-- ListPostsOfUsersBefore returns all posts of the users that ListUsersBefore
-- returns for the same arguments, sorted by user and id. It is the eager load
-- of that page and can be sent before the page's result is known.
--
-- The users are an array, so that the posts are looked up by key regardless of
-- the planner's estimates.
--
-- @route replica
-- @plan uses posts_user_id_id_idx
-- @stream
-- @queue
-- name: ListPostsOfUsersBefore :many
SELECT id, user_id, title, content, tags, created_at, updated_at, version
FROM posts
WHERE user_id = ANY(ARRAY(
    SELECT u.id
    FROM users AS u
    WHERE u.id < @key
      AND (sqlc.narg('min_age')::integer IS NULL OR u.age >= sqlc.narg('min_age'))
      AND (sqlc.narg('max_age')::integer IS NULL OR u.age <= sqlc.narg('max_age'))
      AND (sqlc.narg('username_prefix')::text IS NULL OR starts_with(u.username, sqlc.narg('username_prefix')))
    ORDER BY u.id DESC
    LIMIT @row_limit::bigint
))
ORDER BY user_id, id;

-- ListPostsByUserAfter returns a page of a user's posts, sorted by id, starting
-- after the given id.
--
-- @route replica
-- @plan uses posts_user_id_id_idx
-- @stream
-- name: ListPostsByUserAfter :many
SELECT id, user_id, title, content, tags, created_at, updated_at, version
FROM posts
WHERE user_id = @user_id
  AND id > @key
ORDER BY id
LIMIT @row_limit::bigint;

-- ListPostsByUserBefore returns a page of a user's posts, sorted by descending
-- id, starting before the given id. Reverse it to get the previous page.
--
-- @route replica
-- @plan uses posts_user_id_id_idx
-- @stream
-- name: ListPostsByUserBefore :many
SELECT id, user_id, title, content, tags, created_at, updated_at, version
FROM posts
WHERE user_id = @user_id
  AND id < @key
ORDER BY id DESC
LIMIT @row_limit::bigint;

-- CreatePost adds a post.
--
-- @batch CreatePostBatch
-- @queue
-- name: CreatePost :one
INSERT INTO posts (user_id, title, content, tags)
VALUES (@user_id, @title, @content, @tags)
RETURNING id, user_id, title, content, tags, created_at, updated_at, version;

-- CreatePostBatch adds the posts of several calls of CreatePost. The nth
-- user_id, title, content and tags become the post with ord n. A post of an
-- unknown user is omitted.
--
-- @plan indexed
-- name: CreatePostBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is generated here
    -- because it later identifies the call of each row. With generate_series
    -- PostgreSQL would make a new plan for each length.
    SELECT generate_subscripts(@user_id::bigint[], 1) AS ord,
           nextval('posts_id_seq')                    AS id,
           unnest(@user_id::bigint[])                 AS user_id,
           unnest(@title::text[])                     AS title,
           unnest(@content::text[])                   AS content,
           unnest(@tags::jsonb[])                     AS tags
    -- A call that must wait longer for another transaction is then sent
    -- individually.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO posts (id, user_id, title, content, tags)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.user_id, g.title, g.content, g.tags
    FROM given AS g
    -- Otherwise one unknown user would fail the posts of all other calls. It does not use
    -- EXISTS, because a plan for any number of posts could then read all users.
    WHERE g.user_id = (SELECT u.id FROM users AS u WHERE u.id = g.user_id)
    ON CONFLICT DO NOTHING
    RETURNING id, user_id, title, content, tags, created_at, updated_at, version
)
SELECT g.ord::integer AS ord, c.id, c.user_id, c.title, c.content, c.tags, c.created_at, c.updated_at, c.version
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- CreatePostsOfNewUser adds posts to the user that CreateUser last added in the
-- same session, so that both can be sent at once. The nth title, content and
-- tags become the nth post. The rows are returned in no particular order, but
-- sorted by id they are in the given order.
--
-- It reads only the arrays, which are unnested in step and in order by a plan
-- that is made once. If it numbered and sorted them, PostgreSQL would make a
-- new plan for each call, at twice the cost of the insert.
--
-- @queue
-- name: CreatePostsOfNewUser :many
INSERT INTO posts (user_id, title, content, tags)
-- It does not use lastval(), because for the second post that would return the first post's id
-- instead of the user's.
SELECT currval('users_id_seq'), unnest(@titles::text[]), unnest(@contents::text[]), unnest(@tags::jsonb[])
RETURNING id, user_id, title, content, tags, created_at, updated_at, version;

-- UpdatePost changes the given fields of a post and keeps the others. With
-- if_version it changes nothing unless the post still has that version.
--
-- @plan uses posts_pkey
-- name: UpdatePost :one
UPDATE posts
SET title      = COALESCE(sqlc.narg('title'), title),
    content    = COALESCE(sqlc.narg('content'), content),
    tags       = COALESCE(sqlc.narg('tags'), tags),
    updated_at = now(),
    version    = version + 1
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'))
RETURNING id, user_id, title, content, tags, created_at, updated_at, version;

-- DeletePost deletes a post. With if_version it deletes nothing unless the post
-- still has that version.
--
-- @plan uses posts_pkey
-- name: DeletePost :execrows
DELETE FROM posts
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'));
