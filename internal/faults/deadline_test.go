//go:build linux

package faults

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/db"
	"quern/postgres"
)

// warm fills a pool with n connections that were used and are idle.
func warm(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	var held []*pgxpool.Conn
	for range n {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	for _, conn := range held {
		conn.Release()
	}
}

// TestServerRestarted restarts the server under a warm pool. Its connections
// are dead, but reads must succeed.
func TestServerRestarted(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	const conns = 8
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: conns, MinConns: 1})
	u, err := q.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	control, err := pgxpool.New(t.Context(), c.primary.url()+"&pool_max_conns=8")
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()

	for _, way := range []struct {
		name    string
		restart func()
	}{
		{"ShutDown", func() { c.primary.restart(t) }},
		{"Killed", func() { c.primary.kill(t); c.primary.start(t) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			warm(t, router.Pool(), conns)
			warm(t, control, conns)
			way.restart()
			reads := &tally{}
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range 25 {
						reads.read(q, t.Context(), u.ID, 1)
					}
				})
			}
			all.Wait()
			t.Log(reads)
			reads.check(t)

			naive := 0
			for range conns {
				if _, err := db.New(control).GetUser(t.Context(), u.ID); err != nil {
					naive++
				}
			}
			t.Logf("control: %d of %d failed with a plain pool", naive, conns)
			if naive == 0 {
				t.Error("no read failed with a plain pool: the test cannot fail")
			}
		})
	}

	// A write that cannot be repeated must not be sent on a connection that is
	// known to be dead.
	t.Run("Writes", func(t *testing.T) {
		warm(t, router.Pool(), conns)
		c.primary.restart(t)
		failed := 0
		for range 100 {
			if _, err := q.CreateUser(t.Context(), newUser()); err != nil {
				failed++
			}
		}
		t.Logf("%d of 100 autocommit writes failed", failed)
		if failed > 0 {
			t.Errorf("%d of 100 writes failed", failed)
		}
	})
}

// patience is the deadline of each call below.
const patience = 300 * time.Millisecond

