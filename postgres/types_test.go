package postgres_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/postgres"
	"quern/postgres/testdata"
)

// ownTypes are types that pgx does not know, one of each kind whose arrays sqlc generates
// code for.
const ownTypes = `
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA IF NOT EXISTS app;
CREATE TYPE mood AS ENUM ('ok', 'bad, "very"', 'so so');
CREATE TYPE "OrderStatus" AS ENUM ('New', 'old');
CREATE TYPE app.kind AS ENUM ('a', 'b');
CREATE DOMAIN grade AS integer CHECK (value < 9);
CREATE DOMAIN pass AS grade CHECK (value < 5);
CREATE DOMAIN mail AS text CHECK (value ~ '@');
CREATE TYPE spot AS (x int, y text);`

// replaceTypes is a migration that replaces an enum, because a value cannot be dropped.
const replaceTypes = `
DROP TABLE lists;
DROP TYPE mood, "OrderStatus", app.kind, spot;
DROP DOMAIN pass, grade, mail;`

const ownTable = `
CREATE TABLE lists (
	id bigint GENERATED ALWAYS AS IDENTITY, moods mood[], nested mood[][], orders "OrderStatus"[], kinds app.kind[],
	grades grade[], passes pass[], anys grade[], mails mail[], texts citext[], spots spot[]
)`

type lists struct {
	Moods  []mood
	Nested [][]mood
	Orders []string
	Kinds  []mood
	Grades []int64
	Passes []int32
	Anys   []any
	Mails  []string
	Texts  []string
	Spots  []string
}

type mood string

func (l *lists) fields() []any {
	return []any{&l.Moods, &l.Nested, &l.Orders, &l.Kinds, &l.Grades, &l.Passes, &l.Anys, &l.Mails, &l.Texts, &l.Spots}
}

func (l *lists) args() []any {
	return []any{l.Moods, l.Nested, l.Orders, l.Kinds, l.Grades, l.Passes, l.Anys, l.Mails, l.Texts, l.Spots}
}

var someLists = lists{
	Moods: []mood{"ok", `bad, "very"`}, Nested: [][]mood{{"ok", "so so"}, {"so so", "ok"}}, Orders: []string{"New", "old"}, Kinds: []mood{"b"},
	Grades: []int64{1, 8}, Passes: []int32{-4}, Anys: []any{int32(3), nil}, Mails: []string{"a@b", "NULL@"}, Texts: []string{"Ä", ""},
	Spots: []string{"(1,a)", `(2,"b c")`},
}

const (
	insertLists = "-- name: InsertLists :one\nINSERT INTO lists (moods, nested, orders, kinds, grades, passes, anys, mails, texts, spots)" +
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING moods, nested, orders, kinds, grades, passes, anys, mails, texts, spots"
	getLists  = "-- name: GetLists :one\nSELECT moods, nested, orders, kinds, grades, passes, anys, mails, texts, spots FROM lists WHERE id > $1 LIMIT 1"
	manyLists = "-- name: GetListsBatch :many\nSELECT _batch.ord, one.* FROM unnest((SELECT $1::bigint[])) WITH ORDINALITY AS _batch (p1, ord), LATERAL (" +
		"SELECT moods, nested, orders, kinds, grades, passes, anys, mails, texts, spots FROM lists WHERE id > _batch.p1 LIMIT 1) AS one"
	findLists = "-- name: FindLists :one\nSELECT count(*) FROM lists WHERE 'ok' = ANY(moods) AND moods && $1 AND kinds && $2"
	addKind   = "-- name: AddKind :one\nINSERT INTO lists (kinds, grades, texts) VALUES (ARRAY[$1::app.kind], ARRAY[$2::grade], ARRAY[$3::citext]) RETURNING kinds, grades, texts"
	addKinds  = "-- name: AddKinds :many\nWITH given AS (SELECT generate_subscripts($1::app.kind[], 1) AS ord, unnest($1::app.kind[]) AS kind, unnest($2::grade[]) AS grade, unnest($3::citext[]) AS txt)," +
		" created AS (INSERT INTO lists (kinds, grades, texts) SELECT ARRAY[kind], ARRAY[grade], ARRAY[txt] FROM given RETURNING id)" +
		" SELECT ord, ARRAY[kind], ARRAY[grade], ARRAY[txt] FROM given"
	copyLists = `copy "lists" ( "moods", "grades", "texts" ) from stdin binary;`
)

