-- GetAccount returns the account with the given id.
--
-- @route replica
-- @timeout 250ms
-- @plan indexed
-- @batch
-- @queue
-- name: GetAccount :one
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM accounts
WHERE id = @id;

-- GetAccountByUsername returns the account with the given username. It is
-- case-sensitive.
--
-- @route replica
-- @plan uses accounts_username_key
-- @batch
-- @queue
-- name: GetAccountByUsername :one
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM accounts
WHERE username = @username;

-- CreateAccount adds an account.
--
-- @batch CreateAccountBatch
-- @queue
-- name: CreateAccount :one
INSERT INTO accounts (username, email, age, tags)
VALUES (@username, @email, @age, @tags)
RETURNING id, username, email, age, tags, created_at, updated_at, version;

-- CreateAccountBatch adds the accounts of several calls of CreateAccount. The
-- nth username, email, age and tags become the account with ord n. An account
-- is omitted if its username is taken, even by an earlier one of the same call.
--
-- @queue
-- name: CreateAccountBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is generated here
    -- because it later identifies the call of each row.
    SELECT generate_subscripts(@username::text[], 1) AS ord,
           nextval('accounts_id_seq')                AS id,
           unnest(@username::text[])                 AS username,
           unnest(@email::text[])                    AS email,
           unnest(@age::integer[])                   AS age,
           unnest(@tags::jsonb[])                    AS tags
    -- A call that waits longer for another transaction is then sent
    -- individually.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO accounts (id, username, email, age, tags)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.username, g.email, g.age, g.tags
    FROM given AS g
    -- Two batches with several common usernames wait for each other in the same
    -- order.
    ORDER BY g.username
    ON CONFLICT (username) DO NOTHING
    RETURNING id, username, email, age, tags, created_at, updated_at, version
)
SELECT g.ord::integer AS ord, c.id, c.username, c.email, c.age, c.tags, c.created_at, c.updated_at, c.version
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- ListAccountIDs returns those of the given ids that belong to an account, in
-- no particular order.
--
-- @plan indexed
-- @queue
-- name: ListAccountIDs :many
SELECT id
FROM accounts
WHERE id = ANY(@ids::bigint[]);

-- CopyAccounts adds accounts by COPY, all of them or none. COPY stores the
-- given ids, so generate them first.
--
-- @timeout 5m
-- @class bulk
-- name: CopyAccounts :copyfrom
INSERT INTO accounts (id, username, email, age, tags, created_at, updated_at, version)
VALUES (@id, @username, @email, @age, @tags, @created_at, @updated_at, @version);

-- ListAccountsAfter returns a page of accounts in the order of their ids,
-- starting after the given id.
--
-- @route replica
-- @plan uses accounts_pkey
-- @stream
-- name: ListAccountsAfter :many
SELECT id, username, email, age, tags, created_at, updated_at, version
FROM accounts
WHERE id > @after
ORDER BY id
LIMIT @row_limit::bigint;

-- RenameAccount sets the username of an account. It is idempotent.
--
-- @plan indexed
-- @retry
-- @queue
-- name: RenameAccount :execrows
UPDATE accounts
SET username = @username
WHERE id = @id;

-- ChangeAccount changes the given fields of an account and counts its version. With
-- if_version it changes nothing unless the account still has that version.
--
-- @plan uses accounts_pkey
-- @batch
-- name: ChangeAccount :one
UPDATE accounts
SET email   = COALESCE(sqlc.narg('email'), email),
    age     = COALESCE(sqlc.narg('age'), age),
    version = version + 1
WHERE id = @id
  AND (sqlc.narg('if_version')::integer IS NULL OR version = sqlc.narg('if_version'))
RETURNING id, email, age, version;

-- SetAccountEmail sets the email of an account. It is idempotent.
--
-- @plan indexed
-- @retry
-- @batch
-- name: SetAccountEmail :execrows
UPDATE accounts
SET email = @email
WHERE id = @id;

-- RemoveAccount deletes an account unless it has another version, and returns its
-- username.
--
-- @plan indexed
-- @batch
-- name: RemoveAccount :one
DELETE FROM accounts AS a
WHERE a.id = @id
  AND a.version = @version
RETURNING a.id, a.username;

-- DeleteAccount deletes an account and, through the foreign key, its notes.
--
-- @plan indexed
-- name: DeleteAccount :exec
DELETE FROM accounts
WHERE id = @id;

-- GetOverview counts the rows of all tables. Its cost grows with them.
--
-- @route replica
-- @class bulk
-- @queue
-- name: GetOverview :one
SELECT (SELECT count(*) FROM accounts) AS accounts,
       (SELECT count(*) FROM notes)    AS notes,
       (SELECT count(*) FROM jobs)     AS jobs;
