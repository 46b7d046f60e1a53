package postgres

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// run is one statement under way. It is made when the statement is asked for. It
// owns whatever the statement holds: its deadline, its connection, and what binds it
// to a replica. It ends in end, however the statement ends: if it is refused, if it
// gets no connection, if the server returns an error, if its rows are read, if an
// argument panics while it is encoded. The observer is called there and nowhere else.
//
// A Router may send a statement several times. Each attempt is a run of its own
// with the deadline of the first, so that each is observed.
type run struct {
	router    *Router
	statement *statement
	args      []any
	ctx       context.Context // the caller's
	session   *Session        // the caller's; may be nil
	start     time.Time
	deadline  time.Time // of all attempts together
	where     route

	bounds       // of an attempt by itself; a statement of a batch has those of the batch
	lease  lease // its own connection; none within a transaction

	// Set when it is sent.
	sentIn context.Context
	conn   *pgx.Conn

	autocommit bool // it is a transaction by itself
	delivered  bool // the caller has its rows: it is not repeated any more
	commits    bool // it was sent and commits, so that a lost answer leaves it in doubt

	// committing: the statement was completed, so that an error answers the
	// COMMIT, its own or that of its end (PostgreSQL manual, 55.2.3: with the
	// extended protocol a statement by itself is committed at Sync).
	committing bool

	after func() error // reads the answers after the statement's own; may be nil
}

// begin makes a run of a statement that was asked for now.
func (r *run) begin(router *Router, ctx context.Context, s *statement, args []any) {
	// The clock is read once for all that begins here.
	r.router, r.statement, r.args, r.ctx, r.start = router, s, args, ctx, time.Now()
	r.session, _ = ctx.Value(sessionKey{}).(*Session)
	r.deadline = r.start.Add(s.Timeout)
}

// query runs a statement that is a transaction by itself, and again where that is
// safe. Its deadline is zero for the statement's own.
func (r *Router) query(ctx context.Context, s *statement, deadline time.Time, args []any) (*boundRows, error) {
	rows := &boundRows{}
	rows.begin(r, ctx, s, args)
	rows.autocommit = true
	if !deadline.IsZero() {
		rows.deadline = deadline
	}
	if err := r.refuse(ctx, s); err != nil {
		return nil, rows.fail(err)
	}
	if s.Route == Replica {
		rows.where = r.choose(rows.session)
	}
	if err := rows.attempt(); err != nil {
		return rows.repeat(err)
	}
	rows.delivered = true
	return rows, nil
}

// refuse returns why a statement must not begin, or nil.
func (r *Router) refuse(ctx context.Context, s *statement) error {
	if err := r.overBudget(ctx, s); err != nil {
		return err
	}
	if !s.writes {
		return nil
	}
	return r.mayWrite(s.Name)
}

// choose says where a read of the session runs, which may be nil.
func (r *Router) choose(s *Session) route {
	if len(r.replicas.all) == 0 {
		return route{}
	}
	return r.replicas.pick(s)
}

// attempt sends the statement once. If it returns nil, the first row is there or
// there is none. An error that comes before any row is its own, and the run has
// ended, so that the statement can be sent again.
func (r *boundRows) attempt() error {
	if err := r.connect(); err != nil {
		return r.fail(err)
	}
	if err := r.send(r.lease.Conn.Conn()); err != nil {
		return r.fail(err)
	}
	r.peeked = r.Rows.Next()
	if err := r.Rows.Err(); err != nil {
		return r.fail(err)
	}
	if !r.peeked {
		// No rows: the answers after the statement's own can be read at once, and
		// the connection given back.
		r.Close()
		return r.typed(r.err)
	}
	// With rows under way no other server can take over: a replica that falls silent
	// for a moment may go on.
	r.detach()
	return nil
}

// connect takes a connection, and bounds the attempt: by AcquireTimeout until it has
// one, and then by the statement's deadline. One context for both saves a timer.
func (r *boundRows) connect() error {
	wait := r.start.Add(r.router.cfg.AcquireTimeout)
	if wait.After(r.deadline) {
		wait = r.deadline
	}
	r.bounds.begin(r.ctx, r.start, wait, r.where)
	q := request{
		where: r.where, session: r.session, class: r.statement.Class, statement: r.statement, name: r.statement.Name, start: r.start,
	}
	var err error
	if r.lease, err = r.router.takeWithin(&r.bounded, r.deadline, q); err != nil {
		return err
	}
	r.bounded.Extend(r.deadline)
	if q.leads() {
		if r.lease, err = r.router.follow(&r.bounded, q, r.lease); err != nil {
			return err
		}
	}
	return wrap(r.statement.Name, cmp.Or(r.bounded.Err(), r.where.check(r.lease.Conn)))
}

// errPanicked ends a run whose argument panicked while it was encoded.
var errPanicked = errors.New("an argument panicked while it was encoded")

// errReplicaDown ends a read whose replica was marked down while the read waited
// for it.
var errReplicaDown = &Error{Kind: ErrUnavailable, Err: errors.New("the replica went away")}

// send sends the statement on a connection, with whatever goes in the same round trip:
// what is pending in its transaction, or the question for the position of its session.
func (r *boundRows) send(c *pgx.Conn) (err error) {
	r.sentIn, r.conn = &r.bounded, c
	if len(r.statement.Types) > 0 {
		knowTypes(&r.bounded, c, r.statement)
	}
	panicked := true
	defer func() {
		if panicked {
			_ = r.fail(errPanicked)
		}
	}()
	r.commits = r.autocommit && !r.statement.Reads
	switch {
	case r.hold != nil && len(r.hold.tx.pending) > 0:
		r.Rows, err = r.hold.tx.sendWithPending(r)
	case r.autocommit && r.session != nil && len(r.router.replicas.all) > 0:
		r.Rows, err = r.sendWithPosition(c)
	default:
		r.Rows, err = c.Query(&r.bounded, r.statement.SQL, r.args...)
	}
	panicked = false
	return err
}

