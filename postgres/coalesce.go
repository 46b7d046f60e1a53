package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

const (
	// directPerCore is how many calls of one statement may run individually, per core, before
	// others are queued. While a batch is running, no call runs individually, because the next
	// batch takes as long with several calls as that one call takes alone.
	directPerCore = 2

	// batchesPerCore is how many batches of one statement may run at a time, per core,
	// however small they are. With fewer, cores idle while a result is on its way.
	batchesPerCore = 1

	// passPerCore is how many calls of one row may run at a time, per core, if no batch can form.
	// Most of them wait in the server's lock queue, which then always has a next one. With half
	// as many, 64 callers of one row had 0.75 of the throughput.
	passPerCore = 4

	// minBatch is the queue length from which up to twice as many batches of a read or an
	// INSERT run. Below it, the overhead of many small batches is higher than the time they
	// save. For an UPDATE or DELETE it always is: a statement costs the server as much as ten
	// more rows in another one, so with 1,000 workers a completed task took a fifth less
	// processor time without them.
	minBatch = 16

	// largeBatch is the size of a batch of reads after which only one call runs individually. The
	// queue is then empty for a moment only, and a read that runs individually costs the server as
	// much as ten more in the next batch. With 64 HTTP connections, one read in fourteen did.
	largeBatch = 8

	// maxBatch is how many calls one statement merges at most. With more, the first ones
	// would wait for the last.
	maxBatch = 1000

	// maxQueued is how many calls of one statement may be queued. Beyond this, new calls
	// fail immediately: the server cannot catch up.
	maxQueued = 10_000
)

// coalescer merges concurrent calls of one statement with @batch. If only a few are
// outstanding, each call runs individually, in its caller's goroutine and without delay. If
// there are more, calls are queued until a batch has ended. All queued calls then run as
// the next batch, and so on until the queue is empty.
//
// A call can only join a batch that has not been sent yet, so it never reads data older
// than the call. A batch has a separate deadline and does not use any caller's context, so
// cancelling one caller does not affect the others.
type coalescer struct {
	router    *Router
	one, many *statement

	// reads is true if many is derived from a read. A call of a read may be repeated, and may
	// share the result of an equal call.
	reads bool

	keys keys // of the rows that an UPDATE or DELETE changes; without params for other statements

	directLimit, batchLimit int64        // how many calls, and how many batches, may run at a time
	passLimit               int64        // how many calls of a row, and how many passing calls of all rows, may run at a time
	rowSize                 atomic.Int32 // in bytes: the last observed size, plus an eighth

	outstanding atomic.Int64 // calls that are queued or running, individually or in a batch
	lastBatch   atomic.Int64 // size of the last batch

	// failures is the number of consecutive calls for which the shared statement failed and
	// which then succeeded individually. The shared statement is not used until pausedUntil, in
	// Unix nanoseconds.
	failures    atomic.Int32
	pausedUntil atomic.Int64

	mu      sync.Mutex
	queue   []*call
	peak    int64        // the highest outstanding of late
	running atomic.Int64 // batches in progress; changed under mu
}

// openCoalescers makes a coalescer for each statement whose calls may be merged.
func (r *Router) openCoalescers() {
	for _, s := range r.registry.known {
		many := r.registry.named(s.Batch)
		if many == nil || s.Kind != One && s.Kind != ExecRows {
			continue
		}
		derived := many.DerivedFrom != ""
		reads, enabled := derived && !many.writes, *r.cfg.CoalesceInserts
		switch {
		case reads:
			enabled = *r.cfg.CoalesceReads
		case derived:
			enabled = *r.cfg.CoalesceUpdates
		}
		if !enabled {
			continue
		}
		cores, conns := runtime.GOMAXPROCS(0), int(r.cfg.MaxConns)
		direct := min(directPerCore*cores, conns)
		if r.classes.reads[s] != nil {
			direct = min(direct, conns-1) // leave one connection to other statements
		}
		s.coalescer = &coalescer{
			router: r, one: s, many: many, reads: reads, keys: newKeys(many),
			directLimit: int64(direct), batchLimit: int64(min(batchesPerCore*cores, max(1, conns/2))),
			passLimit: int64(min(passPerCore*cores, max(1, conns/2))),
		}
	}
}

