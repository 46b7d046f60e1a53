package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

const (
	// rollbackTimeout bounds a ROLLBACK. A connection that does not answer within it is
	// destroyed.
	rollbackTimeout = 2 * time.Second

	// rollbackGrace is how long a caller still waits for the ROLLBACK after its context has
	// ended.
	rollbackGrace = 50 * time.Millisecond
)

// transactor begins the transactions of InTx and Pipeline.
type transactor interface {
	inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error
	pipeline(ctx context.Context, opts TxOptions, fn func(b *Batch) error) error
}

// InTx runs fn in a transaction on db and returns once the outcome is known. The
// transaction commits if fn returns nil. It rolls back if fn returns an error or panics, or
// if ctx ends.
//
// fn may run more than once, so it must start from scratch each time. It is repeated after a
// serialization failure, a deadlock, a lock timeout, a migration that invalidates a prepared
// statement, or a connection that breaks before COMMIT is sent. Variables that fn has set then
// hold the values of the last run. If the answer to COMMIT is lost, InTx resolves the outcome
// by repeating the transaction under the same marker. If that is not possible before ctx ends,
// InTx returns ErrCommitUnknown.
//
// On a Router, InTx begins a new transaction. On the DBTX of another InTx, it sets a
// savepoint, which ignores opts except Spare and is not repeated separately. After fn has returned, its
// DBTX rejects all statements.
//
// fn must not wait for anything except its own statements, because it holds a connection
// and locks (see TxOptions.MaxIdle). fn must not use the Router either, because the Router
// takes a second connection. If transactions hold all connections, such a call returns
// ErrWithinTransaction. Only calls in fn's own goroutine are detected.
func InTx(ctx context.Context, db DB, opts TxOptions, fn func(tx DBTX) error) error {
	t, err := transactorOf(db)
	if err != nil {
		return err
	}
	return t.inTx(ctx, opts.withDefaults(), fn)
}

func transactorOf(db DB) (transactor, error) {
	t, ok := db.(transactor)
	if !ok {
		return nil, fmt.Errorf("begin: a %T cannot begin a transaction: use a Router, or the DBTX that InTx passes to its function", db)
	}
	return t, nil
}

// txConn is the connection of an open transaction.
type txConn struct {
	router  *Router
	conn    lease // zero if it was refused
	where   route
	opts    TxOptions
	refused error // why the share of its first statement had no connection

	// pending are the statements that are sent with the next round trip. BEGIN, the marker,
	// SAVEPOINT, RELEASE and the statements of QueueWithCommit never need a separate one.
	pending []pending
	room    [3]pending // of the first ones: BEGIN, the idle limit and the marker
	markRow [1]any     // the argument of the marker
	begun   bool       // BEGIN was answered
	wrote   bool       // a statement ran that is not declared read-only

	// trip bounds the round trip of a pipeline that is the whole transaction. It began with the
	// wait for the connection, because one context for both is cheaper than two.
	trip *bounds

	hold    *hold
	bounded bool // the idle limit was sent to the server, or is pending

	marker   *marker
	marked   bool // the marker is in the transaction, or pending
	markedAt int  // open savepoints at that time; rolling one of them back removes the marker
	open     int  // savepoints that the server has
}

// pendingKind says how a pending statement changes its transaction.
type pendingKind int

const (
	pendingBegin pendingKind = iota
	pendingIdleBound
	pendingMarker
	pendingSavepoint
	pendingRelease
	pendingStatement // of QueueWithCommit
)

// pending is a statement that has not been sent yet.
type pending struct {
	kind  pendingKind
	sql   string
	args  []any
	depth int // of a savepoint

	// Set for a statement of QueueWithCommit, which is observed when it ends.
	step *step
	ctx  context.Context
}

// tx is an open transaction, or a savepoint in one.
type tx struct {
	*txConn
	depth int
	ended bool
}

