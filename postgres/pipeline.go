package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

// Pipeline runs the statements that fn queues in one transaction and one round trip: BEGIN,
// the statements in the order of the queue, COMMIT. All of them are sent before the first
// result is read, so no statement can use another's result. The results can be read once
// Pipeline has returned. After the first error the remaining statements have no results,
// and Pipeline returns that error.
//
// Pipeline is repeated as InTx is, including fn, and its outcome is known just as exactly.
// Whether COMMIT is sent in the same round trip depends on the statements and options:
//   - If all statements only read, or with opts.ReadBack, it is. If the answer is
//     lost together with the rows, Pipeline runs again under the same marker. If
//     the first run turns out to have committed, ReadBack reads what it stored.
//   - With opts.NoMarker it is, and a lost answer is ErrCommitUnknown.
//   - Otherwise COMMIT is a second round trip.
//
// If COMMIT is sent in the same round trip, a missing row or an error of QueuedRows.Each
// comes too late to roll the transaction back. Such an error is returned with ErrCommitted.
// An error of the server always rolls back all statements.
//
// Within a transaction, Pipeline is a savepoint, as InTx is, and takes one round trip. With
// opts.Coalesce, several pipelines may share one transaction.
//
// The round trip may take as long as the timeouts of its statements together, plus
// QUERY_TIMEOUT for COMMIT. It ends with ctx.
func Pipeline(ctx context.Context, db DB, opts TxOptions, fn func(b *Batch) error) error {
	t, err := transactorOf(db)
	if err != nil {
		return err
	}
	return t.pipeline(ctx, opts.withDefaults(), fn)
}

func (r *Router) pipeline(ctx context.Context, opts TxOptions, fn func(b *Batch) error) error {
	runs := &pipelineRuns{readBack: opts.ReadBack}
	if opts.ReadBack != nil {
		opts.ReadBack = runs.readLost
	}
	var share func() error
	if co := r.txCoalescerOf(opts); co != nil {
		co.outstanding.Add(1)
		defer co.outstanding.Add(-1)
		share = func() error { return co.run(ctx, opts, runs, fn) }
	}
	err := r.transact(ctx, opts, &runs.marker, share, func(t *tx) error { return t.runPipeline(ctx, runs.next(), fn, true) })
	if runs.last != nil {
		runs.last.end(err)
	}
	return err
}

// pipelineRuns are the batches of a pipeline that may run more than once.
type pipelineRuns struct {
	marker   marker
	first    Batch
	last     *Batch // of the last run; nil before the first one
	readBack func(tx DBTX) error
}

// next returns the batch for another run.
func (r *pipelineRuns) next() *Batch {
	if r.last == nil {
		r.last = &r.first
	} else {
		r.last.err = errRepeated
		r.last = &Batch{}
	}
	r.last.err = errNotEnded
	return r.last
}

// readLost is TxOptions.ReadBack of a pipeline.
func (r *pipelineRuns) readLost(tx DBTX) error {
	r.last.err = errRowsLost
	return r.readBack(tx)
}

func (t *tx) pipeline(ctx context.Context, opts TxOptions, fn func(b *Batch) error) error {
	b := &Batch{err: errNotEnded}
	err := t.inTx(ctx, opts, func(db DBTX) error { return db.(*tx).runPipeline(ctx, b, fn, false) })
	b.end(err)
	return err
}

// runPipeline runs the statements that fn queues. It commits if the pipeline is the whole
// transaction.
func (t *tx) runPipeline(ctx context.Context, b *Batch, fn func(b *Batch) error, whole bool) error {
	if err := b.fill(fn); err != nil {
		return err
	}
	p := &pipeline{txConn: t.txConn, ctx: ctx, steps: b.steps, whole: whole, trip: t.trip}
	if !whole {
		p.trip = &bounds{}
	}
	for _, s := range p.steps {
		s.statement = t.router.registry.find(s.sql)
		p.writes = p.writes || s.statement.Route != Replica
		p.timeout += s.statement.Timeout
	}
	if err := p.run(); err != nil || !whole || p.commit != nil {
		return err
	}
	return t.commit(ctx)
}

// pipeline is the statements of one round trip.
type pipeline struct {
	*txConn
	ctx   context.Context
	steps []*step
	whole bool // the pipeline is the whole transaction

	writes  bool
	timeout time.Duration // sum of the statements' timeouts
	trip    *bounds       // of the round trip
	until   time.Time     // deadline of the round trip
	batch   conn.Batch
	sent    bool       // whether the batch was sent
	commit  *commitRun // nil if COMMIT is not sent in the same round trip
	held    bool       // the pipeline holds the connection until it ends
	turn    time.Time  // when waiting for the current result began

	room struct { // for what would be separate allocations
		commit commitRun
		rows   boundRows // of the current statement
	}

	before error // error before the first result; the first statement returns it
	err    error // of the first statement that failed, or of COMMIT
	failed error // of the first statement whose result could not be read, although the server sent one
}

func (p *pipeline) run() error {
	// Deferred, so that a panic and a test's FailNow release the connection too.
	defer func() {
		if p.sent {
			p.use(p.batch.Close)
		}
		p.trip.bounded.Unwatch()
		p.hold.release(p.held)
		p.trip.end()
	}()
	p.send()
	for _, s := range p.steps {
		if s.err = errSkipped; !p.over() {
			s.err = p.readResult(s)
		}
	}
	return p.end()
}

// over reports whether an error has occurred, after which there are no more results.
func (p *pipeline) over() bool { return p.err != nil || p.failed != nil }

