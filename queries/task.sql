-- GetTask returns the task with the given id.
--
-- @route replica
-- @plan indexed
-- name: GetTask :one
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at
FROM tasks
WHERE id = @id;

-- ListTasksAfter returns a page of tasks in the order of their ids, from the
-- first one behind the given id, of one status or of all.
--
-- @route replica
-- @plan indexed
-- name: ListTasksAfter :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at
FROM tasks
WHERE id > @after
  AND (sqlc.narg('status')::task_status IS NULL OR status = sqlc.narg('status'))
ORDER BY id
LIMIT @row_limit::bigint;

-- CreateTask adds a pending task.
-- name: CreateTask :one
INSERT INTO tasks (name, payload)
VALUES (@name, @payload)
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at;

-- ClaimTasks leases up to the given number of tasks to a worker: those whose
-- lease ran out first, then the oldest pending ones. Rows that another claim
-- holds are passed over, so claims never wait for each other and no task is
-- leased twice.
-- name: ClaimTasks :many
WITH expired AS (
    SELECT id
    FROM tasks
    WHERE status = 'running'
      AND lease_until < now()
    ORDER BY lease_until, id
    LIMIT @max_tasks::bigint
    FOR UPDATE SKIP LOCKED
), pending AS (
    SELECT id
    FROM tasks
    WHERE status = 'pending'
    ORDER BY id
    -- Spelt out, for sqlc reads @a - b as @(a - b).
    LIMIT sqlc.arg('max_tasks') - (SELECT count(*) FROM expired)
    FOR UPDATE SKIP LOCKED
)
UPDATE tasks
SET status      = 'running',
    worker      = @worker::text,
    lease_until = now() + make_interval(secs => @lease_seconds::double precision),
    attempts    = attempts + 1,
    updated_at  = now()
WHERE id IN (SELECT id FROM expired UNION ALL SELECT id FROM pending)
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at;

-- CompleteTask marks a running task as completed. It changes nothing unless
-- the worker still holds the lease it was given: the same worker and the same
-- number of attempts.
--
-- @plan indexed
-- name: CompleteTask :one
UPDATE tasks
SET status      = 'completed',
    worker      = NULL,
    lease_until = NULL,
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at;

-- FailTask marks a running task as failed, or as pending again when it is to
-- be retried. It changes nothing unless the worker still holds the lease it
-- was given: the same worker and the same number of attempts.
--
-- @plan indexed
-- name: FailTask :one
UPDATE tasks
SET status      = CASE WHEN @retry::boolean THEN 'pending' ELSE 'failed' END::task_status,
    worker      = NULL,
    lease_until = NULL,
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at;
