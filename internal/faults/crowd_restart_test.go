//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// broken reports whether err is explained by a server that is shutting down or
// has crashed.
func broken(err error) bool {
	return errors.Is(err, postgres.ErrUnavailable) || errors.Is(err, postgres.ErrCommitUnknown) || errors.Is(err, postgres.ErrTimeout)
}

// TestCrowdRestart takes the server down under a crowd and brings it back. It
// shuts the server down, kills a backend, or kills the postmaster. Every call
// must be answered before its deadline, calls after the restart must succeed,
// and the stored rows must be the acknowledged ones and some of those with an
// unknown outcome.
func TestCrowdRestart(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: map[string]string{"fsync": "off"}})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns, MinConns: crowdConns})
	p := populate(t, q, 0)
	r := newReceipts(t, c.primary, "a", 3)
	r.others = true
	late := watchScheduling(t)

	const callers, deadline = 64, 10 * time.Second
	var over atomic.Bool
	var rest sync.RWMutex // calls hold it for reading, so a writer stops the crowd
	var place, done, failed atomic.Int64
	var back atomic.Pointer[time.Time] // since when the server is up; nil while it is down
	call := func(fn func(ctx context.Context) error) {
		rest.RLock()
		defer rest.RUnlock()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		up, began := back.Load(), time.Now()
		err := fn(ctx)
		took := time.Since(began)
		if took > deadline+prompt+2*time.Duration(late.Load()) {
			p.add(lateCall, "%v: %v", took, err)
		}
		done.Add(1)
		switch {
		case err == nil:
		case !broken(err):
			p.add(untypedCall, "%v", err)
		case up != nil && up == back.Load():
			p.add(failedCall, "%v after the server was back: %v", began.Sub(*up), err)
		default:
			failed.Add(1)
		}
	}
	work := func(caller int) {
		for !over.Load() {
			if caller%2 == 0 {
				call(func(ctx context.Context) error {
					_, err := p.read(ctx, q, 0, p.pick(), rand.IntN(2) == 0)
					return err
				})
				continue
			}
			call(func(ctx context.Context) error {
				if got := r.place(ctx, q, int(place.Add(1))); !got.own() {
					return got.err
				}
				return nil
			})
		}
	}
	events := make(chan struct{})
	go func() {
		defer close(events)
		crowd(callers, work)
	}()
	defer func() { over.Store(true); <-events }()
	up := func() {
		now := time.Now()
		back.Store(&now)
	}
	more := func(n int64) {
		before := done.Load()
		eventually(t, startLimit, "calls return", func() bool { return done.Load() >= before+n })
	}
	up()
	for range times(1, 10) {
		for _, way := range []struct {
			name string
			do   func()
		}{
			{"shut down", func() { c.primary.restart(t) }},
			{"a backend killed", func() {
				c.primary.killBackend(t)
				eventually(t, startLimit, "the server has recovered", func() bool {
					return c.primary.exec(t.Context(), database, "SELECT 1") == nil
				})
			}},
			{"the postmaster killed", func() { c.primary.kill(t); c.primary.start(t) }},
			// With calls running, they detect the dead connections while the server is
			// down. At rest, all connections of the pool are dead when the server is
			// back.
			{"shut down at rest", func() {
				rest.Lock()
				c.primary.restart(t)
				up()
				rest.Unlock()
			}},
		} {
			more(callers)
			before := failed.Load()
			back.Store(nil)
			way.do()
			if back.Load() == nil {
				up()
			}
			began := time.Now()
			more(2 * callers)
			t.Logf("%s: %d calls failed; %d more were answered within %v", way.name, failed.Load()-before, 2*callers,
				time.Since(began).Round(time.Millisecond))
		}
	}
	over.Store(true)
	<-events
	if n := router.Pool().Stat().AcquiredConns(); n > 0 {
		t.Errorf("%d connections are in use when all calls have returned", n)
	}
	c.primary.waitForBackends(t)
	r.check(t, c.primary, broken)
	p.log(t)
	p.findings.check(t)
	r.findings.check(t)
}

var insertText = regexp.MustCompile(`(?is)\binsert\s+into\s+(users|posts|tasks)\b`)

// TestCrowdLostAnswers loses the answers to inserts of a crowd in every
// possible way. All callers of a coalesced statement get ErrCommitUnknown, and
// no insert that may be stored is repeated.
func TestCrowdLostAnswers(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	for _, how := range allFaults {
		t.Run(string(how), func(t *testing.T) {
			r := loseInserts(t, c, how, 0.15, func(router *postgres.Router) *db.Queries { return db.New(router) })
			r.findings.check(t)
		})
	}
	t.Run("Naive", func(t *testing.T) {
		r := loseInserts(t, c, dropAnswer, 0.5, func(router *postgres.Router) *db.Queries {
			return db.New(&meddled{router, repeating})
		})
		t.Log("the check found:", &r.findings)
		r.require(t, doubledInsert)
	})
}

// loseInserts makes a crowd insert through a proxy that loses the given share
// of the statements.
func loseInserts(t *testing.T, c *cluster, how fault, share float64, open func(*postgres.Router) *db.Queries) *receipts {
	t.Helper()
	p := proxyTo(t, c.primary.address())
	router, _ := connect(t, postgres.Config{
		URL: c.primary.urlVia(p.address()), MaxConns: crowdConns, MinConns: crowdConns, QueryTimeout: commitWait,
	})
	r := newReceipts(t, c.primary, fmt.Sprint("part ", serials.Add(1)), 4)
	r.others = true
	p.lose(func(sql string) bool { return insertText.MatchString(sql) }, sometimes(how, share))
	r.placeAll(t, open(router), 64, times(300, 3000))
	c.primary.waitForBackends(t)
	r.check(t, c.primary, broken)
	if p.losses() == 0 {
		t.Error("no insert met an accident: the test shows nothing")
	}
	failures := map[string]int{}
	for _, got := range r.list {
		if !got.own() {
			failures[ports.ReplaceAllString(fmt.Sprint(got.err), ":…")]++
		}
	}
	t.Logf("%d accidents: %v", p.losses(), failures)
	return r
}