// listStatements returns the registry as the plugin writes it.
func listStatements() []postgres.Statement {
	names := []string{`"OrderStatus"`, `"app"."kind"`, `"citext"`, `"grade"`, `"mail"`, `"mood"`, `"pass"`, `"spot"`}
	var columns []postgres.Column
	for _, typ := range []string{"mood[]", "mood[][]", `"OrderStatus"[]`, "app.kind[]", "grade[]", "pass[]", "grade[]", "mail[]", "citext[]", "spot[]"} {
		columns = append(columns, postgres.Column{Type: typ})
	}
	id := []postgres.Param{{Name: "id", Type: "bigint"}}
	return []postgres.Statement{
		{Name: "InsertLists", SQL: insertLists, Kind: postgres.One, Types: names, Columns: columns},
		{Name: "GetLists", SQL: getLists, Kind: postgres.One, Types: names, Columns: columns, Params: id, Reads: true, Batch: "GetListsBatch", Plan: "indexed"},
		{
			Name: "GetListsBatch", SQL: manyLists, Kind: postgres.Many, Types: names, Reads: true, DerivedFrom: "GetLists",
			Columns: append([]postgres.Column{{Name: "ord", Type: "bigint"}}, columns...), Params: []postgres.Param{{Name: "id", Type: "bigint[]"}},
		},
		{Name: "FindLists", SQL: findLists, Kind: postgres.One, Types: []string{`"app"."kind"`, `"mood"`}, Reads: true},
		{
			Name: "AddKind", SQL: addKind, Kind: postgres.One, Types: names, Columns: []postgres.Column{{Type: "app.kind[]"}, {Type: "grade[]"}, {Type: "citext[]"}},
			Params: []postgres.Param{{Type: "app.kind"}, {Type: "grade"}, {Type: "citext"}}, Batch: "AddKinds",
		},
		{
			Name: "AddKinds", SQL: addKinds, Kind: postgres.Many, Types: names,
			Columns: []postgres.Column{{Name: "ord", Type: "integer"}, {Type: "app.kind[]"}, {Type: "grade[]"}, {Type: "citext[]"}},
			Params:  []postgres.Param{{Type: "app.kind[]"}, {Type: "grade[]"}, {Type: "citext[]"}},
		},
		{Name: "CopyLists", SQL: copyLists, Kind: postgres.CopyFrom, Types: []string{`"citext"`, `"grade"`, `"mood"`}},
	}
}

// useLists runs statements of each form with arrays of each type.
func useLists(t *testing.T, r *postgres.Router) {
	t.Helper()
	ctx := t.Context()
	same := func(what string, got lists, err error) {
		t.Helper()
		if diff := cmp.Diff(someLists, got); err != nil || diff != "" {
			t.Errorf("%s: err = %v (-want +got):\n%s", what, err, diff)
		}
	}
	insert := func(db postgres.DBTX) error {
		var got lists
		err := db.QueryRow(ctx, insertLists, someLists.args()...).Scan(got.fields()...)
		same("insert", got, err)
		return err
	}
	find := func(db postgres.DBTX) error {
		var n int64
		err := db.QueryRow(ctx, findLists, someLists.Moods, someLists.Kinds).Scan(&n)
		if err != nil || n == 0 {
			t.Errorf("find: %d, %v", n, err)
		}
		return err
	}
	_ = insert(r)
	_ = find(r)
	if err := postgres.InTx(ctx, r, postgres.TxOptions{}, func(tx postgres.DBTX) error {
		if err := insert(tx); err != nil {
			return err
		}
		return find(tx)
	}); err != nil {
		t.Errorf("InTx: %v", err)
	}
	// The first is encoded in a pipeline's batch, the second after the pending statements.
	var found *postgres.Queued[int64]
	var inserted *postgres.Queued[lists]
	if err := postgres.Pipeline(ctx, r, postgres.TxOptions{NoMarker: true}, func(b *postgres.Batch) error {
		found = postgres.QueueOne(b, func(n *int64) []any { return []any{n} }, findLists, someLists.Moods, someLists.Kinds)
		inserted = postgres.QueueOne(b, (*lists).fields, insertLists, someLists.args()...)
		return nil
	}); err != nil {
		t.Errorf("Pipeline: %v", err)
	}
	if n, err := found.Get(); err != nil || n == 0 {
		t.Errorf("find: %d, %v", n, err)
	}
	got, err := inserted.Get()
	same("insert", got, err)
	n, err := r.CopyFrom(ctx, pgx.Identifier{"lists"}, []string{"moods", "grades", "texts"}, pgx.CopyFromRows([][]any{
		{someLists.Moods, someLists.Grades, someLists.Texts}, {nil, someLists.Anys, nil},
	}))
	if n != 2 || err != nil {
		t.Errorf("COPY: %d, %v", n, err)
	}
	errs := make(chan error)
	addKindTo := func(i int) error {
		kind, grade, text := mood("a"), any(int64(i%9)), &[]string{"x"}[0]
		if i%2 == 0 {
			kind, grade, text = "b", nil, nil
		}
		var kinds []mood
		var grades []*int64
		var texts []*string
		err := r.QueryRow(ctx, addKind, kind, grade, text).Scan(&kinds, &grades, &texts)
		if err == nil && (len(kinds) != 1 || kinds[0] != kind || len(grades) != 1 || (grades[0] == nil) != (grade == nil) || (texts[0] == nil) != (text == nil)) {
			err = fmt.Errorf("%v %v %v", kinds, grades, texts)
		}
		return err
	}
	for i := range 40 {
		go func() { errs <- addKindTo(i) }()
	}
	for range 40 {
		if err := <-errs; err != nil {
			t.Errorf("coalesced insert: %v", err)
		}
	}
	for range 40 {
		go func() {
			var got lists
			err := r.QueryRow(ctx, getLists, int64(0)).Scan(got.fields()...)
			if diff := cmp.Diff(someLists, got); err == nil && diff != "" {
				err = fmt.Errorf("(-want +got):\n%s", diff)
			}
			errs <- err
		}()
	}
	for range 40 {
		if err := <-errs; err != nil {
			t.Errorf("coalesced: %v", err)
		}
	}
}

