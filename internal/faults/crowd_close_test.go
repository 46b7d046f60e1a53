//go:build linux

package faults

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// closeLimit bounds Close and the answers to all calls made before it.
const closeLimit = 2 * time.Second

// closeUnder closes a Router under a crowd and returns the results. Each caller
// continues until it gets an error.
func closeUnder(t *testing.T, open func(*postgres.Router) *db.Queries) *storm {
	t.Helper()
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	s := newStorm(t, c, q, 5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	q = open(router)
	var closing atomic.Int64 // in nanoseconds
	var all sync.WaitGroup
	for range crowdSize {
		all.Go(func() {
			for {
				err := s.readOrPlace(ctx, q)
				if s.calls.Add(1); err == nil {
					continue
				}
				since := time.Duration(time.Now().UnixNano() - closing.Load())
				switch {
				case closing.Load() == 0:
					s.add(failedCall, "%v", err)
				case since > closeLimit:
					s.add(lateCall, "%v after Close: %v", since, err)
				case !broken(err):
					s.add(untypedCall, "%v", err)
				}
				return
			}
		})
	}
	eventually(t, startLimit, "the crowd is inside", func() bool { return s.calls.Load() > 2*crowdSize })
	closing.Store(time.Now().UnixNano())
	router.Close()
	took := time.Duration(time.Now().UnixNano() - closing.Load())
	t.Logf("Close took %v", took.Round(time.Millisecond))
	if took > closeLimit {
		s.add(lateCall, "Close itself, %v", took)
	}
	// A call that is not answered by then will never be.
	defer time.AfterFunc(closeLimit+prompt, cancel).Stop()
	all.Wait()
	s.r.check(t, c.primary, broken)
	return s
}

// TestCrowdClose closes the Router under a crowd. Every call must return, and
// exactly the acknowledged rows must be stored.
func TestCrowdClose(t *testing.T) {
	checkLeaks(t)
	for range times(1, 20) {
		s := closeUnder(t, func(router *postgres.Router) *db.Queries { return db.New(router) })
		s.findings.check(t)
		s.p.check(t)
		s.r.findings.check(t)
	}
	t.Run("Naive", func(t *testing.T) {
		s := closeUnder(t, func(router *postgres.Router) *db.Queries { return db.New(&meddled{router, stubborn}) })
		t.Log("the check found:", &s.findings)
		s.require(t, lateCall)
	})
}
