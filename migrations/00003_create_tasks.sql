-- Creates a new type and a new table. It locks no existing table.

-- +goose Up
CREATE TYPE task_status AS ENUM ('pending', 'running', 'completed', 'failed');

CREATE TABLE tasks (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    name        text        NOT NULL,
    payload     jsonb       NOT NULL DEFAULT '{}',
    status      task_status NOT NULL DEFAULT 'pending',
    attempts    integer     NOT NULL DEFAULT 0,
    worker      text,
    lease_until timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT tasks_pkey             PRIMARY KEY (id),
    CONSTRAINT tasks_name_length      CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT tasks_worker_length    CHECK (char_length(worker) BETWEEN 1 AND 100),
    CONSTRAINT tasks_attempts_counted CHECK (attempts >= 0),
    -- A running task, and no other, has a worker and the end of its lease.
    CONSTRAINT tasks_running_leased   CHECK (
        (status = 'running') = (worker IS NOT NULL AND lease_until IS NOT NULL)
    )
);

-- Serve the claim: the oldest pending tasks and the expired leases. They are
-- partial, so that finished tasks, whose number only grows, do not make a claim
-- slower.
CREATE INDEX tasks_pending_idx ON tasks (id) WHERE status = 'pending';
CREATE INDEX tasks_lease_idx ON tasks (lease_until, id) WHERE status = 'running';

-- Serves the list by status.
CREATE INDEX tasks_status_id_idx ON tasks (status, id);

-- +goose Down
DROP TABLE tasks;
DROP TYPE task_status;
