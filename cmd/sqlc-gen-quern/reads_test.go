package main

import (
	"strings"
	"testing"
)

// A statement that cannot be judged must not count as a read.
func TestOnlyReads(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"SELECT id FROM users WHERE id = $1":                              true,
		"SELECT update, count(*) FROM users WHERE lower(name) = ANY($1);": true,
		"WITH a (x) AS (SELECT 1) SELECT x FROM a":                        true,
		"VALUES (1)": true,
		"SELECT random(), clock_timestamp(), pg_catalog.now(), E'\\'', mine.x": true,
		"SELECT $$ nextval('s') $$ /* nextval('s') */":                         true,
		"SELECT mine(1)":                                              false,
		"SELECT app.lower('A')":                                       false,
		"SELECT x.pg_catalog.lower('A')":                              false,
		"SELECT \"Lower\"('A')":                                       false,
		"SELECT set_config('a', 'b', false)":                          false,
		"SELECT set_config('a', 'b', true)":                           false,
		"SELECT nextval('s')":                                         false,
		"SELECT pg_notify('a', 'b')":                                  false,
		"SELECT pg_try_advisory_xact_lock(1)":                         false,
		"SELECT txid_current()":                                       false,
		"SELECT lo_unlink(1)":                                         false,
		"SELECT id FROM users FOR KEY SHARE":                          false,
		"WITH a AS (DELETE FROM users RETURNING id) SELECT id FROM a": false,
		"UPDATE users SET id = 1":                                     false,
		"EXPLAIN ANALYZE DELETE FROM users":                           false,
		"SELECT 1; SELECT mine(1)":                                    false,
	} {
		s := &statement{query: query{Text: sql}, facts: analyse(sql), kind: "one"}
		if got := onlyReads(s); got != want {
			t.Errorf("%s: only reads: %v, want %v", sql, got, want)
		}
	}
}

// A replica would not refuse these statements, and they would wrongly count as
// reads.
func TestReplicaCallsWriter(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT set_config('a', 'b', false)":                    "set_config()",
		"SELECT id FROM users WHERE pg_catalog.setseed(1) = $1": "setseed()",
		"SELECT lo_get(1)":                           "lo_get()",
		"SELECT query_to_xml('x', true, true, '')":   "query_to_xml()",
		"SELECT mine.set_config('a'), set_config, a": "",
		"SELECT random(), lower('set_config(')":      "",
	} {
		s := &statement{query: query{Text: sql}, facts: analyse(sql), kind: "one", policy: policy{route: "replica"}}
		problems := checkPolicy(s)
		if want == "" && len(problems) > 0 || want != "" && (len(problems) != 1 || !strings.Contains(problems[0].text, want)) {
			t.Errorf("%s: %v, want %q", sql, problems, want)
		}
	}
}
