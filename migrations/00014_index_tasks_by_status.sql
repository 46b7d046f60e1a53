-- Adds two indexes and drops one. They are built and dropped concurrently, so
-- reads and writes of tasks continue. Each step waits for the transactions that
-- began before it. If it waits too long, nothing is lost: run the migration again.
--
-- Servers of the previous version keep working. Until they are replaced, their
-- lists of running tasks read the other tasks, too: 0.2 s with a million tasks.

-- +goose NO TRANSACTION
-- +goose Up
-- May be left by an interrupted attempt.
DROP INDEX CONCURRENTLY IF EXISTS tasks_status_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_leased_idx;

-- Serve the lists by status. They replace an index over tasks of all statuses,
-- which also served status = 'running'. If the statistics said that nothing is
-- running, the planner preferred it to the primary key when it looked up many
-- tasks, and read all of the index's running and dead entries: 190 instead of 15 µs
-- for each task. Neither predicate follows from status = 'running', nor from
-- lease_until < now(). So a statement on a worker's tasks can only use the primary
-- key, and a claim only the indexes that were made for it. The tasks with a lease and
-- a worker are the running ones, by tasks_running_leased.
CREATE INDEX CONCURRENTLY tasks_status_idx ON tasks (status, id) WHERE status <> 'running';
CREATE INDEX CONCURRENTLY tasks_leased_idx ON tasks (status, id) WHERE lease_until IS NOT NULL AND worker IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS tasks_status_id_idx;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS tasks_status_id_idx;
CREATE INDEX CONCURRENTLY tasks_status_id_idx ON tasks (status, id);
DROP INDEX CONCURRENTLY IF EXISTS tasks_status_idx;
DROP INDEX CONCURRENTLY IF EXISTS tasks_leased_idx;