// inTx runs fn in a savepoint.
func (t *tx) inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error {
	if opts.Spare {
		return &Error{Kind: ErrPoolExhausted, Statement: "savepoint", Err: errNotSpare}
	}
	if t.ended {
		return wrap("savepoint", pgx.ErrTxClosed)
	}
	name := "savepoint " + pgx.Identifier{fmt.Sprintf("%s_%d", t.router.cfg.Name, t.depth+1)}.Sanitize()
	inner := &tx{txConn: t.txConn, depth: t.depth + 1}
	t.pending = append(t.pending, pending{kind: pendingSavepoint, sql: name, depth: inner.depth})
	kept := false
	// Deferred, so that a panic and a test's FailNow roll back too.
	defer func() {
		inner.ended = true
		switch at := t.savepointAt(inner.depth); {
		case at >= 0 && (!kept || at == len(t.pending)-1):
			// Neither the savepoint nor a statement in it was sent.
			t.pending = t.pending[:at]
		case kept:
			t.pending = append(t.pending, pending{kind: pendingRelease, sql: "release " + name})
		default:
			t.undoTo(ctx, name)
			// All pending statements were queued inside the savepoint.
			t.pending, t.open = t.pending[:0], t.depth
			t.marked = t.marked && t.markedAt <= t.depth
		}
	}()
	if err := fn(inner); err != nil {
		return err
	}
	if t.failed() {
		return wrap("savepoint", pgx.ErrTxCommitRollback)
	}
	kept = true
	return nil
}

// savepointAt returns the index of a pending savepoint, or -1.
func (t *txConn) savepointAt(depth int) int {
	for i, p := range slices.Backward(t.pending) {
		if p.kind == pendingSavepoint && p.depth == depth {
			return i
		}
	}
	return -1
}

