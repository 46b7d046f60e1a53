-- CreateCommitMarker leaves a transaction's marker. postgres.InTx sends it: a
-- second transaction with the same marker waits for the first and fails on
-- commit_markers_pkey if that one committed.
-- name: CreateCommitMarker :exec
INSERT INTO commit_markers (id)
VALUES (@id);

-- DeleteCommitMarkers removes up to row_limit markers that are older than an
-- hour, far longer than any transaction is repeated, and tells how many. Rows that
-- another sweep holds are passed over.
--
-- @plan indexed
-- @retry
-- name: DeleteCommitMarkers :execrows
DELETE FROM commit_markers
WHERE id IN (
    SELECT id
    FROM commit_markers
    -- An id begins with the milliseconds of the process that made it, which find
    -- the old ones without an index more. That process's clock may be slow:
    -- created_at is the server's.
    WHERE id < (lpad(to_hex((extract(epoch FROM now() - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
      AND created_at < now() - interval '1 hour'
    ORDER BY id
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
);
