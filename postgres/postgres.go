// Package postgres is how Quern talks to PostgreSQL: it connects, pools,
// routes each statement by the policy its SQL file declares, runs
// transactions, types errors and notifies Observers. It knows no table of the
// application. Package migrate applies the migrations of its schema.
//
//	Connect, Config    connect.go, config.go   one shared pool from a connection string
//	Diagnose           diagnose.go             what an error on the way to a server means, and its mend
//	Router             router.go               runs statements on it; what sqlc calls DBTX
//	InTx, AtCommit     tx.go, commit.go        transactions whose commit is exactly known, savepoints
//	Pipeline           pipeline.go             the statements of a transaction in one round trip
//	Stream             stream.go               the rows of a statement as they arrive
//	Session            session.go, replica.go  reads that are never older than what the caller saw
//	Listen             listen.go               hears NOTIFY, across broken connections
//	Error, ErrNotFound errors.go               SQLSTATEs and constraints, typed once
//	Observer           observer.go             metrics and spans, by packages pgprom and pgotel
//	Snapshot           snapshot.go             the state of the pools, replicas and hosts
//	Stats              stats.go                what a request cost
//
// Beneath these, batch*.go has calls of one statement leave together. class.go keeps
// each class of work to its share of the pool, ping.go asks whether the primary
// answers, and hosts*.go keeps the pool off a primary that was replaced. settings.go
// reports what sessions have been given, and secrets.go keeps passwords out of
// whatever is printed.
//
// Three rooms know pgx and nothing of the above: internal/conn keeps connections that
// work, internal/dsn reads connection strings, and internal/wire turns bytes into Go
// values.
package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB runs statements: the part of DBTX that sqlc's generated code always asks for.
// InTx and its like take a DB, because a project without a :copyfrom has a Queries
// whose database has no CopyFrom.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// DBTX runs statements and COPY: the interface that sqlc's generated code asks for
// if there is a :copyfrom. A Router is one, and so is what InTx hands to its closure.
type DBTX interface {
	DB
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}
