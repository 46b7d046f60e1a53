package pgtest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quern/pgtest"
	"quern/postgres"
)

func TestSQLFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"2_add_index.up.sql":   "CREATE INDEX CONCURRENTLY books_year ON books (year);",
		"1_books.up.sql":       "CREATE TABLE books (title text PRIMARY KEY, year int);\nINSERT INTO books VALUES ('Emma; or not', 1815);",
		"1_books.down.sql":     "DROP TABLE books;",
		"functions.sql":        "CREATE FUNCTION first_book() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT title FROM books LIMIT 1); END; $$;",
		"goose/00001_made.sql": "-- +goose Up\nSELECT 1;\n",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	router := pgtest.Connect(t, pgtest.SQLFiles(t, dir+"/*.up.sql", dir+"/functions.sql"), postgres.Config{})
	var title string
	if err := router.QueryRow(t.Context(), "SELECT first_book()").Scan(&title); err != nil || title != "Emma; or not" {
		t.Errorf("the first book is %q, %v", title, err)
	}
	for pattern, want := range map[string]string{"/*.none": "no file matches", "/goose/*.sql": "is a goose file"} {
		reported := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			pgtest.SQLFiles(reported, dir+pattern)
		}()
		<-done
		if len(reported.failures) != 1 || !strings.Contains(reported.failures[0], want) {
			t.Errorf("%s: reported %q, want %q", pattern, reported.failures, want)
		}
	}
}
