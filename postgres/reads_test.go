package postgres_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"quern/postgres"
	"quern/postgres/testdata"
	"quern/postgres/testdata/db"
)

// A statement that only reads did nothing, even if its answer was lost. The backend is
// stopped, so that no request to cancel it is handled in time.
func TestReadsLeaveNoDoubt(t *testing.T) {
	t.Parallel()
	const declared = "-- name: Declared :one\nSELECT id FROM accounts WHERE id = $1"
	r := open(t, postgres.Config{
		URL: testdata.NewURL(t), MaxConns: 1, AcquireTimeout: time.Minute,
		Statements: []postgres.Statement{{Name: "Declared", SQL: declared, Reads: true}},
	})
	for sql, want := range map[string]error{
		declared:                              postgres.ErrTimeout,
		"-- name: Named :one\nSELECT $1::int": postgres.ErrTimeout,
		"SELECT count(*) FROM accounts WHERE id = $1 AND pg_sleep(0) IS NOT NULL":                  postgres.ErrTimeout,
		"SELECT setval('accounts_id_seq', $1)":                                                     postgres.ErrCommitUnknown,
		"WITH gone AS (DELETE FROM accounts WHERE id = $1 RETURNING id) SELECT count(*) FROM gone": postgres.ErrCommitUnknown,
	} {
		pid := hold(t, r, 1)[0]
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Skip(err) // not a server of this test
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // long enough for it to be sent
		_, err := r.Exec(ctx, sql, 1)
		cancel()
		_ = syscall.Kill(pid, syscall.SIGCONT)
		if !errors.Is(err, want) {
			t.Errorf("%s: err = %v, want %v", sql, err, want)
		}
		if err := r.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// If in doubt, a statement that no SQL file declares counts as a write.
func TestReadsOnly(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"SELECT 1", "select 1;", "-- name: It's :one\nSELECT 1", "VALUES (1), (2)", "TABLE accounts", "SHOW lc_messages",
		"SELECT count(*) FROM accounts WHERE lower(name) = lower($1) AND id IN (1, 2) AND age = ANY($2)",
		"WITH a AS (SELECT id FROM accounts) SELECT a.id, coalesce(max(a.id), 0)::numeric(10, 2) FROM a GROUP BY a.id",
		"SELECT 'DELETE FROM accounts', \"insert\" FROM t AS x (a)", "SELECT pg_catalog.now(), random(), pg_sleep(1)",
		"SELECT rank() OVER (PARTITION BY a ORDER BY b), count(*) FILTER (WHERE a > 1) FROM t",
		"SELECT extract(year FROM d), (SELECT max(id) FROM accounts), array(SELECT 1), 'it''s; (fine)' FROM t",
	} {
		if !postgres.ReadsOnly(sql) {
			t.Errorf("%s: it counts as a write", sql)
		}
	}
	for _, sql := range []string{
		"", "-- SELECT 1", "INSERT INTO accounts VALUES (1)", "EXPLAIN ANALYZE DELETE FROM accounts", "CALL f()", "SET a = 1", "COPY accounts TO stdout",
		"SELECT 1; DELETE FROM accounts", "SELECT id INTO copy FROM accounts", "SELECT id FROM accounts FOR UPDATE", "SELECT id FROM accounts FOR KEY SHARE",
		"WITH gone AS (DELETE FROM accounts RETURNING id) SELECT id FROM gone",
		"SELECT nextval('s')", "SELECT set_config('a', 'b', false)", "SELECT pg_notify('a', 'b')", "SELECT pg_advisory_lock(1)",
		"SELECT mine(1)", "SELECT app.lower('A')", "SELECT x.pg_catalog.lower('A')", `SELECT "lower" ('A')`, "SELECT lower /* a */ ('A'), mine/**/(1)",
		"SELECT txid_current()", "SELECT pg_current_xact_id()", "SELECT lo_create(0)", "SELECT query_to_xml('DELETE FROM accounts', true, true, '')",
		`SELECT E'\'', mine('x')`, "SELECT $$'$$, mine('x')", "SELECT $a$'$a$, mine('x')", "SELECT ärger(1)",
	} {
		if postgres.ReadsOnly(sql) {
			t.Errorf("%s: it counts as a read", sql)
		}
	}
	for _, s := range db.Statements {
		if postgres.ReadsOnly(s.SQL) && !s.Reads {
			t.Errorf("%s: the registry does not say that it only reads", s.Name)
		}
	}
}
