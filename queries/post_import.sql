-- DrawPostIDs generates ids, in ascending order, for posts that are to be
-- copied, and returns the time of the transaction.
--
-- @timeout 1m
-- @class bulk
-- name: DrawPostIDs :one
SELECT COALESCE(array_agg(nextval('posts_id_seq')), '{}')::bigint[] AS ids,
       now()::timestamptz AS drawn_at
FROM generate_series(1, @count::bigint);

-- CopyPosts adds posts by COPY, all of them or none. COPY stores the given ids,
-- so generate them first.
--
-- @timeout 5m
-- @class bulk
-- name: CopyPosts :copyfrom
INSERT INTO posts (id, user_id, title, content, tags, created_at, updated_at, version)
VALUES (@id, @user_id, @title, @content, @tags, @created_at, @updated_at, @version);

-- LockAuthors returns those of the given users that exist, and prevents them
-- from being deleted until the transaction ends.
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

-- ImportPosts adds posts, skips those whose id exists, and returns the ordinals
-- of the skipped ones, counted from 1. Each array is as long as titles, in the
-- same order, or empty. For an empty array, the column has its default.
--
-- @timeout 2m
-- @class bulk
-- name: ImportPosts :many
WITH given AS MATERIALIZED (
    -- Several unnests in one SELECT advance in step. Shorter arrays are filled
    -- with NULL.
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

-- UpsertPosts adds posts and updates those whose id exists, and returns how
-- many it added and updated. A post that already has the given values is not
-- updated. The arrays are those of ImportPosts, and ids is required. An
-- existing post keeps the columns that the input does not have, and always its
-- created_at and version.
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
    -- xmax is 0 for an inserted row. An updated row was locked first, so its
    -- xmax is not 0.
    RETURNING (p.xmax = 0)::boolean AS fresh
)
SELECT count(*) FILTER (WHERE m.fresh) AS inserted, count(*) FILTER (WHERE NOT m.fresh) AS updated
FROM merged AS m;

-- RaisePostIDs prevents the sequence from generating ids that were given
-- explicitly. moving is the greatest id that moves the sequence, or 0 for none,
-- and greatest is the greatest id of all. Ids far above the sequence do not
-- move it. If the sequence comes close to them, which means above crowded, it
-- moves beyond all existing ids.
--
-- A short distance is covered step by step, because a sequence that is set
-- while other transactions use it could go backwards. They do not generate a
-- million ids in the meantime.
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
