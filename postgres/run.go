package postgres

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// run is one execution of a statement. It is created when the statement is called, and owns
// everything that the statement holds: its deadline, its connection and its binding to a
// replica. It always ends in end: if it is rejected, gets no connection or fails on the
// server, once its rows have been read, and if an argument panics while it is encoded. Only
// end calls the observer.
//
// A Router may send a statement several times. Each attempt is a separate run with the
// deadline of the first, so each is observed.
type run struct {
	invocation

	bounds       // of a separate attempt; a statement of a batch has the bounds of the batch
	lease  lease // zero within a transaction, which has the connection

	// Set when it is sent.
	sentIn context.Context
	conn   *pgx.Conn

	autocommit bool // it is not part of a transaction
	delivered  bool // the caller has its rows, so it must not be repeated
	commits    bool // it was sent and commits, so a lost answer leaves it in doubt
	confirms   bool // it repeats one that is in doubt, so its COMMIT must wait for the standby

	// committing is set once the statement itself was completed. A later error concerns the
	// COMMIT, explicit or implicit (PostgreSQL manual, 55.2.3: in the extended protocol a
	// single statement is committed at Sync).
	committing bool

	after func() error // reads the results that follow the statement's; may be nil
}

// invocation is a statement that was called. It is the part of a run that a call in a batch also
// has.
type invocation struct {
	router    *Router
	statement *statement
	args      []any
	ctx       context.Context // the caller's
	session   *Session        // the caller's; may be nil
	start     time.Time
	deadline  time.Time // of all attempts together
	where     route
}

// called initializes the invocation of a statement that is called now.
func (i *invocation) called(router *Router, ctx context.Context, s *statement, args []any) {
	// The clock is read only once.
	i.router, i.statement, i.args, i.ctx, i.start = router, s, args, ctx, time.Now()
	i.session, _ = ctx.Value(sessionKey{}).(*Session)
	i.deadline = i.start.Add(s.Timeout)
}

// observe calls the observer at the end of the statement.
func (i *invocation) observe(tag pgconn.CommandTag, err error) {
	i.router.observer.statement(i.ctx, i.statement, i.args, i.where, i.start, tag, err)
}

// query runs a statement outside a transaction, and repeats it if that is safe. A zero
// deadline means the statement's timeout.
func (r *Router) query(ctx context.Context, s *statement, deadline time.Time, args []any) (*boundRows, error) {
	rows := &boundRows{}
	rows.called(r, ctx, s, args)
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

// choose returns the route of a read of the session, which may be nil.
func (r *Router) choose(s *Session) route {
	if !r.replicas.expected {
		return route{}
	}
	return r.replicas.pick(s)
}

// attempt sends the statement once. It returns nil once the first row has arrived or there
// are no rows. If an error comes before any row, attempt returns it and the run has ended,
// so the statement can be sent again.
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
		// Without rows, the results that follow can be read immediately, and the connection
		// released.
		r.Close()
		return r.typed(r.err)
	}
	// Once rows have arrived, no other server can take over. A replica that is silent for a
	// moment may still continue.
	r.detach()
	return nil
}

// connect acquires a connection and bounds the attempt, first by AcquireTimeout and then by
// the statement's deadline. A common context saves a timer.
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
	r.lease.usage.runs(r.statement, r.start, &r.bounds)
	return wrap(r.statement.Name, cmp.Or(r.bounded.Err(), r.where.check(r.lease.Conn)))
}

// errPanicked ends a run whose argument panicked while it was encoded.
var errPanicked = errors.New("an argument panicked while it was encoded")

// errReplicaDown: the replica was marked down while the read was waiting on it.
var errReplicaDown = &Error{Kind: ErrUnavailable, Err: errors.New("the replica is down")}

// send sends the statement on a connection, in one round trip with the pending statements
// of its transaction or with the query for the position of its session.
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
	case r.confirms, r.autocommit && r.learns():
		r.Rows, err = r.sendInBatch(c)
	default:
		r.Rows, err = c.Query(r.bounded.Watch(c.PgConn()), r.statement.SQL, r.args...)
	}
	panicked = false
	return err
}

// learns reports whether the statement's session must learn the WAL position after it.
func (r *run) learns() bool { return r.session != nil && r.router.replicas.expected }

// confirmation makes the COMMIT of its transaction wait for the synchronous standby, even if
// the transaction changes nothing, because it writes to the WAL.
const confirmation = "SELECT pg_logical_emit_message(true, 'quern', '')"

