-- CreateJob adds a job that may run immediately.
--
-- @batch CreateJobBatch
-- @queue
-- name: CreateJob :one
INSERT INTO jobs (name, payload)
VALUES (@name, @payload)
RETURNING id, name, payload, status, created_at;

-- CreateJobBatch adds the jobs of several calls of CreateJob. The nth name and
-- payload become the job with ord n.
-- name: CreateJobBatch :many
WITH given AS (
    SELECT generate_subscripts(@name::text[], 1) AS ord,
           nextval('jobs_id_seq')                AS id,
           unnest(@name::text[])                 AS name,
           unnest(@payload::jsonb[])             AS payload
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO jobs (id, name, payload)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.name, g.payload
    FROM given AS g
    ON CONFLICT DO NOTHING
    RETURNING id, name, payload, status, created_at
)
SELECT g.ord::integer AS ord, c.id, c.name, c.payload, c.status, c.created_at
FROM created AS c
JOIN given AS g ON g.id = c.id;
