// Package postgres is how Quern talks to PostgreSQL: it connects, pools,
// routes each statement by the policy its SQL file declares, runs
// transactions, types errors, traces by query name and applies migrations. It
// knows no table of the application.
//
//	Connect, Config    connect.go, config.go   one shared pool from a connection string
//	Router             router.go               runs statements on it; what sqlc calls DBTX
//	InTx               tx.go, commit.go        transactions whose commit is exactly known, savepoints
//	Session            session.go, replica.go  reads that are never older than what the caller saw
//	Error, ErrNotFound errors.go               SQLSTATEs and constraints, typed once
//	Stats              stats.go, observer.go   what a request cost in statements and time; the log
//	Migrator           migrate.go              the history of the schema
package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DBTX runs statements: the interface that sqlc's generated code asks for. A
// Router is one, and so is what InTx hands to its closure.
type DBTX interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}
