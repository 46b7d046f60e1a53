package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgprom"
)

// goodsSQL creates the table that TestChangeRun changes. Plans are generic, as in TestDeriveRun.
const goodsSQL = `
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database()); END $$;
CREATE TYPE "Mood" AS ENUM ('sad', 'ok', 'so "so"');
CREATE DOMAIN grade AS integer CHECK (value < 9);
CREATE TABLE goods (
	id bigint PRIMARY KEY, shop bigint NOT NULL, number integer NOT NULL, name text NOT NULL, code char(5) NOT NULL UNIQUE, label varchar(9),
	mood "Mood", grade grade, price numeric(8, 2), doc jsonb, seen timestamptz, n integer NOT NULL DEFAULT 0 CHECK (n < 100),
	"p1" integer NOT NULL DEFAULT 7, "ord" integer NOT NULL DEFAULT 8, UNIQUE (shop, number)
);
CREATE FUNCTION doubled(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF new.n = 13 THEN RETURN NULL; END IF; new.n = new.n + 1; RETURN new; END';
CREATE TRIGGER stop BEFORE UPDATE ON goods FOR EACH ROW EXECUTE FUNCTION stop();`

const goodsRows = `TRUNCATE goods; INSERT INTO goods (id, shop, number, name, code, mood, grade, price, doc)
SELECT i, i % 4, i, 'name ' || i, i::text, 'ok', i % 9, i, '{}' FROM generate_series(1, 60) AS i`

// changeForms are statements of the accepted forms. The first parameter is the key. The others
// get the values in turn, so that some calls are refused and some change nothing.
var changeForms = []struct {
	name, sql string
	types     []string
	values    []any
}{
	{"Set", "UPDATE goods SET name = $2 WHERE id = $1 RETURNING id::text, name, n::text", []string{"int8", "text"}, []any{"a", "", `a"b\c`, "bad\xff", nil}},
	{"Alias", "UPDATE ONLY goods AS g SET n = g.n + $2, name = DEFAULT WHERE $1 = g.id AND g.n < $2 RETURNING g.id::text, g.name, g.n::text", []string{"int8", "int4"}, []any{int32(1), int32(-1)}},
	{"Quoted", `UPDATE goods SET "p1" = "ord" + $2, "ord" = "p1" WHERE "id" = $1 RETURNING id::text, "p1"::text, "ord"::text`, []string{"int8", "int4"}, []any{int32(1), int32(2)}},
	{"Twice", "UPDATE goods SET n = $2 WHERE id = $1 AND n <> $2 RETURNING id::text, n::text, ($2 + 1)::text", []string{"int8", "int4"}, []any{int32(3), int32(0), int32(99), int32(13)}},
	{"Several", "UPDATE goods SET (n, name) = ($2, name || $2::integer::text) WHERE id = $1 RETURNING id::text, name, n::text", []string{"int8", "int4"}, []any{int32(3), int32(100)}},
	{"Case", "UPDATE goods SET n = CASE WHEN n IS DISTINCT FROM $2 AND id > 5 THEN $2 ELSE n END WHERE id = $1 AND (n = 0 OR $2::integer IS NULL) RETURNING id::text, n::text, substring(name FROM 1 FOR 2)", []string{"int8", "int4"}, []any{int32(3), nil}},
	{"Between", "UPDATE goods SET n = 5 WHERE n BETWEEN 0 AND $2 AND id = $1 -- its key\n RETURNING id::text, name, n::text", []string{"int8", "int4"}, []any{int32(3), int32(-1)}},
	{"Function", "UPDATE goods SET n = doubled($2) WHERE id = $1 AND lower(name) LIKE 'name%' RETURNING id::text, name, doubled(n)::text", []string{"int8", "int4"}, []any{int32(3), int32(50)}},
	{"Types", "UPDATE goods SET mood = $2, label = 'x' WHERE id = $1 RETURNING id::text, mood::text, label", []string{"int8", "Mood"}, []any{mood("sad"), &sad, (*mood)(nil), mood("none")}},
	{"Domain", "UPDATE goods SET grade = $2 WHERE id = $1 RETURNING id::text, grade::text, name", []string{"int8", "grade"}, []any{int32(3), int32(9)}},
	{"Label", "UPDATE goods SET label = $2 WHERE id = $1 RETURNING id::text, label, name", []string{"int8", "pg_catalog.varchar"}, []any{"short", "much too long", nil}},
	{"Numeric", "UPDATE goods SET price = $2 WHERE id = $1 RETURNING id::text, price::text, name", []string{"int8", "pg_catalog.numeric"}, []any{"1.005", "1e9", nil}},
	{"JSON", "UPDATE goods SET doc = doc || $2 WHERE id = $1 RETURNING id::text, doc::text, name", []string{"int8", "jsonb"}, []any{[]byte(`{"a": 1}`), []byte("["), nil}},
	{"Composite", "UPDATE goods SET name = 'x' WHERE number = $1 AND shop = $2 RETURNING id::text, name, code::text", []string{"int4", "int8"}, []any{int64(0), int64(1), int64(2), int64(3)}},
	{"UniqueColumn", "UPDATE goods SET code = $2 WHERE id = $1 RETURNING id::text, code::text, name", []string{"int8", "pg_catalog.bpchar"}, []any{"taken", "60"}},
	{"Delete", "DELETE FROM goods AS g WHERE g.id = $1 AND g.n = $2 RETURNING g.id::text, g.name, g.code::text", []string{"int8", "int4"}, []any{int32(0), int32(1)}},
	{"ByText", "UPDATE goods SET n = $2 WHERE code = $1 RETURNING id::text, code::text, n::text", []string{"pg_catalog.bpchar", "int4"}, []any{int32(3), int32(200)}},
	{"Rows", "UPDATE goods SET n = $2 WHERE id = $1", []string{"int8", "int4"}, []any{int32(3), int32(200)}},
	{"DeleteRows", "DELETE FROM goods WHERE id = $1 AND n = $2", []string{"int8", "int4"}, []any{int32(0), int32(1)}},
}

