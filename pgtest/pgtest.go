// Package pgtest gives each test a PostgreSQL database with the project's schema, on a real server.
//
// Each package whose tests use it needs this line, because the server must be stopped after the last
// test:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// A test then asks for what it needs:
//
//   - [Connect] returns a Router on a database of this test.
//   - [URL] returns the URL of such a database, for anything else that connects.
//   - [EmptyURL] returns the URL of a database without a schema.
//   - [Create] does the same for code without a testing.TB, such as an Example.
//   - [NewDir] makes a directory in memory, for a test that starts a server of its own with package localpg.
//
// # Server
//
// The first database of a process starts a server with package localpg: fsync is off, and its files
// are in memory where the system has /dev/shm. If TEST_DATABASE_URL is set, that server is used
// instead. Its role needs CREATEDB, and everything that pgtest created there is dropped at the end.
//
// # Schema
//
// The migrations are goose files at the root of a file system. They are applied once to a template
// database that is named after their hash, and each test gets a clone of it, which takes some 20 ms.
// Packages whose tests run at the same time against TEST_DATABASE_URL share the templates. One process
// may use several schemas.
//
// # After a failure
//
// The databases of failed tests are kept. The output says where they are and how to look at them. The
// next run that fails removes them. Files of test processes that were killed are removed by the next
// process that starts a server.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"quern/postgres"
)

// running is set while Main runs the tests of this process.
var running atomic.Bool

// Main runs the tests of a package, stops the server that they used and exits. It is the only thing
// that stops the server, so URL, EmptyURL, Connect and Create fail without it.
func Main(m *testing.M) {
	running.Store(true)
	code := m.Run()
	if err := shared.stop(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// createTimeout bounds the creation and the removal of one database.
const createTimeout = time.Minute

// URL returns the URL of a database for this test alone, to which the migrations were applied. It is
// dropped when the test ends, or kept if the test failed. Without migrations (nil) it is empty.
//
// migrations holds goose files (.sql) at its root: use fs.Sub for a directory that was embedded.
func URL(t testing.TB, migrations fs.FS) string {
	t.Helper()
	// Not the test's context, because that ends before the clean-up.
	url, drop, err := Create(context.Background(), migrations)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the test's database is kept: %s", url)
			shared.keep()
			return
		}
		if err := drop(); err != nil {
			t.Error(err)
		}
	})
	return url
}

// EmptyURL is URL without migrations.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return URL(t, nil)
}

// Create is URL for code without a testing.TB, such as an Example. The caller must call drop when it no
// longer needs the database: it closes the connections that are left and is a no-op for a database that
// is gone.
func Create(ctx context.Context, migrations fs.FS) (url string, drop func() error, err error) {
	if !running.Load() {
		return "", nil, errors.New("pgtest: Main does not run, which stops the server: " +
			"add func TestMain(m *testing.M) { pgtest.Main(m) } to a _test.go file of this package")
	}
	c, err := shared.start()
	if err != nil {
		return "", nil, fmt.Errorf("pgtest: start the tests' PostgreSQL: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	name, err := c.create(ctx, migrations)
	if err != nil {
		return "", nil, fmt.Errorf("pgtest: create the test's database: %w", err)
	}
	return c.url(name), func() error {
		ctx, cancel := context.WithTimeout(context.Background(), createTimeout)
		defer cancel()
		if err := c.drop(ctx, name); err != nil {
			return fmt.Errorf("pgtest: drop the test's database: %w", err)
		}
		return nil
	}, nil
}

// Connect returns a Router that is closed when the test ends. If cfg.URL is empty, it is URL(t,
// migrations); otherwise migrations is not used.
//
// MaxConns defaults to 4, because many tests share one server, and Logger to none. A connection that
// the test never released fails it.
func Connect(t testing.TB, migrations fs.FS, cfg postgres.Config) *postgres.Router {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = URL(t, migrations)
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = 4
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	router, err := postgres.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRouter(t, router) })
	return router
}

// closeTimeout bounds how long the Router of a test may take to close. Close waits for the connections
// in use, and a statement has 10 s by default.
const closeTimeout = 15 * time.Second

// closeRouter closes a Router. A connection that was never released fails the test, instead of
// blocking the whole package.
func closeRouter(t testing.TB, r *postgres.Router) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
		t.Errorf("%d connections of the pool were never released", r.Pool().Stat().AcquiredConns())
	}
}
