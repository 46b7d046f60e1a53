-- GetTask returns the task with the given id.
--
-- @route replica
-- @plan indexed
-- name: GetTask :one
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id = @id;

-- ListTasksAfter returns a page of tasks, sorted by id, starting after the given id.
--
-- @route replica
-- @plan indexed
-- name: ListTasksAfter :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id > @key
ORDER BY id
LIMIT @row_limit::bigint;

-- ListTasksByStatusAfter returns a page of the tasks of one status, sorted by id,
-- starting after the given id.
--
-- @route replica
-- @plan indexed
-- name: ListTasksByStatusAfter :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id = ANY(ARRAY(
    -- The index of running tasks has no others, and the other one has no running
    -- tasks. The former is read to its end. OFFSET 0 keeps the planner from reading
    -- the primary key instead, in the order of ids.
    (SELECT t.id
     FROM tasks AS t
     -- ANY instead of =, because with = the planner knows that ordering by status has
     -- no effect, and may scan the primary key for a status that few tasks have.
     WHERE t.status = ANY(ARRAY[@status::task_status])
       AND t.status <> 'running'
       AND t.id > @key
     ORDER BY t.status, t.id
     LIMIT @row_limit::bigint)
    UNION ALL
    (SELECT r.id
     FROM unnest(ARRAY[@status]) AS s (status)
     CROSS JOIN LATERAL (
         SELECT t.id
         FROM tasks AS t
         WHERE task_lapse(t.lease_until, t.attempts, t.max_attempts) >= '-infinity'
           AND t.lease_until IS NOT NULL
           AND t.worker IS NOT NULL
           AND t.status = s.status
           AND t.id > @key
         OFFSET 0
     ) AS r
     WHERE s.status = 'running'
     ORDER BY r.id
     LIMIT @row_limit::bigint)
))
ORDER BY id;

-- ListTasksBefore returns a page of tasks, sorted by descending id, starting
-- before the given id. Reverse it to get the previous page.
--
-- @route replica
-- @plan indexed
-- name: ListTasksBefore :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id < @key
ORDER BY id DESC
LIMIT @row_limit::bigint;

-- ListTasksByStatusBefore returns a page of the tasks of one status, sorted by
-- descending id, starting before the given id. Reverse it to get the previous page.
--
-- @route replica
-- @plan indexed
-- name: ListTasksByStatusBefore :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id = ANY(ARRAY(
    (SELECT t.id
     FROM tasks AS t
     WHERE t.status = ANY(ARRAY[@status::task_status])
       AND t.status <> 'running'
       AND t.id < @key
     ORDER BY t.status DESC, t.id DESC
     LIMIT @row_limit::bigint)
    UNION ALL
    (SELECT r.id
     FROM unnest(ARRAY[@status]) AS s (status)
     CROSS JOIN LATERAL (
         SELECT t.id
         FROM tasks AS t
         WHERE task_lapse(t.lease_until, t.attempts, t.max_attempts) >= '-infinity'
           AND t.lease_until IS NOT NULL
           AND t.worker IS NOT NULL
           AND t.status = s.status
           AND t.id < @key
         OFFSET 0
     ) AS r
     WHERE s.status = 'running'
     ORDER BY r.id DESC
     LIMIT @row_limit::bigint)
))
ORDER BY id DESC;