// TestChangeRun runs statements of the accepted forms, individually one after the other, and
// coalesced. Each call changes a separate row, so both must give the same answers and leave the
// same rows.
func TestChangeRun(t *testing.T) {
	t.Parallel()
	var queries []query
	for _, form := range changeForms {
		var params []parameter
		for i, typ := range form.types {
			params = append(params, param(fmt.Sprint("p", i+1), typ)...)
		}
		q := reads(form.sql, params...).named(form.name).rows(col("a", "text"), col("b", "text"), col("c", "text"))
		if !strings.Contains(form.sql, "RETURNING") {
			q = q.cmd(":execrows").rows()
		}
		queries = append(queries, q)
	}
	req := made(queries...)
	req.keys = readKeys([]sqlFile{{"1.sql", goodsSQL}})
	statements := registered(t, req)

	url := pgtest.EmptyURL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	exec := func(sql string) {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	exec(goodsSQL)
	metrics := prometheus.NewRegistry()
	open := func(coalesce bool) *postgres.Router {
		cfg := postgres.Config{
			URL: url, MaxConns: 2, Statements: statements, Logger: slog.New(slog.DiscardHandler), QueryTimeout: time.Minute, AcquireTimeout: time.Minute,
			CoalesceUpdates: &coalesce,
		}
		if coalesce {
			cfg.Observers = []postgres.Observer{pgprom.New(metrics, pgprom.Options{})}
		}
		router, err := postgres.Connect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(router.Close)
		return router
	}
	alone, together := open(false), open(true)
	for _, form := range changeForms {
		at := slices.IndexFunc(statements, func(s postgres.Statement) bool { return s.Name == form.name })
		run := func(router *postgres.Router, start func(call func())) []string {
			exec(goodsRows)
			answers := make([]string, 64) // four of rows that do not exist
			for i := range answers {
				key := any(int64(i + 1))
				switch form.types[0] {
				case "int4":
					key = int32(i + 1)
				case "pg_catalog.bpchar":
					key = fmt.Sprint(i + 1)
				}
				args := []any{key, form.values[i%len(form.values)]}
				start(func() {
					if statements[at].Kind == postgres.ExecRows {
						tag, err := router.Exec(t.Context(), statements[at].SQL, args...)
						answers[i] = fmt.Sprint(tag.RowsAffected(), postgres.ErrorClass(err))
						return
					}
					answers[i] = answered(router.QueryRow(t.Context(), statements[at].SQL, args...))
				})
			}
			return answers
		}
		stored := func() (rows string) {
			const all = "SELECT string_agg(g::text, E'\\n' ORDER BY id) FROM goods AS g"
			if err := conn.QueryRow(t.Context(), all).Scan(&rows); err != nil {
				t.Fatal(err)
			}
			return rows
		}
		want := run(alone, func(call func()) { call() })
		wantRows := stored()
		// The first calls wait for the table, so the others are queued meanwhile and share a batch.
		var locked sync.Once
		var all sync.WaitGroup
		var started atomic.Int64
		got := run(together, func(call func()) {
			locked.Do(func() { exec("BEGIN; LOCK TABLE goods IN EXCLUSIVE MODE") })
			all.Go(func() {
				started.Add(1)
				call()
			})
		})
		deadline := time.Now().Add(time.Minute)
		for waiting := 0; waiting == 0 || started.Load() < 64; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d calls have started and %d wait for the table", form.sql, started.Load(), waiting)
			}
			const of = "SELECT count(*) FROM pg_locks WHERE relation = 'goods'::regclass AND NOT granted"
			if err := conn.QueryRow(t.Context(), of).Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
		exec("COMMIT")
		all.Wait()
		if form.name == "UniqueColumn" {
			// Which of the calls gets the value is not determined, but only one of them does.
			got, want = []string{fmt.Sprint(succeeded(got))}, []string{fmt.Sprint(succeeded(want))}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: answers (-alone +coalesced):\n%s", form.sql, diff)
		}
		if diff := cmp.Diff(wantRows, stored()); diff != "" && form.name != "UniqueColumn" {
			t.Errorf("%s: rows (-alone +coalesced):\n%s", form.sql, diff)
		}
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shared := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "quern_coalesced_calls":
				shared[m.GetLabel()[0].GetValue()] = true
			case "quern_coalesce_pauses_total":
				t.Errorf("a derived statement fails every time: %v", m)
			}
		}
	}
	if len(shared) != len(changeForms) {
		t.Errorf("%d statements were coalesced, want %d: %v", len(shared), len(changeForms), shared)
	}
}

// succeeded returns how many answers are neither an error nor none.
func succeeded(answers []string) (n int) {
	for _, a := range answers {
		if a != "none" && !strings.HasPrefix(a, "error") {
			n++
		}
	}
	return n
}
