-- Adds two functions and four indexes. The indexes are built concurrently, so reads
-- and writes of tasks continue. Each build waits for the transactions that began
-- before it. If it waits too long, nothing is lost: run the migration again.
--
-- Servers of the previous version keep working with their indexes, which the next
-- migration drops.

-- +goose NO TRANSACTION
-- +goose Up
-- The time from which a pending task may be claimed. NULL for other tasks.
CREATE OR REPLACE FUNCTION task_ready(status task_status, run_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN status = 'pending' THEN run_at END;

-- The time from which a running task may be claimed again or, after its last
-- attempt, has failed. AT TIME ZONE with an interval adds the interval. Unlike + it
-- is immutable, because it depends on no setting, and unlike AT TIME ZONE 'UTC' it
-- looks nothing up. Indexes depend on both functions. If you change one, run REINDEX
-- on them.
CREATE OR REPLACE FUNCTION task_lapse(lease_until timestamptz, attempts integer, max_attempts integer) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN attempts < max_attempts THEN lease_until AT TIME ZONE task_backoff(attempts) AT TIME ZONE interval '0'
    ELSE lease_until
END;

-- May be left by an interrupted attempt.
DROP INDEX CONCURRENTLY IF EXISTS tasks_ready_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_ready_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_lapse_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_status_idx;

-- A task is in the indexes of waiting tasks until it is claimed, and in the one of
-- running tasks until it ends. So a claim adds one entry besides the primary key's,
-- and the end of a task none to either.
--
-- Serve the claim. It uses exactly this expression, which no other index has.
-- Therefore it has a good plan even if the statistics are those of an idle queue.
CREATE INDEX CONCURRENTLY tasks_ready_idx
    ON tasks (task_ready(status, run_at), id)
    WHERE task_ready(status, run_at) IS NOT NULL;
CREATE INDEX CONCURRENTLY tasks_name_ready_idx
    ON tasks (name, task_ready(status, run_at), id)
    WHERE task_ready(status, run_at) IS NOT NULL;

-- Serves the claim of tasks whose lease has expired, and the lists of running tasks.
-- Its condition does not follow from status = 'running'. So a statement on a worker's
-- tasks can only use the primary key, whatever the statistics say. The name follows
-- the order of a claim, so that a claim by name does not read the rows of others.
CREATE INDEX CONCURRENTLY tasks_lapse_idx
    ON tasks (task_lapse(lease_until, attempts, max_attempts), id, name)
    WHERE lease_until IS NOT NULL AND worker IS NOT NULL;

-- Serves the lists by name.
CREATE INDEX CONCURRENTLY tasks_name_status_idx ON tasks (name, status, id) WHERE status <> 'running';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS tasks_ready_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_ready_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_lapse_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_status_idx;
DROP FUNCTION IF EXISTS task_ready, task_lapse;
