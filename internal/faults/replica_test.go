//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/db"
	"quern/postgres"
)

// replicated is a primary and two standbys, each behind a proxy that counts its
// answers.
type replicated struct {
	*cluster
	primaryProxy *proxy
	proxies      []*proxy // of the standbys
}

func newReplicated(t testing.TB) *replicated {
	t.Helper()
	r := &replicated{cluster: newCluster(t, clusterConfig{standbys: 2})}
	r.primaryProxy = proxyTo(t, r.primary.address())
	for _, s := range r.standbys {
		r.proxies = append(r.proxies, proxyTo(t, s.address()))
	}
	return r
}

func (r *replicated) config() postgres.Config {
	cfg := postgres.Config{URL: r.primary.urlVia(r.primaryProxy.address()), MaxConns: 8, MinConns: 2}
	for _, p := range r.proxies {
		cfg.ReplicaURLs = append(cfg.ReplicaURLs, r.primary.urlVia(p.address()))
	}
	return cfg
}

// served returns how many reads a server behind a proxy has answered, including
// coalesced ones.
func served(p *proxy) int { return p.count("GetUser", "GetUserBatch") }

// tally counts the results of reads.
type tally struct {
	reads, stale, failed atomic.Int64
	slowest              atomic.Int64
	example              atomic.Value // of a failure, as a string
}

func (c *tally) read(q *db.Queries, ctx context.Context, id int64, version int32) {
	c.readBy(func() (*db.User, error) { return q.GetUser(ctx, id) }, version)
}

// readPiped reads the user twice, in one round trip of a replica.
func (c *tally) readPiped(q *db.Queries, ctx context.Context, id int64, version int32) {
	c.readBy(func() (u *db.User, err error) {
		var last *postgres.Queued[*db.User]
		err = q.Pipeline(ctx, postgres.TxOptions{ReadOnly: true, Replica: true}, func(b *postgres.Batch) error {
			q.QueueGetUser(b, id)
			last = q.QueueGetUser(b, id)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return last.Get()
	}, version)
}

func (c *tally) readBy(get func() (*db.User, error), version int32) {
	began := time.Now()
	u, err := get()
	took := int64(time.Since(began))
	for was := c.slowest.Load(); took > was && !c.slowest.CompareAndSwap(was, took); was = c.slowest.Load() {
	}
	c.reads.Add(1)
	switch {
	case errors.Is(err, postgres.ErrNotFound), err == nil && u.Version < version:
		c.stale.Add(1)
	case err != nil:
		c.failed.Add(1)
		c.example.Store(fmt.Sprintf("%v (after %v)", err, time.Duration(took)))
	}
}

func (c *tally) String() string {
	s := fmt.Sprintf("%d reads, %d stale, %d failed, the slowest %v", c.reads.Load(), c.stale.Load(), c.failed.Load(),
		time.Duration(c.slowest.Load()).Round(time.Millisecond))
	if example, ok := c.example.Load().(string); ok {
		s += "; one failed with: " + example
	}
	return s
}

// check fails the test if a read was stale or failed.
func (c *tally) check(t testing.TB) {
	t.Helper()
	if c.stale.Load() > 0 || c.failed.Load() > 0 {
		t.Error(c)
	}
}

var usernames atomic.Int64

func newUser() db.CreateUserParams {
	return db.CreateUserParams{Username: fmt.Sprint("u", usernames.Add(1)), Email: "x", Tags: []string{}}
}

// readOwnWrites makes n writes and reads each of them after the time think. It
// alternates between an insert, an update, and an insert in a transaction. Each
// is read in the same session and, with the token, in another one.
func readOwnWrites(t testing.TB, write, read *db.Queries, n int, think time.Duration) *tally {
	t.Helper()
	const clients = 4
	c := &tally{}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := range n / clients {
				ctx, session := postgres.WithSession(t.Context())
				var u *db.User
				var err error
				insert := func(q *db.Queries) (err error) { u, err = q.CreateUser(ctx, newUser()); return err }
				if i%3 == 2 {
					err = write.InTx(ctx, insert)
				} else {
					err = insert(write)
				}
				if i%3 == 1 && err == nil {
					u, err = write.UpdateUser(ctx, db.UpdateUserParams{ID: u.ID})
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
				if think > 0 {
					<-time.After(think)
				}
				if i%2 == 1 {
					elsewhere, other := postgres.WithSession(t.Context())
					if err := other.Observe(session.Token()); err != nil {
						t.Error(err)
					}
					ctx = elsewhere
				}
				c.read(read, ctx, u.ID, u.Version)
			}
		})
	}
	all.Wait()
	return c
}