// TestEveryCallEnds makes the server unreachable in the ways that give no
// answer at all. Every call must end at its deadline, within 100 ms.
func TestEveryCallEnds(t *testing.T) {
	checkLeaks(t)
	for _, way := range []struct {
		name   string
		begin  func(c *cluster, p *proxy, r *postgres.Router)
		end    func(c *cluster, p *proxy)
		during bool // it can also happen in the middle of a transaction
	}{
		{
			name: "BackendsStopped",
			begin: func(c *cluster, _ *proxy, _ *postgres.Router) {
				c.primary.family = c.primary.backends(t)
				for _, pid := range c.primary.family {
					_ = syscall.Kill(pid, syscall.SIGSTOP)
				}
			},
			end: func(c *cluster, _ *proxy) { c.primary.resume() },
		},
		{
			name: "PostmasterStopped",
			begin: func(c *cluster, _ *proxy, r *postgres.Router) {
				c.primary.pause(t)
				// A caller without a connection needs a new one.
				r.Pool().Reset()
			},
			end: func(c *cluster, _ *proxy) { c.primary.resume() },
		},
		{
			name:   "ServerStopped",
			begin:  func(c *cluster, _ *proxy, _ *postgres.Router) { c.primary.pause(t) },
			end:    func(c *cluster, _ *proxy) { c.primary.resume() },
			during: true,
		},
		{
			name:   "NetworkGone",
			begin:  func(_ *cluster, p *proxy, _ *postgres.Router) { p.blackHole() },
			end:    func(_ *cluster, p *proxy) { p.resume() },
			during: true,
		},
	} {
		t.Run(way.name, func(t *testing.T) {
			c := newCluster(t, clusterConfig{})
			p := proxyTo(t, c.primary.address())
			router, q := connect(t, postgres.Config{
				URL: c.primary.urlVia(p.address()), MaxConns: 16, MinConns: 1, Statements: db.Statements,
			})
			u, err := q.CreateUser(t.Context(), newUser())
			if err != nil {
				t.Fatal(err)
			}
			warm(t, router.Pool(), 16)
			late := watchScheduling(t)

			var all sync.WaitGroup
			call := func(name string, fn func(ctx context.Context) error) {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					began := time.Now()
					err := fn(ctx)
					took := time.Since(began)
					allowed := patience + 100*time.Millisecond + 2*time.Duration(late.Load())
					t.Logf("%-22s %4d ms (%d allowed): %v", name, took.Milliseconds(), allowed.Milliseconds(), err)
					if took > allowed {
						t.Errorf("%s took %v, and %v is allowed", name, took, allowed)
					}
					if err == nil {
						t.Errorf("%s succeeded", name)
					}
				})
			}
			if way.during {
				// All transactions have begun when it happens.
				var ready sync.WaitGroup
				gone := make(chan struct{})
				during := func(name string, savepoint bool, then func(ctx context.Context, q *db.Queries) error) {
					ready.Add(1)
					met := sync.OnceFunc(ready.Done)
					call(name, func(ctx context.Context) error {
						defer met()
						work := func(q *db.Queries) error {
							if _, err := q.CreateUser(ctx, newUser()); err != nil {
								return err
							}
							met()
							<-gone
							return then(ctx, q)
						}
						return q.InTx(ctx, func(q *db.Queries) error {
							if savepoint {
								return q.InTx(ctx, work)
							}
							return work(q)
						})
					})
				}
				during("in a transaction", false, func(ctx context.Context, q *db.Queries) error {
					_, err := q.CreateUser(ctx, newUser())
					return err
				})
				during("commit", false, func(context.Context, *db.Queries) error { return nil })
				during("rollback", false, func(context.Context, *db.Queries) error { return errors.New("the closure's own") })
				during("savepoint", true, func(context.Context, *db.Queries) error { return errors.New("the closure's own") })
				ready.Wait()
				way.begin(c, p, router)
				close(gone)
			} else {
				way.begin(c, p, router)
			}
			call("read", func(ctx context.Context) error { _, err := q.GetUser(ctx, u.ID); return err })
			call("list", func(ctx context.Context) error {
				_, err := q.ListUsersAfter(ctx, db.ListUsersAfterParams{RowLimit: 10})
				return err
			})
			call("write", func(ctx context.Context) error { _, err := q.CreateUser(ctx, newUser()); return err })
			call("transaction", func(ctx context.Context) error {
				return q.InTx(ctx, func(q *db.Queries) error { _, err := q.CreateUser(ctx, newUser()); return err })
			})
			call("ping", router.Ping)
			if way.name != "BackendsStopped" { // its postmaster still accepts connections
				call("connect", func(ctx context.Context) error {
					r, err := postgres.Connect(ctx, postgres.Config{URL: c.primary.urlVia(p.address()), Logger: quiet})
					if err == nil {
						r.Close()
					}
					return err
				})
			}
			all.Wait()
			way.end(c, p)

			began := time.Now()
			eventually(t, startLimit, "everything works again", func() bool {
				_, err := q.GetUser(t.Context(), u.ID)
				return err == nil
			})
			t.Logf("works again after %v; timers were up to %v late", time.Since(began).Round(time.Millisecond),
				time.Duration(late.Load()).Round(time.Millisecond))
		})
	}
}

// watchScheduling measures the longest delay with which this machine wakes a
// sleeping goroutine during the test. A deadline is not to blame for that
// delay.
func watchScheduling(t testing.TB) *atomic.Int64 {
	t.Helper()
	worst := &atomic.Int64{}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		const nap = 2 * time.Millisecond
		for ctx.Err() == nil {
			slept := time.Now()
			<-time.After(nap)
			worst.Store(max(worst.Load(), int64(time.Since(slept)-nap)))
		}
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return worst
}
