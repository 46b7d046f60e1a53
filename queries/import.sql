-- GetImport returns the stored progress of an import: the row count at the end
-- of each of its chunks, in order, how many rows they inserted or updated, and
-- their options. It always returns one row, which is empty if there are no
-- chunks.
--
-- @plan indexed
-- @class bulk
-- name: GetImport :one
SELECT COALESCE(array_agg(first_row + rows ORDER BY first_row), '{}')::bigint[] AS ends,
       COALESCE(sum(inserted + updated), 0)::bigint                             AS stored,
       COALESCE(min(options), '')::text                                         AS options
FROM import_checkpoints
WHERE import = @import;

-- CreateImportCheckpoint begins a chunk of an import, unless it is already
-- done. If another transaction is working on it, this one waits.
--
-- @timeout 1m
-- @class bulk
-- name: CreateImportCheckpoint :execrows
INSERT INTO import_checkpoints (import, first_row, rows, hash, options, expires_at)
VALUES (@import, @first_row, @rows, @hash, @options, now() + interval '30 days')
ON CONFLICT DO NOTHING;

-- GetImportCheckpoint returns the result of a chunk of an import.
--
-- @plan indexed
-- @class bulk
-- name: GetImportCheckpoint :one
SELECT rows, hash, inserted, updated, unchanged, skipped, rejects, created_at
FROM import_checkpoints
WHERE import = @import
  AND first_row = @first_row;

-- UpdateImportCheckpoint stores the result of a chunk of an import.
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

-- DeleteImportCheckpointsFrom deletes the chunks of an import that begin at or
-- after first_row.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: DeleteImportCheckpointsFrom :exec
DELETE FROM import_checkpoints
WHERE import = @import
  AND first_row >= @first_row;

-- ForgetExpiredImport deletes the expired checkpoints of an import, so that
-- they do not count until they are swept.
--
-- @plan indexed
-- @class bulk
-- name: ForgetExpiredImport :exec
DELETE FROM import_checkpoints
WHERE import = @import
  AND expires_at < now();

-- ProlongImport keeps the earlier chunks of an import as long as a new one,
-- because a growing file is one import.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: ProlongImport :exec
UPDATE import_checkpoints
SET expires_at = now() + interval '30 days'
WHERE import = @import
  AND expires_at < now() + interval '30 days';

-- FinishImport makes the checkpoints of a complete import expire. They are kept
-- for a day, like idempotency keys, for callers that did not get the answer.
--
-- @plan indexed
-- @class bulk
-- @queue
-- name: FinishImport :exec
UPDATE import_checkpoints
SET expires_at = now() + interval '1 day'
WHERE import = @import
  AND expires_at > now() + interval '1 day';

-- ForgetIdleImport deletes the checkpoints of a complete import that has
-- neither inserted nor updated a row, because none of its rows could be stored
-- twice.
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

-- DeleteImportCheckpoints deletes up to row_limit expired checkpoints. It skips
-- rows that another sweep has locked.
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
