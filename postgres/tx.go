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
	// rollbackTimeout bounds a ROLLBACK; a connection that does not answer in
	// that time is destroyed.
	rollbackTimeout = 2 * time.Second

	// rollbackGrace is how much longer than its context a caller waits for it.
	rollbackGrace = 50 * time.Millisecond
)

// transactor begins what InTx and Pipeline run their closures in.
type transactor interface {
	inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error
	pipeline(ctx context.Context, opts TxOptions, fn func(b *Batch) error) error
}

// InTx runs fn in a transaction on db and returns when it is known whether it
// committed: it commits when fn returns nil, and rolls back when fn returns an
// error or panics, or when ctx ends.
//
// fn may be run more than once, so that it must start from scratch each time:
// after a serialization failure, a deadlock, a lock timeout or a migration
// under a prepared statement, and when the connection breaks before COMMIT was
// sent. What fn left in its variables is that of the run that counted. When
// the answer to COMMIT is lost, InTx finds out by repeating the transaction
// under the same marker; where that cannot be done before ctx ends, the error
// is ErrCommitUnknown.
//
// On a Router it is a transaction of its own; on the DBTX of another InTx it is
// a savepoint, which opts do not concern and which is not repeated by itself.
// After fn has returned, what it was given refuses to run anything.
//
// fn must not wait for anything but its own statements: it holds a connection
// and locks (see TxOptions.MaxIdle). Nor must it use the Router itself, which
// takes a second connection: where transactions hold all that there are, that
// is ErrWithinTransaction. It is seen in fn's own goroutine only.
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
		return nil, fmt.Errorf("begin: a %T cannot begin a transaction: use a Router, or what InTx hands out", db)
	}
	return t, nil
}

// txConn is the connection of a transaction under way.
type txConn struct {
	router  *Router
	conn    lease // none when refused
	where   route
	opts    TxOptions
	refused error // why it got no connection in the share of its first statement

	// pending are the statements that wait for the next round trip: BEGIN, the
	// marker, SAVEPOINT, RELEASE and those of QueueWithCommit never need one of their own.
	pending []pending
	begun   bool // BEGIN was answered
	wrote   bool // a statement ran that is not declared to only read

	hold    *hold
	bounded bool // the server was told, or is to be, how long it may be idle

	marker   *marker
	marked   bool // the transaction's marker is in it already, or pending
	markedAt int  // how many savepoints were open there: with those it is undone
	open     int  // savepoints that the server has
}

// pendingKind is what a statement that waits to be sent does to its transaction.
type pendingKind int

const (
	pendingBegin pendingKind = iota
	pendingIdleBound
	pendingMarker
	pendingSavepoint
	pendingRelease
	pendingStatement // of QueueWithCommit
)

// pending is a statement that waits to be sent.
type pending struct {
	kind  pendingKind
	sql   string
	args  []any
	depth int // of a savepoint

	// Of a statement of QueueWithCommit, which is observed when it ends.
	step *step
	ctx  context.Context
}

// tx is a transaction under way, or a savepoint in one.
type tx struct {
	*txConn
	depth int
	ended bool
}

