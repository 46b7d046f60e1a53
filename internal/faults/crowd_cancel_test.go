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

// storm is a crowd in which some calls are cancelled.
type storm struct {
	findings
	p                       *population
	r                       *receipts
	calls, gone, cut, place atomic.Int64
	late                    *atomic.Int64 // of the machine's timers
}

// prompt is how long after the end of its context a call may return. It covers
// the maximum time for cancelling a statement, and some time for a busy
// machine.
const prompt = 250 * time.Millisecond

// call makes one call, either a read or an insert. Some calls have a context
// that ends soon.
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

// readOrPlace makes one read or one insert. It returns an error only if that is
// unrelated to the requested row.
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

// calledAway returns a function that reports whether an error is due to the end
// of the context.
func calledAway(ctx context.Context) func(error) bool {
	return func(err error) bool {
		if errors.Is(ctx.Err(), context.Canceled) {
			return errors.Is(err, context.Canceled)
		}
		return errors.Is(err, postgres.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
	}
}

// newStorm returns a storm over rows that no call changes.
func newStorm(t testing.TB, c *cluster, q *db.Queries, seed uint64) *storm {
	t.Helper()
	s := &storm{p: populate(t, q, 0), r: newReceipts(t, c.primary, "a", seed), late: watchScheduling(t)}
	// The rows of the population are not orders.
	s.r.others = true
	return s
}

// checkAll checks the results of all calls and the stored rows.
func (s *storm) checkAll(t testing.TB, c *cluster) {
	t.Helper()
	c.primary.waitForBackends(t)
	s.r.check(t, c.primary, func(err error) bool { return true }) // excused when they occurred
	t.Logf("%d calls, %d under a context that ended, of which %d noticed", s.calls.Load(), s.gone.Load(), s.cut.Load())
	s.findings.check(t)
	s.p.check(t)
	s.r.findings.check(t)
}

// hog repeatedly takes all connections of a pool for a moment, so that calls
// that have left the queue must also wait, longer than a cancelled caller
// may.
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

// TestCrowdCancelled cancels one call in ten at a random moment. It must return
// at once. Other calls must not be affected, and no connection may be lost. A
// cancelled insert is stored at most once, and not at all if its error is
// definite.
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
		t.Error("no call was cancelled in time, so the test shows nothing")
	}
	// On a busy machine the server may take longer to cancel a statement than the
	// client waits.
	if lost > crowdConns+s.cut.Load()/10 {
		t.Errorf("%d connections were opened anew, for %d calls that were cut short", lost, s.cut.Load())
	}
}

// TestCrowdCancelledNaive shows that the check detects an error that another
// caller gets.
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
	t.Log("the check found:", &s.findings)
	s.require(t, failedCall)
}
