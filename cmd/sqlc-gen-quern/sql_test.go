package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAnalyseWrites(t *testing.T) {
	t.Parallel()
	tests := map[string]string{ // the first clause that writes or locks, by statement
		// Statements.
		"INSERT INTO t VALUES (1)": "INSERT",
		"update t set a = 1":       "UPDATE",
		"DELETE FROM t":            "DELETE",
		"MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE": "MERGE",
		"TRUNCATE t":                          "TRUNCATE",
		"CALL p()":                            "CALL",
		"LOCK TABLE t":                        "LOCK",
		"REFRESH MATERIALIZED VIEW v":         "REFRESH",
		"/* why */ -- because\nDELETE FROM t": "DELETE",

		// WITH queries, inside and after.
		"WITH d AS (DELETE FROM t RETURNING id) SELECT id FROM d":                        "DELETE",
		"WITH d AS MATERIALIZED (UPDATE t SET a = (1) RETURNING a) SELECT a FROM d":      "UPDATE",
		"WITH d AS (UPDATE ONLY s.t AS x SET a = 1) SELECT 1":                            "UPDATE",
		"WITH i (a, b) AS (INSERT INTO t DEFAULT VALUES RETURNING a, b) TABLE i":         "INSERT",
		"WITH s AS (SELECT 1) INSERT INTO t SELECT * FROM s":                             "INSERT",
		"WITH s AS (SELECT 1), r AS (SELECT 2) UPDATE t SET a = 1":                       "UPDATE",
		"WITH RECURSIVE update AS (SELECT 1) DELETE FROM t":                              "DELETE",
		"WITH a AS (WITH b AS (DELETE FROM t RETURNING 1) SELECT 1) SELECT 1":            "DELETE",
		"WITH m AS (MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING) SELECT 1": "MERGE",

		// Locks.
		"SELECT a FROM t FOR UPDATE SKIP LOCKED":               "FOR UPDATE",
		"SELECT a FROM t for no key update":                    "FOR NO KEY UPDATE",
		"SELECT a FROM t FOR SHARE OF t":                       "FOR SHARE",
		"SELECT a FROM t FOR/**/KEY\nSHARE":                    "FOR KEY SHARE",
		"SELECT a FROM (SELECT a FROM t FOR UPDATE) AS locked": "FOR UPDATE",
		"(SELECT a FROM t) FOR SHARE":                          "FOR SHARE",

		// Clauses and functions.
		"SELECT a INTO u FROM t":                           "SELECT INTO",
		"WITH s AS (SELECT 1) SELECT a INTO TEMP u FROM s": "SELECT INTO",
		"SELECT nextval('s')":                              "nextval()",
		"SELECT pg_catalog.setval('s', 1)":                 "setval()",
		"SELECT pg_notify ('c', 'p')":                      "pg_notify()",
		`SELECT "pg_advisory_xact_lock"(1)`:                "pg_advisory_xact_lock()",
		"SELECT a FROM t WHERE pg_try_advisory_lock(a)":    "pg_try_advisory_lock()",
		"SELECT pg_current_xact_id()":                      "pg_current_xact_id()",

		// Reads that merely look like writes.
		"SELECT a FROM t":                        "",
		"  \n(SELECT a FROM t) UNION (SELECT 1)": "",
		"VALUES (1), (2)":                        "",
		"TABLE t":                                "",
		"WITH update AS (SELECT 1) SELECT 1 FROM update":                         "",
		"WITH a AS (SELECT 1), delete AS (SELECT 2) SELECT 1 FROM delete":        "",
		"SELECT 'INSERT INTO t', 'it''s FOR UPDATE' FROM t":                      "",
		`SELECT E'\'FOR UPDATE', E'\\' FROM t`:                                   "",
		"SELECT $$FOR UPDATE$$, $a$ $$nextval('s')$b$ $a$ FROM t":                "",
		`SELECT a AS "FOR UPDATE", "for" "update" FROM "insert"`:                 "",
		"SELECT a AS update, t.delete, t.into, t.for AS insert FROM t":           "",
		"SELECT a AS into, b AS for FROM t":                                      "",
		"SELECT count(update), (delete), max(insert) FROM t":                     "",
		"SELECT (update IS NULL), (update + 1) FROM t":                           "",
		"SELECT a -- FOR UPDATE\nFROM t /* INTO /* FOR SHARE */ nextval('s') */": "",
		"SELECT substring(name FROM 1 FOR share) FROM t":                         "",
		"SELECT nextval, pg_notify FROM t":                                       "",
		"SELECT a FROM t WHERE updated_at > $1 AND insert_count = $2":            "",
		"SELECT a FROM update_log JOIN for_sale USING (a)":                       "",
	}
	for sql, want := range tests {
		t.Run(sql, func(t *testing.T) {
			t.Parallel()
			got := ""
			if f := analyse(sql); len(f.writes) > 0 {
				got = f.writes[0]
			}
			if got != want {
				t.Errorf("writes %q, want %q", got, want)
			}
		})
	}
}

