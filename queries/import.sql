-- CreateImportCheckpoint begins a stretch of an import, unless it is done. One
-- that another transaction works on is waited for.
--
-- @timeout 1m
-- name: CreateImportCheckpoint :execrows
INSERT INTO import_checkpoints (import, hash, expires_at)
VALUES (@import, @hash, now() + interval '30 days')
ON CONFLICT DO NOTHING;

-- GetImportCheckpoint returns what became of a stretch of an import.
--
-- @plan indexed
-- name: GetImportCheckpoint :one
SELECT inserted, updated, unchanged, skipped, rejects, created_at
FROM import_checkpoints
WHERE import = @import
  AND hash = @hash;

-- UpdateImportCheckpoint notes what became of a stretch of an import.
--
-- @plan indexed
-- name: UpdateImportCheckpoint :exec
UPDATE import_checkpoints
SET inserted  = @inserted,
    updated   = @updated,
    unchanged = @unchanged,
    skipped   = @skipped,
    rejects   = @rejects
WHERE import = @import
  AND hash = @hash;

-- FinishImport lets the checkpoints of an import that is whole expire. They
-- stay for a day, as idempotency keys do, for whoever did not hear that it is.
--
-- @plan indexed
-- name: FinishImport :exec
UPDATE import_checkpoints
SET expires_at = LEAST(expires_at, now() + interval '1 day')
WHERE import = @import;

-- DeleteImportCheckpoints removes up to row_limit checkpoints that have
-- expired. Rows that another sweep holds are passed over.
--
-- @plan indexed
-- name: DeleteImportCheckpoints :exec
DELETE FROM import_checkpoints
WHERE (import, hash) IN (
    SELECT c.import, c.hash
    FROM import_checkpoints AS c
    WHERE c.expires_at < now()
    ORDER BY c.expires_at
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
);
