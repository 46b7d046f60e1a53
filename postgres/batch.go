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

	// worthwhile is how many calls have to wait for another batch to leave
	// beside these, of which there are up to as many again: what many small ones
	// cost is more than the time they save.
	worthwhile = 16

	// maxBatch is how many calls leave together. More would make the first of
	// them wait for the last.
	maxBatch = 1000

	// maxWaiting is how many calls of one statement may wait to leave. With as
	// many, the server is so far behind that another had better be told so.
	maxWaiting = 10_000
)

// lane carries the calls of one statement with @batch. As long as there are few
// of them, each runs by itself, in its caller's goroutine and with no delay.
// When there are more, they wait until a batch has ended, and all that wait
// leave together as the next, until none waits.
//
// A call joins only what has not left yet, so that what it reads is never older
// than the call. What has left has a deadline of its own and never sees a
// caller's context: a caller who goes takes nobody along.
type lane struct {
	router    *Router
	one, many *statement

	// reads tells a statement that is derived from a read from the partner of an
	// insert. A call of a read may be answered along with an equal one, and repeated.
	reads bool

	direct, batches int64        // how many calls, and how many batches, may be under way
	rowSize         atomic.Int32 // in bytes, as seen last, and some more

	inside atomic.Int64 // calls that wait or are under way, whichever way

	// strikes is how many calls the shared statement has failed in a row, each by
	// itself, that succeeded without it; rest is until when it is not used for that,
	// in Unix nanoseconds.
	strikes atomic.Int32
	rest    atomic.Int64

	mu    sync.Mutex
	queue []*call
	busy  atomic.Int64 // batches under way; changed under mu
}

// openLanes makes a lane for each statement that may leave with others.
func (r *Router) openLanes() {
	for _, s := range r.registry.known {
		many := r.registry.named(s.Batch)
		if many == nil || s.Kind != One {
			continue
		}
		reads := many.DerivedFrom != ""
		if reads && r.cfg.SeparateReads || !reads && r.cfg.SeparateInserts {
			continue
		}
		cores, conns := runtime.GOMAXPROCS(0), int(r.cfg.MaxConns)
		direct := min(directPerCore*cores, conns)
		if r.classes.reads[s] != nil {
			direct = min(direct, conns-1) // one is left to other statements
		}
		s.lane = &lane{
			router: r, one: s, many: many, reads: reads,
			direct: int64(direct), batches: int64(min(batchesPerCore*cores, max(1, conns/2))),
		}
	}
}

// queryRow runs a call.
func (l *lane) queryRow(ctx context.Context, args []any) pgx.Row {
	if l.rests() {
		return rowOf(l.router.query(ctx, l.one, time.Time{}, args))
	}
	// A lock here would be met by every call of a calm service.
	if l.inside.Add(1) <= l.direct && l.busy.Load() == 0 {
		// Deferred, for an argument may panic while it is encoded.
		defer l.inside.Add(-1)
		return rowOf(l.router.query(ctx, l.one, time.Time{}, args))
	}
	c := newCall(ctx, l, args)
	if err := l.router.refuse(l.one); err != nil {
		l.inside.Add(-1)
		return failedRow{c.fail(err)}
	}
	if l.reads {
		var valid bool
		if c.key, valid = keyOf(args); !valid {
			// PostgreSQL refuses it, and with it those of all others.
			defer l.inside.Add(-1)
			return rowOf(l.router.query(ctx, l.one, time.Time{}, args))
		}
	}
	// A caller whose context has ended may do with its arguments what it likes,
	// while they are still to be sent.
	c.args = ownCopies(args)
	if !l.enqueue(c) {
		l.inside.Add(-1)
		return failedRow{&Error{Kind: ErrPoolExhausted, Statement: l.one.Name, Err: fmt.Errorf("%d calls wait already", maxWaiting)}}
	}
	if err := l.await(c); err != nil {
		return failedRow{c.fail(err)}
	}
	if c.individually {
		rows, err := l.router.query(ctx, l.one, c.deadline, args)
		if err == nil && c.shared != nil {
			l.strike(c.shared)
		}
		return rowOf(rows, err)
	}
	c.finish()
	return c
}

var noRow, oneRow = pgconn.NewCommandTag("SELECT 0"), pgconn.NewCommandTag("SELECT 1")

// enqueue has a call wait, unless too many do.
func (l *lane) enqueue(c *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxWaiting && !l.forget() {
		return false
	}
	l.queue = append(l.queue, c)
	if l.busy.Load() < l.allowed() {
		l.busy.Add(1)
		go l.work()
	}
	return true
}

