-- +goose Up
CREATE TYPE task_status AS ENUM ('pending', 'running', 'completed', 'failed');

CREATE TABLE users (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username   text        NOT NULL UNIQUE,
    age        integer,
    tags       jsonb       NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE posts (
    id      bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint  NOT NULL REFERENCES users (id),
    title   text    NOT NULL,
    rating  double precision,
    version integer NOT NULL DEFAULT 1
);

CREATE TABLE tasks (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    status      task_status NOT NULL DEFAULT 'pending',
    lease_until timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE tasks;
DROP TABLE posts;
DROP TABLE users;
DROP TYPE task_status;
