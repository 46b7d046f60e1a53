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

// Router runs statements on shared connection pools. The SQL file of each statement decides
// whether it runs on the primary or a replica, its deadline, and whether it may be
// repeated. Router implements DBTX for generated Queries. It is safe for concurrent use.
type Router struct {
	cfg      Config
	primary  *pgxpool.Pool
	classes  *bulkhead // of the primary's pool
	replicas *replicas
	hosts    *hosts // of DATABASE_URL; nil if it names one
	registry *registry
	observer *observer
	markers  *markers
	pinger   *pinger
	closed   atomic.Bool
	conns    *conn.Pool // contains primary
	holds    holds
	inFlight inFlight

	txCoalescers map[pgx.TxIsoLevel]*txCoalescer // nil if pipelines are not coalesced
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
		expected: len(cfg.ReplicaURLs) > 0 || cfg.ReplicaDiscovery != nil,
		primary:  primary, histories: &histories{observer: r.observer}, observer: r.observer,
		sql: cfg.tables().historySQL(), maxLag: cfg.ReplicaMaxLag, start: time.Now(), onHigherTimeline: func() {},
	}
	r.openCoalescers()
	r.openTxCoalescers()
	return r
}

// start begins the background work: watching hosts and replicas, and sweeping old markers.
func (r *Router) start() {
	r.replicas.watch(r.discovery())
	r.hosts.start()
	r.markers.start(r)
	r.observer.happened(RouterStarted{Router: r})
}

// Close closes the pools. It waits until all connections have been released.
func (r *Router) Close() {
	r.closed.Store(true)
	r.markers.stop()
	r.pinger.close()
	r.hosts.close()
	r.replicas.close()
	r.conns.Close()
}

// Pool returns the primary's pool, for metrics and introspection.
func (r *Router) Pool() *pgxpool.Pool { return r.primary }

// Config returns the configuration in use, including defaults.
func (r *Router) Config() Config { return r.cfg }

// Ping sends a ping to the primary through the pool. It ends with ctx.
func (r *Router) Ping(ctx context.Context) error {
	conn, err := r.acquire(ctx, request{class: DefaultClass, name: "ping", start: time.Now()})
	if err != nil {
		return err
	}
	defer conn.release()
	return wrap("ping", conn.Ping(ctx))
}

// Exec runs a statement that returns no rows. A call of an :execrows with @batch may be
// coalesced with others.
func (r *Router) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	s := r.registry.find(sql)
	if s.coalescer != nil {
		return s.coalescer.exec(ctx, args)
	}
	return tagOf(r.query(ctx, s, time.Time{}, args))
}

// Query runs a statement that returns rows. The statement's deadline includes reading them.
// Its connection is released once all rows have been read or the rows are closed.
func (r *Router) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return rowsOf(r.query(ctx, r.registry.find(sql), time.Time{}, args))
}

// QueryRow runs a statement that returns one row. Its error comes from Scan, which returns
// ErrNotFound if there is no row. A call of a statement with @batch may be coalesced with
// others.
func (r *Router) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	s := r.registry.find(sql)
	if s.coalescer != nil {
		return s.coalescer.queryRow(ctx, args)
	}
	return rowOf(r.query(ctx, s, time.Time{}, args))
}

// Ready returns nil if the primary answers before ctx ends and accepts writes. It returns
// ErrReadOnly if a setting makes the primary reject them. It uses a separate connection, so
// that it can tell a server that does not answer from a full pool. A full pool means that
// the service is busy, not broken. If the pool has no connection at all, it must be able to
// open one.
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

// Format implements fmt.Formatter, because a Router contains its Config.
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