// undoTo rolls back to a savepoint immediately, because a failed transaction cannot prepare
// any other statement.
func (t *txConn) undoTo(ctx context.Context, savepoint string) {
	limit := rollbackTimeout
	if deadline, ok := ctx.Deadline(); ok {
		// No grace period is added, because cancelling already takes that long
		// (conn.CancelTimeout).
		limit = min(limit, time.Until(deadline))
	}
	if ctx.Err() != nil {
		limit = rollbackGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	taken, err := t.hold.take()
	if err != nil {
		return
	}
	defer t.hold.release(taken)
	// If this fails, the transaction stays failed and the next statement returns the error.
	_, _ = t.conn.Exec(ctx, "rollback to "+savepoint+"; release "+savepoint)
}

// failed reports whether a statement has failed in the transaction, so that it can only be
// rolled back.
func (t *txConn) failed() bool {
	taken, err := t.hold.take()
	if err != nil {
		return false // COMMIT returns the error
	}
	defer t.hold.release(taken)
	return t.acquired() && t.conn.Conn.Conn().PgConn().TxStatus() == 'E'
}

func (t *txConn) acquired() bool { return t.conn.Conn != nil }

// enter counts a statement against its class. If the first statement has a class other than
// the default, the whole transaction gets that class: its connection, which is still
// unused, is exchanged for one from that share. So the class of a transaction is set in the
// SQL file, as its other policies are.
func (t *txConn) enter(ctx context.Context, s *statement) error {
	switch {
	case t.refused != nil:
		return t.refused
	case t.begun || t.conn.class != DefaultClass || t.opts.Class != "" && s.Class != DefaultClass:
		return t.conn.join(s)
	case s.Class == DefaultClass && t.conn.tryRead(s):
		return nil
	}
	// Released first, so that waiting for a share does not keep a connection from others.
	t.router.holds.remove(t.hold)
	giveBack(ctx, t.conn)
	t.marker.class = s.Class
	t.conn, t.refused = t.router.acquire(ctx, request{where: t.where, session: sessionOf(ctx), class: s.Class, statement: s, spare: t.opts.Spare, name: "begin", start: time.Now()})
	if t.refused == nil {
		t.router.holds.add(t.hold)
		t.conn.usage.holds(t.hold)
		t.refused = t.where.check(t.conn.Conn)
	}
	return t.refused
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return tagOf(t.query(ctx, sql, args))
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return rowsOf(t.query(ctx, sql, args))
}

func (t *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return rowOf(t.query(ctx, sql, args))
}

func (t *tx) query(ctx context.Context, sql string, args []any) (*boundRows, error) {
	s := t.router.registry.find(sql)
	if t.ended {
		return nil, wrap(s.Name, pgx.ErrTxClosed)
	}
	return t.send(ctx, s, args)
}

// send runs a statement of the transaction together with the pending ones.
func (t *txConn) send(ctx context.Context, s *statement, args []any) (*boundRows, error) {
	rows := &boundRows{hold: t.hold}
	rows.called(t.router, ctx, s, args)
	rows.where = t.where
	if err := t.router.overBudget(ctx, s); err != nil {
		return nil, rows.fail(err)
	}
	taken, err := t.hold.takeInTime()
	if err != nil {
		return nil, rows.fail(err)
	}
	defer t.hold.release(taken)
	if err := t.enter(ctx, s); err != nil {
		return nil, rows.fail(err)
	}
	t.boundIdle()
	if s.Route != Replica {
		t.mark()
	}
	// Waiting for a share of the pool does not count against the statement's timeout.
	now := time.Now()
	rows.deadline = now.Add(s.Timeout)
	rows.bounds.begin(ctx, now, rows.deadline, t.where)
	if err := rows.bounded.Err(); err != nil {
		return nil, rows.fail(err)
	}
	t.conn.usage.runs(s, now, &rows.bounds)
	if err := rows.send(t.conn.Conn.Conn()); err != nil {
		return nil, rows.fail(err)
	}
	return rows, nil
}

// sendWithPending sends the pending statements, followed by the statement of rows.
func (t *txConn) sendWithPending(rows *boundRows) (pgx.Rows, error) {
	batch := &conn.Batch{}
	t.queuePending(batch)
	batch.Add(rows.statement.SQL, rows.args)
	batch.Send(rows.bounded.Watch(rows.conn.PgConn()), rows.conn)
	rows.after = batch.Close
	if err := t.skipPending(batch); err != nil {
		return nil, err
	}
	return batch.Query()
}

// mark queues the transaction's marker before its first statement that writes. The marker
// must be on the server before COMMIT is sent, so that a later run that resolves the
// outcome waits for this transaction if it is still running.
func (t *txConn) mark() {
	t.wrote = true
	if t.marked || !t.marker.usable(t.opts) {
		return
	}
	at := 0
	if !t.begun {
		at = 1 // after BEGIN
	}
	t.markRow[0] = t.marker.value()
	t.pending = slices.Insert(t.pending, at, pending{kind: pendingMarker, sql: t.router.markers.create.SQL, args: t.markRow[:]})
	t.marked, t.markedAt = true, t.open
}

// putMarker writes the marker in a separate round trip.
func (t *txConn) putMarker(ctx context.Context) error {
	rows, err := t.send(ctx, t.router.markers.create, []any{t.marker.value()})
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// queuePending adds the pending statements to a batch.
func (t *txConn) queuePending(batch *conn.Batch) {
	for _, p := range t.pending {
		batch.Add(p.sql, p.args)
	}
}

// skipPending reads the results of the pending statements. A statement without a result
// stays pending, because a batch that cannot be prepared executes nothing.
func (t *txConn) skipPending(batch *conn.Batch) error {
	for start := time.Now(); len(t.pending) > 0; start = time.Now() {
		tag, err := batch.Exec()
		p := t.pending[0]
		if p.kind == pendingStatement {
			err = t.endPending(p, start, tag, err)
		}
		if err != nil {
			return err
		}
		t.begun = true
		switch p.kind {
		case pendingSavepoint:
			t.open++
		case pendingRelease:
			t.open--
			t.markedAt = min(t.markedAt, t.open)
		}
		t.pending = t.pending[1:]
	}
	return nil
}

// endPending ends a statement of QueueWithCommit, whose result was awaited since start.
func (t *txConn) endPending(p pending, start time.Time, tag pgconn.CommandTag, err error) error {
	r := &run{}
	r.called(t.router, p.ctx, p.step.statement, p.args)
	r.start, r.where = start, t.where
	_ = r.end(tag, err)
	// Any other error concerns the whole round trip.
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		err = r.typed(err)
	}
	p.step.count(tag)
	p.step.err = err
	return err
}

// commit commits the transaction. The round trip carries the pending statements, then
// COMMIT, then the query for the WAL position.
func (t *txConn) commit(ctx context.Context) error {
	if t.refused != nil {
		return t.refused // even if the closure ignored it
	}
	taken, err := t.hold.takeInTime()
	if err != nil {
		return err
	}
	defer t.hold.release(taken)
	if !t.begun {
		return nil
	}
	if t.conn.Conn.Conn().IsClosed() {
		return wrap("commit", pgconn.ErrConnClosed)
	}
	if t.failed() {
		return wrap("commit", pgx.ErrTxCommitRollback)
	}
	if t.wrote && !t.marked && t.marker.usable(t.opts) {
		// A savepoint that contained the marker was rolled back. The marker must be on the
		// server before COMMIT is sent.
		t.marked = true
		if err := t.putMarker(ctx); err != nil {
			return err
		}
	}
	// Checked before anything is sent, so that a context that has ended leaves nothing in
	// doubt.
	if err := ctx.Err(); err != nil {
		return wrap("commit", err)
	}
	if t.wrote && t.router.hosts.outdated(t.conn.Conn.Conn().PgConn()) {
		return errOutdated
	}
	batch := &conn.Batch{}
	t.queuePending(batch)
	end := &commitRun{}
	t.queueCommit(ctx, batch, end)
	for _, p := range t.pending {
		if p.kind == pendingStatement {
			end.deadline = end.deadline.Add(p.step.statement.Timeout)
		}
	}
	end.bounds.begin(ctx, end.start, end.deadline, route{})
	if err := end.bounded.Err(); err != nil {
		end.bounds.end()
		return wrap("commit", err)
	}
	t.conn.usage.runs(commitStatement, end.start, nil)
	shielded := func() {}
	if end.commits { // otherwise cancelling it loses nothing
		shielded = conn.Shield(t.conn.Conn.Conn().PgConn())
	}
	batch.Send(end.bounded.Watch(t.conn.Conn.Conn().PgConn()), t.conn.Conn.Conn())
	err = end.read(batch, end.replacedTypes(t.conn.Conn.Conn(), t.skipPending(batch)))
	shielded()
	if errors.Is(err, ErrCommitUnknown) {
		t.marker.doubt(err, commitLost)
	}
	return err
}

// commitRun is a COMMIT in progress, followed by the query for the WAL position.
type commitRun struct {
	run
	asks  bool // whether the position is queried
	epoch uint64
}

// queueCommit adds COMMIT to a batch, and the query for the WAL position if there is a
// session.
func (t *txConn) queueCommit(ctx context.Context, batch *conn.Batch, e *commitRun) {
	e.called(t.router, ctx, commitStatement, nil)
	e.deadline = e.start.Add(t.router.cfg.QueryTimeout)
	e.where = t.where
	e.commits = t.wrote && !t.opts.ReadOnly
	batch.Add("commit", nil)
	if e.asks = e.session != nil && t.router.replicas.expected; e.asks {
		batch.Add(t.where.position(), nil)
		e.epoch = e.session.currentEpoch()
	}
}

// read reads the result of COMMIT, unless err occurred before it, and closes the batch.
func (e *commitRun) read(batch *conn.Batch, err error) error {
	var tag pgconn.CommandTag
	if err == nil {
		e.committing = true
		tag, err = batch.Exec()
		err = committed(tag, err)
	}
	if err == nil && e.asks {
		e.session.learn(batch.QueryRow(), e.where, e.epoch, e.router.replicas.histories)
	}
	// Once COMMIT has returned, the transaction is committed, even if a later result fails.
	_ = batch.Close()
	if later := e.end(tag, err); err == nil {
		return later
	}
	return e.typed(err)
}

// commitStatement is the name of a COMMIT in errors, logs and metrics.
var commitStatement = &statement{Statement: Statement{Name: "commit"}}
