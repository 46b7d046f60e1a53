//go:build linux

package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"quern/postgres"
)

// writers starts writers of entries and returns a function that stops them.
// That function returns when the last write has its result.
func writers(ctx context.Context, l *ledger, inTx transactor, n int, deadline time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for writer := range n {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				// Not ctx, so that the last write ends like the others.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
				l.write(ctx, inTx, fmt.Sprintf("%d %d", writer, i), i%2 == 1)
				cancel()
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
}

// TestKill kills backends and postmasters with SIGKILL under eight writers.
// Every acknowledged write must be stored exactly once. A standby that every
// COMMIT waits for lengthens the moment in which a write is stored but not yet
// acknowledged.
func TestKill(t *testing.T) {
	checkLeaks(t)
	c := newSynchronousPair(t)
	l := newLedger(t, c.primary)
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: 8, MinConns: 2})
	stop := writers(t.Context(), l, q.InTx, 8, 10*time.Second)
	defer stop()
	more := func(n int) {
		t.Helper()
		before := l.acknowledged()
		eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= before+n })
	}
	for round := range times(2, 20) {
		for _, who := range []string{"backend", "postmaster"} {
			more(50)
			killed := time.Now()
			if who == "backend" {
				c.primary.killBackend(t)
			} else {
				c.primary.kill(t)
				c.primary.start(t)
			}
			more(50)
			t.Logf("round %d: %s killed: for %v nothing was acknowledged", round+1, who, l.gap(killed).Round(time.Millisecond))
		}
	}
	stop()
	c.primary.waitForBackends(t)
	b := l.check(t, c.primary)
	t.Logf("%v; the slowest took %v%s", b, l.slowest().Round(time.Millisecond), l.failures())
}