-- ListTasksByNameAfter returns a page of the tasks with a name, of one status or
-- of all, sorted by id, starting after the given id.
--
-- @route replica
-- @plan indexed
-- name: ListTasksByNameAfter :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id = ANY(ARRAY(
    (SELECT p.id
     FROM unnest(enum_range(sqlc.narg('status')::task_status, sqlc.narg('status')::task_status)) AS s (status)
     CROSS JOIN LATERAL (
         SELECT t.id
         FROM tasks AS t
         -- ANY instead of =, because with = the planner knows that ordering by
         -- name has no effect, and may scan the primary key for a name that few
         -- tasks have. A range of names would be read to its end.
         WHERE t.name = ANY(ARRAY[@name::text])
           AND t.status = s.status
           AND t.status <> 'running'
           AND t.id > @key
         ORDER BY t.name, t.id
         LIMIT @row_limit::bigint
     ) AS p
     ORDER BY p.id
     LIMIT @row_limit::bigint)
    UNION ALL
    (SELECT r.id
     FROM unnest(enum_range(sqlc.narg('status'), sqlc.narg('status'))) AS s (status)
     CROSS JOIN LATERAL (
         SELECT t.id
         FROM tasks AS t
         WHERE task_lapse(t.lease_until, t.attempts, t.max_attempts) >= '-infinity'
           AND t.lease_until IS NOT NULL
           AND t.worker IS NOT NULL
           AND t.name = @name
           AND t.status = s.status
           AND t.id > @key
         OFFSET 0
     ) AS r
     WHERE s.status = 'running'
     ORDER BY r.id
     LIMIT @row_limit::bigint)
))
ORDER BY id
LIMIT @row_limit;

-- ListTasksByNameBefore returns a page of the tasks with a name, of one status or of all,
-- sorted by descending id, starting before the given id. Reverse it to get the previous page.
--
-- @route replica
-- @plan indexed
-- name: ListTasksByNameBefore :many
SELECT id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error
FROM tasks
WHERE id = ANY(ARRAY(
    (SELECT p.id
     FROM unnest(enum_range(sqlc.narg('status')::task_status, sqlc.narg('status')::task_status)) AS s (status)
     CROSS JOIN LATERAL (
         SELECT t.id
         FROM tasks AS t
         WHERE t.name = ANY(ARRAY[@name::text])
           AND t.status = s.status
           AND t.status <> 'running'
           AND t.id < @key
         ORDER BY t.name DESC, t.id DESC
         LIMIT @row_limit::bigint
     ) AS p
     ORDER BY p.id DESC
     LIMIT @row_limit::bigint)
    UNION ALL
    (SELECT r.id
     FROM unnest(enum_range(sqlc.narg('status'), sqlc.narg('status'))) AS s (status)
     CROSS JOIN LATERAL (
         SELECT t.id
         FROM tasks AS t
         WHERE task_lapse(t.lease_until, t.attempts, t.max_attempts) >= '-infinity'
           AND t.lease_until IS NOT NULL
           AND t.worker IS NOT NULL
           AND t.name = @name
           AND t.status = s.status
           AND t.id < @key
         OFFSET 0
     ) AS r
     WHERE s.status = 'running'
     ORDER BY r.id DESC
     LIMIT @row_limit::bigint)
))
ORDER BY id DESC
LIMIT @row_limit;

-- CreateTask adds a pending task. It may be claimed from run_at, or immediately
-- if run_at is absent or in the past.
--
-- @batch CreateTaskBatch
-- name: CreateTask :one
INSERT INTO tasks (name, payload, run_at, max_attempts)
VALUES (@name, @payload, GREATEST(sqlc.narg('run_at')::timestamptz, now()), COALESCE(sqlc.narg('max_attempts')::integer, 10))
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- CreateTaskBatch adds the tasks of several calls of CreateTask. The nth name,
-- payload, run_at and max_attempts become the task with ord n.
-- name: CreateTaskBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is generated here
    -- because it later identifies the call of each row. With generate_series
    -- PostgreSQL would make a new plan for each length.
    SELECT generate_subscripts(@name::text[], 1) AS ord,
           nextval('tasks_id_seq')               AS id,
           unnest(@name::text[])                 AS name,
           unnest(@payload::jsonb[])             AS payload,
           unnest(@run_at::timestamptz[])        AS run_at,
           unnest(@max_attempts::integer[])      AS max_attempts
    -- A call that must wait longer for another transaction is then sent
    -- individually.
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

-- CreateTasks adds pending tasks. The nth name, payload, run_at and max_attempts
-- become the nth task. The ids are returned in no particular order, but in
-- ascending order they are those of the tasks in the given order.
--
-- @queue
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
-- Ids are assigned in the order of the rows.
SELECT g.name, g.payload, GREATEST(g.run_at, now()), g.max_attempts
FROM given AS g
ORDER BY g.ord
RETURNING id;

