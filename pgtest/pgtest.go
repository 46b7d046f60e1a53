// Package pgtest gives each test a PostgreSQL database with the project's schema, on a real server.
//
// Each package whose tests use it needs this line, because the server must be stopped after the last
// test:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// A test then calls one of these:
//
//   - [Connect] returns a Router on a database for this test only.
//   - [URL] returns the URL of such a database, for any other client.
//   - [EmptyURL] returns the URL of a database without a schema.
//   - [Create] is for code without a testing.TB, such as an Example.
//   - [CheckStatements] compares the statements of a registry with the schema.
//   - [NewDir] makes a directory in memory, for a test that starts a server with package localpg.
//
// # Server
//
// The first database of a process starts a server with package localpg. fsync is off, and its files
// are in memory if the system has /dev/shm. If TEST_DATABASE_URL is set, that server is used instead.
// Its role needs CREATEDB, and all databases that pgtest created there are dropped at the end.
//
// # Schema
//
// The migrations are goose files at the root of a file system. [SQLFiles] converts other SQL files.
// They are applied once to a template database that is named after their hash, and each test gets a
// clone of it, which takes about 20 ms. Packages whose tests run at the same time against
// TEST_DATABASE_URL share the templates. One process may use several schemas.
//
// # Which statements ran
//
// If QUERN_STATEMENTS is the name of a file, Main appends the names of the statements that succeeded
// on the Routers of Connect, and of the nullable columns that were NULL. `quern vet --ran FILE` lists the
// statements that no test runs and the columns in which no test reads NULL. Tests of several packages may write to one file. Run go test -count=1 to include tests with cached results.
//
// # After a failure
//
// The databases of failed tests are kept. The output says where they are and how to inspect them. The
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

// running is true while Main runs the tests of this process.
var running atomic.Bool

// Main runs the tests of a package, stops the server that they used and exits. Nothing else stops the
// server, so URL, EmptyURL, Connect and Create fail if Main is not running.
func Main(m *testing.M) {
	running.Store(true)
	code := m.Run()
	if err := ran.write(os.Getenv(statementsFile)); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	if err := shared.stop(code != 0); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// createTimeout bounds the creation and the removal of one database.
const createTimeout = time.Minute

// URL returns the URL of a database that only this test uses and to which the migrations were
// applied. It is dropped when the test ends, or kept if the test failed. Without migrations (nil) it
// is empty.
//
// migrations must have goose files (.sql) at its root. Use fs.Sub for an embedded directory.
func URL(t testing.TB, migrations fs.FS) string {
	t.Helper()
	// The test's context ends before the clean-up.
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

// EmptyURL is like URL, but without migrations.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return URL(t, nil)
}

// Create is like URL, but for code without a testing.TB, such as an Example. The caller must call drop
// when the database is no longer needed. drop closes the remaining connections. It is a no-op if the
// database no longer exists.
func Create(ctx context.Context, migrations fs.FS) (url string, drop func() error, err error) {
	if !running.Load() {
		return "", nil, errors.New("pgtest: Main is not running, but it must stop the server: " +
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

// Connect returns a Router that is closed when the test ends. If cfg.URL is empty, the Router uses
// URL(t, migrations). Otherwise migrations is ignored.
//
// MaxConns defaults to 4, because many tests share one server. Logger defaults to none. A connection
// that the test never releases makes the test fail.
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
	observeStatements(&cfg)
	router, err := postgres.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeRouter(t, router) })
	return router
}

// closeTimeout bounds how long the Router of a test may take to close. Close waits for the
// connections in use, and a statement may take 10 s by default.
const closeTimeout = 15 * time.Second

// closeRouter closes a Router. A connection that was never released makes the test fail instead of
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
