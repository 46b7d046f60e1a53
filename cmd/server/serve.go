package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern"
	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
	"quern/localpg"
	"quern/postgres"
	"quern/postgres/migrate"
	"quern/postgres/pgprom"
)

// Bounds on what a client may take its time with. A request has REQUEST_TIMEOUT
// until its answer begins, and the client then has answerTimeout to read it.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	answerTimeout     = 20 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// gcPercent lets the heap grow to five times what is in use before it is
// collected. Some 10 MB are, and a request leaves 5 kB behind: at 20,000 requests
// a second Go's default of twice has the collector run thirty times a second, for
// a tenth of what the process does. This costs some 30 MB.
const gcPercent = 400

// traceTimeout bounds the sending of the last spans at the end.
const traceTimeout = 2 * time.Second

type serveCommand struct{}

// Run serves until a signal ends ctx. A signal is how a service is ended, so
// that it is no failure, however far the start had come.
func (serveCommand) Run(ctx context.Context, a *app) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// First of all, because it is what fails most often and nothing has been
	// touched yet. Who connects now waits for the first answer.
	listener, err := listen(ctx, a.settings.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()

	if err := a.settings.refuseEmbedded(!isLoopback(listener.Addr())); err != nil {
		return err
	}
	d, err := a.openDatabase(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() { err = errors.Join(err, d.close()) }()

	if !isLoopback(listener.Addr()) {
		a.log.Warn("LISTEN is " + a.settings.Listen + ": " + exposed)
	}
	s, err := a.newService(ctx, d, a.settings.hosts(listener.Addr()))
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer s.close()
	a.announce(listener.Addr(), d, s)
	return s.run(ctx, listener, d)
}

// unlessEnded forgets the error of a start that a signal broke off.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listen opens the address of LISTEN.
func listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the address is in use: stop what serves there, or set LISTEN to another, such as 127.0.0.1:0 for any free port", address)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not allowed: set LISTEN to a port above 1023", address)
	case err != nil:
		return nil, fmt.Errorf("listen on %q: %w: set LISTEN to host:port, such as 127.0.0.1:8080", address, err)
	}
	return listener, nil
}

// service is the API on a database.
type service struct {
	router        *postgres.Router
	migrator      *migrate.Migrator
	tracing       *tracing
	ready         *readiness
	http          *http.Server
	cut           context.CancelCauseFunc // ends the contexts of all requests
	endBackground func()                  // ends what runs beside the requests
	applied       int                     // migrations, at the start
	pending       int                     // those left out
	schema        int64                   // its version
	timeout       time.Duration           // of the shutdown
	log           *slog.Logger
}

// newService connects, brings the schema up to date unless it was told not to,
// and wires the rooms together. Requests may name the given hosts.
func (a *app) newService(ctx context.Context, d *database, hosts []string) (_ *service, err error) {
	s := &service{timeout: a.settings.ShutdownTimeout, log: a.log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.tracing, err = newTracing(ctx); err != nil {
		return nil, err
	}
	registry, metrics := newMetrics()
	cfg := a.settings.postgres(d.url, a.log)
	if cfg.MaxConns == 1 {
		a.log.Warn("exports, imports and statistics are refused: the one connection of the pool is left to everything else: set POOL_MAX_CONNS to 2 or more")
	}
	cfg.Observers = s.tracing.observe(pgprom.New(registry, pgprom.Options{}))
	// The pool first: it waits for a server that is still starting.
	if s.router, err = postgres.Connect(ctx, cfg); err != nil {
		return nil, err
	}
	if s.migrator, err = a.newMigrator(d); err != nil {
		return nil, err
	}
	if a.settings.ApplyOnUp && !a.settings.pooled() {
		applied, err := s.migrator.Up(ctx)
		s.applied = len(applied)
		if err != nil {
			return nil, err
		}
	}
	if s.schema, s.pending, err = a.lookAtSchema(ctx, s.migrator); err != nil {
		return nil, err
	}

	queries := db.New(s.router)
	acts := store.NewWithLimits(queries, a.settings.limits())
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "quern", Name: "oldest_export_seconds", Help: "How long the oldest export has been running: the age of its snapshot. 0 without one.",
	}, func() float64 { return acts.OldestExport().Seconds() }))
	s.endBackground = background(func(ctx context.Context) {
		b := a.settings.background(a.log)
		if !a.settings.pooled() {
			b.Listener = s.router
		}
		acts.Run(ctx, b)
	})
	s.ready = newReadiness(s.router, s.migrator)
	// Requests outlive the signal, which ends ctx: they are drained.
	requests, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	s.cut = cut
	s.http = &http.Server{
		Handler: s.tracing.around(api.New(api.Config{
			Queries:        queries,
			Store:          acts,
			Ready:          s.ready.check,
			Metrics:        metrics,
			Logger:         a.log,
			ExportTimeout:  a.settings.ExportTimeout,
			Version:        version(),
			AllowedHosts:   hosts,
			CORSOrigins:    a.settings.origins(),
			RequestTimeout: a.settings.RequestTimeout,
			QueryBudget:    a.settings.queryBudget(),
			FailOverBudget: a.settings.QueryBudgetMode == "fail",
			BodyMemory:     int64(a.settings.BodyMemory),
		})),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      a.settings.RequestTimeout + answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       api.ConnContext,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// lookAtSchema returns the schema's version and how many migrations are pending.
// A schema that is newer than this program is no failure: during a deployment
// the old processes serve beside the new ones, and after a rollback alone.
func (a *app) lookAtSchema(ctx context.Context, m *migrate.Migrator) (schema int64, pending int, err error) {
	list, err := m.Status(ctx)
	var unknown []int64
	for _, s := range list {
		switch {
		case !s.Applied:
			pending++
			continue
		case s.Missing:
			unknown = append(unknown, s.Version)
		}
		schema = max(schema, s.Version)
	}
	if len(unknown) > 0 {
		a.log.Warn("the schema is newer than this program, which may not fit it: deploy the version that has these migrations",
			"unknown", unknown, "program", version())
	}
	return schema, pending, err
}

// newMigrator is on this binary's migrations.
func (a *app) newMigrator(d *database) (*migrate.Migrator, error) {
	return migrate.New(migrate.Config{
		URL: d.url, Pooler: postgres.Pooler(a.settings.Pooler), FS: quern.Migrations(), Logger: a.log,
		AllowOutOfOrder: a.outOfOrder,
	})
}

// run serves until ctx ends, the embedded PostgreSQL does, or serving fails.
func (s *service) run(ctx context.Context, listener net.Listener, d *database) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(listener) }()

	var cause error
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		s.log.Info("ending: requests under way may finish", "within", s.timeout)
	case <-d.ended():
		// Somebody stopped it, or the machine is out of memory. Starting it
		// again would hide that, and a supervisor restarts what has ended.
		cause = fmt.Errorf("%w: start the server again", d.embedded.Err())
	}
	s.drain()
	<-served
	return cause
}

