-- LockPostTotals locks the totals of posts until the end of the transaction, if
-- there are deltas to fold. It returns no row if there are none, or if another
-- transaction folds them.
--
-- The COMMIT of the transaction does not wait until its WAL is written. If the server
-- crashes before, the deltas are there again, and the totals are the former ones.
-- The planner cannot know how few rows are folded. Without a sequential scan, each
-- total is looked up by its index, and the cost does not grow with the table.
--
-- name: LockPostTotals :one
SELECT (set_config('synchronous_commit', 'off', true) = 'off' AND set_config('enable_seqscan', 'off', true) = 'off')::boolean AS locked
FROM post_totals AS t
WHERE EXISTS (SELECT FROM unfolded_posts)
FOR UPDATE OF t SKIP LOCKED;

-- FoldPosts adds up to the given number of deltas to the totals, deletes them,
-- and returns their number. The caller must have locked the totals in an
-- earlier statement of the transaction. Then this one sees the result of the
-- last fold. Every snapshot has a delta either in the totals or as a delta.
--
-- A total is deleted, updated or inserted, in this order. INSERT … ON CONFLICT
-- would look up each row once more, and write to the WAL that it locks the row.
--
-- @timeout 1m
-- name: FoldPosts :one
WITH batch AS MATERIALIZED (
    SELECT u.xid, u.id
    FROM post_deltas AS u
    WHERE u.xid >= COALESCE((SELECT t.from_xid FROM post_totals AS t WHERE t.one AND t.from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0')
    ORDER BY u.xid, u.id
    LIMIT @row_limit::bigint
), last AS MATERIALIZED (
    SELECT b.xid, b.id
    FROM batch AS b
    ORDER BY b.xid DESC, b.id DESC
    LIMIT 1
), folded AS (
    DELETE FROM post_deltas AS d
    WHERE d.xid >= COALESCE((SELECT t.from_xid FROM post_totals AS t WHERE t.one AND t.from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0')
      AND (d.xid, d.id) <= ((SELECT l.xid FROM last AS l), (SELECT l.id FROM last AS l))
    RETURNING d.day, d.n, d.n * COALESCE(cardinality(d.user_ids), 1) AS posts,
              COALESCE(d.user_ids, ARRAY[d.user_id]) AS user_ids, COALESCE(d.tag_lists, ARRAY[d.tags]) AS tag_lists
), by_user AS MATERIALIZED (
    SELECT u.user_id, sum(u.n)::bigint AS n
    FROM (SELECT unnest(d.user_ids) AS user_id, d.n FROM folded AS d) AS u
    GROUP BY u.user_id
    HAVING sum(u.n) <> 0
    -- Neighbours in the index are then changed one after the other.
    ORDER BY u.user_id
), users_gone AS (
    DELETE FROM user_post_counts AS c
    USING by_user AS b
    WHERE c.user_id = b.user_id AND b.n < 0 AND c.post_count + b.n = 0
    RETURNING c.user_id
), users_counted AS (
    UPDATE user_post_counts AS c
    SET post_count = c.post_count + b.n
    FROM by_user AS b
    WHERE c.user_id = b.user_id AND c.post_count + b.n <> 0
    RETURNING c.user_id
), users_added AS (
    INSERT INTO user_post_counts (user_id, post_count)
    SELECT b.user_id, b.n
    FROM by_user AS b
    WHERE b.user_id NOT IN (SELECT u.user_id FROM users_counted AS u UNION ALL SELECT g.user_id FROM users_gone AS g)
    RETURNING user_id
), by_day AS MATERIALIZED (
    SELECT f.day, sum(f.posts)::bigint AS n
    FROM folded AS f
    GROUP BY f.day
    HAVING sum(f.posts) <> 0
), days_gone AS (
    DELETE FROM day_post_counts AS c
    USING by_day AS b
    WHERE c.day = b.day AND b.n < 0 AND c.post_count + b.n = 0
    RETURNING c.day
), days_counted AS (
    UPDATE day_post_counts AS c
    SET post_count = c.post_count + b.n
    FROM by_day AS b
    WHERE c.day = b.day AND c.post_count + b.n <> 0
    RETURNING c.day
), days_added AS (
    INSERT INTO day_post_counts (day, post_count)
    SELECT b.day, b.n
    FROM by_day AS b
    WHERE b.day NOT IN (SELECT u.day FROM days_counted AS u UNION ALL SELECT g.day FROM days_gone AS g)
), by_tag AS MATERIALIZED (
    SELECT sha256(convert_to(t.tag, 'UTF8')) AS tag_hash, t.tag, sum(d.n)::bigint AS n
    FROM (SELECT unnest(f.tag_lists) AS tags, f.n FROM folded AS f) AS d
    CROSS JOIN LATERAL jsonb_array_elements_text(d.tags) AS t (tag)
    WHERE t.tag IS NOT NULL
    GROUP BY t.tag
    HAVING sum(d.n) <> 0
), tags_gone AS (
    DELETE FROM tag_counts AS c
    USING by_tag AS b
    WHERE c.tag_hash = b.tag_hash AND b.n < 0 AND c.use_count + b.n = 0
    RETURNING c.tag_hash
), tags_counted AS (
    UPDATE tag_counts AS c
    SET use_count = c.use_count + b.n
    FROM by_tag AS b
    WHERE c.tag_hash = b.tag_hash AND c.use_count + b.n <> 0
    RETURNING c.tag_hash
), tags_added AS (
    INSERT INTO tag_counts (tag_hash, tag, use_count)
    SELECT b.tag_hash, b.tag, b.n
    FROM by_tag AS b
    WHERE b.tag_hash NOT IN (SELECT u.tag_hash FROM tags_counted AS u UNION ALL SELECT g.tag_hash FROM tags_gone AS g)
), totals AS (
    UPDATE post_totals AS t
    SET posts            = t.posts + (SELECT COALESCE(sum(posts), 0) FROM folded),
        users_with_posts = t.users_with_posts + (SELECT count(*) FROM users_added) - (SELECT count(*) FROM users_gone),
        -- Every transaction before the snapshot's oldest has ended, and its deltas
        -- are in the batch, unless the batch is full.
        from_xid = CASE
            WHEN (SELECT count(*) FROM batch) < @row_limit::bigint THEN pg_snapshot_xmin(pg_current_snapshot())
            ELSE LEAST(pg_snapshot_xmin(pg_current_snapshot()), (SELECT l.xid FROM last AS l))
        END
    WHERE t.one
)
SELECT count(*) AS folded
FROM folded;

-- LockUserTotals locks the totals of users as LockPostTotals does those of
-- posts.
--
-- name: LockUserTotals :one
SELECT (set_config('synchronous_commit', 'off', true) = 'off' AND set_config('enable_seqscan', 'off', true) = 'off')::boolean AS locked
FROM user_totals AS t
WHERE EXISTS (SELECT FROM unfolded_users)
FOR UPDATE OF t SKIP LOCKED;

-- FoldUsers adds deltas to the total of users as FoldPosts does to those of
-- posts.
--
-- name: FoldUsers :one
WITH batch AS MATERIALIZED (
    SELECT u.xid, u.id
    FROM unfolded_users AS u
    ORDER BY u.xid, u.id
    LIMIT @row_limit::bigint
), last AS MATERIALIZED (
    SELECT b.xid, b.id
    FROM batch AS b
    ORDER BY b.xid DESC, b.id DESC
    LIMIT 1
), folded AS (
    DELETE FROM user_deltas AS d
    WHERE d.xid >= COALESCE((SELECT t.from_xid FROM user_totals AS t WHERE t.one AND t.from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0')
      AND (d.xid, d.id) <= ((SELECT l.xid FROM last AS l), (SELECT l.id FROM last AS l))
    RETURNING d.n
), totals AS (
    UPDATE user_totals AS t
    SET users    = t.users + (SELECT COALESCE(sum(n), 0) FROM folded),
        from_xid = CASE
            WHEN (SELECT count(*) FROM batch) < @row_limit::bigint THEN pg_snapshot_xmin(pg_current_snapshot())
            ELSE LEAST(pg_snapshot_xmin(pg_current_snapshot()), (SELECT l.xid FROM last AS l))
        END
    WHERE t.one
)
SELECT count(*) AS folded
FROM folded;

-- CountUnfolded returns the number of changes of posts and of users that are not
-- folded yet. It stops after a million deltas of each. It reads the tables and not
-- the views, which contain other rows if there are no triggers (deploy/citus.sql).
--
-- name: CountUnfolded :one
SELECT (SELECT COALESCE(sum(COALESCE(cardinality(p.user_ids), 1)), 0) FROM (SELECT user_ids FROM post_deltas WHERE xid >= COALESCE((SELECT from_xid FROM post_totals WHERE one AND from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0') LIMIT 1000000) AS p)::bigint AS posts,
       (SELECT count(*) FROM (SELECT n FROM user_deltas WHERE xid >= COALESCE((SELECT from_xid FROM user_totals WHERE one AND from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0') LIMIT 1000000) AS u)::bigint AS users;

-- ListCountDifferences returns the kept counts that are not the number of rows,
-- with both numbers, in one snapshot. A kept count consists of the folded total
-- and the deltas that are not folded yet. It counts everything, so its cost
-- grows with the tables.
--
-- @timeout 30m
-- name: ListCountDifferences :many
WITH posts_of_users AS (
    SELECT user_id, count(*) AS n FROM posts GROUP BY user_id
), kept_by_user AS (
    SELECT k.user_id, sum(k.n)::bigint AS n
    FROM (SELECT user_id, post_count AS n FROM user_post_counts UNION ALL SELECT user_id, n FROM unfolded_posts) AS k
    GROUP BY k.user_id
), kept_by_day AS (
    SELECT k.day, sum(k.n)::bigint AS n
    FROM (SELECT day, post_count AS n FROM day_post_counts UNION ALL SELECT day, n FROM unfolded_posts) AS k
    GROUP BY k.day
), kept_by_tag AS (
    SELECT k.tag, sum(k.n)::bigint AS n
    FROM (
        SELECT tag, use_count AS n FROM tag_counts
        UNION ALL
        SELECT t.tag, d.n FROM unfolded_posts AS d CROSS JOIN LATERAL jsonb_array_elements_text(d.tags) AS t (tag)
    ) AS k
    WHERE k.tag IS NOT NULL
    GROUP BY k.tag
), compared AS (
    SELECT 'users' AS name, '' AS key,
           COALESCE((SELECT f.users FROM user_totals AS f), 0) + COALESCE((SELECT sum(d.n) FROM unfolded_users AS d), 0)::bigint AS kept,
           (SELECT count(*) FROM users) AS counted
    UNION ALL
    SELECT 'posts', '',
           COALESCE((SELECT f.posts FROM post_totals AS f), 0) + COALESCE((SELECT sum(d.n) FROM unfolded_posts AS d), 0)::bigint,
           (SELECT COALESCE(sum(n), 0)::bigint FROM posts_of_users)
    UNION ALL
    SELECT 'users with posts, folded', '',
           COALESCE((SELECT f.users_with_posts FROM post_totals AS f), 0),
           (SELECT count(*) FROM user_post_counts)
    UNION ALL
    SELECT 'posts of user', COALESCE(k.user_id, c.user_id, 0)::text, COALESCE(k.n, 0), COALESCE(c.n, 0)
    FROM kept_by_user AS k
    FULL JOIN posts_of_users AS c ON c.user_id = k.user_id
    UNION ALL
    SELECT 'posts on day', COALESCE(k.day::text, c.day::text, ''), COALESCE(k.n, 0), COALESCE(c.n, 0)
    FROM kept_by_day AS k
    FULL JOIN (SELECT (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS n FROM posts GROUP BY 1) AS c ON c.day = k.day
    UNION ALL
    SELECT 'uses of tag', COALESCE(k.tag, c.tag, ''), COALESCE(k.n, 0), COALESCE(c.n, 0)
    FROM kept_by_tag AS k
    FULL JOIN (
        SELECT t.tag, count(*) AS n
        FROM posts AS p
        CROSS JOIN LATERAL jsonb_array_elements_text(p.tags) AS t (tag)
        WHERE t.tag IS NOT NULL
        GROUP BY t.tag
    ) AS c ON c.tag = k.tag
)
SELECT c.name::text AS name, COALESCE(c.key, '')::text AS key, c.kept::bigint AS kept, c.counted::bigint AS counted
FROM compared AS c
WHERE c.kept <> c.counted
ORDER BY c.name, c.key
LIMIT @row_limit::bigint;

-- RebuildCounts replaces all kept counts with the numbers of rows. It reads the
-- tables once, and blocks neither readers nor writers.
--
-- @timeout 30m
-- name: RebuildCounts :exec
SELECT rebuild_counts();
