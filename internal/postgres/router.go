package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Router runs statements on the shared pool, each by the policy its SQL file
// declares. It is the DBTX of the application's Queries and safe for
// concurrent use.
type Router struct {
	cfg      Config
	pool     *pgxpool.Pool
	registry *registry
}

// Close closes the pool. It waits for the connections in use.
func (r *Router) Close() { r.pool.Close() }

// Pool returns the pool, for what is not a statement: metrics and
// introspection.
func (r *Router) Pool() *pgxpool.Pool { return r.pool }

// Config returns the configuration in force, its defaults filled in.
func (r *Router) Config() Config { return r.cfg }

// Ping asks the server for an answer within the context's deadline.
func (r *Router) Ping(ctx context.Context) error {
	conn, err := r.acquire(ctx, "ping")
	if err != nil {
		return err
	}
	defer conn.Release()
	return wrap("ping", conn.Ping(ctx))
}

// Exec runs a statement that returns no rows.
func (r *Router) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	s := r.registry.find(sql)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	conn, err := r.acquire(ctx, s.Name)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Release()
	tag, err := conn.Exec(ctx, sql, args...)
	return tag, wrap(s.Name, err)
}

// Query runs a statement that returns rows. The statement's deadline covers
// the reading of them; its connection is free when they are read or closed.
func (r *Router) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := r.query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// QueryRow runs a statement that returns one row. Its error comes from Scan:
// ErrNotFound when there is no row.
func (r *Router) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := r.query(ctx, sql, args)
	if err != nil {
		return failedRow{err}
	}
	return row{rows}
}

func (r *Router) query(ctx context.Context, sql string, args []any) (*boundRows, error) {
	s := r.registry.find(sql)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	conn, err := r.acquire(ctx, s.Name)
	if err != nil {
		cancel()
		return nil, err
	}
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		cancel()
		conn.Release()
		return nil, wrap(s.Name, err)
	}
	return &boundRows{Rows: rows, name: s.Name, cancel: cancel, conn: conn}, nil
}

// acquire takes a connection from the pool. The wait has a bound of its own,
// since pgxpool's has none; a caller whose time is up sooner is told of that
// instead.
func (r *Router) acquire(ctx context.Context, statement string) (*pgxpool.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, r.cfg.AcquireTimeout)
	defer cancel()
	conn, err := r.pool.Acquire(bounded)
	if err == nil {
		return conn, nil
	}
	if errors.Is(bounded.Err(), context.DeadlineExceeded) && !errors.Is(ctx.Err(), context.Canceled) &&
		r.pool.Stat().AcquiredConns() >= r.cfg.MaxConns {
		return nil, &Error{Kind: ErrPoolExhausted, Statement: statement, Err: fmt.Errorf(
			"all %d connections are in use: raise POOL_MAX_CONNS or find what holds them: %w", r.cfg.MaxConns, err)}
	}
	return nil, wrap(statement, err)
}
