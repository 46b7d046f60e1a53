-- GetNote returns the note with the given id.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch
-- @queue
-- name: GetNote :one
SELECT id, account_id, title, content, tags, created_at, updated_at, version
FROM notes
WHERE id = @id;

-- CreateNote adds a note.
--
-- @batch CreateNoteBatch
-- @queue
-- name: CreateNote :one
INSERT INTO notes (account_id, title, content, tags)
VALUES (@account_id, @title, @content, @tags)
RETURNING id, account_id, title, content, tags, created_at, updated_at, version;

-- CreateNoteBatch adds the notes of several calls of CreateNote. The nth
-- account_id, title, content and tags become the note with ord n. A note of an
-- unknown account is omitted.
--
-- @plan indexed
-- name: CreateNoteBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is generated here
    -- because it later identifies the call of each row.
    SELECT generate_subscripts(@account_id::bigint[], 1) AS ord,
           nextval('notes_id_seq')                       AS id,
           unnest(@account_id::bigint[])                 AS account_id,
           unnest(@title::text[])                        AS title,
           unnest(@content::text[])                      AS content,
           unnest(@tags::jsonb[])                        AS tags
    -- A call that waits longer for another transaction is then sent individually.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO notes (id, account_id, title, content, tags)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.account_id, g.title, g.content, g.tags
    FROM given AS g
    -- Otherwise one unknown account would fail the notes of all other calls. Not
    -- EXISTS, because a plan for any number of notes could then read all accounts.
    WHERE g.account_id = (SELECT u.id FROM accounts AS u WHERE u.id = g.account_id)
    ON CONFLICT DO NOTHING
    RETURNING id, account_id, title, content, tags, created_at, updated_at, version
)
SELECT g.ord::integer AS ord, c.id, c.account_id, c.title, c.content, c.tags, c.created_at, c.updated_at, c.version
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- CreateNotesOfNewAccount adds notes to the account that CreateAccount last added
-- in the same session, so that both can be sent at once. The nth title, content and
-- tags become the nth note.
--
-- @queue
-- name: CreateNotesOfNewAccount :many
INSERT INTO notes (account_id, title, content, tags)
-- Not lastval(), because the first note's id changes it.
SELECT currval('accounts_id_seq'), unnest(@titles::text[]), unnest(@contents::text[]), unnest(@tags::jsonb[])
RETURNING id, account_id, title, content, tags, created_at, updated_at, version;

-- RaiseNoteIDs makes the next note's id greater than the given one.
--
-- @class bulk
-- name: RaiseNoteIDs :exec
SELECT setval('notes_id_seq', GREATEST(nextval('notes_id_seq'), @id::bigint));
