-- Drops six indexes concurrently, so reads and writes of tasks continue. Each step
-- waits for the transactions that began before it. If it waits too long, nothing is
-- lost: run the migration again.
--
-- Servers of the previous version keep working. Until they are replaced, each of
-- their claims reads the whole table. If that is too slow, migrate to 19, replace
-- them, and then apply this migration.

-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS tasks_pending_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_due_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_due_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_used_up_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_leased_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_status_id_idx;

-- +goose Down
-- May be left by an interrupted attempt.
DROP INDEX CONCURRENTLY IF EXISTS tasks_pending_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_due_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_due_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_used_up_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_leased_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_name_status_id_idx;
CREATE INDEX CONCURRENTLY tasks_pending_idx ON tasks (run_at, id) WHERE status = 'pending';
CREATE INDEX CONCURRENTLY tasks_due_idx
    ON tasks (task_due(status, run_at, lease_until, attempts, max_attempts), id)
    WHERE task_due(status, run_at, lease_until, attempts, max_attempts) IS NOT NULL;
CREATE INDEX CONCURRENTLY tasks_name_due_idx
    ON tasks (name, task_due(status, run_at, lease_until, attempts, max_attempts), id)
    WHERE task_due(status, run_at, lease_until, attempts, max_attempts) IS NOT NULL;
CREATE INDEX CONCURRENTLY tasks_used_up_idx
    ON tasks (lease_until, id)
    WHERE lease_until IS NOT NULL AND attempts >= max_attempts;
CREATE INDEX CONCURRENTLY tasks_leased_idx ON tasks (status, id) WHERE lease_until IS NOT NULL AND worker IS NOT NULL;
CREATE INDEX CONCURRENTLY tasks_name_status_id_idx ON tasks (name, status, id);
