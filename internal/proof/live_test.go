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

// TestPlans changes a database manually and lists the plans that no longer hold. It does so
// twenty times for each change, and the results must be equal.
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
		want   string // statement and part of the problem; "" for none
	}{
		{"SELECT 1", ""},
		{"CREATE INDEX other ON books (author_id)", ""},
		{"INSERT INTO books SELECT i, 1, 'x' FROM generate_series(1001, 5000) AS i; ANALYZE books", ""},
		{"DROP INDEX books_title_idx", "ByTitle: @plan indexed: it scans all of books"},
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
				problems, err := proof.Plans(t.Context(), config(t, url), statements)
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

// TestPlans_ReadOnly uses a role that may only read and write the tables.
func TestPlans_ReadOnly(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	exec(t, url, "CREATE TABLE books (id bigint PRIMARY KEY)")
	role := "reader_" + config(t, url).Database
	exec(t, url, fmt.Sprintf("CREATE ROLE %[1]q; GRANT SELECT, DELETE ON books TO %[1]q", role))
	defer exec(t, url, fmt.Sprintf("DROP OWNED BY %[1]q; DROP ROLE %[1]q", role))
	remove := statement("DELETE FROM books WHERE id = $1", "id bigint", "")
	remove.Plan = "indexed"
	problems, err := proof.Plans(t.Context(), config(t, url+"&options=-c%20role%3D"+role), []postgres.Statement{remove})
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func config(t *testing.T, url string) *pgx.ConnConfig {
	t.Helper()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAdvise expects the index that each statement lacks.
func TestAdvise(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	exec(t, url, `
		CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL, title text NOT NULL, sold timestamptz NOT NULL, "Odd" text, genres text[]);
		CREATE TABLE authors (id bigint PRIMARY KEY, name text NOT NULL)`)
	for _, tt := range []struct{ sql, want string }{
		{"SELECT id FROM books WHERE id = $1", ""},
		{"SELECT id FROM books WHERE author_id = $1", "CREATE INDEX ON books (author_id)"},
		{"SELECT id FROM books WHERE author_id = $1 AND id > $2 ORDER BY id LIMIT 5", "CREATE INDEX ON books (author_id, id)"},
		{"SELECT id FROM books WHERE author_id = $1 AND title = $2", "CREATE INDEX ON books (author_id, title)"},
		{"SELECT id FROM books WHERE sold < $1 AND author_id = $2", "CREATE INDEX ON books (author_id, sold)"},
		{"UPDATE books SET title = '' WHERE title = $1", "CREATE INDEX ON books (title)"},
		{`SELECT id FROM books WHERE "Odd" = $1`, `CREATE INDEX ON books ("Odd")`},
		{"SELECT b.id FROM authors a JOIN books b ON b.author_id = a.id WHERE a.id = $1", "CREATE INDEX ON books (author_id)"},
		{"DELETE FROM authors WHERE id IN (SELECT author_id FROM books WHERE title = $1)", "CREATE INDEX ON books (title)"},
		{"SELECT id FROM books WHERE genres && $1::text[]", "CREATE INDEX ON books USING gin (genres)"},
		{"SELECT id FROM books WHERE id = $1 AND title = $2", ""},
		{"SELECT id FROM books WHERE id > $1 AND ($2::text IS NULL OR title = $2) ORDER BY id LIMIT 5", ""},
		{"SELECT id FROM books WHERE lower(title) = $1", "none"},
	} {
		advice, err := proof.Advise(t.Context(), url, []postgres.Statement{statement(tt.sql, "", "")})
		if err != nil {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		got := ""
		if len(advice) > 0 {
			if got = advice[0].Index; got == "" {
				got = "none"
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q (%v)", tt.sql, got, tt.want, advice)
		}
	}
}

func TestPlanTree(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	exec(t, url, `CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint NOT NULL); CREATE INDEX books_author_idx ON books (author_id, id);
		INSERT INTO books SELECT i, i FROM generate_series(1, 20000) AS i; ANALYZE`)
	s := statement("SELECT id FROM books WHERE author_id = $1 AND id > $2 ORDER BY id LIMIT $3", "author_id bigint, after bigint, row_limit bigint", "id bigint!")
	tree, err := proof.PlanTree(t.Context(), url, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Limit", "└─ Index Only Scan using books_author_idx on books", "index condition: ((books.author_id = @author_id) AND (books.id > @after))"} {
		if !strings.Contains(tree, want) {
			t.Errorf("no %q in\n%s", want, tree)
		}
	}
	remove := statement("DELETE FROM books WHERE id = $1", "id bigint", "")
	if tree, err := proof.PlanTree(t.Context(), url, remove); err != nil || !strings.Contains(tree, "Delete (ModifyTable) on books") {
		t.Errorf("%s %v", tree, err)
	}
}