// TestReadYourWrites reads recent writes from replicas that are healthy, paused
// or lagging. No read may return an older version.
func TestReadYourWrites(t *testing.T) {
	checkLeaks(t)
	r := newReplicated(t)
	_, q := connect(t, r.config())
	n := times(1000, 10_000)
	share := func(t *testing.T, name string, work func() *tally) {
		t.Helper()
		before := []int{served(r.primaryProxy), served(r.proxies[0]), served(r.proxies[1])}
		c := work()
		c.check(t)
		primary, one, two := served(r.primaryProxy)-before[0], served(r.proxies[0])-before[1], served(r.proxies[1])-before[2]
		t.Logf("%s: %v; the primary answered %d, the replicas %d and %d: %.1f %%", name, c, primary, one, two,
			100*float64(one+two)/float64(primary+one+two))
		// A replica rarely has the write that early.
		if one+two == 0 && name != "at once" {
			t.Error("no replica answered anything: the test shows nothing")
		}
	}

	// Wait until both replicas have answered, because the first checks of the
	// replicas take a moment.
	eventually(t, startLimit, "both replicas answer", func() bool {
		_, _ = q.GetUser(t.Context(), 1)
		return served(r.proxies[0]) > 0 && served(r.proxies[1]) > 0
	})
	t.Run("Healthy", func(t *testing.T) {
		share(t, "at once", func() *tally { return readOwnWrites(t, q, q, n, 0) })
		share(t, "after 10 ms", func() *tally { return readOwnWrites(t, q, q, n/4, 10*time.Millisecond) })
	})
	t.Run("OnePaused", func(t *testing.T) {
		r.standbys[0].pause(t)
		defer r.standbys[0].resume()
		share(t, "at once", func() *tally { return readOwnWrites(t, q, q, n, 0) })
	})
	t.Run("OneDelayed", func(t *testing.T) {
		r.standbys[0].set(t, map[string]string{"recovery_min_apply_delay": "300ms"})
		share(t, "at once", func() *tally { return readOwnWrites(t, q, q, n, 0) })
		share(t, "after 10 ms", func() *tally { return readOwnWrites(t, q, q, n/4, 10*time.Millisecond) })
	})
	t.Run("BeforeItsCommit", func(t *testing.T) {
		// This delays only a COMMIT, so standby 1 already has the row itself.
		r.standbys[0].set(t, map[string]string{"recovery_min_apply_delay": "300ms"})
		for range times(3, 20) {
			r.readInDelay(t, q).check(t)
		}
	})
	t.Run("NeverBackwards", func(t *testing.T) {
		// Standby 1 still lags, so a session that read from standby 2 must not read
		// from it.
		c := r.readForward(t, q, q)
		t.Log(c)
		c.check(t)
	})
	t.Run("Naive", func(t *testing.T) {
		naive := r.roundRobin(t)
		var c *tally
		eventually(t, startLimit, "a read is stale", func() bool {
			c = readOwnWrites(t, q, naive, 100, 0)
			t.Log(c)
			return c.stale.Load() > 0
		})
		// If the machine's load keeps both standbys in step, the control shows nothing
		// and is repeated.
		eventually(t, startLimit, "a read goes backwards", func() bool {
			c = r.readForward(t, q, naive)
			t.Log("backwards: ", c)
			return c.stale.Load() > 0
		})
	})
}

// readInDelay writes once and reads the row while standby 1 has replayed the insert but not its
// COMMIT. Nothing else is written, so no earlier COMMIT delays the replay of the insert.
func (r *replicated) readInDelay(t testing.TB, q *db.Queries) *tally {
	t.Helper()
	position := func(n *node, function string) int64 {
		return ask[int64](t, n, "SELECT ("+function+"() - '0/0')::bigint")
	}
	rests, since := position(r.primary, "pg_current_wal_lsn"), time.Now()
	eventually(t, startLimit, "nothing is written, and standby 1 has everything", func() bool {
		if at := position(r.primary, "pg_current_wal_lsn"); at != rests {
			rests, since = at, time.Now()
		}
		// The last beat follows a write within 100 ms.
		return time.Since(since) > 200*time.Millisecond && position(r.standbys[0], "pg_last_wal_replay_lsn") == rests
	})
	ctx, session := postgres.WithSession(t.Context())
	u, err := q.CreateUser(ctx, newUser())
	if err != nil {
		t.Fatal(err)
	}
	token := session.Token()
	eventually(t, startLimit, "standby 1 has the insert", func() bool { return position(r.standbys[0], "pg_last_wal_replay_lsn") > rests })
	c := &tally{}
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
		// Each read is in a session that has seen only the write.
		c.read(q, observing(t, token), u.ID, u.Version)
	}
	return c
}

