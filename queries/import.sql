-- GetImport returns what is stored of the import of this name: the row count at
-- the end of each of its stretches, in order, how many rows they inserted or
-- updated, and their options. There is always a row; without stretches it is
-- empty.
--
-- @plan indexed
-- @class bulk
-- name: GetImport :one
SELECT COALESCE(array_agg(first_row + rows ORDER BY first_row), '{}')::bigint[] AS ends,
       COALESCE(sum(inserted + updated), 0)::bigint                             AS stored,
       COALESCE(min(options), '')::text                                         AS options
FROM import_checkpoints
WHERE import = @import;

-- CreateImportCheckpoint begins a stretch of an import, unless it is done. If
-- another transaction works on it, this one waits for it.
--
-- @timeout 1m
-- @class bulk
-- name: CreateImportCheckpoint :execrows
INSERT INTO import_checkpoints (import, first_row, rows, hash, options, expires_at)
VALUES (@import, @first_row, @rows, @hash, @options, now() + interval '30 days')
ON CONFLICT DO NOTHING;

-- GetImportCheckpoint returns what became of a stretch of an import.
--
-- @plan indexed
-- @class bulk
-- name: GetImportCheckpoint :one
SELECT rows, hash, inserted, updated, unchanged, skipped, rejects, created_at
FROM import_checkpoints
WHERE import = @import
  AND first_row = @first_row;

-- UpdateImportCheckpoint notes what became of a stretch of an import.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: UpdateImportCheckpoint :exec
UPDATE import_checkpoints
SET inserted  = @inserted,
    updated   = @updated,
    unchanged = @unchanged,
    skipped   = @skipped,
    rejects   = @rejects
WHERE import = @import
  AND first_row = @first_row;

-- DeleteImportCheckpointsFrom forgets the stretches of an import that begin at
-- first_row or after it.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: DeleteImportCheckpointsFrom :exec
DELETE FROM import_checkpoints
WHERE import = @import
  AND first_row >= @first_row;

-- ForgetExpiredImport removes what is left of an import whose time is over, so
-- that it does not count as known until the sweep comes to it.
--
-- @plan indexed
-- @class bulk
-- name: ForgetExpiredImport :exec
DELETE FROM import_checkpoints
WHERE import = @import
  AND expires_at < now();

-- ProlongImport keeps the stretches before a new one as long as the new one: a
-- file that grows is one import.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: ProlongImport :exec
UPDATE import_checkpoints
SET expires_at = now() + interval '30 days'
WHERE import = @import
  AND expires_at < now() + interval '30 days';

-- FinishImport lets the checkpoints of an import that is whole expire. They
-- stay for a day, as idempotency keys do, for callers that did not get the
-- answer.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: FinishImport :exec
UPDATE import_checkpoints
SET expires_at = now() + interval '1 day'
WHERE import = @import
  AND expires_at > now() + interval '1 day';

-- ForgetIdleImport removes the checkpoints of an import that is whole and has
-- neither inserted nor updated a row: nothing of it can be stored twice.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: ForgetIdleImport :exec
DELETE FROM import_checkpoints AS c
WHERE c.import = @import
  AND NOT EXISTS (
      SELECT FROM import_checkpoints AS o
      WHERE o.import = @import
        AND o.inserted + o.updated > 0
  );

-- DeleteImportCheckpoints removes up to row_limit checkpoints that have
-- expired. Rows that another sweep holds are passed over.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: DeleteImportCheckpoints :exec
DELETE FROM import_checkpoints
WHERE (import, first_row) IN (
    SELECT c.import, c.first_row
    FROM import_checkpoints AS c
    WHERE c.expires_at < now()
    ORDER BY c.expires_at
    LIMIT @row_limit::bigint
    FOR UPDATE SKIP LOCKED
);
