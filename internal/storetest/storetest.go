// Package storetest gives each test a PostgreSQL database of its own.
//
// The first test of a process starts a server in memory, or uses the one that
// TEST_DATABASE_URL names, and applies the migrations to a template database;
// each test gets a clone of it, which takes some 20 ms. Everything is gone
// when the tests are, unless one failed: what it left is kept and said where.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// DB is a migrated database with nothing in it, and all that runs on it.
type DB struct {
	URL     string
	Router  *postgres.Router
	Queries *db.Queries
	Store   *store.Store
}

// Main runs a package's tests and takes down what New set up. Every package
// whose tests call New has this as its TestMain:
//
//	func TestMain(m *testing.M) { storetest.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if err := shared.stop(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "storetest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// New returns a database for this test alone. It is gone when the test ends.
func New(t testing.TB) *DB {
	t.Helper()
	return Open(t, postgres.Config{URL: NewURL(t)})
}

// Open is New for a test that has its own wishes about the connection. What
// cfg leaves out is filled in, except for its URL.
func Open(t testing.TB, cfg postgres.Config) *DB {
	t.Helper()
	if cfg.MaxConns == 0 {
		// Many tests share one server.
		cfg.MaxConns = 4
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Statements = db.Statements
	router, err := postgres.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRouter(t, router) })
	q := db.New(router)
	return &DB{URL: cfg.URL, Router: router, Queries: q, Store: store.New(q)}
}

// patience bounds what a test asks of its database. pgxpool waits for ever for a
// connection that was never given back.
const patience = 30 * time.Second

// closeTimeout bounds how long the Router of a test may take to close. Close waits
// for the connections in use, and a statement of a test ends within its 10 s.
const closeTimeout = 15 * time.Second

// closeRouter closes a Router. A connection that was never given back fails the
// test, instead of keeping the whole package from its end.
func closeRouter(t testing.TB, r *postgres.Router) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
		t.Errorf("%d connections of the pool were never given back", r.Pool().Stat().AcquiredConns())
	}
}

// NewURL returns the URL of a migrated database for this test alone.
func NewURL(t testing.TB) string {
	t.Helper()
	return newDatabase(t, true)
}

// NewEmptyURL returns the URL of a database for this test alone to which no
// migration was applied.
func NewEmptyURL(t testing.TB) string {
	t.Helper()
	return newDatabase(t, false)
}

func newDatabase(t testing.TB, migrated bool) string {
	t.Helper()
	c, err := shared.start()
	if err != nil {
		t.Fatalf("start the tests' PostgreSQL: %v", err)
	}
	// Not the test's context: it ends before the clean-up.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name, err := c.create(ctx, migrated)
	if err != nil {
		t.Fatalf("create the test's database: %v", err)
	}
	url := c.url(name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the test's database is kept: %s", url)
			c.keep()
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.drop(ctx, name); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return url
}

// Exec runs SQL that belongs to a test, in its database.
func (d *DB) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := d.Router.Pool().Exec(ctx, sql, args...); err != nil {
		t.Fatal(err)
	}
}

// Count returns the one number that a test's SQL asks for.
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
