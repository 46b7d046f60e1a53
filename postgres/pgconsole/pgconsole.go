// Package pgconsole serves the operator's page of a Router: rates, latencies, pools, replicas,
// each statement with its plan and whether its @plan holds, what is in flight, and the schema.
// Everything that it shows is also JSON, below /console/api/.
//
//	console := pgconsole.New(pgconsole.Options{Name: "bookshop"})
//	defer console.Close()
//	cfg.Observers = append(cfg.Observers, console)
//	router, err := postgres.Connect(ctx, cfg)
//	…
//	mux.Handle("/console/", requireOperator(console.Handler()))
//
// The page has no access control. A client of /console/api/ sees the statements and the
// schema, and can cancel statements, so guard the handler. docs/console.md explains the page.
package pgconsole

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"

	"quern/internal/console"
	"quern/postgres"
	"quern/postgres/migrate"
)

// Options configures a Console. The zero value is ready for use.
type Options struct {
	// Name and Version are shown in the page. Name defaults to Quern.
	Name, Version string

	// Migrator returns the state of the migrations, and FS has their files. Defaults to none:
	// the page shows no migrations.
	Migrator *migrate.Migrator
	FS       fs.FS

	// Request returns the id and the route of the request that a context belongs to, which
	// the page shows beside a running statement. Defaults to neither.
	Request func(context.Context) (id, route string)

	// Logger receives a line for each statement that an operator cancels. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// Console counts what a Router does, as its Observer, and serves the page.
type Console struct {
	observer *console.Observer
	console  *console.Console
}

// New returns a Console. Pass it to postgres.Connect as an Observer. Close must be called at
// the end.
func New(opts Options) *Console {
	o := console.NewObserver()
	return &Console{o, console.New(console.Config{
		Observer: o, Name: opts.Name, Version: opts.Version, Migrator: opts.Migrator, FS: opts.FS, Request: opts.Request, Logger: opts.Logger,
	})}
}

// StatementEnded implements postgres.Observer.
func (c *Console) StatementEnded(ctx context.Context, end postgres.StatementEnd) {
	c.observer.StatementEnded(ctx, end)
}

// Happened implements postgres.Observer.
func (c *Console) Happened(event postgres.Event) { c.observer.Happened(event) }

// Handler serves the page at /console/, and everything else below that path.
func (c *Console) Handler() http.Handler { return c.console.Handler() }

// Close ends the streams of open pages. Call it before http.Server.Shutdown, which otherwise
// waits for them, for example by http.Server.RegisterOnShutdown.
func (c *Console) Close() { c.console.Close() }
