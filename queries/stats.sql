-- ListUserStats returns the users with more than the given number of posts,
-- the most prolific first and equals in the order of their ids: a page from
-- the first one behind the given count and id.
--
-- It counts every post whatever the page, because a count cannot be indexed: the
-- cost grows with the table. It counts, orders and cuts before it joins, so that
-- only the users of the answer are looked up. A counter kept by the writers
-- would cure that, at the price of a contended row for each busy user.
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
-- Each by the index: PostgreSQL cannot know how few they are and would read all
-- users for them. The LIMIT keeps it from making a join of this again.
CROSS JOIN LATERAL (SELECT id, username FROM users WHERE users.id = c.user_id LIMIT 1) AS u
ORDER BY c.post_count DESC, u.id;

-- ListPostsPerDay returns how many posts were created on each day (UTC) from
-- the first to the last given, a day without posts included.
--
-- The cost grows with the posts of those days, which an index delimits.
--
-- @route replica
-- @plan uses posts_created_at_idx
-- @class bulk
-- name: ListPostsPerDay :many
WITH counts AS (
    SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS post_count
    FROM posts
    -- The bounds are moments, not days, so that the index can serve them.
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
-- It counts every user, post and task: the cost grows with the tables.
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
    -- Counting the groups is several times faster than count(DISTINCT),
    -- which sorts every row.
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

-- ListTopTags returns the tags that posts use most, the most used first and
-- equals in the order of the letters. A tag that a post has twice counts twice:
-- telling would cost more than the counting.
--
-- It reads every post whatever the limit: the cost grows with the table. A
-- table of tags and posts, kept by the writers and indexed by tag, would cure
-- that.
--
-- @route replica
-- @class bulk
-- name: ListTopTags :many
SELECT t.tag::text AS tag, count(*) AS use_count
FROM posts AS p
-- The function alone: around anything more, such as a DISTINCT, the planner
-- does not share the table out among parallel workers.
CROSS JOIN LATERAL jsonb_array_elements_text(p.tags) AS t (tag)
GROUP BY t.tag
ORDER BY use_count DESC, t.tag
LIMIT @row_limit::bigint;

-- CountTasks returns how many tasks are in each state, and how many of them
-- could be claimed now: those that are due, expired leases included.
--
-- It counts the entries of an index and not the rows, but all of them: the cost
-- grows with the tasks that are kept.
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
