package proof_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quern/internal/proof"
	"quern/pgtest"
	"quern/postgres"
)

// TestPlans changes a database by hand and asks which plans that breaks, each time
// twenty times: the answers must be equal.
func TestPlans(t *testing.T) {
	t.Parallel()
	const schema = `
		CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL, title text NOT NULL);
		CREATE INDEX books_author_idx ON books (author_id, id);
		CREATE INDEX books_title_idx ON books (title);
		CREATE TABLE tiny (id bigint PRIMARY KEY);
		INSERT INTO tiny VALUES (1);
		INSERT INTO books SELECT i, i % 10, i FROM generate_series(1, 1000) AS i;
		ANALYZE`
	planned := func(name, plan, sql, params string) postgres.Statement {
		s := statement(sql, params, "")
		s.Name, s.Plan = name, plan
		return s
	}
	statements := []postgres.Statement{
		planned("Get", "indexed", "SELECT id FROM books WHERE id = $1", "id bigint"),
		planned("Tiny", "indexed", "SELECT id FROM tiny WHERE id = $1", "id bigint"),
		planned("ByAuthor", "uses books_author_idx", "SELECT id FROM books WHERE author_id = $1 AND id > $2 ORDER BY id", "a bigint, i bigint"),
		planned("ByTitle", "indexed", "SELECT id FROM books WHERE title = $1", "t text"),
		planned("Rename", "indexed", "UPDATE books SET title = $2 WHERE id = $1", "id bigint, t text"),
		planned("Unplanned", "", "SELECT id FROM books WHERE lower(title) = $1", "t text"),
	}
	for _, tt := range []struct {
		change string
		want   string // statement: a part of the problem; "" for none
	}{
		{"SELECT 1", ""},
		{"CREATE INDEX other ON books (author_id)", ""},
		{"INSERT INTO books SELECT i, 1, 'x' FROM generate_series(1001, 5000) AS i; ANALYZE books", ""},
		{"DROP INDEX books_title_idx", "ByTitle: @plan indexed: it reads all of books"},
		{"DROP INDEX books_author_idx", "ByAuthor: @plan uses books_author_idx: there is no such index"},
		{"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'books_author_idx'::regclass", "ByAuthor: @plan uses books_author_idx: the index is INVALID"},
		{"ALTER TABLE books RENAME title TO name", "ByTitle: @plan indexed: the server cannot prepare the statement"},
	} {
		t.Run(tt.change, func(t *testing.T) {
			t.Parallel()
			url := pgtest.EmptyURL(t)
			exec(t, url, schema+";"+tt.change)
			var first string
			for run := range 20 {
				problems, err := proof.Plans(t.Context(), url, statements)
				if err != nil {
					t.Fatal(err)
				}
				got := fmt.Sprint(problems)
				if run == 0 {
					first = got
				}
				if got != first {
					t.Fatalf("run %d: %s\nfirst: %s", run, got, first)
				}
			}
			if (tt.want == "") != (first == "[]") || !strings.Contains(first, tt.want) {
				t.Errorf("found %s, want %q", first, tt.want)
			}
			if strings.Contains(first, "\n") {
				t.Errorf("a problem has several lines: %s", first)
			}
		})
	}
}

// TestPlans_ReadOnly asks as a role that may do nothing but read and write the tables.
func TestPlans_ReadOnly(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	exec(t, url, "CREATE TABLE books (id bigint PRIMARY KEY)")
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	role := "reader_" + config.Database
	exec(t, url, fmt.Sprintf("CREATE ROLE %[1]q; GRANT SELECT, DELETE ON books TO %[1]q", role))
	defer exec(t, url, fmt.Sprintf("DROP OWNED BY %[1]q; DROP ROLE %[1]q", role))
	remove := statement("DELETE FROM books WHERE id = $1", "id bigint", "")
	remove.Plan = "indexed"
	problems, err := proof.Plans(t.Context(), url+"&options=-c%20role%3D"+role, []postgres.Statement{remove})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
