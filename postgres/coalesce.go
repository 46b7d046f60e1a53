package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"quern/postgres/internal/conn"
)

const (
	// directPerCore is how many calls of one statement may be under way, each by
	// itself, before others wait to leave together. While a batch is under way,
	// none leaves by itself: it would take the time of several that leave in the
	// next, and with them.
	directPerCore = 2

	// batchesPerCore is how many batches of one statement are under way however
	// small they are. With fewer, cores idle while an answer is on its way.
	batchesPerCore = 1

	// minBatch is how many calls have to wait for another batch to leave
	// beside these, of which there are up to as many again: what many small ones
	// cost is more than the time they save.
	minBatch = 16

	// maxBatch is how many calls leave together. More would make the first of
	// them wait for the last.
	maxBatch = 1000

	// maxQueued is how many calls of one statement may wait to leave. With as
	// many, the server is so far behind that another had better be told so.
	maxQueued = 10_000
)

// coalescer carries the calls of one statement with @batch. As long as there are few
// of them, each runs by itself, in its caller's goroutine and with no delay.
// When there are more, they wait until a batch has ended, and all that wait
// leave together as the next, until none waits.
//
// A call joins only what has not left yet, so that what it reads is never older
// than the call. What has left has a deadline of its own and never sees a
// caller's context: a caller who goes takes nobody along.
type coalescer struct {
	router    *Router
	one, many *statement

	// reads tells a statement that is derived from a read from the partner of an
	// insert. A call of a read may be answered along with an equal one, and repeated.
	reads bool

	directLimit, batchLimit int64        // how many calls, and how many batches, may be under way
	rowSize                 atomic.Int32 // in bytes, as seen last, and some more

	outstanding atomic.Int64 // calls that wait or are under way, whichever way

	// failures is how many calls the shared statement has failed in a row, each by
	// itself, that succeeded without it; rest is until when it is not used for that,
	// in Unix nanoseconds.
	failures    atomic.Int32
	pausedUntil atomic.Int64

	mu      sync.Mutex
	queue   []*call
	running atomic.Int64 // batches under way; changed under mu
}

// openCoalescers makes a coalescer for each statement that may leave with others.
func (r *Router) openCoalescers() {
	for _, s := range r.registry.known {
		many := r.registry.named(s.Batch)
		if many == nil || s.Kind != One {
			continue
		}
		reads := many.DerivedFrom != ""
		if reads && !*r.cfg.CoalesceReads || !reads && !*r.cfg.CoalesceInserts {
			continue
		}
		cores, conns := runtime.GOMAXPROCS(0), int(r.cfg.MaxConns)
		direct := min(directPerCore*cores, conns)
		if r.classes.reads[s] != nil {
			direct = min(direct, conns-1) // one is left to other statements
		}
		s.coalescer = &coalescer{
			router: r, one: s, many: many, reads: reads,
			directLimit: int64(direct), batchLimit: int64(min(batchesPerCore*cores, max(1, conns/2))),
		}
	}
}

// queryRow runs a call.
func (co *coalescer) queryRow(ctx context.Context, args []any) pgx.Row {
	if co.paused() {
		return rowOf(co.router.query(ctx, co.one, time.Time{}, args))
	}
	// A lock here would be met by every call of a calm service.
	if co.outstanding.Add(1) <= co.directLimit && co.running.Load() == 0 {
		// Deferred, for an argument may panic while it is encoded.
		defer co.outstanding.Add(-1)
		return rowOf(co.router.query(ctx, co.one, time.Time{}, args))
	}
	c := newCall(ctx, co, args)
	if err := co.router.refuse(ctx, co.one); err != nil {
		co.outstanding.Add(-1)
		return failedRow{c.fail(err)}
	}
	if co.reads {
		var valid bool
		if c.key, valid = keyOf(args); !valid {
			// PostgreSQL refuses it, and with it those of all others.
			defer co.outstanding.Add(-1)
			return rowOf(co.router.query(ctx, co.one, time.Time{}, args))
		}
	}
	// A caller whose context has ended may do with its arguments what it likes,
	// while they are still to be sent.
	c.args = ownCopies(args)
	if !co.enqueue(c) {
		co.outstanding.Add(-1)
		return failedRow{&Error{Kind: ErrPoolExhausted, Statement: co.one.Name, Err: fmt.Errorf("%d calls wait already", maxQueued)}}
	}
	if err := co.await(c); err != nil {
		return failedRow{c.fail(err)}
	}
	if c.individually {
		rows, err := co.router.query(ctx, co.one, c.deadline, args)
		if err == nil && c.shared != nil {
			co.noteFailure(c.shared)
		}
		return rowOf(rows, err)
	}
	c.finish()
	return c
}

var noRow, oneRow = pgconn.NewCommandTag("SELECT 0"), pgconn.NewCommandTag("SELECT 1")

// enqueue has a call wait, unless too many do.
func (co *coalescer) enqueue(c *call) bool {
	co.mu.Lock()
	defer co.mu.Unlock()
	if len(co.queue) >= maxQueued && !co.dropCancelled() {
		return false
	}
	co.queue = append(co.queue, c)
	if co.running.Load() < co.allowed() {
		co.running.Add(1)
		go co.work()
	}
	return true
}