-- ClaimTasks leases up to the given number of tasks to a worker. It takes those
-- that have been due for longest, both pending tasks and those whose lease has
-- expired. The latter become due some time after their lease, twice as long
-- after each attempt, so that a task that crashes its workers does not keep them
-- from other tasks.
--
-- It skips rows that another claim has locked, so claims never wait for each
-- other and no task is leased twice. A task whose lease expired on its last
-- attempt is marked as failed.
--
-- quern:allow function-on-index: the row of an id is checked again when it is locked
-- @plan indexed
-- name: ClaimTasks :many
WITH given_up AS (
    -- Workers that claim this task keep crashing, so it is marked as failed.
    UPDATE tasks
    SET status      = 'failed',
        lease_until = NULL,
        last_error  = 'the lease of the last attempt ran out',
        updated_at  = now()
    WHERE id = ANY(ARRAY(
        SELECT u.id
        FROM tasks AS u
        WHERE task_lapse(u.lease_until, u.attempts, u.max_attempts) <= now()
          AND u.lease_until IS NOT NULL
          AND u.worker IS NOT NULL
          AND u.attempts >= u.max_attempts
        ORDER BY task_lapse(u.lease_until, u.attempts, u.max_attempts), u.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ))
)
UPDATE tasks
SET status      = 'running',
    worker      = @worker::text,
    lease_until = now() + make_interval(secs => @lease_seconds::double precision),
    attempts    = attempts + 1,
    -- The time at which this attempt was due.
    run_at      = task_due(status, run_at, lease_until, attempts, max_attempts),
    updated_at  = now()
-- An array, so that the rows are looked up by key regardless of the planner's
-- estimates.
WHERE id = ANY(ARRAY(
    SELECT h.id
    FROM (
        SELECT d.id
        FROM (
            SELECT w.id, w.due
            FROM (
                SELECT t.id, task_ready(t.status, t.run_at) AS due
                FROM tasks AS t
                WHERE task_ready(t.status, t.run_at) <= now()
                ORDER BY task_ready(t.status, t.run_at), t.id
                -- No limit, but with it the planner prefers reading indexes in their
                -- order to sorting all tasks, regardless of the statistics.
                LIMIT (SELECT NULL::bigint)
            ) AS w
            UNION ALL
            SELECT e.id, e.due
            FROM (
                SELECT t.id, task_lapse(t.lease_until, t.attempts, t.max_attempts) AS due
                FROM tasks AS t
                WHERE task_lapse(t.lease_until, t.attempts, t.max_attempts) <= now()
                  AND t.lease_until IS NOT NULL
                  AND t.worker IS NOT NULL
                ORDER BY task_lapse(t.lease_until, t.attempts, t.max_attempts), t.id
                LIMIT (SELECT NULL::bigint)
            ) AS e
        ) AS d
        ORDER BY d.due, d.id
        LIMIT (SELECT NULL::bigint)
    ) AS o
    -- Rows are locked one by one in this order, and no more than are taken.
    CROSS JOIN LATERAL (
        SELECT t.id
        FROM tasks AS t
        WHERE t.id = o.id
          AND task_due(t.status, t.run_at, t.lease_until, t.attempts, t.max_attempts) <= now()
        FOR UPDATE SKIP LOCKED
    ) AS h
    LIMIT @max_tasks::bigint
))
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- ClaimTasksByName does the same as ClaimTasks, but only for tasks with one of the given names.
-- It locks up to max_tasks pending rows of each name until it has committed, and as many
-- whose lease has expired, and leases those of them that have been due for longest. Concurrent claims skip the locked rows.
--
-- @plan indexed
-- name: ClaimTasksByName :many
WITH given_up AS (
    -- Workers that claim this task keep crashing, so it is marked as failed.
    UPDATE tasks
    SET status      = 'failed',
        lease_until = NULL,
        last_error  = 'the lease of the last attempt ran out',
        updated_at  = now()
    WHERE id = ANY(ARRAY(
        SELECT u.id
        FROM tasks AS u
        WHERE task_lapse(u.lease_until, u.attempts, u.max_attempts) <= now()
          AND u.lease_until IS NOT NULL
          AND u.worker IS NOT NULL
          AND u.attempts >= u.max_attempts
        ORDER BY task_lapse(u.lease_until, u.attempts, u.max_attempts), u.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ))
), ready AS (
    SELECT p.id, p.due
    FROM (SELECT DISTINCT unnest(@names::text[])) AS n (name)
    CROSS JOIN LATERAL (
        SELECT t.id, task_ready(t.status, t.run_at) AS due
        FROM tasks AS t
        -- ANY instead of =, because with = the planner knows that ordering by
        -- name has no effect, and may use an index without the name. A range of
        -- names would be read to its end.
        WHERE t.name = ANY(ARRAY[n.name])
          AND task_ready(t.status, t.run_at) <= now()
        ORDER BY t.name, task_ready(t.status, t.run_at), t.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ) AS p
), lapsed AS (
    SELECT p.id, p.due
    FROM (SELECT DISTINCT unnest(@names::text[])) AS l (name)
    CROSS JOIN LATERAL (
        SELECT t.id, task_lapse(t.lease_until, t.attempts, t.max_attempts) AS due
        FROM tasks AS t
        WHERE t.name = l.name
          AND task_lapse(t.lease_until, t.attempts, t.max_attempts) <= now()
          AND t.lease_until IS NOT NULL
          AND t.worker IS NOT NULL
          AND t.attempts < t.max_attempts
        ORDER BY task_lapse(t.lease_until, t.attempts, t.max_attempts), t.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ) AS p
)
UPDATE tasks
SET status      = 'running',
    worker      = @worker::text,
    lease_until = now() + make_interval(secs => @lease_seconds::double precision),
    attempts    = attempts + 1,
    -- The time at which this attempt was due.
    run_at      = task_due(status, run_at, lease_until, attempts, max_attempts),
    updated_at  = now()
