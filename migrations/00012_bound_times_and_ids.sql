-- First reads users, posts and tasks once, without blocking. If it finds times that must
-- be changed first, it fails with an error that names them. Then it takes an ACCESS
-- EXCLUSIVE lock on each table for a moment, and validates the new constraints in another
-- scan of each table, during which reads and writes continue. Creating rows waits while a
-- sequence is altered. If it is interrupted, run it again.

-- +goose NO TRANSACTION
-- +goose Up
-- JSON and CSV have times in RFC 3339 format, which supports the years 0000 to 9999. A
-- single row with another time, including infinity, made its page, its task and every
-- export fail. The bounds are in UTC, and the year 0000 is 1 BC.
-- +goose StatementBegin
DO $$
DECLARE
    tab   text;
    cols  text[];
    f     record;
    found text := '';
BEGIN
    FOR tab, cols IN VALUES
        ('users', ARRAY['created_at', 'updated_at']),
        ('posts', ARRAY['created_at', 'updated_at']),
        ('tasks', ARRAY['created_at', 'updated_at', 'run_at', 'lease_until'])
    LOOP
        FOR f IN EXECUTE format(
            'SELECT v.name, count(*) AS rows, array_to_string((array_agg(t.id ORDER BY t.id))[1:10], '', '') AS ids
             FROM %I AS t
             CROSS JOIN LATERAL (VALUES (%s)) AS v (name, at)
             WHERE v.at < ''0001-01-01 00:00:00+00 BC'' OR v.at >= ''10000-01-01 00:00:00+00''
             GROUP BY v.name
             ORDER BY v.name',
            tab, (SELECT string_agg(format('%L, t.%I', c, c), '), (') FROM unnest(cols) AS c)
        ) LOOP
            found := found || format('; %s.%s of %s row%s (id %s%s)', tab, f.name, f.rows, CASE WHEN f.rows > 1 THEN 's' ELSE '' END,
                                     f.ids, CASE WHEN f.rows > 10 THEN ', …' ELSE '' END);
        END LOOP;
    END LOOP;
    IF found <> '' THEN
        RAISE EXCEPTION 'times outside the years 0000 to 9999, which JSON and CSV cannot carry: %: set them to other times, such as now(), and run the migration again',
            substr(found, 3)
            USING ERRCODE = 'check_violation';
    END IF;
END
$$;
-- +goose StatementEnd

ALTER TABLE users
    -- May be left by an interrupted attempt.
    DROP CONSTRAINT IF EXISTS users_created_at_range,
    DROP CONSTRAINT IF EXISTS users_updated_at_range,
    ADD CONSTRAINT users_created_at_range CHECK (created_at >= '0001-01-01 00:00:00+00 BC' AND created_at < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT users_updated_at_range CHECK (updated_at >= '0001-01-01 00:00:00+00 BC' AND updated_at < '10000-01-01 00:00:00+00') NOT VALID;
ALTER TABLE posts
    DROP CONSTRAINT IF EXISTS posts_created_at_range,
    DROP CONSTRAINT IF EXISTS posts_updated_at_range,
    ADD CONSTRAINT posts_created_at_range CHECK (created_at >= '0001-01-01 00:00:00+00 BC' AND created_at < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT posts_updated_at_range CHECK (updated_at >= '0001-01-01 00:00:00+00 BC' AND updated_at < '10000-01-01 00:00:00+00') NOT VALID;
ALTER TABLE tasks
    DROP CONSTRAINT IF EXISTS tasks_created_at_range,
    DROP CONSTRAINT IF EXISTS tasks_updated_at_range,
    DROP CONSTRAINT IF EXISTS tasks_run_at_range,
    DROP CONSTRAINT IF EXISTS tasks_lease_until_range,
    ADD CONSTRAINT tasks_created_at_range  CHECK (created_at >= '0001-01-01 00:00:00+00 BC' AND created_at < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT tasks_updated_at_range  CHECK (updated_at >= '0001-01-01 00:00:00+00 BC' AND updated_at < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT tasks_run_at_range      CHECK (run_at >= '0001-01-01 00:00:00+00 BC' AND run_at < '10000-01-01 00:00:00+00') NOT VALID,
    ADD CONSTRAINT tasks_lease_until_range CHECK (lease_until >= '0001-01-01 00:00:00+00 BC' AND lease_until < '10000-01-01 00:00:00+00') NOT VALID;

-- Separate from the ALTERs above, because these locks do not block reads and writes.
ALTER TABLE users
    VALIDATE CONSTRAINT users_created_at_range,
    VALIDATE CONSTRAINT users_updated_at_range;
ALTER TABLE posts
    VALIDATE CONSTRAINT posts_created_at_range,
    VALIDATE CONSTRAINT posts_updated_at_range;
ALTER TABLE tasks
    VALIDATE CONSTRAINT tasks_created_at_range,
    VALIDATE CONSTRAINT tasks_updated_at_range,
    VALIDATE CONSTRAINT tasks_run_at_range,
    VALIDATE CONSTRAINT tasks_lease_until_range;

-- JavaScript reads an id above 2^53-1 as another id. An imported id of 2^53-1 used to
-- move the sequence to that value. This moves it back to the greatest id that leaves
-- room, unless there is an id shortly above that one.
-- +goose StatementBegin
DO $$
DECLARE
    tab   text;
    last  bigint;
    low   bigint;
    taken boolean;
BEGIN
    FOREACH tab IN ARRAY ARRAY['users', 'posts', 'tasks'] LOOP
        EXECUTE format('SELECT last_value FROM %I', tab || '_id_seq') INTO last;
        IF last > 9007199254740991 - 4294967296 THEN
            EXECUTE format('SELECT COALESCE(max(id), 1) FROM %I WHERE id <= 9007199254740991 - 4294967296', tab) INTO low;
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE id > $1 AND id <= $1 + 2147483648)', tab) INTO taken USING low;
            IF NOT taken THEN
                PERFORM setval(tab || '_id_seq', low);
            ELSIF last > 9007199254740991 THEN
                RAISE EXCEPTION 'the next id of % is %, and 9007199254740991 is the greatest one that JSON can carry: give the rows with ids above % other ids, and run the migration again',
                    tab, last + 1, low
                    USING ERRCODE = 'check_violation';
            END IF;
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

ALTER SEQUENCE users_id_seq MAXVALUE 9007199254740991;
ALTER SEQUENCE posts_id_seq MAXVALUE 9007199254740991;
ALTER SEQUENCE tasks_id_seq MAXVALUE 9007199254740991;

-- +goose Down
ALTER SEQUENCE users_id_seq NO MAXVALUE;
ALTER SEQUENCE posts_id_seq NO MAXVALUE;
ALTER SEQUENCE tasks_id_seq NO MAXVALUE;
ALTER TABLE users
    DROP CONSTRAINT IF EXISTS users_created_at_range,
    DROP CONSTRAINT IF EXISTS users_updated_at_range;
ALTER TABLE posts
    DROP CONSTRAINT IF EXISTS posts_created_at_range,
    DROP CONSTRAINT IF EXISTS posts_updated_at_range;
ALTER TABLE tasks
    DROP CONSTRAINT IF EXISTS tasks_created_at_range,
    DROP CONSTRAINT IF EXISTS tasks_updated_at_range,
    DROP CONSTRAINT IF EXISTS tasks_run_at_range,
    DROP CONSTRAINT IF EXISTS tasks_lease_until_range;
