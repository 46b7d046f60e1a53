package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSQLCEnumArrays uses enums that only arrays use. sqlc omits them with
// omit_unused_structs.
func TestSQLCEnumArrays(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		"sqlc.yaml": config + "        omit_unused_structs: true\n        emit_enum_valid_method: true\n        emit_all_enum_values: true\n",
		"migrations/1.sql": `CREATE TYPE bare AS ENUM ('a', 'b-c', 'é', '');
CREATE TYPE field AS ENUM ('a');
CREATE TYPE step AS ENUM ('a');
CREATE TYPE matrix AS ENUM ('a');
CREATE TYPE kept AS ENUM ('a');
CREATE TYPE unused AS ENUM ('a "quoted" one');
CREATE TABLE items (id bigint PRIMARY KEY, bare bare, field field, lines step[], matrix matrix[][], kept kept[], unused unused);
`,
		"queries/names.sql": `-- name: Bare :many
SELECT id FROM items WHERE bare = ANY(@bares::bare[]);
-- name: Fields :exec
DELETE FROM items WHERE field = ANY(@fields::field[]) AND id = @id;
-- @stream
-- name: Lines :many
SELECT lines FROM items;
-- name: Matrices :many
SELECT id, matrix, kept FROM items;
`,
	})
	p.generate()
	p.write("db/uses.go", "package db\n\nvar _ = []any{BareBC, BareValue3, Bare(\"\").Valid, AllBareValues, FieldA, StepA, MatrixA, KeptA}\n")
	p.mustBuild()
}

// TestSQLCSchemaNames uses names in the schema for which sqlc generates code that
// does not compile or has another meaning.
func TestSQLCSchemaNames(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		"sqlc.yaml": config + "        rename: {fine: context}\n",
		"migrations/1.sql": `CREATE TABLE new (id bigint);
CREATE TABLE statement (id bigint);
CREATE TABLE null_moods (id bigint);
CREATE TABLE get_rows (id bigint);
CREATE TYPE mood AS ENUM ('status', 'so "so"', E'back\\slash', 'a_b', 'AB');
CREATE TYPE mood_status AS ENUM ('ok');
CREATE TABLE fields (a_b bigint, "aB" bigint, "?" bigint);
CREATE TYPE fine AS ENUM ('ok');
`,
		"queries/names.sql": `-- name: Get :many
SELECT count(*), id FROM statement GROUP BY id;
-- name: Twice :exec
DELETE FROM fields WHERE a_b = @a_b AND "aB" = sqlc.arg('aB');
-- name: Blank :one
SELECT count(*) AS "two words" FROM statement;
-- name: Symbol :one
SELECT count(*) AS "?", 1 AS b FROM statement;
-- name: Iterator :copyfrom
INSERT INTO statement (id) VALUES (@id);
-- name: IteratorForIterator :exec
DELETE FROM statement;
-- name: Name :exec
DELETE FROM statement WHERE id = @name;
`,
	})
	out, err := p.sqlc("generate")
	var refused []string
	for line := range strings.Lines(out) {
		if where, rest, ok := strings.Cut(line, ": "); ok && (where == "schema" || where == "queries/names.sql") {
			what, _, _ := strings.Cut(rest, ": ")
			refused = append(refused, what)
		}
	}
	want := []string{
		"enum public.mood", "enum public.mood",
		`enum public.mood, value "AB"`, "enum public.mood_status", "enum public.fine", "table public.fields", "table public.fields",
		"table public.new", "table public.null_moods", "Get", "Twice", "Blank", "Symbol", "IteratorForIterator", "Name",
	}
	for i, name := range refused {
		refused[i] = strings.TrimSpace(name)
	}
	if diff := cmp.Diff(want, refused); err == nil || diff != "" {
		t.Errorf("%v: refused (-want +got):\n%s\n%s", err, diff, out)
	}
}
