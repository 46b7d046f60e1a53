package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"

	"quern"
	"quern/internal/api"
	"quern/internal/console"
	"quern/internal/db"
	"quern/internal/store"
	"quern/localpg"
	"quern/postgres"
	"quern/postgres/migrate"
	"quern/postgres/pgprom"
)

// Time limits for clients. A request has REQUEST_TIMEOUT until its response
// begins, and the client then has answerTimeout to read it.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	answerTimeout     = 20 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// gcPercent lets the heap grow to three times its live size before it is collected. With
// 64 connections the live heap and the stacks have about 5 MB, and a request allocates
// 4 kB: at 28,000 requests a second, the collector runs about twelve times a second and
// takes less than 2 % of two cores. With Go's default of 100, it would run twice as often, and
// a request would take about a tenth more time of the processor. With 256 connections, the
// process then takes 25 MB of memory besides the program's file instead of 35, and 55 with 400.
const gcPercent = 200

// traceTimeout limits how long the shutdown may take to send the last spans.
const traceTimeout = 2 * time.Second

type serveCommand struct{}

// Run serves until a signal cancels ctx. It then returns nil, even if the signal
// interrupted the start, because a signal is the normal way to stop a service.
func (serveCommand) Run(ctx context.Context, a *app) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	// Listen first, because it fails most often and nothing has been changed yet.
	// Clients that connect now wait until the service is started.
	endpoints := a.settings.endpoints()
	beyond := false
	for _, e := range endpoints {
		if e.listener, err = listen(ctx, e.setting, e.value); err != nil {
			return err
		}
		defer e.listener.Close()
		beyond = beyond || e.beyond()
	}
	if err := a.settings.refuseEmbedded(beyond); err != nil {
		return err
	}
	d, err := a.openDatabase(ctx)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer func() { err = errors.Join(err, d.close()) }()

	s, err := a.newService(ctx, d, endpoints)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	defer s.close()
	a.announce(d, s)
	s.notify(daemon.SdNotifyReady)
	// The start leaves garbage of twice the live heap: migrations, schemas, connections.
	debug.FreeOSMemory()
	return s.run(ctx, d)
}

// unlessEnded returns err, or nil if a signal interrupted the start.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listen opens the address of a setting.
func listen(ctx context.Context, setting, address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen on %s: the address is in use: stop the program that uses it, or set %s to another address, such as 127.0.0.1:0 for any free port", address, setting)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen on %s: not allowed: set %s to a port above 1023", address, setting)
	case err != nil:
		return nil, fmt.Errorf("listen on %q: %w: set %s to host:port, such as 127.0.0.1:8080", address, err, setting)
	}
	return listener, nil
}

// service is the API on a database.
type service struct {
	router        *postgres.Router
	migrator      *migrate.Migrator
	tracing       *tracing
	ready         *readiness
	console       *console.Console
	tokens        *store.Tokens           // nil if no request needs a token
	endpoints     []*endpoint             // of LISTEN, and of OPERATOR_LISTEN if it is set
	secure        bool                    // whether they use TLS
	cut           context.CancelCauseFunc // cancels the contexts of all requests
	endBackground func()                  // stops the background work and waits for its end
	applied       int                     // number of migrations applied at the start
	pending       int                     // number of pending migrations
	schema        int64                   // version of the schema
	delay         time.Duration           // between not ready and the shutdown
	timeout       time.Duration           // of the shutdown
	log           *slog.Logger
}

