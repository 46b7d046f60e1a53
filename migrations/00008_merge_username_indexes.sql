-- Replaces the two indexes on usernames by one that serves all that both did.
-- It is built beside them: reads and writes of users go on, but for the moment
-- in which one takes the place of the other.

-- +goose NO TRANSACTION
-- +goose Up
-- What an attempt that was broken off has left.
DROP INDEX CONCURRENTLY IF EXISTS users_username_key_new;

-- These operators compare bytes, whatever the database's collation: what is
-- equal, and what begins with what, is the same in all of them. Only the order
-- is another, and nobody asks for usernames in order. Every insert writes an
-- index less.
CREATE UNIQUE INDEX CONCURRENTLY users_username_key_new ON users (username text_pattern_ops);

-- +goose StatementBegin
DO $$
BEGIN
    ALTER TABLE users DROP CONSTRAINT IF EXISTS users_username_key;
    DROP INDEX IF EXISTS users_username_key;
    ALTER INDEX users_username_key_new RENAME TO users_username_key;
END
$$;
-- +goose StatementEnd

DROP INDEX CONCURRENTLY IF EXISTS users_username_prefix_idx;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS users_username_key_new;
DROP INDEX CONCURRENTLY IF EXISTS users_username_prefix_idx;
CREATE INDEX CONCURRENTLY users_username_prefix_idx ON users (username text_pattern_ops);
CREATE UNIQUE INDEX CONCURRENTLY users_username_key_new ON users (username);

-- +goose StatementBegin
DO $$
BEGIN
    ALTER TABLE users DROP CONSTRAINT IF EXISTS users_username_key;
    DROP INDEX IF EXISTS users_username_key;
    ALTER TABLE users ADD CONSTRAINT users_username_key UNIQUE USING INDEX users_username_key_new;
END
$$;
-- +goose StatementEnd
