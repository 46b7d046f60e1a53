-- GetTask returns the task with the given id.
--
-- @route replica
-- @plan indexed
-- name: GetTask :one
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id = @id;

-- ListTasksAfter returns a page of tasks in the order of their ids, from the
-- first one behind the given id, of one status or of all.
--
-- @route replica
-- @plan indexed
-- name: ListTasksAfter :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id > @after
  AND (sqlc.narg('status')::task_status IS NULL OR status = sqlc.narg('status'))
ORDER BY id
LIMIT @row_limit::bigint;

-- ListTasksBefore returns a page of tasks in the falling order of their ids,
-- from the first one below the given id, of one status or of all: a page
-- turned back, to be reversed.
--
-- @route replica
-- @plan indexed
-- name: ListTasksBefore :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id < @before
  AND (sqlc.narg('status')::task_status IS NULL OR status = sqlc.narg('status'))
ORDER BY id DESC
LIMIT @row_limit::bigint;

-- CreateTask adds a pending task. It may be claimed from run_at on, at once
-- when that is absent or has passed.
--
-- @batch CreateTaskBatch
-- name: CreateTask :one
INSERT INTO tasks (name, payload, run_at, max_attempts)
VALUES (@name, @payload, GREATEST(sqlc.narg('run_at')::timestamptz, now()), COALESCE(sqlc.narg('max_attempts')::integer, 10))
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- CreateTaskBatch adds the tasks of several calls of CreateTask: the nth name,
-- payload, run_at and max_attempts make the task with ord n.
-- name: CreateTaskBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is drawn here: it is
    -- what tells afterwards which row is whose. With generate_series PostgreSQL
    -- would plan anew for each length.
    SELECT generate_subscripts(@name::text[], 1) AS ord,
           nextval('tasks_id_seq')               AS id,
           unnest(@name::text[])                 AS name,
           unnest(@payload::jsonb[])             AS payload,
           unnest(@run_at::timestamptz[])        AS run_at,
           unnest(@max_attempts::integer[])      AS max_attempts
    -- Whoever waits longer for another transaction does so apart from the others.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO tasks (id, name, payload, run_at, max_attempts)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.name, g.payload, GREATEST(g.run_at, now()), COALESCE(g.max_attempts, 10)
    FROM given AS g
    ON CONFLICT DO NOTHING
    RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
)
SELECT g.ord::integer AS ord, c.id, c.name, c.payload, c.status, c.attempts, c.worker, c.lease_until, c.created_at, c.updated_at, c.run_at, c.max_attempts, c.last_error
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- CreateTasks adds pending tasks: the nth name, payload, moment and number of
-- attempts make the nth task. Their ids come back in no order; in rising order
-- they are those of the tasks as they were given.
-- name: CreateTasks :many
WITH given AS (
    -- Several unnests in one SELECT advance in step.
    SELECT generate_series(1, cardinality(@names::text[])) AS ord,
           unnest(@names::text[])                          AS name,
           unnest(@payloads::jsonb[])                      AS payload,
           unnest(@run_ats::timestamptz[])                 AS run_at,
           unnest(@max_attempts::integer[])                AS max_attempts
)
INSERT INTO tasks (name, payload, run_at, max_attempts)
-- Ids are handed out in the order of the rows that arrive.
SELECT g.name, g.payload, GREATEST(g.run_at, now()), g.max_attempts
FROM given AS g
ORDER BY g.ord
RETURNING id;

-- ClaimTasks leases up to the given number of tasks to a worker: those whose
-- lease ran out first, then the pending ones that have been due for longest.
-- Rows that another claim holds are passed over, so claims never wait for each
-- other and no task is leased twice. A task whose last attempt ended with its
-- lease running out is not leased again but marked as failed.
--
-- @plan indexed
-- name: ClaimTasks :many
WITH expired AS (
    SELECT id, attempts >= max_attempts AS used_up
    FROM tasks
    WHERE status = 'running'
      AND lease_until < now()
    ORDER BY lease_until, id
    LIMIT @max_tasks::bigint
    FOR UPDATE SKIP LOCKED
), given_up AS (
    -- Whoever takes such a task dies of it.
    UPDATE tasks
    SET status      = 'failed',
        lease_until = NULL,
        last_error  = 'the lease of the last attempt ran out',
        updated_at  = now()
    WHERE id = ANY(ARRAY(SELECT id FROM expired WHERE used_up))
), pending AS (
    SELECT id
    FROM tasks
    WHERE status = 'pending'
      AND run_at <= now()
    ORDER BY run_at, id
    -- Spelt out, for sqlc reads @a - b as @(a - b).
    LIMIT sqlc.arg('max_tasks') - (SELECT count(*) FROM expired WHERE NOT used_up)
    FOR UPDATE SKIP LOCKED
)
UPDATE tasks
SET status      = 'running',
    worker      = @worker::text,
    lease_until = now() + make_interval(secs => @lease_seconds::double precision),
    attempts    = attempts + 1,
    updated_at  = now()
-- An array, so that they are looked up by key whatever the planner expects.
WHERE id = ANY(ARRAY(
    SELECT id FROM expired WHERE NOT used_up
    UNION ALL
    SELECT id FROM pending
))
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- ExtendTask lets the lease of a running task end later, or sooner: that many
-- seconds from now. It changes nothing unless the worker still holds the lease
-- it was given: the same worker and the same number of attempts.
--
-- @plan indexed
-- @retry
-- name: ExtendTask :one
UPDATE tasks
SET lease_until = now() + make_interval(secs => @lease_seconds::double precision),
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- CompleteTask marks a running task as completed. It changes nothing unless
-- the worker still holds the lease it was given: the same worker and the same
-- number of attempts.
--
-- @plan indexed
-- @retry
-- name: CompleteTask :one
UPDATE tasks
SET status      = 'completed',
    lease_until = NULL,
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- FailTask marks a running task as failed. When it is to be retried and has
-- attempts left it is pending again instead, and due that many seconds from
-- now. It changes nothing unless the worker still holds the lease it was given:
-- the same worker and the same number of attempts.
--
-- @plan indexed
-- @retry
-- name: FailTask :one
UPDATE tasks
SET status      = CASE WHEN @retry::boolean AND attempts < max_attempts THEN 'pending' ELSE 'failed' END::task_status,
    run_at      = CASE WHEN @retry AND attempts < max_attempts
                       THEN now() + make_interval(secs => @retry_after_seconds::double precision)
                       ELSE run_at END,
    lease_until = NULL,
    last_error  = sqlc.narg('last_error')::text,
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- AnnounceTasks tells whoever listens, in every process, that there are new
-- tasks, and by the sender's name who says so.
--
-- It is a statement of its own and not a part of CreateTask: a transaction
-- that notifies holds a lock of the whole server through its COMMIT, so that
-- tasks would be created one COMMIT after the other.
--
-- @timeout 2s
-- @retry
-- name: AnnounceTasks :exec
SELECT pg_notify('quern_tasks', @sender::text);