// newService connects, applies pending migrations if the settings allow it, and
// wires the packages together.
func (a *app) newService(ctx context.Context, d *database, endpoints []*endpoint) (_ *service, err error) {
	s := &service{endpoints: endpoints, delay: a.settings.ShutdownDelay, timeout: a.settings.ShutdownTimeout, log: a.log}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	certificate, err := newCertificate(a.settings.TLSCert, a.settings.TLSKey, a.log)
	if err != nil {
		return nil, err
	}
	s.secure = certificate != nil
	if s.tracing, err = newTracing(ctx); err != nil {
		return nil, err
	}
	registry, metrics := newMetrics()
	cfg := a.settings.postgres(d.url, a.log)
	if cfg.MaxConns == 1 {
		a.log.Warn("exports, imports and statistics are rejected: the only connection of the pool is reserved for other requests: set POOL_MAX_CONNS to 2 or more")
	}
	observer := console.NewObserver()
	cfg.Observers = s.tracing.observe(pgprom.New(registry, pgprom.Options{}), observer)
	// Connect before migrating, because Connect waits for a server that is still starting.
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
	if s.tokens, err = a.newTokens(ctx, queries, endpoints, s.pending > 0); err != nil {
		return nil, err
	}
	acts := store.NewWithLimits(queries, a.settings.limits())
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "quern", Name: "oldest_export_seconds", Help: "How long the oldest export has been running: the age of its snapshot. 0 without one.",
	}, func() float64 { return acts.OldestExport().Seconds() }))
	folded := newFoldMetrics(registry)
	plans := newPlanWatch(a.settings.onePostgres(d.url, a.log), a.log, registry)
	s.endBackground = background(func(ctx context.Context) {
		if !a.settings.pooled() && s.pending == 0 {
			defer background(plans.run)()
		}
		if s.tokens != nil {
			defer background(s.tokens.Run)()
		}
		b := a.settings.background(a.log)
		b.Folded = folded
		if !a.settings.pooled() {
			b.Listener = s.router
		}
		acts.Run(ctx, b)
	})
	s.ready = newReadiness(s.router, s.migrator)
	s.console = console.New(console.Config{
		Observer: observer, Migrator: s.migrator, FS: quern.Migrations(), Request: api.RequestOf, Service: true, SignIn: s.tokens != nil, Version: version(), Logger: a.log,
	})
	// The signal cancels ctx, but running requests may finish, so they get their own context.
	requests, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	s.cut = cut
	public := a.entrance(endpoints[0], s.tokens)
	apiConfig := api.Config{
		Queries:        queries,
		Store:          acts,
		Ready:          s.ready.check,
		Metrics:        metrics,
		Logger:         a.log,
		ExportTimeout:  a.settings.ExportTimeout,
		Console:        s.console,
		RequestEnded:   observer.RequestEnded,
		RequestRefused: newRefusedMetric(registry),
		Version:        version(),
		AllowedHosts:   public.AllowedHosts,
		Tokens:         public.Tokens,
		TokenLimits:    api.TokenLimits{Rate: a.settings.TokenRate, Burst: a.settings.TokenBurst, Bulk: a.settings.TokenBulk},
		CORSOrigins:    a.settings.origins(),
		RequestTimeout: a.settings.RequestTimeout,
		QueryBudget:    a.settings.queryBudget(),
		FailOverBudget: a.settings.QueryBudgetMode == "fail",
		BodyMemory:     int64(a.settings.BodyMemory),
	}
	handlers := []http.Handler{nil, nil}
	if len(endpoints) == 1 {
		handlers[0] = api.New(apiConfig)
	} else {
		handlers[0], handlers[1] = api.NewApart(apiConfig, a.entrance(endpoints[1], s.tokens))
	}
	for i, e := range endpoints {
		e.server = &http.Server{
			Handler:           s.tracing.around(handlers[i]),
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      a.settings.RequestTimeout + answerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ConnContext:       api.ConnContext,
			BaseContext:       func(net.Listener) context.Context { return requests },
			ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		}
		if certificate != nil {
			certificate.serve(e.server)
			e.listener = tls.NewListener(e.listener, e.server.TLSConfig)
		}
		e.server.RegisterOnShutdown(s.console.Close) // its streams would keep the shutdown waiting
	}
	return s, nil
}

// lookAtSchema returns the schema's version and how many migrations are pending.
// A schema that is newer than this program is not an error: during a deployment,
// old and new processes serve at the same time, and after a rollback only old ones.
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
		a.log.Warn("the schema is newer than this program and may be incompatible with it: deploy the version that has these migrations",
			"unknown", unknown, "program", version())
	}
	return schema, pending, err
}

// newMigrator returns a Migrator for the migrations of this binary.
func (a *app) newMigrator(d *database) (*migrate.Migrator, error) {
	return migrate.New(migrate.Config{
		URL: d.url, Pooler: postgres.Pooler(a.settings.Pooler), FS: quern.Migrations(), Logger: a.log,
		AllowOutOfOrder: a.outOfOrder, History: true, Sums: quern.Sums,
	})
}

// run serves until ctx is cancelled, the embedded PostgreSQL ends, or serving fails.
func (s *service) run(ctx context.Context, d *database) error {
	served := make(chan error, len(s.endpoints))
	for _, e := range s.endpoints {
		go func() { served <- e.server.Serve(e.listener) }()
	}

	var cause error
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		s.notify(daemon.SdNotifyStopping)
		s.leaveRotation(d)
		s.log.Info("shutting down: running requests may finish", "within", s.timeout)
	case <-d.ended():
		// It was stopped from outside, or the machine is out of memory. Restarting
		// it here would hide that. If a supervisor runs this process, it restarts both.
		cause = fmt.Errorf("%w: start the server again", d.embedded.Err())
	}
	s.drain()
	for range s.endpoints {
		<-served
	}
	return cause
}

