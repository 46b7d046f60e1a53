-- ListUserStats returns a page of the users with more than the given number of
-- posts, sorted by descending number of posts and then by id, starting after
-- the given count and id.
--
-- It reads the folded counts in the order of an index, and adds the deltas that
-- are not folded yet. So its cost grows with the page and those deltas, and not
-- with the table.
--
-- @route replica
-- @plan uses user_post_counts_order_idx
-- @class bulk
-- name: ListUserStats :many
WITH deltas AS MATERIALIZED (
    SELECT d.user_id, sum(d.n)::bigint AS n
    FROM unfolded_posts AS d
    GROUP BY d.user_id
), folded AS (
    SELECT c.user_id, c.post_count
    FROM user_post_counts AS c
    WHERE (-c.post_count, c.user_id) > (-(@after_count::bigint), @after_id::bigint)
      AND -c.post_count < -(@min_posts::bigint)
      AND c.user_id NOT IN (SELECT d.user_id FROM deltas AS d)
    ORDER BY -c.post_count, c.user_id
    LIMIT @row_limit::bigint
), unfolded AS (
    SELECT d.user_id, COALESCE(c.post_count, 0) + d.n AS post_count
    FROM deltas AS d
    LEFT JOIN LATERAL (SELECT f.post_count FROM user_post_counts AS f WHERE f.user_id = d.user_id LIMIT 1) AS c ON true
    WHERE COALESCE(c.post_count, 0) + d.n > @min_posts::bigint
      AND (-(COALESCE(c.post_count, 0) + d.n), d.user_id) > (-(@after_count::bigint), @after_id::bigint)
    ORDER BY post_count DESC, d.user_id
    LIMIT @row_limit::bigint
), page AS (
    SELECT user_id, post_count FROM folded
    UNION ALL
    SELECT user_id, post_count FROM unfolded
    ORDER BY post_count DESC, user_id
    LIMIT @row_limit::bigint
)
SELECT u.id, u.username, p.post_count::bigint AS post_count
FROM page AS p
-- Each user is looked up by the index. Otherwise PostgreSQL, which cannot know
-- how few they are, would read all users. The LIMIT keeps it from turning this
-- into a join again.
CROSS JOIN LATERAL (SELECT id, username FROM users WHERE users.id = p.user_id LIMIT 1) AS u
ORDER BY p.post_count DESC, u.id;

-- ListPostsPerDay returns how many posts were created on each day (UTC) from
-- the first to the last given day, including days without posts.
--
-- It reads the folded counts of those days, and adds the deltas that are not
-- folded yet.
--
-- @route replica
-- @plan uses day_post_counts_pkey
-- @class bulk
-- name: ListPostsPerDay :many
WITH counts AS (
    SELECT k.day, sum(k.n) AS post_count
    FROM (
        SELECT c.day, c.post_count AS n
        FROM day_post_counts AS c
        WHERE c.day BETWEEN sqlc.arg('from_day')::date AND sqlc.arg('to_day')::date
        UNION ALL
        SELECT d.day, d.n
        FROM unfolded_posts AS d
        WHERE d.day BETWEEN sqlc.arg('from_day')::date AND sqlc.arg('to_day')::date
    ) AS k
    GROUP BY k.day
)
SELECT d.day::date AS day, COALESCE(c.post_count, 0)::bigint AS post_count
FROM generate_series(sqlc.arg('from_day')::date::timestamp, sqlc.arg('to_day')::date::timestamp, interval '1 day') AS d (day)
LEFT JOIN counts AS c ON c.day = d.day::date
ORDER BY d.day;

-- GetOverview returns the totals of the service.
--
-- It reads the folded totals of users and posts, and adds the deltas that are
-- not folded yet. It counts the tasks, so its cost grows with their number.
--
-- @route replica
-- @class bulk
-- @queue
-- name: GetOverview :one
WITH deltas AS MATERIALIZED (
    SELECT d.user_id, sum(d.n)::bigint AS n
    FROM unfolded_posts AS d
    GROUP BY d.user_id
)
SELECT u.users::bigint AS users, p.posts::bigint AS posts, p.users_with_posts::bigint AS users_with_posts,
       t.pending, t.running, t.completed, t.failed, t.cancelled
FROM (
    SELECT COALESCE((SELECT f.users FROM user_totals AS f), 0) + COALESCE((SELECT sum(d.n)::bigint FROM unfolded_users AS d), 0) AS users
) AS u
CROSS JOIN (
    SELECT COALESCE((SELECT f.posts FROM post_totals AS f), 0) + COALESCE(sum(d.n), 0)::bigint AS posts,
           COALESCE((SELECT f.users_with_posts FROM post_totals AS f), 0)
               + count(*) FILTER (WHERE c.post_count IS NULL AND d.n > 0)
               - count(*) FILTER (WHERE c.post_count + d.n = 0) AS users_with_posts
    FROM deltas AS d
    LEFT JOIN LATERAL (SELECT f.post_count FROM user_post_counts AS f WHERE f.user_id = d.user_id LIMIT 1) AS c ON true
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
-- then alphabetically. A tag that a post has twice counts twice.
--
-- It reads the folded counts in the order of an index, and adds the deltas that
-- are not folded yet. So its cost grows with the limit and those deltas, and
-- not with the table.
--
-- @route replica
-- @plan indexed
-- @class bulk
-- name: ListTopTags :many
WITH deltas AS MATERIALIZED (
    SELECT t.tag::text AS tag, sum(p.n)::bigint AS n
    FROM unfolded_posts AS p
    CROSS JOIN LATERAL jsonb_array_elements_text(p.tags) AS t (tag)
    WHERE t.tag IS NOT NULL
    GROUP BY t.tag
), folded AS (
    SELECT c.tag, c.use_count
    FROM tag_counts AS c
    WHERE octet_length(c.tag) <= 400
      AND -c.use_count < 0
      AND c.tag NOT IN (SELECT d.tag FROM deltas AS d)
    ORDER BY -c.use_count, c.tag
    LIMIT @row_limit::bigint
), folded_long AS (
    SELECT c.tag, c.use_count
    FROM tag_counts AS c
    WHERE octet_length(c.tag) > 400
      AND -c.use_count < 0
      AND c.tag NOT IN (SELECT d.tag FROM deltas AS d)
    ORDER BY -c.use_count, c.tag
    LIMIT @row_limit::bigint
), unfolded AS (
    SELECT d.tag, COALESCE(c.use_count, 0) + d.n AS use_count
    FROM deltas AS d
    LEFT JOIN LATERAL (SELECT f.use_count FROM tag_counts AS f WHERE f.tag_hash = sha256(convert_to(d.tag, 'UTF8')) LIMIT 1) AS c ON true
    WHERE COALESCE(c.use_count, 0) + d.n > 0
)
SELECT k.tag::text AS tag, k.use_count::bigint AS use_count
FROM (
    SELECT tag, use_count FROM folded
    UNION ALL
    SELECT tag, use_count FROM folded_long
    UNION ALL
    SELECT tag, use_count FROM unfolded
) AS k
ORDER BY k.use_count DESC, k.tag
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
           (
               SELECT count(*)
               FROM tasks AS d
               WHERE task_ready(d.status, d.run_at) <= now()
           ) + (
               SELECT count(*)
               FROM tasks AS e
               WHERE task_lapse(e.lease_until, e.attempts, e.max_attempts) <= now()
                 AND e.lease_until IS NOT NULL
                 AND e.worker IS NOT NULL
                 AND e.attempts < e.max_attempts
           )
       )::bigint AS claimable
FROM tasks;
