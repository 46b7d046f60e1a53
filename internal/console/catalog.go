package console

// The statements of this file read only the catalogs and statistics of PostgreSQL, so they
// belong to no file of queries/. Each ends after 2 s. Sizes take a lock of a table, which a
// migration may hold.

// sessions selects the other sessions of the database that run a statement or hold a
// transaction open, and every session that waits for a lock or holds one. Of a statement it
// shows only the name or the first word, because its text may contain the data of users.
// Sessions of another role show neither state nor text unless the role may read all
// statistics.
const sessions = `
	SELECT a.pid, a.application_name, a.usename::text AS role, a.state,
	       coalesce(substring(a.query FROM '^-- name: (\w+)'), lower(substring(a.query FROM '^\s*(\w+)'))) AS statement,
	       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
	       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS state_seconds,
	       a.wait_event_type || ': ' || a.wait_event AS wait,
	       pg_blocking_pids(a.pid) AS blocked_by
	FROM pg_stat_activity AS a
	WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
	  AND (a.state <> 'idle' OR a.state IS NULL)
	ORDER BY a.xact_start NULLS LAST, a.pid
	LIMIT 200`

// tables selects the tables outside of PostgreSQL's own schemas with their sizes.
const tables = `
	SELECT n.nspname::text AS schema, c.relname::text AS name, greatest(c.reltuples, 0)::bigint AS rows,
	       pg_total_relation_size(c.oid) AS bytes, pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes,
	       coalesce(s.seq_scan, 0) AS sequential_scans, coalesce(s.idx_scan, 0) AS index_scans, coalesce(s.n_dead_tup, 0) AS dead_rows,
	       greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at, greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
	FROM pg_class AS c
	JOIN pg_namespace AS n ON n.oid = c.relnamespace
	LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
	WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
	ORDER BY bytes DESC, schema, name
	LIMIT 1000`

// indexes selects the indexes of those tables. An index that is being built is not INVALID
// yet (see doctor).
const indexes = `
	SELECT n.nspname::text AS schema, t.relname::text AS table, c.relname::text AS name, pg_relation_size(c.oid) AS bytes,
	       coalesce(s.idx_scan, 0) AS scans, i.indisunique AS unique, i.indisprimary AS primary,
	       i.indisvalid AND i.indisready AND i.indislive
	         OR EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid OR p.relid = i.indrelid) AS valid,
	       EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid) AS constrains,
	       pg_get_indexdef(i.indexrelid) AS definition
	FROM pg_index AS i
	JOIN pg_class AS c ON c.oid = i.indexrelid
	JOIN pg_class AS t ON t.oid = i.indrelid
	JOIN pg_namespace AS n ON n.oid = t.relnamespace
	LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = i.indexrelid
	WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
	ORDER BY bytes DESC, schema, name
	LIMIT 2000`

// counted selects since when the server counts scans, and whether it counts them.
const counted = `
	SELECT stats_reset, current_setting('track_counts')::bool, pg_database_size(datname), current_setting('server_version')
	FROM pg_stat_database WHERE datname = current_database()`

// catalogLimits bounds the statements of a transaction.
const catalogLimits = "SET LOCAL statement_timeout = '2s'; SET LOCAL lock_timeout = '1s'"