// background runs f in a goroutine. The returned function cancels its context and
// waits for its end.
func background(f func(context.Context)) (stop func()) {
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

// notify tells systemd of a state, if the unit has Type=notify.
func (s *service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd was not notified: check NOTIFY_SOCKET and the unit's NotifyAccess", "state", state, "error", err)
	}
}

// leaveRotation keeps serving for SHUTDOWN_DELAY, while /readyz fails. Load balancers
// send requests until they have seen that, and a closed port would fail them.
func (s *service) leaveRotation(d *database) {
	s.ready.draining.Store(true)
	if s.delay == 0 {
		return
	}
	s.log.Info("not ready any more: still serving until load balancers have noticed", "for", s.delay)
	select {
	case <-time.After(s.delay):
	case <-d.ended():
	}
}

// drain accepts no new request and waits for the running ones. It cuts off those
// that take longer than SHUTDOWN_TIMEOUT.
func (s *service) drain() {
	s.ready.draining.Store(true)
	// Ends the waits of workers that claim tasks, so that they get their response now.
	s.endBackground()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	shutdowns := make(chan error, len(s.endpoints))
	for _, e := range s.endpoints {
		go func() { shutdowns <- e.server.Shutdown(ctx) }()
	}
	var err error
	for range s.endpoints {
		err = errors.Join(err, <-shutdowns)
	}
	if err != nil {
		s.log.Warn("requests were cut off: they took longer than SHUTDOWN_TIMEOUT", "timeout", s.timeout)
		s.cut(errDraining)
		for _, e := range s.endpoints {
			_ = e.server.Close() // its errors come from closing connections
		}
	}
}

func (s *service) close() {
	if s.cut != nil {
		s.cut(errDraining)
	}
	if s.endBackground != nil {
		s.endBackground()
	}
	if s.console != nil {
		s.console.Close()
	}
	if s.migrator != nil {
		_ = s.migrator.Close() // an error would change nothing
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

// announce prints the addresses of the API, its docs and the database. Only here is
// a password printed: that of the embedded PostgreSQL, if standard output is a
// terminal. Otherwise it may be a log file, which others can read.
func (a *app) announce(d *database, s *service) {
	schema := fmt.Sprintf("version %d", s.schema)
	if s.applied > 0 {
		schema += fmt.Sprintf(", %s applied just now", count(s.applied, "migration"))
	}
	if s.pending > 0 {
		schema += fmt.Sprintf(", %s pending: not ready until `server migrate up`", count(s.pending, "migration"))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	for _, page := range []struct{ name, path string }{{"Home", "/"}, {"Docs", "/docs"}, {"API", "/v1/users"}, {"Metrics", "/metrics"}} {
		e := s.endpoints[0]
		if page.path == "/metrics" {
			e = s.endpoints[len(s.endpoints)-1]
		}
		fmt.Fprintf(w, "%s\t%s%s\n", page.name, s.baseURL(e), page.path)
	}
	if len(s.endpoints) > 1 {
		fmt.Fprintf(w, "Console\t%s/\n", s.baseURL(s.endpoints[1]))
	}
	if d.dir != "" && !isTerminal(a.stdout) {
		fmt.Fprintf(w, "Database\t%s\n", postgres.MaskURL(d.url))
		fmt.Fprintf(w, "Password\tin %s\n", relative(localpg.PasswordFile(d.dir)))
	} else {
		fmt.Fprintf(w, "Database\t%s\n", d.shown)
	}
	fmt.Fprintf(w, "Schema\t%s\n", schema)
	if s.tokens != nil {
		fmt.Fprintf(w, "Access\twith an API token: `server token create`\n")
	}
	if d.dir == "" {
		fmt.Fprintf(w, "Data\tin that database\n")
	} else {
		fmt.Fprintf(w, "Data\t%s\n", relative(d.dir))
	}
	fmt.Fprintf(w, "\nCtrl-C stops it.\n")
	_ = w.Flush() // a closed standard output is no reason not to serve
}

// baseURL returns the URL of an endpoint for a browser on this machine.
func (s *service) baseURL(e *endpoint) string {
	base := baseURL(e.listener.Addr())
	if s.secure {
		return "https" + strings.TrimPrefix(base, "http")
	}
	return base
}

// baseURL returns the URL of address for a browser on this machine.
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

// relative returns path relative to the working directory, if it is below it.
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
