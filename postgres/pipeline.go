package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Pipeline runs the one statement of each fn in a transaction on db, all of
// them in one round trip: BEGIN, the statements in the order of fns, COMMIT. All
// are sent before the first answer is read, so that none can depend on another's
// result. An fn runs one generated query on the DBTX it is given, in its own
// goroutine, and may read its rows as they come. The fns begin in reverse and
// are answered in order, each when the one before it has returned. Behind the
// first error the others get no answer, and that error is Pipeline's.
//
// It is repeated as InTx is, and its outcome as exactly known:
//   - with statements that only read, and with opts.Recall, COMMIT goes along.
//     When its answer is lost, with the rows, the whole is run again under the
//     same marker. If that shows that the first had committed, Recall reads
//     back what it stored, whatever the fns got to see;
//   - with opts.NoMarker COMMIT goes along too, and a lost answer is
//     ErrCommitUnknown;
//   - else COMMIT has a round trip of its own.
//
// Where COMMIT goes along, no fn can undo the transaction any more by an error
// or a panic behind its statement: such an error comes with ErrCommitted. An
// error of a statement undoes all of them, in any case.
//
// Within a transaction it is a savepoint, as InTx is, and one round trip.
//
// The round trip has the time of all its statements together, and COMMIT that
// of QUERY_TIMEOUT. It ends with ctx: the contexts of the queries do not.
func Pipeline(ctx context.Context, db DB, opts TxOptions, fns ...func(tx DBTX) error) error {
	t, err := transactorOf(db)
	if err != nil {
		return err
	}
	return t.pipeline(ctx, opts, fns)
}

var (
	errOneStatement = errors.New("a function of a pipeline runs one statement, and this is its second")
	errNoCopy       = errors.New("a COPY cannot be part of a pipeline: use InTx")
	errSkipped      = errors.New("the pipeline ended with an error before it")
)

func (r *Router) pipeline(ctx context.Context, opts TxOptions, fns []func(tx DBTX) error) error {
	return r.transact(ctx, opts, func(t *tx) error { return t.runPipeline(ctx, fns, true) })
}

func (t *tx) pipeline(ctx context.Context, opts TxOptions, fns []func(tx DBTX) error) error {
	return t.inTx(ctx, opts, func(db DBTX) error { return db.(*tx).runPipeline(ctx, fns, false) })
}

// runPipeline runs the statements of fns in the transaction, and ends it when
// it is the whole of it.
func (t *tx) runPipeline(ctx context.Context, fns []func(tx DBTX) error, whole bool) error {
	p := &pipeline{txConn: t.txConn, ctx: ctx, fns: fns, whole: whole}
	if err := p.run(); err != nil || !whole || p.commit != nil {
		return err
	}
	return t.commit(ctx)
}

// pipeline is one round trip's worth of statements.
//
// The fns stand on one stack. The last one begins, and its query has the one
// before it begin, and so on: the query of the first sends all. Its answer comes
// first, and when it has returned, the query that had it begin returns with the
// next one.
type pipeline struct {
	*txConn
	ctx   context.Context
	fns   []func(tx DBTX) error // that have not begun
	steps []*step               // that wait for an answer, the first one last
	whole bool                  // it is a transaction of its own

	writes  bool
	timeout time.Duration // of all statements together
	own     context.Context
	bounded context.Context // that also ends with the replica
	free    func()
	results pgx.BatchResults // nil: nothing was sent
	commit  *ending          // nil: COMMIT does not go along
	held    bool             // the connection is the pipeline's until its end
	turn    time.Time        // since when the next answer is waited for

	before error // that the first statement gets in place of an answer
	err    error // of the first statement that failed, or of the COMMIT
	failed error // of the first fn that failed
}

func (p *pipeline) run() error {
	// Deferred, so that a panic and a test's FailNow free the connection too.
	defer func() {
		if p.results != nil {
			p.use(func() error { return p.results.Close() })
		}
		p.hold.release(p.held)
		if p.free != nil {
			p.free()
		}
	}()
	p.begin()
	return p.end()
}

// begin has the fns begin that have not, and returns when they are done.
func (p *pipeline) begin() {
	for len(p.fns) > 0 {
		last := len(p.fns) - 1
		fn := p.fns[last]
		p.fns = p.fns[:last]
		s := &step{pipeline: p}
		s.end(fn(s))
		if s.statement != nil || p.over() {
			return // it has had the others begin, or there is no need
		}
	}
	p.send()
}

