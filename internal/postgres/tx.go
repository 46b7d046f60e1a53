package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// rollbackTimeout bounds a ROLLBACK; a connection that does not answer in
	// that time is destroyed.
	rollbackTimeout = 2 * time.Second

	// rollbackGrace is how much longer than its context a caller waits for it.
	rollbackGrace = 50 * time.Millisecond
)

// TxOptions say how a transaction runs. The zero value is a read-write
// transaction at the server's default isolation whose commit is exactly known.
type TxOptions struct {
	// Isolation is pgx.Serializable, pgx.RepeatableRead or pgx.ReadCommitted.
	// Defaults to the server's.
	Isolation pgx.TxIsoLevel

	// ReadOnly refuses writes. Defaults to off.
	ReadOnly bool

	// Replica lets a ReadOnly transaction run on a replica that has what the
	// caller has seen. Defaults to the primary.
	Replica bool

	// NoMarker leaves out the row by which a lost COMMIT is settled; such a
	// commit then ends in ErrCommitUnknown. It saves some 20 µs, for callers
	// who can tell from their own rows whether they committed. Defaults to off.
	NoMarker bool
}

func (o TxOptions) begin() string {
	sql := "begin"
	if o.Isolation != "" {
		sql += " isolation level " + string(o.Isolation)
	}
	if o.ReadOnly {
		sql += " read only"
	}
	return sql
}

