//go:build linux

package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/db"
	"quern/postgres"
)

// storm is a crowd of which some are called away.
type storm struct {
	findings
	p                       *population
	r                       *receipts
	calls, gone, cut, place atomic.Int64
	late                    *atomic.Int64 // of the machine's timers
}

// prompt is how long after the end of its context a call may return: what the
// cancelling of a statement takes at most, and some time for a busy machine.
const prompt = 250 * time.Millisecond

// call makes one call, a read or an insert, under a context that ends soon or
// one that does not.
func (s *storm) call(ctx context.Context, q *db.Queries) {
	s.calls.Add(1)
	var ended atomic.Int64 // when, in nanoseconds
	away := rand.IntN(10) == 0
	if away {
		s.gone.Add(1)
		wait := rand.N(3 * time.Millisecond)
		var cancel context.CancelFunc
		if rand.IntN(2) == 0 {
			ctx, cancel = context.WithTimeout(ctx, wait)
		} else {
			ctx, cancel = context.WithCancel(ctx)
			timer := time.AfterFunc(wait, cancel)
			defer timer.Stop()
		}
		defer cancel()
		defer context.AfterFunc(ctx, func() { ended.Store(time.Now().UnixNano()) })()
	}
	err := s.readOrPlace(ctx, q)
	if at := ended.Load(); at != 0 {
		if took := time.Since(time.Unix(0, at)); took > prompt+2*time.Duration(s.late.Load()) {
			s.add(lateCall, "after %v: %v", took, err)
		}
	}
	switch {
	case err == nil:
	case !away || ctx.Err() == nil:
		s.add(failedCall, "%v", err)
	case !calledAway(ctx)(err):
		s.add(untypedCall, "the context ended with %v, and the call with: %v", ctx.Err(), err)
	default:
		s.cut.Add(1)
	}
}

// readOrPlace makes one read or one insert, and returns an error that has
// nothing to do with what was asked for.
func (s *storm) readOrPlace(ctx context.Context, q *db.Queries) error {
	if rand.IntN(2) == 0 {
		_, err := s.p.read(ctx, q, 0, s.p.pick(), rand.IntN(2) == 0)
		return err
	}
	if got := s.r.place(ctx, q, int(s.place.Add(1))); !got.own() {
		return got.err
	}
	return nil
}

// calledAway returns whether an error is one that the end of the context
// explains.
func calledAway(ctx context.Context) func(error) bool {
	return func(err error) bool {
		if errors.Is(ctx.Err(), context.Canceled) {
			return errors.Is(err, context.Canceled)
		}
		return errors.Is(err, postgres.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
	}
}

// newStorm returns a storm over rows that nobody changes.
func newStorm(t testing.TB, c *cluster, q *db.Queries, seed uint64) *storm {
	t.Helper()
	s := &storm{p: populate(t, q, 0), r: newReceipts(t, c.primary, "a", seed), late: watchScheduling(t)}
	// Rows of the population are no orders.
	s.r.others = true
	return s
}

// check looks at what all were told, and at what is stored.
func (s *storm) checkAll(t testing.TB, c *cluster) {
	t.Helper()
	c.primary.waitForBackends(t)
	s.r.check(t, c.primary, func(err error) bool { return true }) // excused as they came
	t.Logf("%d calls, %d under a context that ended, of which %d noticed", s.calls.Load(), s.gone.Load(), s.cut.Load())
	s.findings.check(t)
	s.p.check(t)
	s.r.findings.check(t)
}

// hog takes every connection of a pool for a moment, again and again, so that
// also what has left its queue has to wait: longer than a caller waits who was
// called away.
func hog(t testing.TB, pool *pgxpool.Pool) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			var held []*pgxpool.Conn
			for range crowdConns {
				if conn, err := pool.Acquire(ctx); err == nil {
					held = append(held, conn)
				}
			}
			<-time.After(100 * time.Millisecond)
			for _, conn := range held {
				conn.Release()
			}
			<-time.After(200 * time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

// TestCrowdCancelled calls one caller in ten away at some moment. He learns so
// at once; nobody else does, and no connection is lost over it. What he
// inserted is stored at most once, and not if he was told that it is not.
func TestCrowdCancelled(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns, MinConns: crowdConns})
	s := newStorm(t, c, q, 2)
	warm(t, router.Pool(), crowdConns)
	defer hog(t, router.Pool())()
	before := router.Pool().Stat().NewConnsCount()
	for _, callers := range []int{8, 64, crowdSize} {
		over := span(700*time.Millisecond, 10*time.Second)
		crowd(callers, func(int) {
			for !over() {
				s.call(t.Context(), q)
			}
		})
	}
	lost := router.Pool().Stat().NewConnsCount() - before
	s.checkAll(t, c)
	t.Logf("%d connections were opened anew", lost)
	if s.cut.Load() == 0 {
		t.Error("nobody was called away in time: the test shows nothing")
	}
	// A busy machine may take longer to cancel a statement than is waited for.
	if lost > crowdConns+s.cut.Load()/10 {
		t.Errorf("%d connections were opened anew, for %d calls that were cut short", lost, s.cut.Load())
	}
}

// TestCrowdCancelledNaive shows that the check sees an error that goes to
// somebody else.
func TestCrowdCancelledNaive(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	s := newStorm(t, c, q, 2)
	naive := db.New(&meddled{router, joining()})
	over := s.seen(failedCall)
	crowd(64, func(int) {
		for !over() {
			s.call(t.Context(), naive)
		}
	})
	t.Log("what the check saw:", &s.findings)
	s.require(t, failedCall)
}
