package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres/testdata"
)

const listsSQL = `CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA app;
CREATE TYPE mood AS ENUM ('ok', 'bad');
CREATE TYPE "OrderStatus" AS ENUM ('New', 'old');
CREATE TYPE app.kind AS ENUM ('a', 'b');
CREATE DOMAIN grade AS integer CHECK (value < 9);
CREATE TYPE spot AS (x int, y int);
CREATE TABLE lists (
	id bigint PRIMARY KEY, moods mood[] NOT NULL, orders "OrderStatus"[] NOT NULL, kinds app.kind[] NOT NULL, grades grade[] NOT NULL,
	names citext[] NOT NULL, spots spot[] NOT NULL, status "OrderStatus" NOT NULL, times timestamptz[] NOT NULL DEFAULT '{}'
);
`

const listQueries = `-- name: CreateList :one
INSERT INTO lists (id, moods, orders, kinds, grades, names, spots, status, times)
VALUES (@id, @moods, @orders, @kinds, @grades, @names, @spots, @status, @times)
RETURNING *;

-- name: CopyLists :copyfrom
INSERT INTO lists (id, moods, orders, kinds, grades, names, spots, status, times)
VALUES (@id, @moods, @orders, @kinds, @grades, @names, @spots, @status, @times);

-- @stream
-- name: ListLists :many
SELECT * FROM lists WHERE status = ANY(@statuses::"OrderStatus"[]) ORDER BY id;
`

const listProgram = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgtype"

	"IMPORT"
	"quern/postgres"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Println("error:", err)
	}
}

func run(ctx context.Context) error {
	router, err := postgres.Connect(ctx, postgres.Config{URL: os.Getenv("DATABASE_URL"), Statements: db.Statements, MaxConns: 4})
	if err != nil {
		return err
	}
	defer router.Close()
	q := db.New(router)
	list, err := q.CreateList(ctx, db.CreateListParams{
		ID: 1, Moods: []db.Mood{db.MoodOk}, Orders: []db.OrderStatus{db.OrderStatusNew}, Kinds: []db.AppKind{db.AppKindB},
		Grades: []any{int32(8)}, Names: []string{"Ann"}, Spots: []string{"(1,2)"}, Status: db.OrderStatusNew,
		Times: []pgtype.Timestamptz{},
	})
	if err != nil {
		return err
	}
	fmt.Println(list.Moods, list.Orders, list.Kinds, list.Grades, list.Names, list.Spots, list.Status)
	_, err = q.CopyLists(ctx, []db.CopyListsParams{{
		ID: 2, Moods: list.Moods, Orders: list.Orders, Kinds: list.Kinds, Grades: list.Grades, Names: list.Names, Status: list.Status,
		Spots: []string{}, Times: list.Times,
	}})
	fmt.Println(err)
	for list, err := range q.ListListsStream(ctx, []db.OrderStatus{db.OrderStatusNew}) {
		if err != nil {
			return err
		}
		fmt.Println(list.ID, list.Moods, list.Orders, list.Kinds, list.Grades, list.Names, list.Spots, list.Status)
	}
	return nil
}
`

// TestOwnTypes_Generated covers arrays of a project's own types, in code that
// sqlc generated.
func TestOwnTypes_Generated(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{"migrations/1.sql": listsSQL, "queries/list.sql": listQueries})
	p.generate()
	p.write("run/main.go", strings.Replace(listProgram, "IMPORT", p.importPath("db"), 1))
	d := testdata.New(t)
	d.Exec(t, listsSQL)
	cmd := p.goTool("run", "run")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+d.URL)
	out, err := cmd.CombinedOutput()
	const want = "[ok] [New] [b] [8] [Ann] [(1,2)] New\n<nil>\n1 [ok] [New] [b] [8] [Ann] [(1,2)] New\n2 [ok] [New] [b] [8] [Ann] [] New\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, printed\n%s\nwant\n%s", err, out, want)
	}
}

// If pgx does not know the array type, the plugin must list it as one to query.
func TestKnownArrays(t *testing.T) {
	t.Parallel()
	m := pgtype.NewMap()
	for _, name := range slices.Concat(nativeArrays, otherArrays) {
		_, known := m.TypeForName("_" + name)
		for short, spelled := range spelling {
			if _, ok := m.TypeForName("_" + short); ok && spelled == name {
				known = true
			}
		}
		if !known {
			t.Errorf("pgx does not know the type %s[]", name)
		}
	}
}

func TestOwnTypes(t *testing.T) {
	t.Parallel()
	array := func(schema, name string) column {
		return column{IsArray: true, ArrayDims: 1, Type: identifier{Schema: schema, Name: name}}
	}
	s := &statement{columns: []column{array("app", "kind"), array("", "mood"), col("m", "mood"), array("", "pg_catalog.int8"), array("", "anyarray")}}
	s.Params = []parameter{{Column: array("", "OrderStatus")}, {Column: array("", "app.kind")}, {Column: array("", "uuid")}, {Column: array("", "money")}}
	want := []string{`"OrderStatus"`, `"app"."kind"`, `"money"`, `"mood"`}
	if diff := cmp.Diff(want, s.ownTypes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