-- An array, so that the rows are looked up by key regardless of the planner's
-- estimates.
WHERE id = ANY(ARRAY(
    SELECT d.id
    FROM (
        SELECT id, due FROM ready
        UNION ALL
        SELECT id, due FROM lapsed
    ) AS d
    ORDER BY d.due, d.id
    LIMIT @max_tasks::bigint
))
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- ClaimTasksBatch is several calls of ClaimTasks at once. Calls that run at the
-- same time would lock each other's tasks in passing. The nth call has the nth
-- worker and lease, and gets the tasks from the nth first place on, in the order
-- in which they are due. The first place of the first call is 1, and max_tasks is
-- the number of places.
--
-- quern:allow function-on-index: the row of an id is checked again when it is locked
-- @plan indexed
-- name: ClaimTasksBatch :many
WITH given_up AS (
    -- Workers that claim this task keep crashing, so it is marked as failed.
    UPDATE tasks
    SET status      = 'failed',
        lease_until = NULL,
        last_error  = 'the lease of the last attempt ran out',
        updated_at  = now()
    WHERE id = ANY(ARRAY(
        SELECT u.id
        FROM tasks AS u
        WHERE task_lapse(u.lease_until, u.attempts, u.max_attempts) <= now()
          AND u.lease_until IS NOT NULL
          AND u.worker IS NOT NULL
          AND u.attempts >= u.max_attempts
        ORDER BY task_lapse(u.lease_until, u.attempts, u.max_attempts), u.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ))
)
UPDATE tasks AS t
SET status      = 'running',
    worker      = c.worker,
    lease_until = now() + make_interval(secs => c.lease_seconds),
    attempts    = t.attempts + 1,
    -- The time at which this attempt was due.
    run_at      = task_due(t.status, t.run_at, t.lease_until, t.attempts, t.max_attempts),
    updated_at  = now()