// transactor begins what InTx runs its closure in.
type transactor interface {
	inTx(ctx context.Context, opts TxOptions, fn func(tx DBTX) error) error
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
func InTx(ctx context.Context, db DBTX, opts TxOptions, fn func(tx DBTX) error) error {
	t, ok := db.(transactor)
	if !ok {
		return fmt.Errorf("begin: a %T cannot begin a transaction: use a Router, or what InTx hands out", db)
	}
	return t.inTx(ctx, opts, fn)
}

// txConn is the connection of a transaction under way.
type txConn struct {
	router *Router
	conn   *pgxpool.Conn
	where  route
	opts   TxOptions

	// pending are the statements that control the transaction and wait for the
	// next round trip: BEGIN, SAVEPOINT and RELEASE never need one of their own.
	pending []string
	begun   bool // BEGIN was sent
	wrote   bool // a statement ran that is not declared to only read
	marked  bool // the transaction's marker is in it already
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
	name := fmt.Sprint("savepoint quern_", t.depth+1)
	t.pending = append(t.pending, name)
	inner := &tx{txConn: t.txConn, depth: t.depth + 1}
	kept := false
	// Deferred, so that a panic and a test's FailNow undo too.
	defer func() {
		inner.ended = true
		switch last := len(t.pending) - 1; {
		case last >= 0 && t.pending[last] == name:
			// Nothing ran in it: it was never sent.
			t.pending = t.pending[:last]
		case kept:
			t.pending = append(t.pending, "release "+name)
		default:
			t.undoTo(ctx, name)
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

// undoTo rolls back to a savepoint, at once: in a failed transaction nothing
// else can be prepared.
func (t *txConn) undoTo(ctx context.Context, savepoint string) {
	limit := rollbackTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)+rollbackGrace)
	}
	if ctx.Err() != nil {
		limit = rollbackGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	// An error leaves the transaction failed, which the next statement tells.
	_, _ = t.conn.Exec(ctx, "rollback to "+savepoint+"; release "+savepoint)
}

// failed reports whether a statement failed in the transaction, so that it can
// only be rolled back.
func (t *txConn) failed() bool { return t.conn.Conn().PgConn().TxStatus() == 'E' }

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	rows, err := t.query(ctx, sql, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	rows.Close()
	return rows.CommandTag(), rows.Err()
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := t.query(ctx, sql, args)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func (t *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.query(ctx, sql, args)
	if err != nil {
		return failedRow{err}
	}
	return row{rows}
}

func (t *tx) query(ctx context.Context, sql string, args []any) (*boundRows, error) {
	s := t.router.registry.find(sql)
	if t.ended {
		return nil, wrap(s.Name, pgx.ErrTxClosed)
	}
	return t.send(ctx, s, args)
}

// send runs a statement of the transaction, together with what is pending.
func (t *txConn) send(ctx context.Context, s *Statement, args []any) (*boundRows, error) {
	t.wrote = t.wrote || s.Route != Replica
	bounded, cancel := context.WithTimeout(ctx, s.Timeout)
	out := &boundRows{run: run{
		statement: s, args: args, ctx: ctx, start: time.Now(), where: t.where, observer: t.router.observer, cancel: cancel,
	}}
	var err error
	if len(t.pending) == 0 {
		out.Rows, err = t.conn.Query(bounded, s.SQL, args...)
	} else {
		batch := &pgx.Batch{}
		t.queuePending(batch)
		n := batch.Len()
		batch.Queue(s.SQL, args...)
		results := t.conn.SendBatch(bounded, batch)
		out.after = results.Close
		if err = skip(results, n); err == nil {
			out.Rows, err = results.Query()
		}
	}
	if err != nil {
		out.Close()
		return nil, out.typed(err)
	}
	return out, nil
}

// queuePending moves what is pending to a batch.
func (t *txConn) queuePending(batch *pgx.Batch) {
	for _, sql := range t.pending {
		batch.Queue(sql)
		t.begun = t.begun || strings.HasPrefix(sql, "begin")
	}
	t.pending = t.pending[:0]
}

// skip reads n results that have no rows.
func skip(results pgx.BatchResults, n int) error {
	for range n {
		if _, err := results.Exec(); err != nil {
			return err
		}
	}
	return nil
}

// commit ends the transaction together with what is pending: its marker before
// the COMMIT, and behind it the question where the log stands.
func (t *txConn) commit(ctx context.Context, m *marker) error {
	if !t.begun {
		return nil
	}
	if t.failed() {
		return wrap("commit", pgx.ErrTxCommitRollback)
	}
	// Told before anything is sent, a context that has ended leaves no doubt.
	if err := ctx.Err(); err != nil {
		return wrap("commit", err)
	}
	bounded, cancel := context.WithTimeout(ctx, t.router.cfg.QueryTimeout)
	defer cancel()
	r := run{
		statement: commitStatement, ctx: ctx, start: time.Now(), where: t.where, observer: t.router.observer, commits: t.wrote,
	}
	batch := &pgx.Batch{}
	t.queuePending(batch)
	if t.wrote && !t.marked && m.usable(t.opts) {
		batch.Queue(t.router.markers.create.SQL, m.value())
	}
	before := batch.Len()
	batch.Queue("commit")
	session := sessionOf(ctx)
	if len(t.router.replicas.all) == 0 {
		session = nil
	}
	var blinds uint64
	if session != nil {
		batch.Queue(t.where.position())
		blinds = session.blinded.Load()
	}
	spared := spare(t.conn.Conn().PgConn())
	results := t.conn.SendBatch(bounded, batch)
	r.after = results.Close
	err := skip(results, before)
	var tag pgconn.CommandTag
	if err == nil {
		tag, err = results.Exec()
		err = committed(tag, err)
	}
	if err == nil {
		// From here on it is committed, whatever comes behind.
		if session != nil {
			session.learn(results.QueryRow(), t.where.replica == nil, blinds)
		}
		r.after = func() error { results.Close(); return nil }
	}
	r.end(tag, err)
	spared()
	return r.typed(err)
}

// commitStatement is the name of a COMMIT in errors, logs and metrics.
var commitStatement = &Statement{Name: "commit"}

// position is the question where the log stands on the server of the route.
func (w route) position() string {
	if w.replica != nil {
		return seenOnReplica
	}
	return positionOfPrimary
}
