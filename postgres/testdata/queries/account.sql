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

-- GetAccountByUsername returns the account with the given username, in the
-- same case.
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

-- CreateAccountBatch adds the accounts of several calls of CreateAccount: the nth
-- username, email, age and tags make the account with ord n. An account whose
-- username is taken, also by one before it, is left out.
--
-- @queue
-- name: CreateAccountBatch :many
WITH given AS (
    -- Several unnests in one SELECT advance in step. The id is drawn here because it
    -- says afterwards which row belongs to which call.
    SELECT generate_subscripts(@username::text[], 1) AS ord,
           nextval('accounts_id_seq')                AS id,
           unnest(@username::text[])                 AS username,
           unnest(@email::text[])                    AS email,
           unnest(@age::integer[])                   AS age,
           unnest(@tags::jsonb[])                    AS tags
    -- A call that waits longer for another transaction is then sent by itself.
    FROM set_config('lock_timeout', '500ms', true)
), created AS (
    INSERT INTO accounts (id, username, email, age, tags)
    OVERRIDING SYSTEM VALUE
    SELECT g.id, g.username, g.email, g.age, g.tags
    FROM given AS g
    -- Two batches that meet in several usernames wait for each other in one order.
    ORDER BY g.username
    ON CONFLICT (username) DO NOTHING
    RETURNING id, username, email, age, tags, created_at, updated_at, version
)
SELECT g.ord::integer AS ord, c.id, c.username, c.email, c.age, c.tags, c.created_at, c.updated_at, c.version
FROM created AS c
JOIN given AS g ON g.id = c.id;

-- ListAccountIDs returns those of the given ids of which there is an account, in no
-- order.
--
-- @plan indexed
-- @queue
-- name: ListAccountIDs :many
SELECT id
FROM accounts
WHERE id = ANY(@ids::bigint[]);

-- CopyAccounts adds accounts by COPY, all of them or none. COPY stores their ids as
-- they are: draw them first.
--
-- @timeout 5m
-- @class bulk
-- name: CopyAccounts :copyfrom
INSERT INTO accounts (id, username, email, age, tags, created_at, updated_at, version)
VALUES (@id, @username, @email, @age, @tags, @created_at, @updated_at, @version);

-- ListAccountsAfter returns a page of accounts in the order of their ids, from the
-- first one after the given id.
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

-- RenameAccount sets the username of an account. Repeating it changes nothing.
--
-- @plan indexed
-- @retry
-- @queue
-- name: RenameAccount :execrows
UPDATE accounts
SET username = @username
WHERE id = @id;

-- DeleteAccount removes an account and, by the foreign key, its notes.
--
-- @plan indexed
-- name: DeleteAccount :exec
DELETE FROM accounts
WHERE id = @id;

-- GetOverview counts the rows of all tables: the cost grows with them.
--
-- @route replica
-- @class bulk
-- @queue
-- name: GetOverview :one
SELECT (SELECT count(*) FROM accounts) AS accounts,
       (SELECT count(*) FROM notes)    AS notes,
       (SELECT count(*) FROM jobs)     AS jobs;