// background runs f until the function that is returned is called, which waits for
// its end.
func background(f func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// drain answers no new request, waits for those under way as long as they may
// take, and cuts off the others.
func (s *service) drain() {
	s.ready.draining.Store(true)
	// Claimers that wait for tasks are answered now.
	s.endBackground()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off: they took longer than SHUTDOWN_TIMEOUT", "timeout", s.timeout)
		s.cut(errDraining)
		_ = s.http.Close() // its errors are those of connections being closed
	}
}

func (s *service) close() {
	if s.cut != nil {
		s.cut(errDraining)
	}
	if s.endBackground != nil {
		s.endBackground()
	}
	if s.migrator != nil {
		_ = s.migrator.Close() // nothing is left to be done about it
	}
	if s.router != nil {
		s.router.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), traceTimeout)
	defer cancel()
	if err := s.tracing.close(ctx); err != nil {
		s.log.Warn("the last spans were not sent", "error", err)
	}
}

// announce says where everything is. It is the one place that shows a password:
// that of the embedded default, and only to a terminal. Standard output may be a
// log file, which others can read.
func (a *app) announce(address net.Addr, d *database, s *service) {
	base := baseURL(address)
	schema := fmt.Sprintf("version %d", s.schema)
	if s.applied > 0 {
		schema += fmt.Sprintf(", %s applied just now", count(s.applied, "migration"))
	}
	if s.pending > 0 {
		schema += fmt.Sprintf(", %s pending: not ready until `server migrate up`", count(s.pending, "migration"))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	for _, page := range []struct{ name, path string }{{"Home", "/"}, {"Docs", "/docs"}, {"API", "/v1/users"}, {"Metrics", "/metrics"}} {
		fmt.Fprintf(w, "%s\t%s%s\n", page.name, base, page.path)
	}
	if d.dir != "" && !isTerminal(a.stdout) {
		fmt.Fprintf(w, "Database\t%s\n", postgres.MaskURL(d.url))
		fmt.Fprintf(w, "Password\tin %s\n", relative(localpg.PasswordFile(d.dir)))
	} else {
		fmt.Fprintf(w, "Database\t%s\n", d.shown)
	}
	fmt.Fprintf(w, "Schema\t%s\n", schema)
	if d.dir == "" {
		fmt.Fprintf(w, "Data\tin that database\n")
	} else {
		fmt.Fprintf(w, "Data\t%s\n", relative(d.dir))
	}
	fmt.Fprintf(w, "\nCtrl-C ends it.\n")
	_ = w.Flush() // a closed standard output is no reason not to serve
}

// baseURL is how a browser on this machine reaches address.
func baseURL(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return "http://" + address.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// relative is path as seen from the working directory, if it is below.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if r, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(r) {
		return "./" + r
	}
	return path
}
