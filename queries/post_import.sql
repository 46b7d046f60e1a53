-- DrawPostIDs takes ids for posts that are to be copied, in rising order, and
-- tells the time of the transaction.
--
-- @timeout 1m
-- @class bulk
-- name: DrawPostIDs :one
SELECT COALESCE(array_agg(nextval('posts_id_seq')), '{}')::bigint[] AS ids,
       now()::timestamptz AS drawn_at
FROM generate_series(1, @count::bigint);

-- CopyPosts adds posts by COPY, all of them or none. COPY stores their ids as
-- they are: draw them first.
--
-- @timeout 5m
-- @class bulk
-- name: CopyPosts :copyfrom
INSERT INTO posts (id, user_id, title, content, tags, created_at, updated_at, version)
VALUES (@id, @user_id, @title, @content, @tags, @created_at, @updated_at, @version);

-- LockAuthors returns those of the given users that exist, and keeps them from
-- being deleted until the transaction ends.
--
-- @timeout 1m
-- @plan indexed
-- @class bulk
-- name: LockAuthors :many
SELECT id
FROM users
WHERE id = ANY(@ids::bigint[])
ORDER BY id
FOR KEY SHARE;

-- LockAuthorsByUsername is LockAuthors by username.
--
-- @timeout 1m
-- @plan uses users_username_key
-- @class bulk
-- name: LockAuthorsByUsername :many
SELECT id, username
FROM users
WHERE username = ANY(@usernames::text[])
ORDER BY id
FOR KEY SHARE;

-- ImportPosts adds posts, passes over those whose id exists, and returns the
-- ordinals of these, from 1. All arrays are as long as titles, in the same
-- order, or empty: then that column has its default.
--
-- @timeout 2m
-- @class bulk
-- name: ImportPosts :many
WITH given AS MATERIALIZED (
    -- Several unnests in one SELECT advance in step, and give NULL behind
    -- their end.
    SELECT generate_series(1, cardinality(@titles::text[])) AS ord,
           unnest(@ids::bigint[])                           AS id,
           unnest(@user_ids::bigint[])                      AS user_id,
           unnest(@titles::text[])                          AS title,
           unnest(@contents::text[])                        AS content,
           unnest(@tags::text[])::jsonb                     AS tags,
           unnest(@created_ats::timestamptz[])              AS created_at,
           unnest(@updated_ats::timestamptz[])              AS updated_at,
           unnest(@versions::integer[])                     AS version
),
inserted AS (
    INSERT INTO posts (id, user_id, title, content, tags, created_at, updated_at, version)
    OVERRIDING SYSTEM VALUE
    SELECT COALESCE(g.id, nextval('posts_id_seq')), g.user_id, g.title, g.content,
           COALESCE(g.tags, '[]'), COALESCE(g.created_at, now()), COALESCE(g.updated_at, now()), COALESCE(g.version, 1)
    FROM given AS g
    ORDER BY g.ord
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT g.ord::bigint AS ord
FROM given AS g
WHERE g.id IS NOT NULL
  AND NOT EXISTS (SELECT FROM inserted AS i WHERE i.id = g.id);

-- UpsertPosts adds posts and changes those whose id exists, and tells how many
-- it added and changed: one that is as given already is left alone. The arrays
-- are those of ImportPosts, ids among them. An existing post keeps what the
-- input has no column for; its created_at and version are its own.
--
-- @timeout 2m
-- @class bulk
-- name: UpsertPosts :one
WITH given AS MATERIALIZED (
    SELECT generate_series(1, cardinality(@titles::text[])) AS ord,
           unnest(@ids::bigint[])                           AS id,
           unnest(@user_ids::bigint[])                      AS user_id,
           unnest(@titles::text[])                          AS title,
           unnest(@contents::text[])                        AS content,
           unnest(@tags::text[])::jsonb                     AS tags,
           unnest(@created_ats::timestamptz[])              AS created_at,
           unnest(@updated_ats::timestamptz[])              AS updated_at,
           unnest(@versions::integer[])                     AS version
),
merged AS (
    INSERT INTO posts AS p (id, user_id, title, content, tags, created_at, updated_at, version)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.user_id, g.title, g.content,
           COALESCE(g.tags, '[]'), COALESCE(g.created_at, now()), COALESCE(g.updated_at, now()), COALESCE(g.version, 1)
    FROM given AS g
    ORDER BY g.ord
    ON CONFLICT (id) DO UPDATE
    SET user_id    = excluded.user_id,
        title      = excluded.title,
        content    = excluded.content,
        tags       = CASE WHEN cardinality(@tags::text[]) > 0 THEN excluded.tags ELSE p.tags END,
        updated_at = now(),
        version    = p.version + 1
    WHERE (p.user_id, p.title, p.content) <> (excluded.user_id, excluded.title, excluded.content)
       OR (cardinality(@tags::text[]) > 0 AND p.tags <> excluded.tags)
    -- A row that was locked before it was written has the mark of that.
    RETURNING (p.xmax = 0)::boolean AS fresh
)
SELECT count(*) FILTER (WHERE m.fresh) AS inserted, count(*) FILTER (WHERE NOT m.fresh) AS updated
FROM merged AS m;

-- RaisePostIDs keeps ids that are given from being drawn. moving is the greatest of
-- those that move the sequence, 0 for none, and greatest is the greatest of all. Ids far
-- above the sequence do not move it. If it comes close to them, which is above
-- crowded, it moves behind all ids that there are.
--
-- A short distance is covered step by step, because a sequence that is set while other
-- transactions draw from it could fall back. They draw no million ids in between.
--
-- @timeout 1m
-- @class bulk
-- name: RaisePostIDs :exec
WITH drawn AS MATERIALIZED (
    SELECT nextval('posts_id_seq') AS id
),
raised AS MATERIALIZED (
    SELECT d.id,
           CASE WHEN GREATEST(d.id, @moving::bigint) > @crowded::bigint
                THEN GREATEST(@greatest::bigint, (SELECT max(r.id) FROM posts AS r))
                ELSE @moving END AS wanted
    FROM drawn AS d
)
SELECT setval('posts_id_seq', wanted) AS id
FROM raised
WHERE wanted - id > 1000000
UNION ALL
SELECT nextval('posts_id_seq') AS id
FROM raised
CROSS JOIN generate_series(1, wanted - id)
WHERE wanted - id <= 1000000;
