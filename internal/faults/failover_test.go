//go:build linux

package faults

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
)

// TestFailover kills the primary of a synchronous pair under writers and
// promotes the standby. The Router, whose connection string has both, must find
// the new primary by itself, and no acknowledged write may be missing there.
func TestFailover(t *testing.T) {
	checkLeaks(t)
	for round := range times(1, 10) {
		t.Run(strconv.Itoa(round+1), failOver)
	}
}

func failOver(t *testing.T) {
	c := newSynchronousPair(t)
	standby := c.standbys[0]
	l := newLedger(t, c.primary)
	metrics := prometheus.NewRegistry()
	_, q := connect(t, postgres.Config{
		URL:         c.primary.urlVia(c.primary.address()+","+standby.address()) + "&target_session_attrs=read-write",
		ReplicaURLs: []string{standby.url()}, MaxConns: 8, MinConns: 2, Observers: observers(metrics),
	})
	eventually(t, startLimit, "the standby is used as a replica", func() bool { return replicaUp(t, metrics, standby.address()) == 1 })
	stop := writers(t.Context(), l, q.InTx, 8, 10*time.Second)
	defer stop()
	eventually(t, startLimit, "writes are acknowledged", func() bool { return l.acknowledged() >= 200 })

	// Reads without a token need only the standby, even if the primary is dead.
	// None of them may fail while the standby is a replica.
	c.primary.kill(t)
	killed := time.Now()
	reads := &tally{}
	until, cancel := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		for until.Err() == nil {
			reads.read(q, t.Context(), l.owner, 1)
		}
	})
	eventually(t, startLimit, "reads are answered without a primary", func() bool { return reads.reads.Load() > 100 })
	withoutPrimary := reads.String()

	promoting := time.Now()
	standby.promote(t)
	promoted := time.Now()
	eventually(t, startLimit, "writes are acknowledged again", func() bool { return l.resumed(killed) < startLimit })
	before := l.acknowledged()
	eventually(t, startLimit, "writes go on", func() bool { return l.acknowledged() >= before+200 })
	cancel()
	reader.Wait()
	stop()
	standby.waitForBackends(t)
	b := l.check(t, standby)
	ready := promoting.Sub(killed)
	t.Log(b)
	t.Logf("promotion took %v; a new write was acknowledged %v after it was asked for; the slowest write took %v%s",
		promoted.Sub(promoting).Round(time.Millisecond), (l.resumed(killed) - ready).Round(time.Millisecond),
		l.slowest().Round(time.Millisecond), l.failures())
	t.Logf("without a primary: %s; in all: %v", withoutPrimary, reads)
	if reads.failed.Load() > 0 {
		t.Errorf("reads failed: %v", reads)
	}
	// Attempts that reach no server do not count for the first 2 s, so a shorter
	// failover costs no write.
	if l.resumed(killed) < 2*time.Second && b.failed > 0 {
		t.Errorf("%d writes failed, want each repeated until there is a primary", b.failed)
	}
	// It takes a second on a quiet machine, but this one may be busy.
	if l.resumed(killed)-ready > 5*time.Second {
		t.Errorf("writes resumed only after %v", l.resumed(killed)-ready)
	}
}
