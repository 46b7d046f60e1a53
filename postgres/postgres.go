// Package postgres is how Quern talks to PostgreSQL: it connects, pools,
// routes each statement by the policy its SQL file declares, runs
// transactions, types errors and notifies Observers. It knows no table of the
// application. Package migrate applies the migrations of its schema.
//
//	Connect, Config     connect.go, config.go     one shared pool from a connection string
//	Diagnose            diagnose.go               what an error on the way to a server means, and its mend
//	FindWeakTLS         sslmode.go                hosts whose identity is not proven
//	Router              router.go                 runs statements; what sqlc calls DBTX
//	Statement           statement.go              what a SQL file says of a statement
//	InTx                tx.go, commit.go          transactions whose commit is exactly known, savepoints
//	Pipeline            pipeline.go, queued.go    statements that share a round trip
//	QueueWithCommit     queue_commit.go           statements that are sent with COMMIT
//	Stream              stream.go                 the rows of a statement as they arrive
//	Session             session.go                reads that are never older than what the caller saw
//	Listen              listen.go                 hears NOTIFY, across broken connections
//	Error, ErrNotFound  errors.go                 SQLSTATEs and constraints, typed once
//	Observer            observer.go               metrics and spans, by packages pgprom and pgotel
//	Snapshot, Stats     snapshot.go, stats.go     the state of the Router, and what a request cost
//	TablesMigration     tables.go                 the tables that the runtime keeps
//	FindMissingGrants   grants.go                 privileges that a role lacks
//	InspectReplicas     replica_report.go         why a replica would not be used
//	LookAtHosts         hosts_report.go           which hosts must not be written to
//	ForeignSettings     settings.go               settings that a role or database has changed
//
// Beneath these:
//
//	run, lease          run.go, lease.go          one statement, and the connection that it is sent on
//	boundRows           rows.go, retry.go         its rows, and when it is sent again
//	registry            registry.go, reads.go     statements by their text, and which only read
//	coalescer           coalesce*.go              merges concurrent calls of one statement
//	bulkhead            class.go                  the share of the pool of each class of work
//	hold                hold.go                   a transaction that is idle for too long
//	commitTable         commit_state.go           what is done about a COMMIT without an answer
//	markers             markers.go                rows that tell whether a lost COMMIT was applied
//	replicas            replica*.go, history*.go,
//	                    lead.go, route.go         which replica has what a session has seen
//	hosts               hosts*.go                 keeps the pool off a primary that was replaced
//	observer            observe.go                the log, and the calls of Observers
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