// sendWithPosition sends the statement together with the question where the
// log is after it, in one round trip. A statement that writes is committed
// in between: a position from before its COMMIT would be too early.
func (r *run) sendWithPosition(c *pgx.Conn) (pgx.Rows, error) {
	batch := &pgx.Batch{}
	if r.commits {
		batch.Queue("begin")
	}
	batch.Queue(r.statement.SQL, r.args...)
	if r.commits {
		batch.Queue("commit")
	}
	batch.Queue(r.where.position())
	epoch := r.session.currentEpoch()
	results := c.SendBatch(&r.bounded, batch)
	if r.commits {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return nil, err
		}
	}
	r.after = func() error {
		// Closed first: its error was returned already.
		defer results.Close()
		if r.where.replica != nil && !r.delivered && !r.committing {
			return nil // it failed before there was anything to see
		}
		if r.commits {
			if err := committed(results.Exec()); err != nil {
				return err
			}
		}
		r.session.learn(results.QueryRow(), r.where, epoch, r.router.replicas.histories)
		return nil
	}
	return results.Query()
}

// committed types the answer to a COMMIT. PostgreSQL answers the COMMIT of a
// transaction that failed with the tag ROLLBACK, and no error.
func committed(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return err
}

// fail ends the run with err, with which it has returned no row, and types it.
func (r *boundRows) fail(err error) error {
	if errors.Is(err, errReplicaHasIt) {
		r.giveBack() // it goes on, on the replica
		return err
	}
	if r.conn != nil {
		err = replacedTypes(&r.bounded, r.conn, err)
	}
	if r.endedByReplica(r.deadline) {
		err = errReplicaDown
	}
	r.finish(err)
	return r.typed(err)
}

// end ends the run, whose statement itself ended with err, gives back whatever it
// holds, and returns the error of the answers after the statement's own.
func (r *run) end(tag pgconn.CommandTag, err error) (later error) {
	if r.after != nil {
		later = r.after()
	}
	if err == nil && later == nil && r.unreplicated() {
		later = &Error{Kind: ErrCommitUnknown, Statement: r.statement.Name, Err: errUnreplicated}
	}
	if err == nil {
		err = later
	}
	r.giveBack()
	err = r.typed(err)
	r.router.observer.statement(r.ctx, r.statement, r.args, r.where, r.start, tag, err)
	if later != nil {
		return err
	}
	return nil
}

// giveBack gives back whatever the run holds.
func (r *run) giveBack() {
	if r.lease.Conn != nil {
		giveBack(&r.bounded, r.lease)
		r.lease.Conn = nil
	}
	r.bounds.end()
}

// unreplicated reports whether the run's COMMIT did not wait for the synchronous
// standby, because it was cancelled there.
func (r *run) unreplicated() bool {
	return r.commits && r.conn != nil && r.sentIn.Err() != nil && conn.Unreplicated(r.sentIn, r.conn.PgConn())
}

// errUnreplicated: a COMMIT was cancelled while it waited for a synchronous
// standby.
var errUnreplicated = errors.New("it was committed on the primary alone, for the time was up before a standby had it")

// typed types an error that the statement met.
func (r *run) typed(err error) error {
	if err == nil {
		return nil
	}
	err = conn.Cancelled(r.ctx, err)
	switch {
	case !r.commits:
		return wrap(r.statement.Name, err)
	case r.committing:
		return writeError(r.statement.Name, err, commitInDoubt)
	case r.autocommit:
		return writeError(r.statement.Name, err, autocommitInDoubt)
	}
	return writeError(r.statement.Name, err, answerLost)
}

// bounds are what ends a statement, or a batch of them, that is under way: its
// deadline, and on a replica the end of that replica. The zero value has not begun.
type bounds struct {
	bounded conn.Deadline // what it is sent with
	replica *replica      // nil on the primary
	unbind  func() bool   // makes it outlive the replica
}

// begin bounds what is sent on the route: it ends with ctx, at the deadline, or when
// the replica goes.
func (b *bounds) begin(ctx context.Context, now, deadline time.Time, where route) {
	b.bounded.Begin(ctx, now, deadline)
	if where.replica == nil {
		return
	}
	b.replica = where.replica
	b.replica.inFlight.Add(1)
	if alive := b.replica.alive(); alive != nil {
		b.unbind = context.AfterFunc(alive, b.bounded.Cancel)
	} else {
		b.bounded.Cancel()
	}
}

// detach makes what is bounded go on when its replica goes.
func (b *bounds) detach() {
	if b.unbind != nil {
		b.unbind()
	}
}

// endedByReplica reports whether the replica has ended it, and neither the caller nor the
// deadline.
func (b *bounds) endedByReplica(deadline time.Time) bool {
	return b.replica != nil && b.bounded.Err() != nil && b.bounded.Context.Err() == nil && time.Now().Before(deadline)
}

// end frees what the bounds hold.
func (b *bounds) end() {
	if !b.bounded.Begun() {
		return
	}
	b.detach()
	b.bounded.Cancel()
	if b.replica != nil {
		b.replica.inFlight.Add(-1)
		b.replica = nil
	}
}
