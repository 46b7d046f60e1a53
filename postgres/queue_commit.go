package postgres

import (
	"context"
	"errors"
	"slices"
)

// QueueWithCommit queues the statements that fn adds and sends them with the transaction's
// next round trip, at the latest with COMMIT. It saves a round trip for statements whose
// result is not needed.
//
// The statements must not return rows. fn does not see their errors. An error is returned
// by the statement or COMMIT they were sent with, and the transaction is rolled back. They
// cannot be cancelled individually, so keep them short, and do not modify their arguments
// afterwards.
//
// Outside a transaction, or before its first statement, they are executed immediately, and
// QueueWithCommit returns the first error.
func QueueWithCommit(ctx context.Context, db DB, fn func(b *Batch) error) error {
	b := &Batch{}
	if err := b.fill(fn); err != nil {
		return err
	}
	for _, s := range b.steps {
		if s.reader != nil {
			return wrap(nameOf(s.sql), errNoRows)
		}
	}
	t, _ := db.(*tx)
	for _, s := range b.steps {
		queue, err := false, error(nil)
		if t != nil {
			queue, err = t.queueWithCommit(ctx, s)
		}
		if err == nil && !queue {
			err = s.execute(ctx, db)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// AtCommit is the old name of QueueWithCommit.
//
// Deprecated: Use QueueWithCommit.
func AtCommit(ctx context.Context, db DB, fn func(b *Batch) error) error {
	return QueueWithCommit(ctx, db, fn)
}

var errNoRows = errors.New("a statement that is sent with COMMIT cannot return rows: use Pipeline, or call its method")

// execute runs the step immediately.
func (s *step) execute(ctx context.Context, db DB) error {
	tag, err := db.Exec(ctx, s.sql, s.args...)
	s.count(tag)
	s.err = err
	return err
}

// queueWithCommit queues a statement for the transaction's next round trip. It returns
// false if the statement must be executed immediately.
func (t *tx) queueWithCommit(ctx context.Context, s *step) (bool, error) {
	if t.ended || ctx.Err() != nil {
		return false, nil // executing it returns the error
	}
	s.statement = t.router.registry.find(s.sql)
	if s.statement.Route != Replica {
		t.mark()
	}
	// The marker must be on the server before COMMIT is sent.
	marking := func(p pending) bool { return p.kind == pendingMarker }
	if !t.begun || slices.ContainsFunc(t.pending, marking) {
		return false, nil
	}
	if err := t.conn.join(s.statement); err != nil {
		return false, err
	}
	t.pending = append(t.pending, pending{kind: pendingStatement, sql: s.sql, args: s.args, step: s, ctx: ctx})
	return true, nil
}
