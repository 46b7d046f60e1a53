package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// AtCommit has the statements of fn, which return no rows, travel with what the
// transaction sends next, at the latest with its COMMIT: they need no round trip
// of their own. fn is told of no error of theirs: that is one of the statement or
// the COMMIT that they travel with, and undoes the transaction as any other
// does. Nor are they cancelled there, so they should be quick, and their
// arguments are not to be changed any more. Whatever fn runs that is not an Exec
// is refused.
//
// Where they cannot travel with COMMIT, before the first statement of a
// transaction and outside of one, they run at once.
func AtCommit(db DB, fn func(db DBTX) error) error {
	switch db := db.(type) {
	case *tx:
		return fn(atCommit{db})
	case DBTX:
		return fn(db)
	}
	return fmt.Errorf("run with COMMIT: a %T has no transactions: use a Router, or what InTx hands out", db)
}

// atCommit is a transaction whose statements wait for the next round trip.
type atCommit struct{ tx *tx }

var errNoRows = errors.New("what travels with COMMIT can return no rows")

func (a atCommit) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t := a.tx
	if t.ended || ctx.Err() != nil {
		return t.Exec(ctx, sql, args...) // says so
	}
	s := t.router.registry.find(sql)
	if s.Route != Replica {
		t.mark()
	}
	// A marker has to be on the server before COMMIT is sent.
	marking := func(q queued) bool { return q.sql == t.router.markers.create.SQL }
	if !t.begun || slices.ContainsFunc(t.pending, marking) {
		return t.Exec(ctx, sql, args...)
	}
	if err := t.conn.join(s); err != nil {
		return pgconn.CommandTag{}, err
	}
	t.pending = append(t.pending, queued{sql: s.SQL, args: args, statement: s, ctx: ctx})
	return pgconn.CommandTag{}, nil
}

func (a atCommit) Query(_ context.Context, sql string, _ ...any) (pgx.Rows, error) {
	return nil, wrap(a.tx.router.registry.find(sql).Name, errNoRows)
}

func (a atCommit) QueryRow(_ context.Context, sql string, _ ...any) pgx.Row {
	return failedRow{wrap(a.tx.router.registry.find(sql).Name, errNoRows)}
}

func (a atCommit) CopyFrom(_ context.Context, table pgx.Identifier, columns []string, _ pgx.CopyFromSource) (int64, error) {
	return 0, wrap(a.tx.router.registry.find(copyText(table, columns)).Name, errNoRows)
}