// readForward makes one session read a row that others change all the time. A
// read is stale if it shows an older version than the read before it.
func (r *replicated) readForward(t testing.TB, write, read *db.Queries) *tally {
	t.Helper()
	u, err := write.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, startLimit, "the user is everywhere", func() bool {
		for _, s := range r.standbys {
			if ask[int](t, s, "SELECT count(*) FROM users WHERE id = $1", u.ID) == 0 {
				return false
			}
		}
		return true
	})
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for ctx.Err() == nil {
			if _, err := write.UpdateUser(t.Context(), db.UpdateUserParams{ID: u.ID}); err != nil {
				t.Error(err)
			}
		}
	})
	c := &tally{}
	session, _ := postgres.WithSession(t.Context())
	last := u.Version
	for range times(200, 2000) {
		c.reads.Add(1)
		switch u, err := read.GetUser(session, u.ID); {
		case err != nil:
			c.failed.Add(1)
			c.example.Store(err.Error())
		case u.Version < last:
			c.stale.Add(1)
		default:
			last = u.Version
		}
	}
	cancel()
	writer.Wait()
	return c
}

// roundRobin returns reads that are distributed over the replicas in turn,
// without the Router.
func (r *replicated) roundRobin(t testing.TB) *db.Queries {
	t.Helper()
	var turns turns
	for _, p := range r.proxies {
		pool, err := pgxpool.New(t.Context(), r.primary.urlVia(p.address()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		turns.pools = append(turns.pools, pool)
	}
	return db.New(&turns)
}

// outage is the minimum time that a replica is down. It is long enough to
// distinguish a read that waited for the replica from one that was delayed by a
// busy machine.
const outage = 800 * time.Millisecond

// TestReplicaGoes takes a replica down under readers without a token. No read
// may fail or wait for it, and the Router must use it again when it is back.
func TestReplicaGoes(t *testing.T) {
	checkLeaks(t)
	r := newReplicated(t)
	_, q := connect(t, r.config())
	u, err := q.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.standbys {
		eventually(t, startLimit, "the user is on the standbys", func() bool {
			return ask[int](t, s, "SELECT count(*) FROM users") == 1
		})
	}
	both := func(t testing.TB) {
		t.Helper()
		before := []int{served(r.proxies[0]), served(r.proxies[1])}
		began := time.Now()
		eventually(t, startLimit, "both replicas answer", func() bool {
			return served(r.proxies[0]) > before[0]+20 && served(r.proxies[1]) > before[1]+20
		})
		t.Logf("both replicas answer after %v", time.Since(began).Round(time.Millisecond))
	}
	for _, way := range []struct {
		name       string
		go_, comes func(n *node)
	}{
		{"Paused", func(n *node) { n.pause(t) }, func(n *node) { n.resume() }},
		{"Killed", func(n *node) { n.kill(t) }, func(n *node) { n.start(t) }},
		{"ShutDown", func(n *node) { _ = n.shutDown() }, func(n *node) { n.start(t) }},
		{"BlackHole", func(*node) { r.proxies[0].blackHole() }, func(*node) { r.proxies[0].resume() }},
	} {
		t.Run(way.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c := &tally{}
			late := watchScheduling(t)
			var readers sync.WaitGroup
			for i := range 4 {
				readers.Go(func() {
					for ctx.Err() == nil {
						if i == 0 {
							c.readPiped(q, t.Context(), u.ID, 1)
						} else {
							c.read(q, t.Context(), u.ID, 1)
						}
					}
				})
			}
			defer readers.Wait()
			defer cancel()
			both(t)
			way.go_(r.standbys[0])
			before, since := c.reads.Load(), time.Now()
			// For longer than a read may take below, even on a busy machine.
			eventually(t, startLimit, "reads go on", func() bool {
				return c.reads.Load() > before+500 && time.Since(since) > outage+4*time.Duration(late.Load())
			})
			way.comes(r.standbys[0])
			both(t)
			cancel()
			readers.Wait()
			t.Logf("%v; timers were up to %v late", c, time.Duration(late.Load()).Round(time.Millisecond))
			c.check(t)
			if limit := outage/2 + 2*time.Duration(late.Load()); time.Duration(c.slowest.Load()) > limit {
				t.Errorf("the slowest read took %v, and %v is allowed", time.Duration(c.slowest.Load()), limit)
			}
		})
	}
}
