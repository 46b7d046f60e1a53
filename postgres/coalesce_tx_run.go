package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgtype"

	"quern/postgres/internal/conn"
)

const (
	// sharedLockTimeout bounds the wait of a statement of a shared transaction for a lock. The
	// other callers wait with it, and the locks of their rows are held. After that time, the
	// pipeline waits alone. Most transactions that hold a lock commit within a few
	// milliseconds.
	sharedLockTimeout = "set local lock_timeout = '100ms'"

	// maxSharedFailures is how many pipelines may make a shared transaction fail one after
	// another. Then the remaining ones run alone.
	maxSharedFailures = 4
)

// runShared runs the pipelines in one transaction and completes each of them. If the server
// rejects a statement of one pipeline, the others run again without it.
func (co *txCoalescer) runShared(lease lease, list []*sharer) {
	defer func() { giveBack(context.Background(), lease) }()
	list = co.withoutLeads(list)
	if m := co.router.markers; m.table.Load() == markersUnknown {
		m.look(context.Background(), lease.Conn, co.router.cfg, false)
	}
	for failures := 0; len(list) > 0; {
		t := &sharedTx{co: co, lease: lease, list: list}
		at, err := t.safely()
		switch {
		case err == nil:
			t.complete(nil)
			return
		case errors.Is(err, ErrCommitUnknown):
			t.complete(err)
			return
		}
		failures++
		if at < 0 || failures == maxSharedFailures || !t.rollback() {
			alone(list)
			return
		}
		alone(list[at : at+1])
		list = slices.Concat(list[:at], list[at+1:])
	}
}

// withoutLeads makes pipelines whose sessions lead the primary run alone, so that the
// others do not wait with them. It returns the others.
func (co *txCoalescer) withoutLeads(list []*sharer) []*sharer {
	return slices.DeleteFunc(list, func(s *sharer) bool {
		leads := co.router.leads(s.session)
		if leads {
			s.complete(errAlone)
		}
		return leads
	})
}

// sharedTx is one attempt to run several pipelines in one transaction and one round trip.
type sharedTx struct {
	co    *txCoalescer
	lease lease
	list  []*sharer

	trip   bounds
	batch  conn.Batch
	commit commitRun
	memory []byte // of the rows
}

// safely attempts the transaction. It recovers from an argument that panics while it is
// encoded, so that the panic occurs in its caller's goroutine. COMMIT is then not sent.
func (t *sharedTx) safely() (at int, err error) {
	defer t.trip.end()
	defer t.trip.bounded.Unwatch()
	defer func() {
		if p := recover(); p != nil {
			at, err = -1, fmt.Errorf("shared transaction: panic: %v", p)
		}
	}()
	return t.attempt()
}

// attempt runs the transaction. If the server rejects a statement of a pipeline, at is the
// pipeline's index. It is negative for all other errors.
func (t *sharedTx) attempt() (at int, err error) {
	r := t.co.router
	if err := r.mayWrite("begin"); err != nil {
		return -1, err
	}
	before := t.send()
	for ; before > 0; before-- {
		if _, err := t.batch.Exec(); err != nil {
			return -1, t.failed(err)
		}
	}
	for i, s := range t.list {
		if err := t.read(s); err != nil {
			var refused *Error
			err = t.failed(err)
			if !errors.As(err, &refused) || refused.Code == "" || refused.Code == pgerrcode.QueryCanceled || errors.Is(err, ErrCommitUnknown) {
				i = -1
			}
			return i, err
		}
	}
	if t.shared() {
		if _, err := t.batch.Exec(); err != nil {
			return -1, t.failed(err)
		}
	}
	t.commit.start = time.Now()
	return -1, t.commit.read(&t.batch, nil)
}

// shared reports whether the transaction has more than one pipeline.
func (t *sharedTx) shared() bool { return len(t.list) > 1 }