// queryRow runs a call of a :one.
func (co *coalescer) queryRow(ctx context.Context, args []any) pgx.Row {
	c, rows, err := co.run(ctx, args)
	switch {
	case err != nil:
		return failedRow{err}
	case rows == nil:
		return c
	case c != nil:
		return returningRow{row{rows}, c}
	}
	return row{rows}
}

// exec runs a call of an :execrows.
func (co *coalescer) exec(ctx context.Context, args []any) (tag pgconn.CommandTag, err error) {
	c, rows, err := co.run(ctx, args)
	switch {
	case err != nil:
		return pgconn.CommandTag{}, err
	case rows == nil:
		return c.tag(), c.err
	case c != nil:
		defer func() { co.returned(c, err) }()
	}
	return tagOf(rows, nil)
}

// run runs a call. It returns the complete call, or the rows of a call that ran individually.
// If it returns both, the caller must read the rows and then call returned.
func (co *coalescer) run(ctx context.Context, args []any) (*call, *boundRows, error) {
	if co.paused() {
		rows, err := co.router.query(ctx, co.one, time.Time{}, args)
		return nil, rows, err
	}
	// Lock-free, because a lock would slow down every call of a service that is not busy.
	direct := co.directLimit
	if co.reads && co.lastBatch.Load() >= largeBatch {
		direct = 1
	}
	if co.outstanding.Add(1) <= direct && co.running.Load() == 0 {
		// Deferred, because encoding an argument may panic.
		defer co.outstanding.Add(-1)
		rows, err := co.router.query(ctx, co.one, time.Time{}, args)
		return nil, rows, err
	}
	c := newCall(ctx, co, args)
	if err := co.router.refuse(ctx, co.one); err != nil {
		co.outstanding.Add(-1)
		return nil, nil, c.fail(err)
	}
	valid := true
	switch {
	case co.reads:
		c.key, valid = keyOf(args)
	case co.keys.params != nil:
		c.key, valid = co.keys.of(args)
	}
	if !valid {
		// PostgreSQL would reject this call, and a batch with it would fail for all its calls.
		defer co.outstanding.Add(-1)
		rows, err := co.router.query(ctx, co.one, time.Time{}, args)
		return nil, rows, err
	}
	// A caller whose context has ended may modify its arguments before they have been sent.
	c.args = ownCopies(args)
	if !co.enqueue(c) {
		co.outstanding.Add(-1)
		return nil, nil, &Error{Kind: ErrPoolExhausted, Statement: co.one.Name, Err: fmt.Errorf("%d calls are waiting already", maxQueued)}
	}
	if err := co.await(c); err != nil {
		return nil, nil, c.fail(err)
	}
	if c.individually {
		rows, err := co.runHandedOver(c, args)
		return c, rows, err
	}
	c.finish()
	return c, nil, nil
}

// runHandedOver runs a call that its batch has left to its caller. If it returns no rows, it
// the call has returned.
func (co *coalescer) runHandedOver(c *call, args []any) (rows *boundRows, err error) {
	defer func() {
		// Deferred, because encoding an argument may panic.
		if rows == nil {
			co.returned(c, err)
		}
	}()
	rows, err = co.router.query(c.ctx, co.one, c.deadline, args)
	if err == nil && c.shared != nil {
		co.noteFailure(c.shared)
	}
	return rows, err
}

var noRow, oneRow = pgconn.NewCommandTag("SELECT 0"), pgconn.NewCommandTag("SELECT 1")

// enqueue queues a call. It returns false if the queue is full.
func (co *coalescer) enqueue(c *call) bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	if len(co.queue)+co.keys.size >= maxQueued && !co.dropCancelled() {
		return false
	}
	if co.keys.enter(c) {
		co.queue = append(co.queue, c)
		co.startWork()
	}
	return true
}

