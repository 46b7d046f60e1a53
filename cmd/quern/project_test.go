package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	sqlc "quern/cmd/quern/internal/project"
	"quern/pgtest"
	"quern/postgres"
)

// fixture is a project in its own directory, under git.
type fixture struct {
	t   *testing.T
	dir string
}

const booksSchema = `-- +goose Up
CREATE TABLE books (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, author_id bigint NOT NULL, title text NOT NULL);
CREATE INDEX books_author_idx ON books (author_id, id);
-- +goose Down
DROP TABLE books;
`

// books are the statements of the fixture.
var books = []postgres.Statement{
	{
		Name: "GetBook", Kind: postgres.One, File: "book.sql", SQL: "-- name: GetBook :one\nSELECT id, title FROM books WHERE id = $1\n", Plan: "indexed",
		Params: []postgres.Param{{Name: "id", Type: "bigint"}}, Columns: []postgres.Column{{Name: "id", Type: "bigint", NotNull: true}, {Name: "title", Type: "text", NotNull: true}},
	},
	{
		Name: "ListBooks", Kind: postgres.Many, File: "book.sql", Plan: "uses books_author_idx",
		SQL:    "-- name: ListBooks :many\nSELECT id FROM books WHERE author_id = $1 AND id > $2 ORDER BY id LIMIT 50\n",
		Params: []postgres.Param{{Name: "author_id", Type: "bigint"}, {Name: "after", Type: "bigint"}}, Columns: []postgres.Column{{Name: "id", Type: "bigint", NotNull: true}},
	},
	{
		Name: "AddBook", Kind: postgres.Exec, File: "book.sql", SQL: "-- name: AddBook :exec\nINSERT INTO books (author_id, title) VALUES ($1, $2)\n",
		Params: []postgres.Param{{Name: "author_id", Type: "bigint"}, {Name: "title", Type: "text"}},
	},
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t, t.TempDir()}
	f.write("sqlc.yaml", "version: \"2\"\nsql:\n  - engine: postgresql\n    schema: migrations\n    queries: queries\n    gen: {go: {out: internal/db}}\n    codegen:\n      - {plugin: quern, out: internal/db}\n")
	f.write("migrations/00001_create_books.sql", booksSchema)
	f.statements(books...)
	f.git("init", "-q")
	f.git("add", "-A")
	f.git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "first")
	return f
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// statements writes statements.json and the query file as sqlc and the plugin would.
func (f *fixture) statements(statements ...postgres.Statement) {
	f.t.Helper()
	type named struct{ Name, Type string }
	list := []map[string]any{}
	var sql strings.Builder
	for _, s := range statements {
		params := []named{}
		for _, p := range s.Params {
			params = append(params, named(p))
		}
		plan := any(nil)
		if s.Plan != "" {
			plan = s.Plan
		}
		list = append(list, map[string]any{
			"name": s.Name, "kind": s.Kind, "file": s.File, "doc": s.Doc, "sql": s.SQL, "parameters": params, "columns": s.Columns, "derivedFrom": nil,
			"policy": map[string]any{"route": "primary", "timeout": "1s", "plan": plan, "batch": nil, "class": "default"},
		})
		sql.WriteString(s.SQL)
	}
	text, err := json.Marshal(list)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("internal/db/statements.json", string(text))
	f.write("queries/book.sql", sql.String())
}

func (f *fixture) git(args ...string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), "git", args...)
	cmd.Dir = f.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// quern runs a command in the project, and fails the test if the exit code is not want.
func (f *fixture) quern(want int, args ...string) (stdout, stderr string) {
	f.t.Helper()
	code, stdout, stderr := quern(append(args[:1:1], append([]string{"--project", f.dir}, args[1:]...)...)...)
	if code != want {
		f.t.Errorf("quern %v: exit %d, want %d\n%s%s", args, code, want, stdout, stderr)
	}
	return stdout, stderr
}

// has fails the test unless the text contains each of the parts.
func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

func TestCompat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	out, _ := f.quern(exitSuccess, "compat", "HEAD")
	has(t, out, "3 statements of release HEAD", "0 new or changed")

	// An allowed change of a release: a new column, which a new statement uses.
	f.write("migrations/00002_add_price.sql", "-- +goose Up\nALTER TABLE books ADD price integer;\n")
	price := books[0]
	price.Name, price.SQL = "GetPrice", "-- name: GetPrice :one\nSELECT price FROM books WHERE id = $1\n"
	price.Columns = []postgres.Column{{Name: "price", Type: "integer"}}
	f.statements(append(books[:3:3], price)...)
	out, _ = f.quern(exitSuccess, "compat", "BASE=HEAD")
	has(t, out, "apply the pending migrations before the new code runs, because 1 new statement would fail without them: GetPrice", "1 new or changed")
	out, errs := f.quern(exitFailure, "compat", "HEAD", "--code-first")
	has(t, out, "GetPrice is new, and fails on the schema of release HEAD", "apply the migrations before the new code runs")
	has(t, errs, "1 problem found")

	// A change that is not allowed.
	f.write("migrations/00003_rename_title.sql", "-- +goose Up\nALTER TABLE books RENAME title TO name;\nALTER TABLE books ADD isbn text NOT NULL;\n")
	out, errs = f.quern(exitFailure, "compat", "HEAD")
	has(t, out, "queries/book.sql: GetBook of release HEAD", `column "title" does not exist`, "drop or rename them in a later release", "AddBook of release HEAD")
	has(t, errs, "quern compat: 2 problems found between release HEAD", "change the schema in two releases")
	if strings.Contains(out, "ListBooks") {
		t.Errorf("ListBooks goes on:\n%s", out)
	}

	_, errs = f.quern(exitFailure, "compat", "nowhere")
	has(t, errs, `git has no commit "nowhere"`)
	f.git("rm", "-rq", "--cached", "internal")
	f.git("-c", "user.name=test", "-c", "user.email=test@example.com", "commit", "-qm", "without statements")
	_, errs = f.quern(exitFailure, "compat", "HEAD")
	has(t, errs, "it has no internal/db/statements.json")
}

