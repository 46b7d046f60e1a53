-- Adds columns with constant defaults, which rewrites nothing, and checks the
-- new rules against the rows that are there. tasks is locked, reads included,
-- for that scan and for building one partial index over the pending tasks.

-- +goose Up
-- When a task may be claimed: at once, later, or later again after a failure.
ALTER TABLE tasks
    ADD COLUMN run_at       timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN max_attempts integer     NOT NULL DEFAULT 10,
    ADD COLUMN last_error   text,
    ADD CONSTRAINT tasks_max_attempts_counted CHECK (max_attempts >= 1),
    ADD CONSTRAINT tasks_last_error_length    CHECK (char_length(last_error) <= 1000);

-- Serves the claim in the new order: what has been due for longest comes first.
DROP INDEX tasks_pending_idx;
CREATE INDEX tasks_pending_idx ON tasks (run_at, id) WHERE status = 'pending';

-- +goose Down
DROP INDEX tasks_pending_idx;
CREATE INDEX tasks_pending_idx ON tasks (id) WHERE status = 'pending';
ALTER TABLE tasks
    DROP COLUMN run_at,
    DROP COLUMN max_attempts,
    DROP COLUMN last_error;
