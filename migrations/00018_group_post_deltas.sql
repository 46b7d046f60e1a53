-- Takes an ACCESS EXCLUSIVE lock on post_deltas for a moment, for which writes of posts and
-- reads of statistics wait. Servers of the previous version cannot fold the new deltas: until
-- they are upgraded, statistics stay exact and get slower.

-- +goose Up
-- A statement that adds or deletes several posts appends a delta for up to 32 of a day, with
-- their users and tags as arrays. So a COPY or a shared insert appends, folds and vacuums a
-- row for many posts. 32 usually fit into 2 kB, above which PostgreSQL compresses a row. A
-- server of the previous version fails at the NULL, and folds nothing wrong.
ALTER TABLE post_deltas
    ALTER COLUMN user_id DROP NOT NULL,
    ALTER COLUMN tags    DROP NOT NULL,
    ADD COLUMN user_ids  bigint[],
    ADD COLUMN tag_lists jsonb[];

-- The changes of posts that are not folded yet, one row for each post.
CREATE OR REPLACE VIEW unfolded_posts AS
SELECT d.xid, d.id, unnest(COALESCE(d.user_ids, ARRAY[d.user_id])) AS user_id, d.day, unnest(COALESCE(d.tag_lists, ARRAY[d.tags])) AS tags, d.n
FROM post_deltas AS d
WHERE d.xid >= COALESCE((SELECT t.from_xid FROM post_totals AS t WHERE t.one AND t.from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0');

-- +goose StatementBegin
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE OR REPLACE FUNCTION count_posts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    -- Aggregates would add 5 µs to the insert of a single post.
    IF (SELECT count(*) FROM (SELECT FROM changed LIMIT 2) AS c) = 1 THEN
        INSERT INTO post_deltas (user_id, day, tags, n)
        SELECT c.user_id, (c.created_at AT TIME ZONE 'UTC')::date, c.tags, CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END
        FROM changed AS c;
    ELSE
        -- New posts have consecutive ids, so these are groups of 32.
        INSERT INTO post_deltas (user_ids, day, tag_lists, n)
        SELECT array_agg(c.user_id), (c.created_at AT TIME ZONE 'UTC')::date, array_agg(c.tags), CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END
        FROM changed AS c
        GROUP BY (c.created_at AT TIME ZONE 'UTC')::date, c.id / 32;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- No writer may be between the function of the trigger and the columns.
LOCK TABLE posts IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO post_deltas (xid, user_id, day, tags, n)
SELECT d.xid, unnest(d.user_ids), d.day, unnest(d.tag_lists), d.n
FROM post_deltas AS d
WHERE d.user_ids IS NOT NULL;
DELETE FROM post_deltas WHERE user_ids IS NOT NULL;

CREATE OR REPLACE VIEW unfolded_posts AS
SELECT d.xid, d.id, d.user_id, d.day, d.tags, d.n
FROM post_deltas AS d
WHERE d.xid >= COALESCE((SELECT t.from_xid FROM post_totals AS t WHERE t.one AND t.from_xid <= pg_snapshot_xmax(pg_current_snapshot())), '0');

ALTER TABLE post_deltas
    ALTER COLUMN user_id SET NOT NULL,
    ALTER COLUMN tags    SET NOT NULL,
    DROP COLUMN user_ids,
    DROP COLUMN tag_lists;

-- +goose StatementBegin
SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true);

CREATE OR REPLACE FUNCTION count_posts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO post_deltas (user_id, day, tags, n)
    SELECT c.user_id, (c.created_at AT TIME ZONE 'UTC')::date, c.tags, CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END
    FROM changed AS c;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
