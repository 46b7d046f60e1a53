-- ListUserStats returns a page of the users with more than the given number of
-- posts, sorted by descending number of posts and then by id, starting after
-- the given count and id.
--
-- It counts all posts for every page, because a count cannot be indexed, so its
-- cost grows with the table. It counts, sorts and limits before it joins, so
-- that only the users of the result are looked up. A counter maintained by the
-- writers would avoid the cost, but it would be a contended row for each busy
-- user.
--
-- @route replica
-- @class bulk
-- name: ListUserStats :many
WITH counts AS (
    SELECT user_id, count(*) AS post_count
    FROM posts
    GROUP BY user_id
    HAVING count(*) > @min_posts::bigint
       AND (count(*) < @after_count::bigint OR (count(*) = @after_count::bigint AND user_id > @after_id::bigint))
    ORDER BY post_count DESC, user_id
    LIMIT @row_limit::bigint
)
SELECT u.id, u.username, c.post_count
FROM counts AS c
-- Each user is looked up by the index. Otherwise PostgreSQL, which cannot know
-- how few they are, would read all users. The LIMIT keeps it from turning this
-- into a join again.
CROSS JOIN LATERAL (SELECT id, username FROM users WHERE users.id = c.user_id LIMIT 1) AS u
ORDER BY c.post_count DESC, u.id;

-- ListPostsPerDay returns how many posts were created on each day (UTC) from
-- the first to the last given day, including days without posts.
--
-- Its cost grows with the posts of those days, which it finds with an index.
--
-- @route replica
-- @plan uses posts_created_at_idx
-- @class bulk
-- name: ListPostsPerDay :many
WITH counts AS (
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS post_count
    FROM posts
    -- The bounds are timestamps instead of dates, so that the index can be
    -- used.
    WHERE created_at >= sqlc.arg('from_day')::date::timestamp AT TIME ZONE 'UTC'
      AND created_at < (sqlc.arg('to_day')::date + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1
)
SELECT d.day::date AS day, COALESCE(c.post_count, 0)::bigint AS post_count
FROM generate_series(sqlc.arg('from_day')::date::timestamp, sqlc.arg('to_day')::date::timestamp, interval '1 day') AS d (day)
LEFT JOIN counts AS c ON c.day = d.day::date
ORDER BY d.day;

-- GetOverview returns the totals of the service.
--
-- It counts all users, posts and tasks, so its cost grows with the tables.
--
-- @route replica
-- @class bulk
-- @queue
-- name: GetOverview :one
SELECT u.users, p.posts, p.users_with_posts, t.pending, t.running, t.completed, t.failed, t.cancelled
FROM (
    SELECT count(*) AS users
    FROM users
) AS u
CROSS JOIN (
    -- Counting the groups is several times faster than count(DISTINCT), which
    -- sorts all rows.
    SELECT COALESCE(sum(post_count), 0)::bigint AS posts, count(*) AS users_with_posts
    FROM (SELECT count(*) AS post_count FROM posts GROUP BY user_id) AS by_user
) AS p
CROSS JOIN (
    SELECT count(*) FILTER (WHERE status = 'pending')   AS pending,
           count(*) FILTER (WHERE status = 'running')   AS running,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'failed')    AS failed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled
    FROM tasks
) AS t;

-- ListTopTags returns the most used tags of posts, sorted by descending use and
-- then alphabetically. A tag that a post has twice counts twice, because
-- detecting that would cost more than the counting.
--
-- It reads all posts for any limit, so its cost grows with the table. A table
-- of tags and posts, maintained by the writers and indexed by tag, would avoid
-- that.
--
-- @route replica
-- @class bulk
-- name: ListTopTags :many
SELECT t.tag::text AS tag, count(*) AS use_count
FROM posts AS p
-- This selects only the function. If anything is around it, such as DISTINCT, the planner does
-- not distribute the table over parallel workers.
CROSS JOIN LATERAL jsonb_array_elements_text(p.tags) AS t (tag)
GROUP BY t.tag
ORDER BY use_count DESC, t.tag
LIMIT @row_limit::bigint;

-- CountTasks returns the number of tasks in each state, and how many of them
-- are claimable now, because they are due or their lease has expired.
--
-- It counts all entries of an index instead of the rows, so its cost grows with
-- the number of stored tasks.
--
-- @route replica
-- @class bulk
-- name: CountTasks :one
SELECT count(*) FILTER (WHERE status = 'pending')   AS pending,
       count(*) FILTER (WHERE status = 'running')   AS running,
       count(*) FILTER (WHERE status = 'completed') AS completed,
       count(*) FILTER (WHERE status = 'failed')    AS failed,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
       (
           SELECT count(*)
           FROM tasks AS d
           WHERE task_due(d.status, d.run_at, d.lease_until, d.attempts, d.max_attempts) <= now()
       )::bigint AS claimable
FROM tasks;