// send sends the whole transaction. It returns the number of results before those of the
// pipelines.
func (t *sharedTx) send() (before int) {
	r, batch := t.co.router, &t.batch
	batch.Add(t.co.begin, nil)
	before++
	if t.shared() {
		batch.Add(sharedLockTimeout, nil)
		before++
	}
	if markers := t.markers(); len(markers) > 0 {
		batch.Add(r.markers.createMany.SQL, []any{markers})
		before++
	}
	timeout := t.list[0].timeout
	for _, s := range t.list {
		timeout = min(timeout, s.timeout)
		for _, step := range s.steps {
			batch.Add(step.sql, step.args)
		}
	}
	if t.shared() {
		// A deferred constraint or trigger that fails here has certainly rolled back
		// everything. If it failed in COMMIT, that would not be certain (see commitInDoubt).
		batch.Add("set constraints all immediate", nil)
	}
	t.queueCommit(batch)
	now := time.Now()
	t.trip.begin(context.Background(), now, now.Add(timeout+r.cfg.QueryTimeout), route{})
	t.lease.usage.runs(t.list[0].steps[0].statement, now, &t.trip)
	t.commit.sentIn, t.commit.conn = &t.trip.bounded, t.lease.Conn.Conn()
	for _, s := range t.list {
		s.sent = now
		for _, step := range s.steps {
			knowTypes(&t.trip.bounded, t.commit.conn, step.statement)
		}
	}
	r.observer.coalesced(commitStatement, len(t.list))
	batch.Send(t.trip.bounded.Watch(t.commit.conn.PgConn()), t.commit.conn)
	return before
}

// markers returns the markers of the pipelines that have one.
func (t *sharedTx) markers() (ids []pgtype.UUID) {
	for _, s := range t.list {
		if s.marker.Valid {
			ids = append(ids, s.marker)
		}
	}
	return ids
}

// queueCommit adds COMMIT to the batch, and the query for the WAL position if a caller has
// a session.
func (t *sharedTx) queueCommit(batch *conn.Batch) {
	r, ctx := t.co.router, context.Background()
	if slices.ContainsFunc(t.list, func(s *sharer) bool { return s.session != nil }) {
		ctx, _ = WithSession(ctx)
	}
	for _, s := range t.list {
		if s.session != nil {
			s.epoch = s.session.currentEpoch()
		}
	}
	c := &txConn{router: r, wrote: slices.ContainsFunc(t.list, func(s *sharer) bool { return s.writes })}
	c.queueCommit(ctx, batch, &t.commit)
}

// read copies the rows of a pipeline's statements off the connection.
func (t *sharedTx) read(s *sharer) error {
	for i, step := range s.steps {
		rows, err := t.batch.Query()
		if err != nil {
			return wrap(step.statement.Name, t.trip.replacedTypes(t.commit.conn, err))
		}
		s.results[i] = storedRows{} // an earlier attempt may have filled it
		if t.memory, err = s.results[i].copy(rows, step.statement, t.memory); err != nil {
			return wrap(step.statement.Name, err)
		}
	}
	return nil
}

// failed returns the error of a transaction that failed before the result of COMMIT. It is
// ErrCommitUnknown if the transaction may have committed.
func (t *sharedTx) failed(err error) error {
	t.batch.Close() // its error has been read already
	return t.commit.typed(err)
}

// rollback makes the connection ready for another attempt. It returns false if that is not
// possible.
func (t *sharedTx) rollback() bool {
	c := t.lease.Conn.Conn()
	if c.IsClosed() || c.PgConn().IsBusy() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := c.Exec(ctx, "rollback")
	return err == nil
}

// complete gives each caller the outcome of the transaction.
func (t *sharedTx) complete(outcome error) {
	if own := t.commit.session; outcome == nil && own != nil && t.commit.asks {
		seen, unknown := own.state()
		for _, s := range t.list {
			s.learn(seen, unknown)
		}
	}
	for _, s := range t.list {
		s.complete(outcome)
	}
}
