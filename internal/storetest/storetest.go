// Package storetest gives each test a database with the schema of the example service, and factories
// for its rows. The database comes from package pgtest.
package storetest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"quern"
	"quern/internal/db"
	"quern/internal/store"
	"quern/pgtest"
	"quern/postgres"
)

// DB is a migrated and empty database with everything that runs on it.
type DB struct {
	URL     string
	Router  *postgres.Router
	Queries *db.Queries
	Store   *store.Store
}

// Main is like pgtest.Main, for the tests of this repository. It first checks the server of
// TEST_DATABASE_URL.
func Main(m *testing.M) {
	if address := os.Getenv("TEST_DATABASE_URL"); address != "" {
		if err := checkForeign(context.Background(), address); err != nil {
			fmt.Fprintln(os.Stderr, "storetest: TEST_DATABASE_URL:", err)
			os.Exit(1)
		}
	}
	pgtest.Main(m)
}

// New returns a database that only this test uses. It is dropped when the test ends.
func New(t testing.TB) *DB {
	t.Helper()
	return Open(t, postgres.Config{URL: NewURL(t)})
}

// patient are the application's statements without deadlines of less than a second. Otherwise, on a
// busy machine, they could make a test of something else fail.
var patient = func() []postgres.Statement {
	list := slices.Clone(db.Statements)
	for i := range list {
		if list[i].Timeout < time.Second {
			list[i].Timeout = 0
		}
	}
	return list
}()

// Open is like New, with a configuration. The database is that of cfg.URL.
func Open(t testing.TB, cfg postgres.Config) *DB {
	t.Helper()
	if cfg.Statements == nil {
		cfg.Statements = patient
	}
	router := pgtest.Connect(t, quern.Migrations(), cfg)
	q := db.New(router)
	return &DB{URL: cfg.URL, Router: router, Queries: q, Store: store.New(q)}
}

// NewURL returns the URL of a migrated database that only this test uses.
func NewURL(t testing.TB) string {
	t.Helper()
	return pgtest.URL(t, quern.Migrations())
}

// patience bounds a statement of a test. pgxpool would wait without a bound for a connection that was
// never released.
const patience = 30 * time.Second

// Exec runs a test's own SQL in its database.
func (d *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := d.Router.Pool().Exec(ctx, sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Count returns the number that a test's own SQL selects.
func (d *DB) Count(t testing.TB, sql string, args ...any) int {
	t.Helper()
	var n int
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.Router.Pool().QueryRow(ctx, sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
