// Package postgres is Quern's runtime on PostgreSQL. It connects, pools connections, routes
// each statement by the policy in its SQL file, runs transactions, classifies errors and
// notifies Observers. It knows no table of the application. Package migrate applies the
// migrations of the schema.
//
//	Connect, Config     connect.go, config.go     one shared pool from a connection string
//	Diagnose            diagnose.go               explains a connection error, with a hint
//	FindWeakTLS         sslmode.go                hosts whose identity is not verified
//	Router              router.go                 runs statements; implements sqlc's DBTX
//	Statement           statement.go              a statement of a SQL file and its policy
//	InTx                tx.go, tx_options.go,
//	                    commit.go                 transactions with a known outcome, savepoints
//	Pipeline            pipeline.go, queued.go    statements that share a round trip
//	QueueWithCommit     queue_commit.go           statements that are sent with COMMIT
//	Stream              stream.go                 the rows of a statement as they arrive
//	Session             session.go                reads never older than what the caller saw
//	Listen              listen.go                 receives NOTIFY, across broken connections
//	Error, ErrNotFound  errors.go                 SQLSTATEs and constraints as typed errors
//	Observer            observer.go               metrics and spans, by packages pgprom and pgotel
//	Snapshot, Stats     snapshot.go, stats.go     the state of the Router, the cost of a request
//	TablesMigration     tables.go                 the runtime's tables
//	FindMissingGrants   grants.go                 privileges that a role lacks
//	InspectReplicas     replica_report.go         why a replica would not be used
//	LookAtHosts         hosts_report.go           which hosts must not be written to
//	ForeignSettings     settings.go               settings that a role or database has changed
//
// Internally:
//
//	run, lease          run.go, lease.go          one statement and its connection
//	boundRows           rows.go, retry.go         its rows, and when it is repeated
//	registry            registry.go, reads.go     statements by their text, and which only read
//	coalescer           coalesce*.go              merges concurrent calls of one statement
//	bulkhead            class.go                  the share of the pool of each class of work
//	hold                hold.go                   detects a transaction that is idle for too long
//	commitTable         commit_state.go           the protocol for a COMMIT without an answer
//	markers             markers.go                rows that show whether a lost COMMIT was applied
//	replicas            replica*.go, history*.go,
//	                    lead.go, route.go         which replica has what a session has seen
//	hosts               hosts*.go                 keeps the pool off a primary that was replaced
//	observer            observe.go                the log, and the calls of Observers
//
// Three inner packages use pgx and do not depend on this one: internal/conn manages
// connections, internal/dsn parses connection strings, and internal/wire converts bytes to
// Go values.
package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB runs statements. It is the part of DBTX that sqlc's generated code always requires.
// InTx and similar functions take a DB, because the generated Queries of a project without
// a :copyfrom has no CopyFrom.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// DBTX runs statements and COPY. It is the interface that sqlc's generated code requires if
// there is a :copyfrom. Router implements it, and so does the tx that InTx passes to its
// function.
type DBTX interface {
	DB
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}
