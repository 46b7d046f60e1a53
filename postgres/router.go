package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/postgres/internal/conn"
)

// Router runs statements on the shared pools, each by the policy its SQL file
// declares: on the primary or on a replica, within its deadline, repeated where
// that is safe. It is the DBTX of the application's Queries and safe for
// concurrent use.
type Router struct {
	cfg      Config
	primary  *pgxpool.Pool
	classes  *bulkhead // of the primary's pool
	replicas *replicas
	hosts    *hosts // of DATABASE_URL; nil for one
	registry *registry
	observer *observer
	markers  *markers
	pinger   *pinger
	closed   atomic.Bool
	conns    *conn.Pool // of which primary is
	holds    holds
}

func newRouter(cfg Config, conns *conn.Pool) *Router {
	primary := conns.Pool
	registry := newRegistry(slices.Concat(cfg.Statements, cfg.OwnStatements()), cfg.QueryTimeout)
	r := &Router{
		cfg: cfg, conns: conns, primary: primary, classes: newBulkhead(cfg, registry), registry: registry,
		observer: newObserver(cfg),
		markers:  newMarkers(cfg, registry),
		pinger:   newPinger(),
	}
	r.replicas = &replicas{
		primary: primary, histories: &histories{observer: r.observer}, observer: r.observer,
		sql: cfg.tables().historySQL(), maxLag: cfg.ReplicaMaxLag, start: time.Now(), onHigherTimeline: func() {},
	}
	r.openCoalescers()
	return r
}

// start begins the work in the background: the watch on the hosts and the replicas,
// and the sweep of old markers.
func (r *Router) start() {
	r.replicas.watch()
	r.hosts.start()
	r.markers.start(r)
	r.observer.happened(RouterStarted{Router: r})
}

// Close closes the pools. It waits for the connections in use.
func (r *Router) Close() {
	r.closed.Store(true)
	r.markers.stop()
	r.pinger.close()
	r.hosts.close()
	r.replicas.close()
	r.conns.Close()
}

// Pool returns the primary's pool, for what is not a statement: metrics and
// introspection.
func (r *Router) Pool() *pgxpool.Pool { return r.primary }

// Config returns the configuration in force, its defaults filled in.
func (r *Router) Config() Config { return r.cfg }

// Ping asks the primary for an answer, through the pool, within the context's
// deadline.
func (r *Router) Ping(ctx context.Context) error {
	conn, err := r.acquire(ctx, request{class: DefaultClass, name: "ping", start: time.Now()})
	if err != nil {
		return err
	}
	defer conn.release()
	return wrap("ping", conn.Ping(ctx))
}

// Exec runs a statement that returns no rows.
func (r *Router) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return tagOf(r.query(ctx, r.registry.find(sql), time.Time{}, args))
}

// Query runs a statement that returns rows. The statement's deadline covers
// the reading of them; its connection is free when they are read or closed.
func (r *Router) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return rowsOf(r.query(ctx, r.registry.find(sql), time.Time{}, args))
}

// QueryRow runs a statement that returns one row. Its error comes from Scan:
// ErrNotFound when there is no row. One with @batch may leave with others.
func (r *Router) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	s := r.registry.find(sql)
	if s.coalescer != nil {
		return s.coalescer.queryRow(ctx, args)
	}
	return rowOf(r.query(ctx, s, time.Time{}, args))
}

// Ready returns nil if the primary answers within the context's deadline and takes
// writes, and ErrReadOnly if it does not because of a setting. It uses
// a connection of its own, so that it can tell a server that does not answer from
// a pool that is full: with all connections in use, the service is busy and
// works. If the pool has no connection at all, it must be able to make one.
func (r *Router) Ready(ctx context.Context) error {
	if err := r.pinger.ping(ctx, r); err != nil {
		return wrap("ready", err)
	}
	if stat := r.primary.Stat(); stat.AcquiredConns()+stat.IdleConns() > 0 {
		return nil
	}
	conn, err := r.acquire(ctx, request{class: DefaultClass, name: "ready", start: time.Now()})
	if err != nil {
		return err
	}
	conn.release()
	return nil
}

// Format implements fmt.Formatter: a Router holds its Config.
func (r *Router) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "postgres.Router{%s}", r.cfg)
}

// mayWrite returns why a write must not begin, or nil.
func (r *Router) mayWrite(statement string) error {
	if cause := r.conns.RefuseWrite(); cause != nil {
		return &Error{Kind: ErrUnavailable, Statement: statement, Err: cause}
	}
	return nil
}