func TestAnalyseInserts(t *testing.T) {
	t.Parallel()
	f := analyse(`WITH a AS (INSERT INTO public.users AS u (name) SELECT 'on conflict do nothing' ON CONFLICT (name) DO NOTHING RETURNING id),
		b AS (INSERT INTO "Log"."Entry" (id) SELECT id FROM a ON CONFLICT DO UPDATE SET id = 1)
		INSERT INTO t VALUES (1)`)
	if diff := cmp.Diff([]string{"users", "Log.Entry", "t"}, f.inserts); diff != "" {
		t.Errorf("inserts (-want +got):\n%s", diff)
	}
	if f.doNothing != 1 {
		t.Errorf("doNothing = %d, want 1", f.doNothing)
	}
}

func TestLex(t *testing.T) {
	t.Parallel()
	got := lex(`SELECT "a""b", U&'d''\' -- x` + "\n" + `||$1 /*1/*2*/3*/ $x$'$x$ é$ 12::int`)
	want := []token{
		{word, "select"},
		{quoted, `a"b`},
		{symbol, ","},
		{word, "u"},
		{symbol, "&"},
		{literal, `'d''\'`},
		{comment, " x"},
		{symbol, "|"},
		{symbol, "|"},
		{literal, "$1"},
		{comment, "1/*2*/3"},
		{literal, "$x$'$x$"},
		{word, "é$"},
		{literal, "12"},
		{symbol, ":"},
		{symbol, ":"},
		{word, "int"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(token{})); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

// TestLexUnclosed checks that an unclosed quote ends at the end of the text.
func TestLexUnclosed(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{"'a", `E'\`, "E'", `"a`, "/*", "/* /* */", "--", "$a$ b", "$", "'''"} {
		if got := lex(sql); len(got) != 1 {
			t.Errorf("lex(%q) = %v, want one token", sql, got)
		}
	}
}

// FuzzLex puts any text into each kind of quote. None of it must be returned as
// a word, because the checks look at words, and the text after it must not be
// swallowed.
func FuzzLex(f *testing.F) {
	for _, s := range []string{"", "for update", "it's", `\'`, `\`, "*/ into", "/*", "\" x", "$$", "$a$", "\n", "\x00é\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		analyse(s)
		line, _, _ := strings.Cut(s, "\n")
		for _, inside := range []string{
			"'" + strings.ReplaceAll(s, "'", "''") + "'",
			"E'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'",
			`"` + strings.ReplaceAll(s, `"`, `""`) + `"`,
			"$q$" + strings.ReplaceAll(s, "$", "") + "$q$",
			"/*" + strings.NewReplacer("*", "", "/", "").Replace(s) + "*/",
			"--" + line + "\n",
		} {
			got := lex("begin " + inside + " commit")
			if len(got) != 3 || !got[0].is("begin") || got[1].kind == word || !got[2].is("commit") {
				t.Errorf("begin %s commit: %v", inside, got)
			}
		}
	})
}