FROM (
    SELECT p.id, s.call,
           (@workers::text[])[s.call]                    AS worker,
           (@lease_seconds::double precision[])[s.call] AS lease_seconds
    FROM unnest(ARRAY(
        SELECT h.id
        FROM (
            SELECT d.id
            FROM (
                SELECT w.id, w.due
                FROM (
                    SELECT t.id, task_ready(t.status, t.run_at) AS due
                    FROM tasks AS t
                    WHERE task_ready(t.status, t.run_at) <= now()
                    ORDER BY task_ready(t.status, t.run_at), t.id
                    -- No limit, but with it the planner prefers reading indexes in their
                    -- order to sorting all tasks, regardless of the statistics.
                    LIMIT (SELECT NULL::bigint)
                ) AS w
                UNION ALL
                SELECT e.id, e.due
                FROM (
                    SELECT t.id, task_lapse(t.lease_until, t.attempts, t.max_attempts) AS due
                    FROM tasks AS t
                    WHERE task_lapse(t.lease_until, t.attempts, t.max_attempts) <= now()
                      AND t.lease_until IS NOT NULL
                      AND t.worker IS NOT NULL
                    ORDER BY task_lapse(t.lease_until, t.attempts, t.max_attempts), t.id
                    LIMIT (SELECT NULL::bigint)
                ) AS e
            ) AS d
            ORDER BY d.due, d.id
            LIMIT (SELECT NULL::bigint)
        ) AS o
        -- Rows are locked one by one in this order, and no more than are taken.
        CROSS JOIN LATERAL (
            SELECT t.id
            FROM tasks AS t
            WHERE t.id = o.id
              AND task_due(t.status, t.run_at, t.lease_until, t.attempts, t.max_attempts) <= now()
            FOR UPDATE SKIP LOCKED
        ) AS h
        LIMIT @max_tasks::bigint
    )) WITH ORDINALITY AS p (id, place)
    CROSS JOIN LATERAL width_bucket(p.place, @first_places::bigint[]) AS s (call)
) AS c
WHERE t.id = c.id
RETURNING c.call::integer AS call, sqlc.embed(t);

-- ClaimTasksByNameBatch is several calls of ClaimTasksByName with the same names,
-- in the way of ClaimTasksBatch.
--
-- @plan indexed
-- name: ClaimTasksByNameBatch :many
WITH given_up AS (
    -- Workers that claim this task keep crashing, so it is marked as failed.
    UPDATE tasks
    SET status      = 'failed',
        lease_until = NULL,
        last_error  = 'the lease of the last attempt ran out',
        updated_at  = now()
    WHERE id = ANY(ARRAY(
        SELECT u.id
        FROM tasks AS u
        WHERE task_lapse(u.lease_until, u.attempts, u.max_attempts) <= now()
          AND u.lease_until IS NOT NULL
          AND u.worker IS NOT NULL
          AND u.attempts >= u.max_attempts
        ORDER BY task_lapse(u.lease_until, u.attempts, u.max_attempts), u.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ))
), ready AS (
    SELECT p.id, p.due
    FROM (SELECT DISTINCT unnest(@names::text[])) AS m (name)
    CROSS JOIN LATERAL (
        SELECT t.id, task_ready(t.status, t.run_at) AS due
        FROM tasks AS t
        -- ANY instead of =, because with = the planner knows that ordering by
        -- name has no effect, and may use an index without the name. A range of
        -- names would be read to its end.
        WHERE t.name = ANY(ARRAY[m.name])
          AND task_ready(t.status, t.run_at) <= now()
        ORDER BY t.name, task_ready(t.status, t.run_at), t.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ) AS p
), lapsed AS (
    SELECT p.id, p.due
    FROM (SELECT DISTINCT unnest(@names::text[])) AS k (name)
    CROSS JOIN LATERAL (
        SELECT t.id, task_lapse(t.lease_until, t.attempts, t.max_attempts) AS due
        FROM tasks AS t
        WHERE t.name = k.name
          AND task_lapse(t.lease_until, t.attempts, t.max_attempts) <= now()
          AND t.lease_until IS NOT NULL
          AND t.worker IS NOT NULL
          AND t.attempts < t.max_attempts
        ORDER BY task_lapse(t.lease_until, t.attempts, t.max_attempts), t.id
        LIMIT @max_tasks::bigint
        FOR UPDATE SKIP LOCKED
    ) AS p
)
UPDATE tasks AS t
SET status      = 'running',
    worker      = c.worker,
    lease_until = now() + make_interval(secs => c.lease_seconds),
    attempts    = t.attempts + 1,
    -- The time at which this attempt was due.
    run_at      = task_due(t.status, t.run_at, t.lease_until, t.attempts, t.max_attempts),
    updated_at  = now()
