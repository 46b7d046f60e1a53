package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quern/postgres/testdata"
)

const inferredSQL = `CREATE TYPE "OrderStatus" AS ENUM ('New', 'old');
CREATE TABLE authors (id bigint PRIMARY KEY, name text NOT NULL, age integer, status "OrderStatus" NOT NULL, doc jsonb NOT NULL);
CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL, title text NOT NULL, sold timestamptz NOT NULL, price numeric NOT NULL);
CREATE INDEX "Author's" ON books (author_id);
CREATE VIEW shelf AS SELECT b.id, a.name FROM books b LEFT JOIN authors a ON a.id = b.author_id;
CREATE FUNCTION counted(id bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 1';
`

// Statements whose code compiles. The comments name the error or the result
// of the server.
const inferredQueries = `-- @plan indexed
-- name: Right :many
SELECT id, name, status FROM authors WHERE id = @id;

-- @plan uses "Author's"
-- name: RightToo :many
SELECT b.id, b.title, a.name, a.age FROM books b LEFT JOIN authors a ON a.id = b.author_id WHERE b.author_id = @author_id;

-- name: RightTyped :many
SELECT a.id, lower(a.name) AS name FROM authors a WHERE a.status = @status AND a.name = upper(@name);

-- name: Day :many
SELECT date_trunc('day', sold) AS day FROM books;

-- name: Sum :one
SELECT sum(id) AS total FROM books;

-- name: Sub :many
SELECT id, (SELECT a.name FROM authors a WHERE a.id = author_id) AS name FROM books;

-- name: Nested :many
SELECT s.name FROM (SELECT a.name FROM books b LEFT JOIN authors a ON a.id = b.author_id) AS s;

-- name: Viewed :many
SELECT name FROM shelf;

-- name: Bigger :many
SELECT id * 2 AS n FROM books;

-- @route replica
-- name: Counting :many
SELECT counted(id) AS n FROM books;

-- @plan indexed
-- name: Walking :many
SELECT id FROM books WHERE title = @title ORDER BY id LIMIT @n;
`

const proofProgram = `package main

import (
	"context"
	"fmt"
	"os"

	"IMPORT"
	"quern/internal/proof"
)

func main() {
	problems, err := proof.Statements(context.Background(), os.Getenv("DATABASE_URL"), db.Statements)
	if err != nil {
		fmt.Println("error:", err)
	}
	for _, p := range problems {
		fmt.Println(p.Statement.Name, p.Text)
	}
}
`

// TestProofOfGenerated checks the registry of a project, as sqlc's inference
// and the plugin produce it, against the server. It must report every statement
// that sqlc misunderstood, and no other.
func TestProofOfGenerated(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{"migrations/1.sql": inferredSQL, "queries/book.sql": inferredQueries})
	p.generate()
	p.write("run/main.go", strings.Replace(proofProgram, "IMPORT", p.importPath("db"), 1))
	d := testdata.New(t)
	d.Exec(t, inferredSQL)
	cmd := p.goTool("run", "run")
	cmd.Env = append(os.Environ(), "DATABASE_URL="+d.URL)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]string{
		"Bigger": "as integer, but the server returns bigint", "Counting": "calls counted(), which is VOLATILE", "Day": "scanned as interval",
		"Sub": "the subquery may return no row", "Sum": "sum() of no rows is NULL",
		"Walking": "no index condition covers",
	}
	got := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.Contains(text, want[name]) && want[name] != "" {
			text = want[name]
		}
		if name != "" && name[0] >= 'A' && name[0] <= 'Z' {
			got[name] = text
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\nprinted:\n%s", diff, out)
	}
}
