// Package console serves the operator's page: what the runtime and its database are doing
// now and over the last minutes. Everything that the page shows is also JSON, below
// /console/api/.
//
// An Observer counts. It is passed to postgres.Connect, and costs a few atomic additions for
// each statement. A Console reads the counters once a second, and serves them with the page.
//
//	observer.go, histogram.go   what is counted
//	sample.go, event.go         the last minutes, and the events of them
//	overview.go                 the state of now, and its stream
//	statement.go, plan.go       the registry, with counters, plans and contracts
//	inflight.go                 connections in use, and other sessions
//	schema.go, catalog.go       migrations, tables and indexes
//	link.go                     the console's own connection
//	handler.go, asset.go        HTTP
//
// The console has no access control. Its caller must guard all of /console/api/, because
// POST requests cancel statements.
package console

import (
	"cmp"
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"quern/postgres/migrate"
)

// Config configures a Console. Observer must be set.
type Config struct {
	// Observer is the one that was passed to postgres.Connect.
	Observer *Observer

	// Migrator returns the state of the migrations, and FS has their files. Defaults to none.
	// The page then shows no migrations.
	Migrator *migrate.Migrator
	FS       fs.FS

	// Request returns the id and the route of the request that a context belongs to.
	// Defaults to neither.
	Request func(context.Context) (id, route string)

	// Service adds the pages for tasks, statistics and imports, which use the API of the
	// example service.
	Service bool

	// SignIn is set if requests need an API token. The page then has a button to sign out. Its
	// form to sign in appears on status 401. Both use /v1/session.
	SignIn bool

	// Name and Version are shown in the page. Name defaults to Quern.
	Name, Version string

	// Logger receives a line for each statement that an operator cancels. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Console serves the page and its data. Close must be called at the end.
type Console struct {
	Config
	mux    *http.ServeMux
	start  time.Time
	health health
	plans  plans
	link   link

	streamLife time.Duration // shorter in tests

	closing context.Context // ends when Close is called
	close   context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	samples ring
	events  []Event // of the last minutes, oldest first
	streams map[chan []byte]bool
}

// New returns a Console and starts its clock.
func New(cfg Config) *Console {
	cfg.Name = cmp.Or(cfg.Name, "Quern")
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Request == nil {
		cfg.Request = func(context.Context) (string, string) { return "", "" }
	}
	c := &Console{Config: cfg, start: time.Now(), streamLife: streamLife, streams: map[chan []byte]bool{}}
	c.closing, c.close = context.WithCancel(context.Background())
	c.health.state = Health{OK: true, Since: c.start}
	c.routes()
	c.done.Go(c.tick)
	return c
}

// Close ends the clock and all streams. It is safe to call it more than once.
func (c *Console) Close() {
	c.close()
	c.done.Wait()
	c.link.close()
}
