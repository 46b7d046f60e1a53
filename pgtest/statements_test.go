package pgtest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"quern/pgtest"
	"quern/postgres"
)

// recorder is a testing.TB that records reported failures. Fatalf ends the
// goroutine.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Error(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *recorder) Error(args ...any) { r.failures = append(r.failures, fmt.Sprint(args...)) }

func TestCheckStatements(t *testing.T) {
	t.Parallel()
	title := []postgres.Column{{Name: "title", Type: "text", NotNull: true}}
	reported := &recorder{TB: t}
	pgtest.CheckStatements(reported, migrations, []postgres.Statement{
		{Name: "ListBooks", Kind: postgres.Many, File: "book.sql", SQL: "SELECT title FROM books", Columns: title, Reads: true},
		{Name: "ListAuthors", Kind: postgres.Many, File: "book.sql", SQL: "SELECT author FROM books", Columns: title},
		{
			Name: "FindBook", Kind: postgres.One, File: "book.sql", SQL: "SELECT title FROM books WHERE lower(title) = $1", Columns: title,
			Params: []postgres.Param{{Name: "title", Type: "text"}}, Plan: "indexed",
		},
	})
	if len(reported.failures) != 2 || !strings.HasPrefix(reported.failures[0], "book.sql: ListAuthors: ") ||
		!strings.HasPrefix(reported.failures[1], "book.sql: FindBook: @plan indexed: ") {
		t.Errorf("reported %q, want ListAuthors, which has no such column, and FindBook, which no index serves", reported.failures)
	}
}
