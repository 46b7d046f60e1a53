// Package testdata gives the runtime's tests a database with a schema for them. Package db is
// generated from its queries, which use every directive.
package testdata

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/testdata/db"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations returns the migrations at the root of a file system.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the name is valid
	}
	return sub
}

// DB is a migrated and empty database with everything that runs on it.
type DB struct {
	URL     string
	Router  *postgres.Router
	Queries *db.Queries
}

// New returns a database that only this test uses.
func New(t testing.TB) *DB {
	t.Helper()
	return Open(t, postgres.Config{URL: NewURL(t)})
}

// NewURL returns the URL of a migrated database that only this test uses.
func NewURL(t testing.TB) string {
	t.Helper()
	return pgtest.URL(t, Migrations())
}

// Open is New with a configuration. The database is that of cfg.URL.
func Open(t testing.TB, cfg postgres.Config) *DB {
	t.Helper()
	cfg.Statements = db.Statements
	router := pgtest.Connect(t, nil, cfg)
	return &DB{URL: cfg.URL, Router: router, Queries: db.New(router)}
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

// serial makes generated values unique in this process.
var serial atomic.Int64

// CreateAccount inserts a valid account after the given functions have changed it.
func (d *DB) CreateAccount(t testing.TB, change ...func(*db.CreateAccountParams)) *db.Account {
	t.Helper()
	n := serial.Add(1)
	age := int32(20 + n%50)
	p := db.CreateAccountParams{
		Username: fmt.Sprintf("user%d", n), Email: fmt.Sprintf("user%d@example.com", n), Age: &age, Tags: []string{},
	}
	for _, c := range change {
		c(&p)
	}
	account, err := d.Queries.CreateAccount(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return account
}