// over reports whether there is an error, behind which nothing is answered.
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
	commits := p.whole && (!p.writes || !p.marker.usable(p.opts) || p.opts.Recall != nil)
	if !commits {
		p.boundIdle()
	}
	batch := &pgx.Batch{}
	p.queuePending(batch)
	for _, s := range slices.Backward(p.steps) {
		batch.Queue(s.statement.SQL, s.args...)
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
	own, cancel := withDeadline(p.ctx, now, now.Add(p.timeout))
	p.own, p.bounded, p.free = own, own, cancel
	if p.where.replica != nil {
		var unbind func()
		p.bounded, _, unbind = p.where.replica.bind(own)
		p.free = func() { unbind(); cancel() }
	}
	if p.committing() {
		// COMMIT is not spared from cancelling here: that would spare statements
		// which may run for long.
		p.commit.bounded, p.commit.conn = p.bounded, p.conn.Conn.Conn().PgConn()
	}
	for _, s := range p.steps {
		knowTypes(p.bounded, p.conn.Conn.Conn(), s.statement)
	}
	p.turn = time.Now()
	p.results = p.conn.SendBatch(p.bounded, batch)
	p.before = replacedTypes(p.bounded, p.conn.Conn.Conn(), p.skipPending(p.results))
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
func (p *pipeline) classed() *Statement {
	for _, s := range slices.Backward(p.steps) {
		if s.statement.Class != DefaultClass {
			return s.statement
		}
	}
	return p.steps[len(p.steps)-1].statement
}

// committing reports whether the answers depend on the COMMIT that goes along.
func (p *pipeline) committing() bool { return p.commit != nil && p.writes }

// end reads the answer to the COMMIT, if it went along, and returns what became
// of the pipeline.
func (p *pipeline) end() error {
	switch {
	case p.results != nil && p.over() && p.bounded.Err() != nil && p.own.Err() == nil:
		return errReplicaGone
	case p.results == nil, p.over() && !p.committing():
		return cmp.Or(p.failed, p.err)
	case p.commit == nil:
		return wrap("pipeline", p.use(p.results.Close))
	case p.err == nil:
		for range p.steps { // those behind an error of an fn
			if p.err == nil {
				_, p.err = p.results.Exec()
			}
		}
		p.commit.start = time.Now()
		p.err = p.commit.read(p.results, p.err)
	}
	switch {
	case errors.Is(p.err, ErrCommitUnknown):
		p.marker.doubt(p.err)
		p.marker.late, p.marker.again = true, false
		return p.err
	case p.err == nil && p.failed != nil:
		return fmt.Errorf("%w, but: %w", ErrCommitted, p.failed)
	}
	return cmp.Or(p.failed, p.err)
}

// step is the statement of one fn: the DBTX that fn is given.
type step struct {
	pipeline  *pipeline
	statement *Statement
	args      []any
	ctx       context.Context
	rows      *boundRows // its answer, when that came
	skipped   bool       // there was an error before it
	ended     bool       // fn has returned
	misused   error
}

func (s *step) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return tagOf(s.query(ctx, sql, args))
}

func (s *step) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return rowsOf(s.query(ctx, sql, args))
}

func (s *step) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return rowOf(s.query(ctx, sql, args))
}

func (s *step) CopyFrom(_ context.Context, table pgx.Identifier, columns []string, _ pgx.CopyFromSource) (int64, error) {
	s.misused = wrap(s.pipeline.router.registry.find(copyText(table, columns)).Name, errNoCopy)
	return 0, s.misused
}

// query asks for a statement, and returns when those before it are done.
func (s *step) query(ctx context.Context, sql string, args []any) (*boundRows, error) {
	p := s.pipeline
	found := p.router.registry.find(sql)
	switch {
	case s.ended:
		return nil, wrap(found.Name, pgx.ErrTxClosed)
	case s.statement != nil:
		s.misused = wrap(found.Name, errOneStatement)
		return nil, s.misused
	case ctx.Err() != nil:
		s.misused = wrap(found.Name, ctx.Err())
		return nil, s.misused
	}
	s.statement, s.args, s.ctx = found, args, ctx
	p.steps = append(p.steps, s)
	p.writes = p.writes || found.Route != Replica
	p.timeout += found.Timeout
	p.begin()
	if s.skipped = p.over(); s.skipped {
		return nil, wrap(found.Name, errSkipped)
	}
	return s.answer()
}

// answer returns the next answer, which is this step's.
func (s *step) answer() (*boundRows, error) {
	p := s.pipeline
	p.steps = p.steps[:len(p.steps)-1]
	rows := &boundRows{run: run{
		statement: s.statement, args: s.args, ctx: s.ctx, start: p.turn, where: p.where, observer: p.router.observer,
		commits: p.committing(),
	}}
	if p.commit == nil {
		rows.hold = p.hold
	}
	err := p.before
	if err == nil {
		err = p.use(func() (err error) {
			rows.Rows, err = p.results.Query()
			return replacedTypes(p.bounded, p.conn.Conn.Conn(), err)
		})
	}
	if err != nil {
		rows.Close()
		p.err = rows.typed(err)
		return nil, p.err
	}
	s.rows = rows
	return rows, nil
}

// end is called when fn has returned with err.
func (s *step) end(err error) {
	p := s.pipeline
	s.ended = true
	if s.rows != nil {
		s.rows.Close()
		p.turn = time.Now()
		p.err = s.unread(s.rows.Err())
	}
	err = cmp.Or(err, s.misused)
	if err == nil && s.statement != nil && s.rows == nil && p.err == nil {
		err = wrap(s.statement.Name, errSkipped) // fn has swallowed the panic of another
	}
	if !s.skipped && p.failed == nil {
		p.failed = err
	}
}

// unread types the error that broke off a step's rows. One that is not of the
// server keeps the answer to the COMMIT from being read, too.
func (s *step) unread(err error) error {
	var refused *pgconn.PgError
	if err == nil || !s.pipeline.committing() || errors.As(err, &refused) || errors.Is(err, ErrCommitUnknown) {
		return err
	}
	return &Error{Kind: ErrCommitUnknown, Statement: s.statement.Name, Err: err}
}
