package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
	"quern/postgres/internal/dsn"
)

// connectBackoff limits the first pause between attempts to connect. The limit doubles with
// each attempt, up to connectBackoffMax. The pause is a random part of it ("full jitter"),
// so that a hundred processes do not connect at the same time.
const (
	connectBackoff    = 200 * time.Millisecond
	connectBackoffMax = 5 * time.Second
)

// Connect opens the pools and waits for the first connection to the primary. If the server
// cannot be reached, is still starting or has no free connection, Connect retries up to
// ConnectRetries times. It fails immediately if the password, database, certificate or
// connection string is wrong. The error is one line that names the problem and how to fix
// it (see Diagnose), and never contains the password.
func Connect(ctx context.Context, cfg Config) (*Router, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r, err := openPrimary(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := r.openReplicas(ctx); err != nil {
		r.Close()
		return nil, err
	}
	if err := r.awaitServer(ctx); err != nil {
		// In the background, because it waits for attempts to connect.
		go r.Close()
		return nil, err
	}
	// Without logging, because a process that applies the migrations usually connects
	// first.
	r.markers.look(ctx, r.primary, r.cfg, true)
	r.start()
	return r, nil
}

// The settings that name the primary and its replicas.
const (
	settingPrimary  = "DATABASE_URL"
	settingReplicas = "DATABASE_REPLICA_URLS"

	// Its connection strings are settingPrimary's with another host.
	settingDiscovery = "REPLICA_DISCOVERY"
)

// openPrimary returns a Router whose pool does not connect yet.
func openPrimary(ctx context.Context, cfg Config) (*Router, error) {
	pc, err := cfg.poolConfig()
	if err != nil {
		return nil, err
	}
	hosts := newHosts(cfg, pc)
	hosts.guard(&pc.ConnConfig.Config)
	primary, err := conn.Open(ctx, cfg.options(settingPrimary, cfg.URL), pc)
	if err != nil {
		return nil, wrap("connect", err)
	}
	r := newRouter(cfg, primary)
	primary.Hooks = r.hooks(primaryName)
	if r.replicas.expected {
		primary.Meet = r.replicas.histories.meetPrimary
	}
	if r.hosts = hosts; hosts != nil {
		primary.Outdated = hosts.outdated
		hosts.observer, hosts.reset = r.observer, primary.Leave
		r.replicas.onHigherTimeline = hosts.hint
	}
	return r, nil
}

// hooks returns the hooks that observe a pool's connections, with the name of their server.
func (r *Router) hooks(server string) conn.Hooks {
	return conn.Hooks{
		Connected: func(ctx context.Context, start time.Time, pid uint32, pooled bool, err error) {
			r.observer.connected(ctx, server, start, pid, pooled, err)
		},
		Closed: func(pid uint32, age time.Duration, reason string, early bool) {
			r.observer.closed(server, pid, age, reason, early)
		},
		Warned:  func(n *pgconn.Notice) { r.observer.warned(server, n) },
		Closing: r.closed.Load,
	}
}

// openReplicas opens a pool for each replica. A replica that does not answer costs nothing.
func (r *Router) openReplicas(ctx context.Context) error {
	for _, url := range r.cfg.ReplicaURLs {
		if _, err := r.openReplica(ctx, settingReplicas, url); err != nil {
			return err
		}
	}
	return nil
}

func (r *Router) openReplica(ctx context.Context, setting, url string) (*replica, error) {
	pc, err := r.cfg.poolConfigOf(setting, url)
	if err != nil {
		return nil, err
	}
	pool, err := conn.Open(ctx, r.cfg.options(setting, url), pc)
	if err != nil {
		return nil, wrap("connect", err)
	}
	x := r.replicas.add(pool.Pool, newBulkhead(r.cfg, r.registry))
	pool.Hooks = r.hooks(x.name)
	pool.Closing = func() bool { return r.closed.Load() || x.forgotten.Load() }
	pool.Meet = meetReplica
	pool.Begin()
	return x, nil
}

// awaitServer returns nil once the server has accepted a connection and has passed all checks
// for problems that would otherwise appear only later. Otherwise it returns the reason.
func (r *Router) awaitServer(ctx context.Context) error {
	config := r.primary.Config()
	for attempt := 1; ; attempt++ {
		err := r.conns.Enter(ctx)
		if err == nil {
			return nil
		}
		if !Diagnose(err).Transient || attempt > r.cfg.ConnectRetries || ctx.Err() != nil {
			return connectErrorOf(config, err)
		}
		limit := connectPause(attempt)
		r.cfg.Logger.WarnContext(ctx, "database does not answer yet", "attempt", attempt, "again_within", limit, "error", oneLine(err))
		if !pause(ctx, rand.N(limit)) {
			return connectErrorOf(config, err)
		}
	}
}

// connectPause returns the longest pause after an attempt to connect. The first attempt is
// 1.
func connectPause(attempt int) time.Duration {
	return min(connectBackoffMax, connectBackoff<<min(attempt-1, 10))
}

// connectErrorOf returns the error of Connect for err.
func connectErrorOf(pc *pgxpool.Config, err error) error {
	where := MaskURL(pc.ConnString())
	if where == "" {
		where = dsn.Describe(pc)
	}
	typed := wrap("connect", err)
	var e *Error
	if errors.As(typed, &e) {
		e.Err = withoutConfig(e.Err)
	}
	d := Diagnose(err)
	return &connectError{where: where, text: oneLine(err), diagnosis: d, err: typed}
}

// connectError says where and why connecting failed, and how to fix it.
type connectError struct {
	where, text string
	diagnosis   Diagnosis
	err         error
}

func (e *connectError) Error() string {
	s := fmt.Sprintf("connect to %s: %s", e.where, e.diagnosis.What)
	if e.text != "" {
		s += " (" + e.text + ")"
	}
	if e.diagnosis.Hint != "" {
		s += ": " + e.diagnosis.Hint
	}
	return s
}

func (e *connectError) Unwrap() error { return e.err }

// withoutConfig removes the configuration that pgconn adds to an error to connect, because
// it contains the password.
func withoutConfig(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return connect.Unwrap()
	}
	return err
}