// await returns when the call is settled, or with an error when its context has
// ended before.
func (l *lane) await(c *call) error {
	select {
	case <-c.done:
		// It is empty again, and nobody else has it any more.
		tokens.Put(c.done)
		return nil
	case <-c.ctx.Done():
	}
	ended := c.ctx.Err()
	if c.state.CompareAndSwap(callWaits, callGone) || l.reads {
		return wrap(l.one.Name, ended)
	}
	// The row is on its way to be stored. Mostly the answer comes at once, and
	// then the outcome is known.
	timer := time.NewTimer(conn.CancelTimeout)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		l.router.observer.settled("unknown")
		return &Error{Kind: ErrCommitUnknown, Statement: l.one.Name, Err: ended}
	}
}

// work serves those that wait until there are none.
func (l *lane) work() {
	for {
		// Others that are about to call now come along.
		runtime.Gosched()
		calls := l.take()
		if calls == nil {
			return
		}
		replica, primary, alone := l.byServer(calls)
		runAlone(alone)
		l.serve(replica)
		l.serve(primary)
		l.inside.Add(-int64(len(calls)))
	}
}

// allowed is how many batches may be under way while so many calls wait.
func (l *lane) allowed() int64 {
	if len(l.queue) < worthwhile {
		return l.batches
	}
	return 2 * l.batches
}

// take takes what has waited longest. When nothing waits, or others will take
// it, it returns nil, and who has asked is no longer under way.
func (l *lane) take() []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	// With many calls under way, more of them will soon wait: fewer and larger
	// batches are then worth more than this slot.
	for len(l.queue) > 0 && (l.busy.Load() <= l.allowed() || l.inside.Load() < 2*worthwhile) {
		n := min(len(l.queue), maxBatch)
		calls := make([]*call, 0, n)
		for _, c := range l.queue[:n] {
			if c.state.CompareAndSwap(callWaits, callLeft) {
				calls = append(calls, c)
			} else {
				l.inside.Add(-1)
			}
		}
		rest := copy(l.queue, l.queue[n:])
		clear(l.queue[rest:])
		l.queue = l.queue[:rest]
		if len(calls) > 0 {
			return calls
		}
	}
	l.busy.Add(-1)
	return nil
}

// forget drops the calls whose callers are gone, and reports whether there
// were any.
func (l *lane) forget() bool {
	kept := l.queue[:0]
	for _, c := range l.queue {
		if c.state.Load() == callWaits {
			kept = append(kept, c)
		}
	}
	dropped := len(l.queue) - len(kept)
	clear(l.queue[len(kept):])
	l.queue = kept
	l.inside.Add(-int64(dropped))
	return dropped > 0
}

// byServer parts the calls that a replica can answer from those whose sessions
// have seen what none has yet: one of these would take all to the primary. Calls
// whose sessions lead the primary run alone: the others need not wait with them.
func (l *lane) byServer(calls []*call) (replica, primary, alone []*call) {
	for _, c := range calls {
		switch {
		case l.one.Route == Replica && l.router.choose(c.session).replica != nil:
			replica = append(replica, c)
		case l.router.leads(c.session):
			alone = append(alone, c)
		default:
			primary = append(primary, c)
		}
	}
	return replica, primary, alone
}

// serve settles each of the calls.
func (l *lane) serve(calls []*call) {
	if len(calls) == 0 {
		return
	}
	if l.rests() {
		runAlone(calls)
		return
	}
	l.router.observer.batched(l.one, len(calls))
	err := l.safely(calls)
	switch {
	case err == nil:
		l.strikes.Store(0)
	case errors.Is(err, errLead):
		// It is that of one of them, since its session has read from a replica meanwhile.
		runAlone(calls)
	case errors.Is(err, ErrCommitUnknown), errors.Is(err, ErrUnavailable):
		// It is the same for all, and what could be repeated was.
		for i, c := range calls {
			if i > 0 && errors.Is(err, ErrCommitUnknown) {
				// Each is a write of its own. The statement was counted as one.
				l.router.observer.settled("unknown")
			}
			c.settle(forCaller(l.one, err))
		}
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrSerialization):
		// Nothing was done. One call blocked on a lock, or delayed the others. Run
		// each by itself so that it cannot do so again.
		runAlone(calls)
	case len(calls) == 1:
		calls[0].shared = err
		runAlone(calls)
	default:
		// Nothing was done, because of one of them. Halves find out which at
		// little cost to the others.
		half := len(calls) / 2
		l.serve(calls[:half])
		l.serve(calls[half:])
	}
}

// runAlone makes each caller run its call by itself.
func runAlone(calls []*call) {
	for _, c := range calls {
		c.individually = true
		c.settle(nil)
	}
}

// safely attempts the calls. An argument that panics while it is encoded is to
// do so in its caller's goroutine.
func (l *lane) safely(calls []*call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", l.many.Name, p)
		}
	}()
	return l.attempt(calls)
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
