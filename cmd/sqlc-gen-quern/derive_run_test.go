package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgprom"
)

// people is the table that the statements of TestDeriveRun read. It has NULLs,
// duplicates, deleted rows, mixed case, padding, and one column for each kind of
// comparison.
//
// Plans are generic. A custom plan may report an error during planning that would
// not occur during execution, or the reverse.
const peopleSQL = `
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database()); END $$;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE "Mood" AS ENUM ('sad', 'ok', 'so "so"');
CREATE DOMAIN grade AS integer CHECK (value < 9);
CREATE TABLE people (
	id bigint PRIMARY KEY, name text, nick citext, code char(5), label varchar(9), icu text COLLATE "und-x-icu", byte text COLLATE "C",
	mood "Mood", age integer, grade grade, score numeric, uid uuid, born date, seen timestamptz, tags jsonb, deleted_at timestamptz
);
INSERT INTO people
SELECT i, w, w, left(w, 4), w, w, w, (ARRAY['sad', 'ok', 'so "so"', NULL])[1 + i % 4]::"Mood", nullif(i % 7, 0), i % 9,
	(ARRAY[1.0, 1.00, 2.5, 'NaN', NULL])[1 + i % 5], ('00000000-0000-0000-0000-' || lpad((i % 20)::text, 12, '0'))::uuid,
	date '2026-01-01' + i % 5, timestamptz '2026-01-01 12:00+02' + i % 3 * interval '1 day', jsonb_build_array(w, i % 3),
	CASE WHEN i % 3 = 0 THEN now() END
FROM (SELECT i, (ARRAY['Ann', 'ann', 'ANN', 'ann ', 'Ärger', 'ärger', 'straße', '%', 'a"b\c', NULL, ''])[1 + i % 11] AS w FROM generate_series(1, 200) AS i) AS w;
CREATE TABLE items (id bigint PRIMARY KEY, person_id bigint, price numeric);
INSERT INTO items SELECT i, nullif(i % 70, 0), i % 13 FROM generate_series(1, 150) AS i;
ANALYZE people, items;`

// conditions compare a parameter ($) of the given type, with values like those in
// the table.
var conditions = []struct {
	text, typ string
	values    []any
}{
	{"p.id = $", "int8", []any{int64(1), int64(7), int64(200), int64(0)}},
	{"p.name = $", "text", words},
	{"lower(p.name) = lower($)", "text", words},
	{"p.name LIKE $ || '%'", "text", words},
	{"p.name ~ $", "text", []any{"^a", "n+$", "(", "[", nil}}, // two values fail
	{"p.nick = $", "citext", words},
	{"p.code = $", "pg_catalog.bpchar", append(words, "ann", "ann  ")},
	{"p.label = $", "pg_catalog.varchar", words},
	{"p.icu = $", "text", words},
	{"p.icu > $", "text", words},
	{"p.byte <= $", "text", words},
	{"p.mood = $", "Mood", []any{mood("ok"), &sad, mood(`so "so"`), (*mood)(nil), "sad"}},
	{"p.age = $", "int4", numbers},
	{"p.age IS NOT DISTINCT FROM $", "int4", numbers},
	{"($::integer IS NULL OR p.age >= $)", "int4", numbers},
	{"p.grade = $::grade", "grade", []any{int32(3), int32(8), int32(9)}}, // 9 is outside the domain
	{"p.score = $", "pg_catalog.numeric", []any{"1", "1.00", "NaN", "2.5", nil}},
	{"p.uid = $", "uuid", []any{"00000000-0000-0000-0000-000000000003", [16]byte{15: 5}, nil}},
	{"p.born < $", "date", []any{time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC), nil}},
	{"p.seen >= $", "timestamptz", []any{time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC), time.Date(2026, 1, 2, 12, 0, 0, 0, time.FixedZone("", 7200))}},
	{"p.tags @> $", "jsonb", []any{[]string{"ann"}, []byte("[1]"), []byte("[")}},
	{"$::boolean IS NOT TRUE", "bool", []any{true, false, nil}},
	{"p.age / ($::integer - 1) < 3", "int4", numbers}, // 1 divides by zero
}

