-- Creates the tables of the runtime. It locks no existing table.

-- +goose Up
CREATE TABLE "commit_markers" (
    id         uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT "commit_markers_pkey" PRIMARY KEY (id)
);

CREATE TABLE "server_histories" (
    n        bigint      GENERATED ALWAYS AS IDENTITY NOT NULL,
    timeline bigint      NOT NULL,
    started  bigint      NOT NULL,
    beat     bigint      NOT NULL DEFAULT 0,
    beat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT "server_histories_pkey" PRIMARY KEY (n),
    CONSTRAINT "server_histories_history_key" UNIQUE (timeline, started)
)
-- Its row is updated often, so most of the page is kept free.
WITH (fillfactor = 20);

-- +goose Down
DROP TABLE "server_histories";
DROP TABLE "commit_markers";
