-- CreateCommitMarker leaves a transaction's marker. postgres.InTx sends it: a
-- second transaction with the same marker waits for the first and fails on
-- commit_markers_pkey if that one committed.
-- name: CreateCommitMarker :exec
INSERT INTO commit_markers (id)
VALUES (@id);

-- DeleteCommitMarkers removes up to row_limit markers that are older than the
-- given one, and tells how many. Rows that another sweep holds are passed over.
--
-- @plan indexed
-- @retry
-- @class bulk
-- name: DeleteCommitMarkers :execrows
DELETE FROM commit_markers
WHERE id IN (
    SELECT id
    FROM commit_markers
    WHERE id < @before::uuid
    ORDER BY id
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
);
