-- Adds columns with constant defaults, which does not rewrite the table, and
-- checks the new constraints against the existing rows. An ACCESS EXCLUSIVE
-- lock on tasks blocks reads and writes during that scan and while a partial
-- index over the pending tasks is built.

-- +goose Up
-- The time from which a task may be claimed: immediately, later, or after a
-- delay that follows a failed attempt.
ALTER TABLE tasks
    ADD COLUMN run_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN max_attempts integer     NOT NULL DEFAULT 10,
    ADD COLUMN last_error   text,
    ADD CONSTRAINT tasks_max_attempts_counted CHECK (max_attempts >= 1),
    ADD CONSTRAINT tasks_last_error_length    CHECK (char_length(last_error) <= 1000);

-- Serves the claim in the new order, in which the task that has been due for
-- longest comes first.
DROP INDEX tasks_pending_idx;
CREATE INDEX tasks_pending_idx ON tasks (run_at, id) WHERE status = 'pending';

-- +goose Down
DROP INDEX tasks_pending_idx;
CREATE INDEX tasks_pending_idx ON tasks (id) WHERE status = 'pending';
ALTER TABLE tasks
    DROP COLUMN run_at,
    DROP COLUMN max_attempts,
    DROP COLUMN last_error;