func TestPlans(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	url := pgtest.URL(t, sqlc.Project{Root: f.dir, Migrations: "migrations"}.FS())
	out, _ := f.quern(exitSuccess, "plans", "--database", url)
	has(t, out, "2 statements with @plan can keep it.")
	if out, _ := f.quern(exitSuccess, "plans"); out != "2 statements with @plan can keep it.\n" {
		t.Errorf("on an empty database: %s", out)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "DROP INDEX books_author_idx"); err != nil {
		t.Fatal(err)
	}
	out, errs := f.quern(exitFailure, "plans", "--database", url)
	has(t, out, "queries/book.sql: ListBooks: @plan uses books_author_idx: there is no such index",
		"the database lacks an index of the migrations: CREATE INDEX books_author_idx ON public.books USING btree (author_id, id)")
	has(t, errs, "1 statement of 2 cannot keep @plan")
}

func TestExplainAndAdvise(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	out, _ := f.quern(exitSuccess, "explain", "GetBook")
	has(t, out, "WHERE id = $1", "on books", "@id")
	_, errs := f.quern(exitUsage, "explain", "GetShelf")
	has(t, errs, "there is no statement GetShelf")
	out, _ = f.quern(exitSuccess, "advise")
	has(t, out, "3 statements looked at: 0 without an index")
	byTitle := books[0]
	byTitle.Name, byTitle.SQL = "GetByTitle", "-- name: GetByTitle :one\nSELECT id, title FROM books WHERE title = $1\n"
	f.statements(append(books[:3:3], byTitle)...)
	out, _ = f.quern(exitSuccess, "advise", "GetByTitle")
	has(t, out, "queries/book.sql: GetByTitle: it scans all of books", "    CREATE INDEX ON books (title);", "1 statement looked at")
}

func TestVet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	out, _ := f.quern(exitSuccess, "vet")
	has(t, out, "3 statements and no problem.")
	list := func(name, sql string) postgres.Statement {
		return postgres.Statement{Name: name, Kind: postgres.Many, File: "book.sql", SQL: "-- name: " + name + " :many\n" + sql + "\n", Columns: books[1].Columns}
	}
	excepted := list("ListExcepted", "SELECT id FROM books")
	excepted.Doc = "quern:allow no-limit: there are few"
	f.statements(
		list("ListAll", "SELECT id FROM books"), excepted, list("ListStar", "SELECT * FROM books LIMIT 1"), list("ListReturning", "DELETE FROM books b WHERE id = 1 RETURNING b.*"),
		list("CountStar", "SELECT count(*) AS id FROM books"), list("ExistsStar", "SELECT 2 * 3 AS id WHERE EXISTS (SELECT * FROM books)"), list("Quoted", "SELECT id FROM books WHERE title = 'SELECT *' LIMIT 1 -- SELECT *"),
	)
	out, errs := f.quern(exitFailure, "vet")
	has(t, out, "queries/book.sql: ListAll: its result grows with the table", "ListStar: * returns each column", "ListReturning: * returns")
	has(t, errs, "3 problems found")

	f.statements(books...)
	f.write("ran", "GetBook\nAddBook\n")
	out, _ = f.quern(exitFailure, "vet", "--ran", filepath.Join(f.dir, "ran"))
	has(t, out, "ListBooks: no test runs it")
	nullable := books[0]
	nullable.Columns = []postgres.Column{{Name: "id", Type: "bigint", NotNull: true}, {Name: "title", Type: "text"}}
	f.statements(nullable, books[1], books[2])
	f.write("ran", "GetBook\nAddBook\nListBooks\n")
	out, _ = f.quern(exitFailure, "vet", "--ran", filepath.Join(f.dir, "ran"))
	has(t, out, "GetBook: no test reads a row with NULL in title: add one (never-null)")
	f.write("ran", "GetBook\nAddBook\nListBooks\nGetBook title\n")
	f.quern(exitSuccess, "vet", "--ran", filepath.Join(f.dir, "ran"))
	f.statements(books...)
	out, errs = f.quern(exitFailure, "vet", "--distributed", "author_id")
	has(t, out, "the unique index books_pkey of books lacks author_id", "GetBook: no value of author_id restricts it")
	has(t, errs, "2 problems found")
}

func TestProject_Refused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, errs := (&fixture{t, dir}).quern(exitFailure, "vet")
	has(t, errs, "has no sqlc.yaml: run this where sqlc.yaml is")
	f := &fixture{t, dir}
	f.write("sqlc.yaml", "version: \"2\"\nsql:\n  - {schema: [migrations], queries: [queries], gen: {go: {out: db}}}\n")
	_, errs = f.quern(exitFailure, "vet")
	has(t, errs, "there is no db/statements.json: add the plugin sqlc-gen-quern")
}