// send sends the pending statements, then the pipeline's, then COMMIT if it may be sent in
// the same round trip.
func (p *pipeline) send() {
	if len(p.steps) == 0 {
		return
	}
	taken, err := p.hold.takeInTime()
	if err != nil {
		p.before = err
		return
	}
	defer func() {
		// A pipeline sent with its COMMIT cannot be idle in transaction, so it keeps the
		// connection until it ends.
		if p.held = taken && p.commit != nil; !p.held {
			p.hold.release(taken)
		}
	}()
	if p.writes {
		p.mark()
		p.writes = !p.opts.ReadOnly
	}
	commits := p.whole && (!p.writes || !p.marker.usable(p.opts) || p.opts.ReadBack != nil)
	if !commits {
		p.boundIdle()
	}
	p.queuePending(&p.batch)
	for _, s := range p.steps {
		p.batch.Add(s.sql, s.args)
	}
	if commits {
		p.commit = &p.room.commit
		p.queueCommit(p.ctx, &p.batch, p.commit)
		p.timeout += p.router.cfg.QueryTimeout
	}
	// Checked before anything is sent, so that a context that has ended leaves nothing in
	// doubt.
	if p.before = p.ctx.Err(); p.before != nil {
		p.commit = nil
		return
	}
	if p.before = p.enter(p.ctx, p.classed()); p.before != nil {
		p.commit = nil
		return
	}
	now := time.Now()
	p.until = now.Add(p.timeout)
	if p.whole {
		p.trip.bounded.Extend(p.until)
		p.trip.bind(p.where)
	} else {
		p.trip.begin(p.ctx, now, p.until, p.where)
	}
	if p.before = p.trip.bounded.Err(); p.before != nil {
		p.commit = nil
		return
	}
	p.conn.usage.runs(p.steps[0].statement, now, p.trip)
	if p.committing() {
		// COMMIT is not shielded from cancellation here, because that would also shield
		// statements that may run for long.
		p.commit.sentIn, p.commit.conn = &p.trip.bounded, p.conn.Conn.Conn()
	}
	for _, s := range p.steps {
		knowTypes(&p.trip.bounded, p.conn.Conn.Conn(), s.statement)
	}
	p.turn = time.Now()
	p.batch.Send(p.trip.bounded.Watch(p.conn.Conn.Conn().PgConn()), p.conn.Conn.Conn())
	p.sent = true
	p.before = p.trip.replacedTypes(p.conn.Conn.Conn(), p.skipPending(&p.batch))
}

// use calls f, which uses the connection, unless the hold has been lost.
func (p *pipeline) use(f func() error) error {
	taken, err := p.hold.take()
	if err != nil {
		return err
	}
	defer p.hold.release(taken)
	return f()
}

// classed returns the statement that decides the pipeline's class: the first one whose
// class is not the default, or otherwise the first one.
func (p *pipeline) classed() *statement {
	for _, s := range p.steps {
		if s.statement.Class != DefaultClass {
			return s.statement
		}
	}
	return p.steps[0].statement
}

// committing reports whether a lost result leaves a COMMIT in doubt.
func (p *pipeline) committing() bool { return p.commit != nil && p.writes }

// readResult reads the next result, which belongs to s, and returns the error if there is
// none.
func (p *pipeline) readResult(s *step) error {
	rows := &p.room.rows
	*rows = boundRows{}
	rows.called(p.router, p.ctx, s.statement, s.args)
	rows.start, rows.where, rows.commits = p.turn, p.where, p.committing()
	if p.commit == nil {
		rows.hold = p.hold
	}
	err := p.before
	if err == nil {
		err = p.use(func() (err error) {
			rows.Rows, err = p.batch.Query()
			return p.trip.replacedTypes(p.conn.Conn.Conn(), err)
		})
	}
	if err != nil {
		p.err = rows.fail(p.trip.byOperator(err))
		return p.err
	}
	if s.reader != nil {
		p.failed = s.reader.read(rows)
	}
	rows.Close()
	if s.count != nil {
		s.count(rows.CommandTag())
	}
	p.turn = time.Now()
	p.err = p.unread(s, rows.Err())
	return cmp.Or(p.failed, p.err)
}

// unread classifies the error that interrupted a statement's rows. Unless the server sent that
// error, the result of COMMIT cannot be read either.
func (p *pipeline) unread(s *step, err error) error {
	if err == nil {
		return nil
	}
	var refused *pgconn.PgError
	if !p.committing() || errors.As(err, &refused) || errors.Is(err, ErrCommitUnknown) {
		return err
	}
	return &Error{Kind: ErrCommitUnknown, Statement: s.statement.Name, Err: err}
}

// end reads the result of COMMIT, if it was sent, and returns the pipeline's error.
func (p *pipeline) end() error {
	switch {
	case p.over() && p.trip.endedByReplica(p.until):
		return errReplicaDown
	case !p.sent, p.over() && !p.committing():
		return cmp.Or(p.failed, p.err)
	case p.commit == nil:
		return wrap("pipeline", p.use(p.batch.Close))
	case p.err == nil:
		for _, s := range p.steps {
			if s.err == errSkipped && p.err == nil {
				_, p.err = p.batch.Exec()
			}
		}
		p.commit.start = time.Now()
		p.err = p.commit.read(&p.batch, p.err)
	}
	switch {
	case errors.Is(p.err, ErrCommitUnknown):
		p.marker.doubt(p.err, commitLostTogether)
		return p.err
	case p.err == nil && p.failed != nil:
		return fmt.Errorf("%w, but a result has an error: %w", ErrCommitted, p.failed)
	}
	return cmp.Or(p.failed, p.err)
}