// mood is the type that sqlc generates for an enum.
type mood string

var (
	sad     = mood("sad")
	words   = []any{"Ann", "ann", "ANN ", "ÄRGER", "ärger", "STRASSE", "straße", "%", `a"b\c`, "", "nobody", "bad\xff", "nul\x00", nil}
	numbers = []any{int32(1), int32(2), int32(6), int32(-1), nil}
)

// forms are statements around conditions (%s). If one returns only the first row,
// its order is unambiguous.
var forms = []string{
	"SELECT p.id::text, p.name, p.deleted_at::text FROM people AS p WHERE %s AND p.deleted_at IS NULL ORDER BY p.id",
	"SELECT p.id::text, p.nick::text, p.code::text || '|' FROM people AS p WHERE %s ORDER BY p.icu COLLATE \"und-x-icu\", p.id DESC LIMIT 1",
	"SELECT count(*)::text, max(p.name), string_agg(p.id::text, ',' ORDER BY p.id) FROM people AS p WHERE %s",
	"SELECT p.age::text, count(*)::text, min(p.byte) FROM people AS p WHERE %s GROUP BY p.age HAVING count(*) > 1 ORDER BY p.age NULLS FIRST",
	"WITH found (k, label) AS (SELECT p.id, p.name FROM people AS p WHERE %s), lone (n) AS MATERIALIZED (SELECT count(*) FROM found)\n" +
		"SELECT n::text, (SELECT label FROM found ORDER BY k LIMIT 1), 'x' FROM lone",
	"SELECT p.id::text, i.id::text, sum(i.price) OVER (PARTITION BY p.id ORDER BY i.id)::text FROM people AS p LEFT JOIN items AS i ON i.person_id = p.id WHERE %s ORDER BY p.id, i.id LIMIT 1 OFFSET 1",
	"SELECT DISTINCT ON (p.age) p.age::text, p.id::text, p.name FROM people AS p WHERE %s ORDER BY p.age DESC NULLS LAST, p.id",
	"SELECT p.id::text, 'a', p.name FROM people AS p WHERE EXISTS (SELECT 1 FROM items AS i WHERE i.person_id = p.id) AND %s\n" +
		"UNION ALL SELECT 'none', (SELECT count(*) FROM people)::text, '' WHERE NOT EXISTS (SELECT 1 FROM people AS p WHERE %s) ORDER BY 1",
}

// randomRead returns a read in one of the forms, and calls of it.
func randomRead(r *rand.Rand, n int) (q query, calls [][]any) {
	chosen := make([]int, 1+r.IntN(3))
	var text []string
	var params []parameter
	for i := range chosen {
		chosen[i] = r.IntN(len(conditions))
		c := conditions[chosen[i]]
		text = append(text, strings.ReplaceAll(c.text, "$", fmt.Sprintf("$%d", i+1)))
		p := param(fmt.Sprint("p", i+1), c.typ)[0]
		p.Number = i + 1
		params = append(params, p)
	}
	// Comments, and a dollar sign that is not a parameter.
	where := "(" + strings.Join(text, " -- $9\n AND ") + ") AND '$1' <> /* $2 */ ''"
	form := forms[r.IntN(len(forms))]
	sql := strings.ReplaceAll(form, "%s", where)
	q = reads(sql, params...).named(fmt.Sprint("Read", n)).rows(col("a", "text"), col("b", "text"), col("c", "text"))
	for range 48 {
		args := make([]any, len(chosen))
		for i, c := range chosen {
			values := conditions[c].values
			args[i] = values[r.IntN(len(values))]
		}
		calls = append(calls, args)
	}
	return q, calls
}

