//go:build linux

package faults

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/db"
	"quern/postgres"
)

// The controls, which are the usual handwritten code and must fail.

// naive runs a transaction and repeats it if its connection breaks.
func naive(pool *pgxpool.Pool) transactor {
	return func(ctx context.Context, fn closure) error {
		for attempt := 1; ; attempt++ {
			err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return fn(db.New(tx)) })
			var answered *pgconn.PgError
			if err == nil || attempt == 5 || ctx.Err() != nil ||
				errors.As(err, &answered) && !strings.HasPrefix(answered.Code, "57P") {
				return err
			}
		}
	}
}

// turns sends statements to replicas in turn, regardless of the caller's
// position.
type turns struct {
	db.DBTX // unused methods
	pools   []*pgxpool.Pool
	next    atomic.Int64
}

func (r *turns) pool() *pgxpool.Pool { return r.pools[int(r.next.Add(1))%len(r.pools)] }

func (r *turns) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return r.pool().Exec(ctx, sql, args...)
}

func (r *turns) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return r.pool().Query(ctx, sql, args...)
}

func (r *turns) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return turnRow{r.pool().QueryRow(ctx, sql, args...)}
}

// turnRow returns Quern's error if there is no row.
type turnRow struct{ pgx.Row }

func (r turnRow) Scan(dest ...any) error {
	err := r.Row.Scan(dest...)
	if errors.Is(err, pgx.ErrNoRows) {
		return postgres.ErrNotFound
	}
	return err
}