func TestOwnTypes(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]struct {
		pooler  postgres.Pooler
		through bool
	}{"Direct": {postgres.PoolerNone, false}, "Pooler": {postgres.PoolerTransaction, false}, "PgBouncer": {postgres.PoolerTransaction, true}} {
		open := func(t *testing.T) (*postgres.Router, func(sql string)) {
			address := testdata.NewURL(t)
			other := testdata.Open(t, postgres.Config{URL: address})
			if settings.through {
				address = bouncer(t, address, "pool_mode = transaction")
			}
			r, err := postgres.Connect(t.Context(), postgres.Config{
				URL: address, MaxConns: 3, MinConns: 3, Pooler: settings.pooler, Statements: listStatements(), Logger: quiet,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(r.Close)
			return r, func(sql string) { other.Exec(t, sql) }
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, exec := open(t)
			eventually(t, "the connections are open", func() bool { return r.Pool().Stat().TotalConns() == 3 })
			// Created after the connections were opened, as by a migration, and replaced
			// twice.
			exec(ownTypes + ownTable)
			useLists(t, r)
			for range 2 {
				exec(replaceTypes + ownTypes + ownTable)
				useLists(t, r)
			}
			// On each connection, the first statement with one of the types is a COPY,
			// whose rows cannot be sent again.
			exec(replaceTypes + ownTypes + ownTable)
			onEach(t, r, 3, func(db postgres.DBTX) error {
				_, err := db.CopyFrom(t.Context(), pgx.Identifier{"lists"}, []string{"moods", "grades", "texts"}, pgx.CopyFromRows([][]any{
					{someLists.Moods, someLists.Grades, someLists.Texts},
				}))
				return err
			})
			// On each connection, the first statement with one of the types is a read.
			exec(replaceTypes + ownTypes + ownTable)
			exec("INSERT INTO lists (moods, nested, orders, kinds, grades, passes, anys, mails, texts, spots) VALUES (" +
				`'{ok,"bad, \"very\""}', '{{ok,so so},{so so,ok}}', '{New,old}', '{b}', '{1,8}', '{-4}', '{3,NULL}', '{a@b,NULL@}', '{Ä,""}', '{"(1,a)","(2,\"b c\")"}')`)
			onEach(t, r, 3, func(db postgres.DBTX) error {
				var got lists
				err := db.QueryRow(t.Context(), getLists, int64(0)).Scan(got.fields()...)
				if diff := cmp.Diff(someLists, got); err == nil && diff != "" {
					t.Errorf("read (-want +got):\n%s", diff)
				}
				return err
			})
		})
	}
}

// One query loads all types. If the registry uses none, there is none.
func TestOwnTypes_RoundTrips(t *testing.T) {
	t.Parallel()
	d := testdata.New(t)
	d.Exec(t, ownTypes+ownTable)
	trips := func(statements []postgres.Statement) int64 {
		w, address := newWire(t, d.Router.Config().URL)
		r, err := postgres.Connect(t.Context(), postgres.Config{
			URL: address, MaxConns: 1, Pooler: postgres.PoolerTransaction, Statements: statements, Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return w.trips.Load()
	}
	none, all := trips(nil), trips(listStatements())
	if all != none+1 {
		t.Errorf("%d round trips to connect, and %d without project types, want one more", all, none)
	}
}