// startWork starts another batch if calls are queued and another batch may run. co.mu is locked.
func (co *coalescer) startWork() {
	if len(co.queue) > 0 && co.running.Load() < co.allowed() {
		co.running.Add(1)
		go co.work()
	}
}

// await returns when the call is complete, or with an error if its context ends first.
func (co *coalescer) await(c *call) error {
	select {
	case <-c.done:
		// The channel is empty again and has no other user.
		tokens.Put(c.done)
		return nil
	case <-c.ctx.Done():
	}
	ended := c.ctx.Err()
	if c.state.CompareAndSwap(callQueued, callCancelled) || co.reads {
		return wrap(co.one.Name, ended)
	}
	// The row is being stored. The result usually arrives within a moment, and then the
	// outcome is known.
	timer := time.NewTimer(conn.CancelTimeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		if !c.state.CompareAndSwap(callSent, callCancelled) {
			<-c.done // it has just been completed
			return nil
		}
		co.router.observer.resolved("unknown")
		return &Error{Kind: ErrCommitUnknown, Statement: co.one.Name, Err: ended}
	}
}

// work runs batches until the queue is empty.
func (co *coalescer) work() {
	for {
		// Let calls that are about to be made join the batch.
		runtime.Gosched()
		calls := co.dequeue()
		if calls == nil {
			return
		}
		switch replica, primary, alone := co.splitByServer(calls); {
		case len(calls) == 1 && co.keys.params != nil:
			// Often the next call of a row that many calls change. The shared statement would
			// cost more than the call itself.
			runIndividually(calls)
		default:
			runIndividually(alone)
			co.runBatch(replica, tolerated(len(replica)))
			co.runBatch(primary, tolerated(len(primary)))
		}
		co.ended(calls)
	}
}

// allowed is how many batches may run at a time, given the length of the queue.
//
// The callers of a server do other work between their calls, such as HTTP, which keeps the cores
// busy while a batch runs. So reads have half as many batches, which are larger, unless most of the
// callers wait here. With 64 HTTP connections, a request took 5 % less processor time.
//
// If many calls of an UPDATE or DELETE are outstanding, another batch must have at least half as
// many of them as are running already. That made batches larger, and a completed task took 4 % less
// processor time. With as many as are running it took 7 % less with 100 workers, but cores were
// idle with 1,000.
func (co *coalescer) allowed() int64 {
	outstanding, queued := int(co.outstanding.Load()), len(co.queue)
	switch {
	case co.callersElsewhere():
		return max(1, co.batchLimit/2)
	case co.keys.params == nil && queued >= minBatch:
		return 2 * co.batchLimit
	case co.keys.params != nil && outstanding >= 2*minBatch && queued < (outstanding-queued-co.keys.size)/2:
		return 1
	}
	return co.batchLimit
}

// callersElsewhere reports whether more than a quarter of the callers of a read, of whom there were
// peak of late, are not waiting for one now. With few callers, each batch is small anyway.
func (co *coalescer) callersElsewhere() bool {
	return co.reads && co.peak >= 2*minBatch && 4*co.outstanding.Load() < 3*co.peak
}

// notePeak adjusts peak before each batch. It falls by a sixteenth of the difference, rounded up, so
// it follows callers that have gone within some forty batches.
func (co *coalescer) notePeak() {
	outstanding := co.outstanding.Load()
	co.peak = max(outstanding, co.peak-(co.peak-outstanding+15)/16)
}

// dequeue returns the oldest calls. If no queued call may run now, or other batches will take
// the calls, it returns nil. Its caller must then stop, because it no longer counts as a
// running batch.
func (co *coalescer) dequeue() []*call {
	co.mu.Lock()
	defer co.mu.Unlock()
	co.notePeak()
	// If many calls are outstanding, more will be queued soon. Fewer and larger batches are
	// then worth more than this one.
	for len(co.queue) > 0 && (co.running.Load() <= co.allowed() || !co.callersElsewhere() && co.outstanding.Load() < 2*minBatch) {
		n := min(len(co.queue), maxBatch)
		calls := make([]*call, 0, n)
		for _, c := range co.queue[:n] {
			if c.state.CompareAndSwap(callQueued, callSent) {
				calls = append(calls, c)
			} else {
				co.outstanding.Add(-1)
				co.release(c)
			}
		}
		rest := copy(co.queue, co.queue[n:])
		clear(co.queue[rest:])
		co.queue = co.queue[:rest]
		if len(calls) > 0 {
			co.lastBatch.Store(int64(len(calls)))
			return calls
		}
	}
	co.running.Add(-1)
	return nil
}