FROM (
    SELECT p.id, s.call,
           (@workers::text[])[s.call]                    AS worker,
           (@lease_seconds::double precision[])[s.call] AS lease_seconds
    FROM unnest(ARRAY(
        SELECT d.id
        FROM (
            SELECT id, due FROM ready
            UNION ALL
            SELECT id, due FROM lapsed
        ) AS d
        ORDER BY d.due, d.id
        LIMIT @max_tasks::bigint
    )) WITH ORDINALITY AS p (id, place)
    CROSS JOIN LATERAL width_bucket(p.place, @first_places::bigint[]) AS s (call)
) AS c
WHERE t.id = c.id
RETURNING c.call::integer AS call, sqlc.embed(t);

-- GiveBackTasks makes claimed tasks pending again as if they had not been claimed,
-- because no worker has learned of their leases. Each has as many attempts left as
-- before, and its place in the order. Like ReleaseTask it increments max_attempts
-- instead of decrementing attempts. It changes nothing for a lease that has ended.
--
-- @plan uses tasks_pkey
-- @retry
-- name: GiveBackTasks :execrows
UPDATE tasks AS t
SET status       = 'pending',
    max_attempts = t.max_attempts + 1,
    lease_until  = NULL,
    updated_at   = now()
FROM (
    SELECT unnest(@ids::bigint[])       AS id,
           unnest(@workers::text[])     AS worker,
           unnest(@attempts::integer[]) AS attempts
) AS g
WHERE t.id = g.id
  AND t.status = 'running'
  AND t.worker = g.worker
  AND t.attempts = g.attempts;

-- ExtendTask makes the lease of a running task end the given number of seconds
-- from now, which may be later or sooner than before. It changes nothing unless
-- the worker still holds its lease, identified by the worker and the number of
-- attempts.
--
-- @plan uses tasks_pkey
-- @retry
-- @batch
-- name: ExtendTask :one
UPDATE tasks
SET lease_until = now() + make_interval(secs => @lease_seconds::double precision),
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- CompleteTask marks a running task as completed. It changes nothing unless the
-- worker still holds its lease, identified by the worker and the number of
-- attempts.
--
-- @plan uses tasks_pkey
-- @retry
-- @batch
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

-- FinishTask does the same as CompleteTask, but does not return the task.
--
-- @plan uses tasks_pkey
-- @retry
-- @batch
-- name: FinishTask :execrows
UPDATE tasks
SET status      = 'completed',
    lease_until = NULL,
    updated_at  = now()
WHERE id = @id
  AND worker = @worker::text
  AND attempts = @attempts
  AND status = 'running';

-- CompleteTasks marks running tasks as completed, and returns the ids of those that
-- it changed, in no particular order. The nth id has the nth worker and attempts,
-- and ids must be unique. It changes nothing unless the worker still holds the lease,
-- identified by the worker and the number of attempts.
--
-- @plan uses tasks_pkey
-- @retry
-- name: CompleteTasks :many
WITH held AS (
    -- A subquery that locks rows is executed for each row, in the given order. A join
    -- would lock them in the order of its plan, so that two calls could deadlock.
    SELECT h.id
    FROM unnest(@ids::bigint[]) WITH ORDINALITY AS g (id, place)
    CROSS JOIN LATERAL (
        SELECT t.id
        FROM tasks AS t
        WHERE t.id = g.id
          AND t.status = 'running'
          AND t.worker = (@workers::text[])[g.place]
          AND t.attempts = (@attempts::integer[])[g.place]
        FOR NO KEY UPDATE
    ) AS h
)
UPDATE tasks
SET status      = 'completed',
    lease_until = NULL,
    updated_at  = now()
WHERE id = ANY(ARRAY(SELECT held.id FROM held))
RETURNING id;

-- ListLeases returns who held the leases of those of the given tasks that exist, in no
-- particular order.
--
-- @plan indexed
-- name: ListLeases :many
SELECT id, status, worker, attempts
FROM tasks
WHERE id = ANY(@ids::bigint[]);

