package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rollbackTimeout bounds the ROLLBACK of a transaction whose context has
// ended; a connection that does not answer in that time is destroyed.
const rollbackTimeout = 2 * time.Second

// TxOptions say how a transaction runs. The zero value is a read-write
// transaction at the server's default isolation.
type TxOptions struct {
	// Isolation is pgx.Serializable, pgx.RepeatableRead or pgx.ReadCommitted.
	// Defaults to the server's.
	Isolation pgx.TxIsoLevel

	// ReadOnly refuses writes. Defaults to off.
	ReadOnly bool
}

// transactor begins what InTx runs its closure in.
type transactor interface {
	inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error
}

// InTx runs fn in a transaction on db: it commits when fn returns nil, and
// rolls back when fn returns an error or panics, or when ctx ends. On a Router
// it is a transaction of its own; on the DBTX of another InTx it is a
// savepoint, which opts do not concern. After fn has returned, what it was
// given refuses to run anything.
func InTx(ctx context.Context, db DBTX, opts TxOptions, fn func(tx DBTX) error) error {
	t, ok := db.(transactor)
	if !ok {
		return fmt.Errorf("begin: a %T cannot begin a transaction: use a Router, or what InTx hands out", db)
	}
	return t.inTx(ctx, opts, fn)
}

func (r *Router) inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error {
	conn, err := r.acquire(ctx, "begin")
	if err != nil {
		return err
	}
	// Release destroys a connection that is not idle: none goes back to the
	// pool inside a transaction.
	defer conn.Release()
	pgxOpts := pgx.TxOptions{IsoLevel: opts.Isolation}
	if opts.ReadOnly {
		pgxOpts.AccessMode = pgx.ReadOnly
	}
	inner, err := conn.BeginTx(ctx, pgxOpts)
	if err != nil {
		return wrap("begin", err)
	}
	return (&tx{inner, r.registry}).run(ctx, fn)
}

// tx is a transaction, or a savepoint in one.
type tx struct {
	pgx      pgx.Tx
	registry *registry
}

func (t *tx) inTx(ctx context.Context, _ TxOptions, fn func(tx DBTX) error) error {
	inner, err := t.pgx.Begin(ctx)
	if err != nil {
		return wrap("savepoint", err)
	}
	return (&tx{inner, t.registry}).run(ctx, fn)
}

func (t *tx) run(ctx context.Context, fn func(tx DBTX) error) error {
	// Deferred, so that a panic and a test's FailNow roll back too. After a
	// commit it does nothing.
	defer t.rollback(ctx)
	if err := fn(t); err != nil {
		return err
	}
	return wrap("commit", t.pgx.Commit(ctx))
}

func (t *tx) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	// An error leaves a connection that Release destroys, which rolls back too.
	_ = t.pgx.Rollback(ctx)
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	s := t.registry.find(sql)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	tag, err := t.pgx.Exec(ctx, sql, args...)
	return tag, wrap(s.Name, err)
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := t.query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (t *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.query(ctx, sql, args)
	if err != nil {
		return failedRow{err}
	}
	return row{rows}
}

func (t *tx) query(ctx context.Context, sql string, args []any) (*boundRows, error) {
	s := t.registry.find(sql)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	rows, err := t.pgx.Query(ctx, sql, args...)
	if err != nil {
		cancel()
		return nil, wrap(s.Name, err)
	}
	return &boundRows{Rows: rows, name: s.Name, cancel: cancel}, nil
}
