package pgproc_test

import (
	"testing"

	"quern/internal/pgproc"
	"quern/pgtest"
	"quern/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestLists compares the lists with the server's catalog. A name that is in none
// of them counts as one that may write.
func TestLists(t *testing.T) {
	t.Parallel()
	rows, err := pgtest.Connect(t, nil, postgres.Config{}).Pool().Query(t.Context(), `
		SELECT proname::text, bool_and(provolatile <> 'v')
		FROM pg_proc
		WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p'
		GROUP BY proname`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var stable bool
		if err := rows.Scan(&name, &stable); err != nil {
			t.Fatal(err)
		}
		if pgproc.Stable(name) && !stable {
			t.Errorf("%s is VOLATILE in one of its forms", name)
		}
		if pgproc.Reads(name) && pgproc.Writes(name) {
			t.Errorf("%s both only reads and writes", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]bool{ // reads, writes
		"lower": {true, false}, "random": {true, false}, "currval": {true, false}, "pg_sleep": {true, false},
		"nextval": {false, true}, "set_config": {false, true}, "txid_current": {false, true}, "lo_unlink": {false, true},
		"pg_advisory_xact_lock": {false, true}, "pg_try_advisory_lock": {false, true}, "pg_stat_reset": {false, true},
		"pg_logical_emit_message": {false, true}, "query_to_xml": {false, true}, "mine": {false, false}, "lo_get": {false, true},
	} {
		if got := [2]bool{pgproc.Reads(name), pgproc.Writes(name)}; got != want {
			t.Errorf("%s reads, writes: %v, want %v", name, got, want)
		}
	}
}