// sendInBatch sends the statement with what must be in the same round trip. A statement that
// repeats one in doubt may find its work done, by a COMMIT that has taken effect on the
// primary alone. Once this COMMIT is on the standby, so is that one. The query for the WAL
// position follows COMMIT, because a position from before it would be too early.
func (r *run) sendInBatch(c *pgx.Conn) (pgx.Rows, error) {
	batch := &conn.Batch{}
	var before int
	if r.commits {
		batch.Add("begin", nil)
		before++
		if r.confirms {
			batch.Add(confirmation, nil)
			before++
		}
	}
	batch.Add(r.statement.SQL, r.args)
	if r.commits {
		batch.Add("commit", nil)
	}
	var epoch uint64
	if r.learns() {
		batch.Add(r.where.position(), nil)
		epoch = r.session.currentEpoch()
	}
	batch.Send(r.bounded.Watch(c.PgConn()), c)
	for range before {
		if _, err := batch.Exec(); err != nil {
			batch.Close()
			return nil, err
		}
	}
	r.after = func() error {
		// The error of Close has been returned already.
		defer batch.Close()
		if r.where.replica != nil && !r.delivered && !r.committing {
			return nil // it failed before it could see anything
		}
		if r.commits {
			if err := committed(batch.Exec()); err != nil {
				return err
			}
		}
		if r.learns() {
			r.session.learn(batch.QueryRow(), r.where, epoch, r.router.replicas.histories)
		}
		return nil
	}
	return batch.Query()
}

// committed returns the error of a COMMIT, or nil if it committed. PostgreSQL answers the
// COMMIT of a failed transaction with the tag ROLLBACK and no error.
func committed(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.String() != "COMMIT" {
		return pgx.ErrTxCommitRollback
	}
	return err
}

// fail ends a run that has returned no row, and classifies its error.
func (r *boundRows) fail(err error) error {
	if errors.Is(err, errReplicaHasIt) {
		r.giveBack() // the statement continues on the replica
		return err
	}
	if r.conn != nil {
		err = r.replacedTypes(r.conn, err)
	}
	if r.endedByReplica(r.deadline) {
		err = errReplicaDown
	}
	r.finish(err)
	return r.typed(err)
}

// end ends the run after its statement ended with err, and releases everything the run
// holds. It returns the error of the results that follow the statement's.
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
	r.observe(tag, err)
	if later != nil {
		return err
	}
	return nil
}

// giveBack releases everything that the run holds.
func (r *run) giveBack() {
	r.bounded.Unwatch()
	if r.lease.Conn != nil {
		giveBack(&r.bounded, r.lease)
		r.lease.Conn = nil
	}
	r.bounds.end()
}

// unreplicated reports whether the run's COMMIT was cancelled while it waited for the
// synchronous standby.
func (r *run) unreplicated() bool {
	return r.commits && r.conn != nil && r.sentIn.Err() != nil && conn.Unreplicated(r.sentIn, r.conn.PgConn())
}

// errUnreplicated: a COMMIT was cancelled while it waited for a synchronous standby.
var errUnreplicated = errors.New("it was committed on the primary only, because the deadline passed before a standby confirmed it")

// typed classifies an error of the statement.
func (r *run) typed(err error) error {
	if err == nil {
		return nil
	}
	err = r.byOperator(conn.Cancelled(r.ctx, err))
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

// bounds end a statement or batch in progress, at its deadline or when its replica is
// marked down. The zero value has not begun.
type bounds struct {
	bounded conn.Deadline // the context that it is sent with
	replica *replica      // nil on the primary
	unbind  func() bool   // stops the replica from ending it

	cancelled atomic.Bool // by Router.Cancel
}

// begin sets the bounds of a statement on the route. It ends with ctx, at the deadline, or
// when the replica is marked down.
func (b *bounds) begin(ctx context.Context, now, deadline time.Time, where route) {
	b.bounded.Begin(ctx, now, deadline)
	b.bind(where)
}

// bind makes the bounds end when the route's replica is marked down.
func (b *bounds) bind(where route) {
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

// detach lets the statement continue when its replica is marked down.
func (b *bounds) detach() {
	if b.unbind != nil {
		b.unbind()
	}
}

// endedByReplica reports whether the replica has ended the statement, rather than the caller or
// the deadline.
func (b *bounds) endedByReplica(deadline time.Time) bool {
	return b.replica != nil && b.bounded.Err() != nil && !b.cancelled.Load() && b.bounded.Context.Err() == nil && time.Now().Before(deadline)
}

// end releases the resources of the bounds.
func (b *bounds) end() {
	if !b.bounded.Begun() {
		return
	}
	b.detach()
	b.bounded.Release()
	if b.replica != nil {
		b.replica.inFlight.Add(-1)
		b.replica = nil
	}
}