// registered returns the statements of a request as generate would write them.
func registered(t *testing.T, req *request) (list []postgres.Statement) {
	t.Helper()
	statements, problems := read(req)
	derived, more := derive(req, statements)
	if problems = append(append(problems, more...), check(statements)...); len(problems) > 0 {
		t.Fatal(report(statements, problems))
	}
	for _, s := range append(statements, derived...) {
		out := postgres.Statement{Name: s.Name, Kind: postgres.Kind(s.kind), SQL: s.Text, DerivedFrom: s.derivedFrom}
		if s.policy.batch.derived {
			out.SQL, out.Batch = fmt.Sprintf("-- name: %s :%s\n%s\n", s.Name, s.kind, s.Text), s.derivedName()
		}
		for _, k := range s.key {
			out.Key = append(out.Key, postgres.KeyColumn{Column: k.column, Param: k.param})
		}
		for _, p := range s.Params {
			out.Params = append(out.Params, postgres.Param{Name: p.name(), Type: p.Column.sqlType()})
		}
		list = append(list, out)
	}
	return list
}

// answered returns the row of a call, or its error without the parts that vary
// between runs.
func answered(row pgx.Row) string {
	var a, b, c *string
	err := row.Scan(&a, &b, &c)
	var refused *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows) || errors.Is(err, postgres.ErrNotFound):
		return "none"
	case errors.As(err, &refused):
		return "error " + refused.Code
	case err != nil:
		return "error " + err.Error()
	}
	spelled := ""
	for _, v := range []*string{a, b, c} {
		if v == nil {
			spelled += "NULL "
			continue
		}
		spelled += fmt.Sprintf("%q ", *v)
	}
	return spelled
}

// coalesced runs random statements individually and coalesced. It returns the calls
// that differed and the number of coalesced statements.
func coalesced(t *testing.T, seed uint64, n int, change func([]postgres.Statement)) (differ []string, shared uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	var queries []query
	var calls [][][]any
	for i := range n {
		q, c := randomRead(r, i)
		queries, calls = append(queries, q), append(calls, c)
	}
	statements := registered(t, made(queries...))
	if change != nil {
		change(statements)
	}
	url := pgtest.EmptyURL(t)
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	if _, err := connect().Exec(t.Context(), peopleSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	conn := connect() // with the settings of the database
	metrics := prometheus.NewRegistry()
	router, err := postgres.Connect(t.Context(), postgres.Config{
		URL: url, MaxConns: 2, Statements: statements, Logger: slog.New(slog.DiscardHandler), QueryTimeout: time.Minute, AcquireTimeout: time.Minute,
		Observers: []postgres.Observer{pgprom.New(metrics, pgprom.Options{})},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	for i := range queries {
		at := slices.IndexFunc(statements, func(s postgres.Statement) bool { return s.Name == queries[i].Name })
		sql := statements[at].SQL
		want := make([]string, len(calls[i]))
		for k, args := range calls[i] {
			want[k] = answered(conn.QueryRow(t.Context(), sql, args...))
		}
		got := make([]string, len(calls[i]))
		var all sync.WaitGroup
		for k, args := range calls[i] {
			all.Go(func() { got[k] = answered(router.QueryRow(t.Context(), sql, args...)) })
		}
		all.Wait()
		for k := range want {
			if got[k] != want[k] {
				differ = append(differ, fmt.Sprintf("%s\nof %q:\n got %s\nwant %s", sql, calls[i][k], got[k], want[k]))
			}
		}
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "quern_coalesced_calls" {
				shared += m.GetHistogram().GetSampleCount()
			}
		}
	}
	return differ, shared
}

// TestDeriveRun runs random statements of the accepted forms, both individually and
// coalesced, on the same rows.
func TestDeriveRun(t *testing.T) {
	t.Parallel()
	const n = 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	differ, shared := coalesced(t, seed, n, nil)
	if len(differ) > 0 {
		t.Errorf("%d calls were answered otherwise than alone, such as:\n%s", len(differ), differ[0])
	}
	if shared < n {
		t.Errorf("%d statements were shared, want at least one for each of %d", shared, n)
	}
	t.Run("Naive", func(t *testing.T) {
		t.Parallel()
		// A derived statement that lacks a condition.
		differ, _ := coalesced(t, 1, n, func(statements []postgres.Statement) {
			for i, s := range statements {
				if s.DerivedFrom != "" {
					statements[i].SQL = strings.Replace(s.SQL, "AND p.deleted_at IS NULL", "", 1)
				}
			}
		})
		if len(differ) == 0 {
			t.Error("the comparison does not see that deleted rows are returned")
		}
	})
}
