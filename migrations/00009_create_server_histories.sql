-- Creates a new table. It locks no existing table.

-- +goose Up
-- Each run of a primary writes one row about itself. A replica is used only
-- while its newest row is that of the primary. A WAL position does not show
-- this, because after a failover a replica of the old history may be ahead of
-- the new primary, and an ordinary role cannot query a standby's timeline.
CREATE TABLE server_histories (
    -- The newest row is the one with the greatest n.
    n        bigint      GENERATED ALWAYS AS IDENTITY NOT NULL,
    timeline bigint      NOT NULL,
    -- pg_postmaster_start_time() in microseconds since 1970. Two standbys that
    -- are promoted independently get the same timeline.
    started  bigint      NOT NULL,
    -- Incremented while there are writes, so that a replica that no longer
    -- follows this primary is noticed although it has the row.
    beat     bigint      NOT NULL DEFAULT 0,
    beat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT server_histories_pkey        PRIMARY KEY (n),
    CONSTRAINT server_histories_history_key UNIQUE (timeline, started)
)
-- Beats are HOT updates, so most of the page is kept free for them.
WITH (fillfactor = 20);

-- +goose Down
DROP TABLE server_histories;
