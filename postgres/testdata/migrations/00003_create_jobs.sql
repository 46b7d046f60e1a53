-- Creates a new type and a new table. It locks no existing table.

-- +goose Up
CREATE TYPE job_status AS ENUM ('pending', 'running', 'completed', 'failed');

CREATE TABLE jobs (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    name       text        NOT NULL,
    payload    jsonb       NOT NULL DEFAULT '{}',
    status     job_status  NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT jobs_pkey        PRIMARY KEY (id),
    CONSTRAINT jobs_name_length CHECK (char_length(name) BETWEEN 1 AND 200)
);

-- +goose Down
DROP TABLE jobs;
DROP TYPE job_status;
