package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Pipeline runs the statements that fn queues in a transaction on db, all of them in one
// round trip: BEGIN, the statements in the order in which they were queued, COMMIT. All
// are sent before the first answer is read, so that none can depend on another's
// result. Their results can be read when Pipeline has returned. After the first error the
// statements that follow get no answer, and that error is Pipeline's.
//
// It is repeated as InTx is, fn included, and its outcome as exactly known:
//   - with statements that only read, and with opts.ReadBack, COMMIT goes along.
//     If its answer is lost, with the rows, the whole is run again under the
//     same marker. If that shows that the first had committed, ReadBack reads
//     back what it stored;
//   - with opts.NoMarker COMMIT goes along too, and a lost answer is
//     ErrCommitUnknown;
//   - otherwise COMMIT has a round trip of its own.
//
// If COMMIT goes along, a missing row or an error of QueuedRows.Each cannot undo the
// transaction any more: such an error comes with ErrCommitted. An error that the server
// reports undoes all of them, in any case.
//
// Within a transaction it is a savepoint, as InTx is, and one round trip.
//
// The round trip has the time of all its statements together, and COMMIT that
// of QUERY_TIMEOUT. It ends with ctx.
func Pipeline(ctx context.Context, db DB, opts TxOptions, fn func(b *Batch) error) error {
	t, err := transactorOf(db)
	if err != nil {
		return err
	}
	return t.pipeline(ctx, opts.withDefaults(), fn)
}

func (r *Router) pipeline(ctx context.Context, opts TxOptions, fn func(b *Batch) error) error {
	last := &Batch{} // of the last run
	if readBack := opts.ReadBack; readBack != nil {
		opts.ReadBack = func(tx DBTX) error {
			last.err = errRowsLost
			return readBack(tx)
		}
	}
	err := r.transact(ctx, opts, func(t *tx) error {
		last.err = errRepeated
		last = &Batch{err: errNotEnded}
		return t.runPipeline(ctx, last, fn, true)
	})
	last.end(err)
	return err
}

func (t *tx) pipeline(ctx context.Context, opts TxOptions, fn func(b *Batch) error) error {
	b := &Batch{err: errNotEnded}
	err := t.inTx(ctx, opts, func(db DBTX) error { return db.(*tx).runPipeline(ctx, b, fn, false) })
	b.end(err)
	return err
}

