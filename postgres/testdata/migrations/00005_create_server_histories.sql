-- Creates a new table: locks nothing that exists.

-- +goose Up
-- Each run of a primary writes one row about itself, and a replica is used only
-- while its newest row is that of the primary. No position says as much: after
-- a failover a replica of the old history may be ahead of the new primary, and
-- an ordinary role cannot ask a standby for its timeline.
CREATE TABLE server_histories (
    -- The newest row is the one with the greatest n.
    n        bigint      GENERATED ALWAYS AS IDENTITY NOT NULL,
    timeline bigint      NOT NULL,
    -- pg_postmaster_start_time() in microseconds since 1970: two standbys that
    -- are promoted apart both get the same timeline.
    started  bigint      NOT NULL,
    -- Counted up while something is written, so that a replica which no longer
    -- follows this primary is noticed although it has the row.
    beat     bigint      NOT NULL DEFAULT 0,
    beat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT server_histories_pkey        PRIMARY KEY (n),
    CONSTRAINT server_histories_history_key UNIQUE (timeline, started)
)
-- Beats are HOT updates: most of the page is kept free for them.
WITH (fillfactor = 20);

-- +goose Down
DROP TABLE server_histories;
