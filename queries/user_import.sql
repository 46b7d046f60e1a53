-- DrawUserIDs generates ids, in ascending order, for users that are to be
-- copied, and returns the time of the transaction.
--
-- @timeout 1m
-- @class bulk
-- name: DrawUserIDs :one
SELECT COALESCE(array_agg(nextval('users_id_seq')), '{}')::bigint[] AS ids,
       now()::timestamptz AS drawn_at
FROM generate_series(1, @count::bigint);

-- CopyUsers adds users by COPY, all of them or none. COPY stores the given ids,
-- so generate them first.
--
-- @timeout 5m
-- @class bulk
-- name: CopyUsers :copyfrom
INSERT INTO users (id, username, email, age, tags, created_at, updated_at, version)
VALUES (@id, @username, @email, @age, @tags, @created_at, @updated_at, @version);

-- ImportUsers adds users, skips those whose username exists, and returns the
-- ordinals of the skipped ones, counted from 1. Each array is as long as
-- usernames, in the same order, or empty, except ids. For an empty array, the
-- column has its default. An age of -1 is NULL.
--
-- @timeout 2m
-- @class bulk
-- name: ImportUsers :many
WITH given AS MATERIALIZED (
    -- Several unnests in one SELECT advance in step. Shorter arrays are filled
    -- with NULL.
    SELECT generate_series(1, cardinality(@usernames::text[])) AS ord,
           unnest(@ids::bigint[])                              AS id,
           unnest(@usernames::text[])                          AS username,
           unnest(@emails::text[])                             AS email,
           NULLIF(unnest(@ages::integer[]), -1)                AS age,
           unnest(@tags::text[])::jsonb                        AS tags,
           unnest(@created_ats::timestamptz[])                 AS created_at,
           unnest(@updated_ats::timestamptz[])                 AS updated_at,
           unnest(@versions::integer[])                        AS version
),
inserted AS (
    INSERT INTO users (id, username, email, age, tags, created_at, updated_at, version)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.username, g.email, g.age, COALESCE(g.tags, '[]'),
           COALESCE(g.created_at, now()), COALESCE(g.updated_at, now()), COALESCE(g.version, 1)
    FROM given AS g
    ORDER BY g.ord
    ON CONFLICT (username) DO NOTHING
    RETURNING username
)
SELECT g.ord::bigint AS ord
FROM given AS g
WHERE NOT EXISTS (SELECT FROM inserted AS i WHERE i.username = g.username);

-- UpsertUsers adds users and updates those whose username exists, and returns
-- how many it added and updated. A user that already has the given values is
-- not updated. The arrays are those of ImportUsers. An existing user keeps the
-- columns that the input does not have, and always its id, created_at and
-- version.
--
-- @timeout 2m
-- @class bulk
-- name: UpsertUsers :one
WITH given AS MATERIALIZED (
    SELECT generate_series(1, cardinality(@usernames::text[])) AS ord,
           unnest(@ids::bigint[])                              AS id,
           unnest(@usernames::text[])                          AS username,
           unnest(@emails::text[])                             AS email,
           NULLIF(unnest(@ages::integer[]), -1)                AS age,
           unnest(@tags::text[])::jsonb                        AS tags,
           unnest(@created_ats::timestamptz[])                 AS created_at,
           unnest(@updated_ats::timestamptz[])                 AS updated_at,
           unnest(@versions::integer[])                        AS version
),
merged AS (
    INSERT INTO users AS u (id, username, email, age, tags, created_at, updated_at, version)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.username, g.email, g.age, COALESCE(g.tags, '[]'),
           COALESCE(g.created_at, now()), COALESCE(g.updated_at, now()), COALESCE(g.version, 1)
    FROM given AS g
    ORDER BY g.ord
    ON CONFLICT (username) DO UPDATE
    SET email      = excluded.email,
        age        = CASE WHEN cardinality(@ages::integer[]) > 0 THEN excluded.age ELSE u.age END,
        tags       = CASE WHEN cardinality(@tags::text[]) > 0 THEN excluded.tags ELSE u.tags END,
        updated_at = now(),
        version    = u.version + 1
    WHERE u.email <> excluded.email
       OR (cardinality(@ages::integer[]) > 0 AND u.age IS DISTINCT FROM excluded.age)
       OR (cardinality(@tags::text[]) > 0 AND u.tags <> excluded.tags)
    -- xmax is 0 for an inserted row. An updated row was locked first, so its
    -- xmax is not 0.
    RETURNING (u.xmax = 0)::boolean AS fresh
)
SELECT count(*) FILTER (WHERE m.fresh) AS inserted, count(*) FILTER (WHERE NOT m.fresh) AS updated
FROM merged AS m;

-- ListTakenUserIDs returns the ordinals, counted from 1, of the ids that belong to a user with
-- another username. If renamed is true, it also returns those whose username has another id.
-- The arrays must have the same length.
--
-- @plan indexed
-- @class bulk
-- name: ListTakenUserIDs :many
WITH given AS MATERIALIZED (
    SELECT generate_series(1, cardinality(@ids::bigint[])) AS ord,
           unnest(@ids::bigint[])                          AS id,
           unnest(@usernames::text[])                      AS username
)
SELECT g.ord::bigint AS ord, u.id, u.username
FROM given AS g
JOIN users AS u ON u.id = g.id
WHERE u.username <> g.username
UNION ALL
SELECT g.ord::bigint AS ord, u.id, u.username
FROM given AS g
JOIN users AS u ON u.username = g.username
WHERE u.id <> g.id
  AND @renamed::boolean;

-- RaiseUserIDs prevents the sequence from generating ids that were given
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
-- name: RaiseUserIDs :exec
WITH drawn AS MATERIALIZED (
    SELECT nextval('users_id_seq') AS id
),
raised AS MATERIALIZED (
    SELECT d.id,
           CASE WHEN GREATEST(d.id, @moving::bigint) > @crowded::bigint
                THEN GREATEST(@greatest::bigint, (SELECT max(r.id) FROM users AS r))
                ELSE @moving END AS wanted
    FROM drawn AS d
)
SELECT setval('users_id_seq', wanted) AS id
FROM raised
WHERE wanted - id > 1000000
UNION ALL
SELECT nextval('users_id_seq') AS id
FROM raised
CROSS JOIN generate_series(1, wanted - id)
WHERE wanted - id <= 1000000;