// dropCancelled removes calls whose callers have gone away. It reports whether there were
// any.
func (co *coalescer) dropCancelled() bool {
	dropped := co.keys.dropCancelled()
	queue := co.queue
	co.queue = queue[:0] // each call that leaves is followed by at most one
	for _, c := range queue {
		if c.state.Load() == callQueued {
			co.queue = append(co.queue, c)
			continue
		}
		dropped++
		co.release(c)
	}
	clear(queue[len(co.queue):])
	co.outstanding.Add(-int64(dropped))
	return dropped > 0
}

// splitByServer separates the calls that a replica can answer from those whose sessions have
// seen something that no replica has replayed yet. A single call of the second kind would send
// the whole batch to the primary. Calls whose sessions lead the primary run individually, so
// that the others do not wait with them.
func (co *coalescer) splitByServer(calls []*call) (replica, primary, alone []*call) {
	for _, c := range calls {
		switch {
		case co.one.Route == Replica && co.router.choose(c.session).replica != nil:
			replica = append(replica, c)
		case co.router.leads(c.session):
			alone = append(alone, c)
		default:
			primary = append(primary, c)
		}
	}
	return replica, primary, alone
}

// tolerated is how often the statement of a batch may fail before the remaining calls run
// individually. If one call is at fault, it fails once for each halving. If it fails twice as
// often, several are, and each further attempt delays the others and leaves dead rows.
func tolerated(calls int) *int {
	n := 2 * bits.Len(uint(calls))
	return &n
}

// runBatch completes each of the calls. It counts down failures.
func (co *coalescer) runBatch(calls []*call, failures *int) {
	if len(calls) == 0 {
		return
	}
	if co.paused() || *failures == 0 {
		runIndividually(calls)
		return
	}
	co.router.observer.coalesced(co.one, len(calls))
	err := co.safely(calls)
	if err != nil {
		*failures--
	}
	switch {
	case err == nil:
		co.failures.Store(0)
	case errors.Is(err, errLead):
		// A session of one of the calls has read from a replica meanwhile, and leads the
		// primary.
		runIndividually(calls)
	case errors.Is(err, ErrCommitUnknown), errors.Is(err, ErrUnavailable):
		// All calls share the outcome. All retries that are safe have already been made.
		for i, c := range calls {
			if i > 0 && errors.Is(err, ErrCommitUnknown) {
				// Each call is a separate write, but the statement was counted only once.
				co.router.observer.resolved("unknown")
			}
			c.complete(forCaller(co.one, err))
		}
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrSerialization):
		// Nothing was stored. One call blocked on a lock, or delayed the others. Run each
		// call by itself so that it cannot delay the others again.
		runIndividually(calls)
	case len(calls) == 1:
		calls[0].shared = err
		runIndividually(calls)
	default:
		// Nothing was stored, because of one of the calls. Halving finds it at little cost
		// to the others.
		half := len(calls) / 2
		co.runBatch(calls[:half], failures)
		co.runBatch(calls[half:], failures)
	}
}

// runIndividually makes each caller run its call individually.
func runIndividually(calls []*call) {
	for _, c := range calls {
		c.individually = true
		c.complete(nil)
	}
}

// safely attempts the calls. It recovers from an argument that panics while it is encoded,
// so that the panic occurs in its caller's goroutine.
func (co *coalescer) safely(calls []*call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", co.many.Name, p)
		}
	}()
	return co.attempt(calls)
}

// forCaller converts an error of the shared statement to one that names the caller's statement.
func forCaller(s *statement, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	own := *e
	own.Statement = s.Name
	return &own
}
