-- Adds a value to an enum, two functions and five indexes, and drops one index.
-- The indexes are built concurrently, so reads and writes of tasks continue. Each
-- build waits for the transactions that began before it. If it waits too long,
-- nothing is lost: run the migration again.
--
-- Servers of the previous version keep working, because they claim with
-- tasks_pending_idx. Going down rewrites tasks, because PostgreSQL cannot drop a
-- value of an enum. It takes an ACCESS EXCLUSIVE lock, which also blocks reads,
-- and turns cancelled tasks into failed ones.

-- +goose NO TRANSACTION
-- +goose Up
ALTER TYPE task_status ADD VALUE IF NOT EXISTS 'cancelled';

-- How long a task is not claimed after its nth attempt failed or its worker was
-- lost: 1 s, 2 s, 4 s and so on. From the 13th attempt it is 4096 s, about an
-- hour. Indexes depend on both functions. If you change one, run REINDEX on them.
CREATE OR REPLACE FUNCTION task_backoff(attempts integer) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN interval '1 second' * power(2, LEAST(attempts, 13) - 1);

-- The time from which a task may be claimed. For a pending task it is run_at, for
-- a running one some time after its lease, and NULL means never. The conversion
-- to a timestamp in UTC makes it immutable, because timestamptz + interval
-- depends on the session's time zone, although only for days and months.
CREATE OR REPLACE FUNCTION task_due(
    status task_status, run_at timestamptz, lease_until timestamptz, attempts integer, max_attempts integer
) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN status = 'pending' THEN run_at
    WHEN attempts < max_attempts THEN (lease_until AT TIME ZONE 'UTC' + task_backoff(attempts)) AT TIME ZONE 'UTC'
END;

-- May be left by an interrupted attempt.
DROP INDEX CONCURRENTLY IF EXISTS tasks_due_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_due_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_used_up_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_status_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_ended_idx;

-- Serve the claim: pending tasks and expired leases in one order. Ended tasks are
-- in neither index, so they do not make a claim slower. A claim uses exactly this
-- expression, which no other index has. Therefore it has a good plan even if the
-- statistics are those of an idle queue. When a claim could use another index, it
-- read and sorted 300,000 pending tasks.
CREATE INDEX CONCURRENTLY tasks_due_idx
    ON tasks (task_due(status, run_at, lease_until, attempts, max_attempts), id)
    WHERE task_due(status, run_at, lease_until, attempts, max_attempts) IS NOT NULL;
CREATE INDEX CONCURRENTLY tasks_name_due_idx
    ON tasks (name, task_due(status, run_at, lease_until, attempts, max_attempts), id)
    WHERE task_due(status, run_at, lease_until, attempts, max_attempts) IS NOT NULL;

-- Also serves the claim, for leases of last attempts.
CREATE INDEX CONCURRENTLY tasks_used_up_idx
    ON tasks (lease_until, id)
    WHERE lease_until IS NOT NULL AND attempts >= max_attempts;

-- Serves the list by name, of one status or of all.
CREATE INDEX CONCURRENTLY tasks_name_status_id_idx ON tasks (name, status, id);

-- Serves the sweep of tasks that ended long ago.
CREATE INDEX CONCURRENTLY tasks_ended_idx
    ON tasks (updated_at)
    WHERE status IN ('completed', 'failed', 'cancelled');

-- tasks_pending_idx stays for servers of the previous version, which would
-- otherwise read and sort all pending tasks for each claim: 240 ms with a million
-- tasks. It can be dropped when no such server is left. Without tasks_lease_idx
-- they read the running tasks, which are few.
DROP INDEX CONCURRENTLY IF EXISTS tasks_lease_idx;

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
    LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE;
    UPDATE tasks
    SET status     = 'failed',
        last_error = COALESCE(last_error, 'cancelled')
    WHERE status = 'cancelled';

    -- Their predicates use the type.
    DROP INDEX IF EXISTS tasks_due_idx, tasks_name_due_idx, tasks_used_up_idx, tasks_name_status_id_idx, tasks_ended_idx;
    DROP INDEX IF EXISTS tasks_pending_idx, tasks_lease_idx, tasks_status_id_idx;
    ALTER TABLE tasks DROP CONSTRAINT IF EXISTS tasks_running_leased;
    DROP FUNCTION IF EXISTS task_due, task_backoff;

    ALTER TYPE task_status RENAME TO task_status_before;
    CREATE TYPE task_status AS ENUM ('pending', 'running', 'completed', 'failed');
    ALTER TABLE tasks
        ALTER COLUMN status DROP DEFAULT,
        ALTER COLUMN status TYPE task_status USING status::text::task_status,
        ALTER COLUMN status SET DEFAULT 'pending';
    DROP TYPE task_status_before;

    ALTER TABLE tasks
        ADD CONSTRAINT tasks_running_leased CHECK (
            (status = 'running') = (worker IS NOT NULL AND lease_until IS NOT NULL)
        );
    CREATE INDEX tasks_pending_idx ON tasks (run_at, id) WHERE status = 'pending';
    CREATE INDEX tasks_lease_idx ON tasks (lease_until, id) WHERE status = 'running';
    CREATE INDEX tasks_status_id_idx ON tasks (status, id);
END
$$;
-- +goose StatementEnd