// inTx runs fn in a savepoint.
func (t *tx) inTx(ctx context.Context, _ TxOptions, fn func(tx DBTX) error) error {
	if t.ended {
		return wrap("savepoint", pgx.ErrTxClosed)
	}
	name := "savepoint " + pgx.Identifier{fmt.Sprintf("%s_%d", t.router.cfg.Name, t.depth+1)}.Sanitize()
	inner := &tx{txConn: t.txConn, depth: t.depth + 1}
	t.pending = append(t.pending, pending{kind: pendingSavepoint, sql: name, depth: inner.depth})
	kept := false
	// Deferred, so that a panic and a test's FailNow undo too.
	defer func() {
		inner.ended = true
		switch at := t.savepointAt(inner.depth); {
		case at >= 0 && (!kept || at == len(t.pending)-1):
			// It was never sent, nor was anything in it.
			t.pending = t.pending[:at]
		case kept:
			t.pending = append(t.pending, pending{kind: pendingRelease, sql: "release " + name})
		default:
			t.undoTo(ctx, name)
			// What is pending stands inside of it.
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

// savepointAt returns where a savepoint waits to be sent, or -1.
func (t *txConn) savepointAt(depth int) int {
	for i, p := range slices.Backward(t.pending) {
		if p.kind == pendingSavepoint && p.depth == depth {
			return i
		}
	}
	return -1
}

// undoTo rolls back to a savepoint, at once: in a failed transaction nothing
// else can be prepared.
func (t *txConn) undoTo(ctx context.Context, savepoint string) {
	limit := rollbackTimeout
	if deadline, ok := ctx.Deadline(); ok {
		// Without a grace, because to cancel it takes as long (conn.CancelTimeout).
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
	// An error leaves the transaction failed, which the next statement tells.
	_, _ = t.conn.Exec(ctx, "rollback to "+savepoint+"; release "+savepoint)
}

// failed reports whether a statement failed in the transaction, so that it can
// only be rolled back.
func (t *txConn) failed() bool {
	taken, err := t.hold.take()
	if err != nil {
		return false // which the COMMIT tells
	}
	defer t.hold.release(taken)
	return t.acquired() && t.conn.Conn.Conn().PgConn().TxStatus() == 'E'
}

func (t *txConn) acquired() bool { return t.conn.Conn != nil }

// enter holds a statement to its class. If it is the first one and has a class of
// its own, that is the class of the transaction: the connection, on which nothing
// has been sent yet, is exchanged for one of that share. So the class of a
// transaction is where its other policies are, in the SQL file.
func (t *txConn) enter(ctx context.Context, s *statement) error {
	switch {
	case t.refused != nil:
		return t.refused
	case t.begun || t.conn.class != DefaultClass || t.opts.Class != "" && s.Class != DefaultClass:
		return t.conn.join(s)
	case s.Class == DefaultClass && t.conn.tryRead(s):
		return nil
	}
	// Given back first: to wait for a share must not cost others a connection.
	t.router.holds.remove(t.hold)
	giveBack(ctx, t.conn)
	t.marker.class = s.Class
	t.conn, t.refused = t.router.acquire(ctx, request{where: t.where, session: sessionOf(ctx), class: s.Class, statement: s, name: "begin", start: time.Now()})
	if t.refused == nil {
		t.router.holds.add(t.hold)
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

// send runs a statement of the transaction, together with what is pending.
func (t *txConn) send(ctx context.Context, s *statement, args []any) (*boundRows, error) {
	rows := &boundRows{hold: t.hold}
	rows.begin(t.router, ctx, s, args)
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
	// The wait for a share of the pool is not the statement's.
	now := time.Now()
	rows.deadline = now.Add(s.Timeout)
	rows.bounds.begin(ctx, now, rows.deadline, t.where)
	if err := rows.send(t.conn.Conn.Conn()); err != nil {
		return nil, rows.fail(err)
	}
	return rows, nil
}

// sendWithPending sends what is pending, and the statement of rows after it.
func (t *txConn) sendWithPending(rows *boundRows) (pgx.Rows, error) {
	batch := &pgx.Batch{}
	t.queuePending(batch)
	batch.Queue(rows.statement.SQL, rows.args...)
	results := rows.conn.SendBatch(rows.sentIn, batch)
	rows.after = results.Close
	if err := t.skipPending(results); err != nil {
		return nil, err
	}
	return results.Query()
}

// mark puts the transaction's marker before its first statement that writes: it
// has to be on the server when COMMIT is sent, so that whoever settles waits
// for this transaction if it still runs.
func (t *txConn) mark() {
	t.wrote = true
	if t.marked || !t.marker.usable(t.opts) {
		return
	}
	at := 0
	if !t.begun {
		at = 1 // behind BEGIN
	}
	t.pending = slices.Insert(t.pending, at, pending{kind: pendingMarker, sql: t.router.markers.create.SQL, args: []any{t.marker.value()}})
	t.marked, t.markedAt = true, t.open
}

// putMarker puts the marker in a round trip of its own.
func (t *txConn) putMarker(ctx context.Context) error {
	rows, err := t.send(ctx, t.router.markers.create, []any{t.marker.value()})
	if err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// queuePending adds what is pending to a batch.
func (t *txConn) queuePending(batch *pgx.Batch) {
	for _, p := range t.pending {
		batch.Queue(p.sql, p.args...)
	}
}

// skipPending reads the answers to what was pending. What has none stays
// pending: of a batch that could not be prepared, nothing was done.
func (t *txConn) skipPending(results pgx.BatchResults) error {
	for start := time.Now(); len(t.pending) > 0; start = time.Now() {
		tag, err := results.Exec()
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

// endPending ends a statement of QueueWithCommit, whose answer was waited for since start.
func (t *txConn) endPending(p pending, start time.Time, tag pgconn.CommandTag, err error) error {
	r := &run{}
	r.begin(t.router, p.ctx, p.step.statement, p.args)
	r.start, r.where = start, t.where
	_ = r.end(tag, err)
	// An error that is not the server's is one of all that was sent.
	if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) {
		err = r.typed(err)
	}
	p.step.count(tag)
	p.step.err = err
	return err
}

// commit ends the transaction together with what is pending: its marker before
// the COMMIT, and behind it the question where the log stands.
func (t *txConn) commit(ctx context.Context) error {
	if t.refused != nil {
		return t.refused // whatever the closure made of it
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
		// It was undone with the savepoint that it stood in. It must be on the
		// server before COMMIT is sent.
		t.marked = true
		if err := t.putMarker(ctx); err != nil {
			return err
		}
	}
	// Told before anything is sent, a context that has ended leaves no doubt.
	if err := ctx.Err(); err != nil {
		return wrap("commit", err)
	}
	if t.wrote && t.router.hosts.outdated(t.conn.Conn.Conn().PgConn()) {
		return errOutdated
	}
	batch := &pgx.Batch{}
	t.queuePending(batch)
	end := t.queueCommit(ctx, batch)
	for _, p := range t.pending {
		if p.kind == pendingStatement {
			end.deadline = end.deadline.Add(p.step.statement.Timeout)
		}
	}
	end.bounds.begin(ctx, end.start, end.deadline, route{})
	shielded := func() {}
	if end.commits { // otherwise nothing is lost when it is cancelled
		shielded = conn.Shield(t.conn.Conn.Conn().PgConn())
	}
	results := t.conn.SendBatch(&end.bounded, batch)
	err = end.read(results, replacedTypes(&end.bounded, t.conn.Conn.Conn(), t.skipPending(results)))
	shielded()
	if errors.Is(err, ErrCommitUnknown) {
		t.marker.doubt(err, commitLost)
	}
	return err
}

// commitRun is a COMMIT under way and, after it, the question where the log is.
type commitRun struct {
	run
	asks  bool // the question is asked
	epoch uint64
}

// queueCommit adds the COMMIT to a batch, and the question if there is a session.
func (t *txConn) queueCommit(ctx context.Context, batch *pgx.Batch) *commitRun {
	e := &commitRun{}
	e.begin(t.router, ctx, commitStatement, nil)
	e.deadline = e.start.Add(t.router.cfg.QueryTimeout)
	e.where = t.where
	e.commits = t.wrote && !t.opts.ReadOnly
	batch.Queue("commit")
	if e.asks = e.session != nil && len(t.router.replicas.all) > 0; e.asks {
		batch.Queue(t.where.position())
		e.epoch = e.session.currentEpoch()
	}
	return e
}

// read reads the answer to the COMMIT, unless err came before it, and closes
// the batch.
func (e *commitRun) read(results pgx.BatchResults, err error) error {
	e.after = results.Close
	var tag pgconn.CommandTag
	if err == nil {
		e.committing = true
		tag, err = results.Exec()
		err = committed(tag, err)
	}
	if err == nil {
		// From here on it is committed, whatever comes after.
		if e.asks {
			e.session.learn(results.QueryRow(), e.where, e.epoch, e.router.replicas.histories)
		}
		e.after = func() error { results.Close(); return nil }
	}
	if later := e.end(tag, err); err == nil {
		return later
	}
	return e.typed(err)
}

// commitStatement is the name of a COMMIT in errors, logs and metrics.
var commitStatement = &statement{Statement: Statement{Name: "commit"}}