// await returns when the call is complete, or with an error when its context has
// ended before.
func (co *coalescer) await(c *call) error {
	select {
	case <-c.done:
		// It is empty again, and nobody else has it any more.
		tokens.Put(c.done)
		return nil
	case <-c.ctx.Done():
	}
	ended := c.ctx.Err()
	if c.state.CompareAndSwap(callQueued, callCancelled) || co.reads {
		return wrap(co.one.Name, ended)
	}
	// The row is on its way to be stored. Mostly the answer comes at once, and
	// then the outcome is known.
	timer := time.NewTimer(conn.CancelTimeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		co.router.observer.resolved("unknown")
		return &Error{Kind: ErrCommitUnknown, Statement: co.one.Name, Err: ended}
	}
}

// work serves those that wait until there are none.
func (co *coalescer) work() {
	for {
		// Others that are about to call now come along.
		runtime.Gosched()
		calls := co.dequeue()
		if calls == nil {
			return
		}
		replica, primary, alone := co.splitByServer(calls)
		runIndividually(alone)
		co.runBatch(replica)
		co.runBatch(primary)
		co.outstanding.Add(-int64(len(calls)))
	}
}

// allowed is how many batches may be under way while so many calls wait.
func (co *coalescer) allowed() int64 {
	if len(co.queue) < minBatch {
		return co.batchLimit
	}
	return 2 * co.batchLimit
}

// dequeue takes what has waited longest. When nothing waits, or others will take
// it, it returns nil, and who has asked is no longer under way.
func (co *coalescer) dequeue() []*call {
	co.mu.Lock()
	defer co.mu.Unlock()
	// With many calls under way, more of them will soon wait: fewer and larger
	// batches are then worth more than this slot.
	for len(co.queue) > 0 && (co.running.Load() <= co.allowed() || co.outstanding.Load() < 2*minBatch) {
		n := min(len(co.queue), maxBatch)
		calls := make([]*call, 0, n)
		for _, c := range co.queue[:n] {
			if c.state.CompareAndSwap(callQueued, callSent) {
				calls = append(calls, c)
			} else {
				co.outstanding.Add(-1)
			}
		}
		rest := copy(co.queue, co.queue[n:])
		clear(co.queue[rest:])
		co.queue = co.queue[:rest]
		if len(calls) > 0 {
			return calls
		}
	}
	co.running.Add(-1)
	return nil
}

// dropCancelled drops the calls whose callers are gone, and reports whether there
// were any.
func (co *coalescer) dropCancelled() bool {
	kept := co.queue[:0]
	for _, c := range co.queue {
		if c.state.Load() == callQueued {
			kept = append(kept, c)
		}
	}
	dropped := len(co.queue) - len(kept)
	clear(co.queue[len(kept):])
	co.queue = kept
	co.outstanding.Add(-int64(dropped))
	return dropped > 0
}

// splitByServer parts the calls that a replica can answer from those whose sessions
// have seen what none has yet: one of these would take all to the primary. Calls
// whose sessions lead the primary run alone: the others need not wait with them.
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

// runBatch completes each of the calls.
func (co *coalescer) runBatch(calls []*call) {
	if len(calls) == 0 {
		return
	}
	if co.paused() {
		runIndividually(calls)
		return
	}
	co.router.observer.coalesced(co.one, len(calls))
	err := co.safely(calls)
	switch {
	case err == nil:
		co.failures.Store(0)
	case errors.Is(err, errLead):
		// It is that of one of them, since its session has read from a replica meanwhile.
		runIndividually(calls)
	case errors.Is(err, ErrCommitUnknown), errors.Is(err, ErrUnavailable):
		// It is the same for all, and what could be repeated was.
		for i, c := range calls {
			if i > 0 && errors.Is(err, ErrCommitUnknown) {
				// Each is a write of its own. The statement was counted as one.
				co.router.observer.resolved("unknown")
			}
			c.complete(forCaller(co.one, err))
		}
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrSerialization):
		// Nothing was done. One call blocked on a lock, or delayed the others. Run
		// each by itself so that it cannot do so again.
		runIndividually(calls)
	case len(calls) == 1:
		calls[0].shared = err
		runIndividually(calls)
	default:
		// Nothing was done, because of one of them. Halves find out which at
		// little cost to the others.
		half := len(calls) / 2
		co.runBatch(calls[:half])
		co.runBatch(calls[half:])
	}
}

// runIndividually makes each caller run its call by itself.
func runIndividually(calls []*call) {
	for _, c := range calls {
		c.individually = true
		c.complete(nil)
	}
}

// safely attempts the calls. An argument that panics while it is encoded is to
// do so in its caller's goroutine.
func (co *coalescer) safely(calls []*call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", co.many.Name, p)
		}
	}()
	return co.attempt(calls)
}

// forCaller is an error of a statement for many calls, as one of the callers
// is to see it.
func forCaller(s *statement, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	own := *e
	own.Statement = s.Name
	return &own
}