// runPipeline runs the statements that fn queues in the transaction, and ends it if
// it is the whole of it.
func (t *tx) runPipeline(ctx context.Context, b *Batch, fn func(b *Batch) error, whole bool) error {
	if err := b.fill(fn); err != nil {
		return err
	}
	p := &pipeline{txConn: t.txConn, ctx: ctx, steps: b.steps, whole: whole}
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

// pipeline is one round trip's worth of statements.
type pipeline struct {
	*txConn
	ctx   context.Context
	steps []*step
	whole bool // it is a transaction of its own

	writes  bool
	timeout time.Duration    // of all statements together
	trip    bounds           // of the round trip
	until   time.Time        // its deadline
	results pgx.BatchResults // nil: nothing was sent
	commit  *commitRun       // nil: COMMIT does not go along
	held    bool             // the connection is the pipeline's until its end
	turn    time.Time        // since when the next answer is waited for

	before error // that the first statement gets in place of an answer
	err    error // of the first statement that failed, or of the COMMIT
	failed error // of the first statement whose answer could not be taken, though the server gave one
}

func (p *pipeline) run() error {
	// Deferred, so that a panic and a test's FailNow free the connection too.
	defer func() {
		if p.results != nil {
			p.use(func() error { return p.results.Close() })
		}
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

// over reports whether there is an error, after which nothing is answered.
func (p *pipeline) over() bool { return p.err != nil || p.failed != nil }

// send sends the statements behind what is pending, and COMMIT behind them where
// it may go along.
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
		// What goes with its COMMIT is no transaction that could be idle: the
		// connection is the pipeline's until its end.
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
	batch := &pgx.Batch{}
	p.queuePending(batch)
	for _, s := range p.steps {
		batch.Queue(s.sql, s.args...)
	}
	if commits {
		p.commit = p.queueCommit(p.ctx, batch)
		p.timeout += p.router.cfg.QueryTimeout
	}
	// Told before anything is sent, a context that has ended leaves no doubt.
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
	p.trip.begin(p.ctx, now, p.until, p.where)
	if p.committing() {
		// COMMIT is not shielded from cancelling here: that would shield statements
		// which may run for long.
		p.commit.sentIn, p.commit.conn = &p.trip.bounded, p.conn.Conn.Conn()
	}
	for _, s := range p.steps {
		knowTypes(&p.trip.bounded, p.conn.Conn.Conn(), s.statement)
	}
	p.turn = time.Now()
	p.results = p.conn.SendBatch(&p.trip.bounded, batch)
	p.before = replacedTypes(&p.trip.bounded, p.conn.Conn.Conn(), p.skipPending(p.results))
}

// use calls f, which uses the connection, unless the hold on it is lost.
func (p *pipeline) use(f func() error) error {
	taken, err := p.hold.take()
	if err != nil {
		return err
	}
	defer p.hold.release(taken)
	return f()
}

// classed returns the statement whose class is the pipeline's: the first that has
// one of its own, or just the first.
func (p *pipeline) classed() *statement {
	for _, s := range p.steps {
		if s.statement.Class != DefaultClass {
			return s.statement
		}
	}
	return p.steps[0].statement
}

// committing reports whether the answers depend on the COMMIT that goes along.
func (p *pipeline) committing() bool { return p.commit != nil && p.writes }

// readResult reads the next answer, which is that of s, and returns why s has no result.
func (p *pipeline) readResult(s *step) error {
	rows := &boundRows{}
	rows.begin(p.router, p.ctx, s.statement, s.args)
	rows.start, rows.where, rows.commits = p.turn, p.where, p.committing()
	if p.commit == nil {
		rows.hold = p.hold
	}
	err := p.before
	if err == nil {
		err = p.use(func() (err error) {
			rows.Rows, err = p.results.Query()
			return replacedTypes(&p.trip.bounded, p.conn.Conn.Conn(), err)
		})
	}
	if err != nil {
		p.err = rows.fail(err)
		return p.err
	}
	if s.read != nil {
		p.failed = s.read(rows)
	}
	rows.Close()
	if s.count != nil {
		s.count(rows.CommandTag())
	}
	p.turn = time.Now()
	p.err = p.unread(s, rows.Err())
	return cmp.Or(p.failed, p.err)
}

// unread types the error that broke off a statement's rows. One that is not of the
// server keeps the answer to the COMMIT from being read, too.
func (p *pipeline) unread(s *step, err error) error {
	var refused *pgconn.PgError
	if err == nil || !p.committing() || errors.As(err, &refused) || errors.Is(err, ErrCommitUnknown) {
		return err
	}
	return &Error{Kind: ErrCommitUnknown, Statement: s.statement.Name, Err: err}
}

// end reads the answer to the COMMIT, if it went along, and returns what became
// of the pipeline.
func (p *pipeline) end() error {
	switch {
	case p.results != nil && p.over() && p.trip.endedByReplica(p.until):
		return errReplicaDown
	case p.results == nil, p.over() && !p.committing():
		return cmp.Or(p.failed, p.err)
	case p.commit == nil:
		return wrap("pipeline", p.use(p.results.Close))
	case p.err == nil:
		for _, s := range p.steps {
			if s.err == errSkipped && p.err == nil {
				_, p.err = p.results.Exec()
			}
		}
		p.commit.start = time.Now()
		p.err = p.commit.read(p.results, p.err)
	}
	switch {
	case errors.Is(p.err, ErrCommitUnknown):
		p.marker.doubt(p.err, commitLostTogether)
		return p.err
	case p.err == nil && p.failed != nil:
		return fmt.Errorf("%w, but: %w", ErrCommitted, p.failed)
	}
	return cmp.Or(p.failed, p.err)
}
