package pgtest_test

import (
	"context"
	"fmt"
	"log"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"quern/pgtest"
	"quern/postgres"
)

// migrations is the schema of the examples. A project embeds its directory of migrations and passes the
// result of fs.Sub, whose root has the files.
var migrations = fstest.MapFS{"00001_create_books.sql": {Data: []byte(`
-- +goose Up
CREATE TABLE books (title text PRIMARY KEY);

-- +goose Down
DROP TABLE books;
`)}}

// exampleT is a testing.TB for an Example function, which does not get one.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                  {}
func (t *exampleT) Failed() bool             { return false }
func (t *exampleT) Context() context.Context { return context.Background() }
func (t *exampleT) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Fatal(args ...any)        { log.Fatal(args...) }
func (t *exampleT) Error(args ...any)        { log.Fatal(args...) }

func (t *exampleT) done() {
	for i := range t.cleanups {
		t.cleanups[len(t.cleanups)-1-i]()
	}
}

// The package also needs func TestMain(m *testing.M) { pgtest.Main(m) }.
func ExampleConnect() {
	t := new(exampleT) // in a test, its *testing.T
	defer t.done()

	router := pgtest.Connect(t, migrations, postgres.Config{})
	if _, err := router.Exec(t.Context(), "INSERT INTO books VALUES ('Emma')"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := router.QueryRow(t.Context(), "SELECT count(*) FROM books").Scan(&n); err != nil {
		t.Fatal(err)
	}
	fmt.Println(n, "book")
	// Output: 1 book
}

// Each call returns a different database, so tests can run in parallel.
func ExampleURL() {
	t := new(exampleT) // in a test, its *testing.T
	defer t.done()

	for range 2 {
		conn, err := pgx.Connect(t.Context(), pgtest.URL(t, migrations))
		if err != nil {
			t.Fatal(err)
		}
		tag, err := conn.Exec(t.Context(), "INSERT INTO books VALUES ('Emma')")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(tag)
	}
	// Output:
	// INSERT 0 1
	// INSERT 0 1
}

func ExampleCreate() {
	ctx := context.Background()
	url, drop, err := pgtest.Create(ctx, migrations)
	if err != nil {
		log.Fatal(err)
	}
	defer drop()

	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	var table string
	if err := conn.QueryRow(ctx, "SELECT to_regclass('books')::text").Scan(&table); err != nil {
		log.Fatal(err)
	}
	fmt.Println(table)
	// Output: books
}