-- FailTask ends an attempt of a running task. If the task is to be retried and
-- has attempts left, it becomes pending again. It is then due after the given
-- number of seconds. If that is NULL, it is due after a time that doubles with
-- each attempt, plus up to half of it at random, so that tasks that failed
-- together are not retried together. Otherwise the task has failed. FailTask
-- changes nothing unless the worker still holds its lease, identified by the
-- worker and the number of attempts.
--
-- @plan uses tasks_pkey
-- @retry
-- @batch
-- name: FailTask :one
UPDATE tasks
SET status      = CASE WHEN @retry::boolean AND attempts < max_attempts THEN 'pending' ELSE 'failed' END::task_status,
    run_at      = CASE WHEN @retry AND attempts < max_attempts
                       THEN now() + COALESCE(make_interval(secs => sqlc.narg('retry_after_seconds')::double precision),
                                             task_backoff(attempts) * (1 + random() / 2))
                       ELSE run_at END,
    lease_until = NULL,
    last_error  = sqlc.narg('last_error')::text,
    updated_at  = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- ReleaseTask gives a running task back as if it had not been claimed. It is
-- pending and due, and has as many attempts left as before. It changes nothing
-- unless the worker still holds its lease, identified by the worker and the
-- number of attempts.
--
-- It increments max_attempts for the attempt that is given back. attempts is
-- never decremented, because together with the worker it identifies the lease.
--
-- @plan uses tasks_pkey
-- @retry
-- name: ReleaseTask :one
UPDATE tasks
SET status       = 'pending',
    run_at       = now(),
    max_attempts = max_attempts + 1,
    lease_until  = NULL,
    updated_at   = now()
WHERE id = @id
  AND status = 'running'
  AND worker = @worker::text
  AND attempts = @attempts
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- CancelTask marks a pending or running task as cancelled. A worker that is
-- executing it loses its lease.
--
-- @plan indexed
-- @retry
-- name: CancelTask :one
UPDATE tasks
SET status      = 'cancelled',
    lease_until = NULL,
    updated_at  = now()
WHERE id = @id
  AND status IN ('pending', 'running')
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- RetryTask makes a failed or cancelled task pending and due, with one more
-- attempt if it has none left. It makes a pending task due.
--
-- @plan indexed
-- @retry
-- name: RetryTask :one
UPDATE tasks
SET status       = 'pending',
    run_at       = CASE WHEN status = 'pending' THEN LEAST(run_at, now()) ELSE now() END,
    max_attempts = GREATEST(max_attempts, attempts + 1),
    updated_at   = now()
WHERE id = @id
  AND status IN ('failed', 'cancelled', 'pending')
RETURNING id, name, payload, status, attempts, worker, lease_until, created_at, updated_at, run_at, max_attempts, last_error;

-- DeleteTask deletes a task unless it is running, and returns the number of
-- deleted tasks.
--
-- @plan indexed
-- name: DeleteTask :execrows
DELETE FROM tasks
WHERE id = @id
  AND status <> 'running';

-- DeleteEndedTasks deletes up to row_limit tasks that ended at least the given
-- number of seconds ago, and returns their number. It skips rows that another
-- sweep has locked.
--
-- @plan indexed
-- @retry
-- @class bulk
-- name: DeleteEndedTasks :execrows
DELETE FROM tasks
WHERE id = ANY(ARRAY(
    SELECT t.id
    FROM tasks AS t
    WHERE t.status IN ('completed', 'failed', 'cancelled')
      AND t.updated_at < now() - make_interval(secs => @retention_seconds::double precision)
    ORDER BY t.updated_at
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
));

-- AnnounceTasks notifies the listeners in all processes that there are new
-- tasks. The payload is the sender's name.
--
-- It is separate from CreateTask, because a transaction that notifies holds a
-- lock of the whole server through its COMMIT. Tasks would then be created one
-- COMMIT after the other.
--
-- @timeout 2s
-- @retry
-- name: AnnounceTasks :exec
SELECT pg_notify('quern_tasks', @sender::text);
