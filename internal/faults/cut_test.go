//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/db"
	"quern/postgres"
)

// cutBudget is the deadline of each call during the cuts.
const cutBudget = 500 * time.Millisecond

// cutting is a Router and three nodes, whose network is cut under callers.
type cutting struct {
	*cluster
	network *network
	q       *db.Queries
	metrics *prometheus.Registry
	ledger  *ledger

	plain, tokens calls // reads without a token, and writes that are read with their token
	late          *atomic.Int64
	stop          func()
}

// calls counts the results of calls of one kind. A foreign row is not the
// requested one.
type calls struct {
	ended, answered, stale, foreign atomic.Int64
	slowest                         atomic.Int64
	example                         atomic.Value // of an error, as a string
}

func (c *calls) String() string {
	return fmt.Sprintf("%d calls, %d answered, %d stale, %d foreign, the slowest %v; an error: %v", c.ended.Load(), c.answered.Load(),
		c.stale.Load(), c.foreign.Load(), time.Duration(c.slowest.Load()).Round(time.Millisecond), c.example.Load())
}

// one makes one call with the budget.
func (c *calls) one(ctx context.Context, call func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, cutBudget)
	defer cancel()
	began := time.Now()
	err := call(ctx)
	raise64(&c.slowest, int64(time.Since(began)))
	c.ended.Add(1)
	if err == nil {
		c.answered.Add(1)
	} else {
		c.example.Store(err.Error())
	}
}

func raise64(to *atomic.Int64, value int64) {
	for was := to.Load(); value > was && !to.CompareAndSwap(was, value); was = to.Load() {
	}
}

// newCutting starts a primary with a synchronous and an asynchronous standby,
// each on a separate host, and callers.
func newCutting(t testing.TB) *cutting {
	t.Helper()
	c := &cutting{network: newNetwork(t, "primary", "standby1", "standby2"), metrics: prometheus.NewRegistry()}
	// Replication notices a lost peer within seconds, as in a cluster that fails over.
	c.cluster = newCluster(t, clusterConfig{
		network: c.network, standbys: 2, primary: map[string]string{"synchronous_standby_names": "standby1"},
		settings: map[string]string{"wal_receiver_timeout": "2s", "wal_sender_timeout": "2s"},
	})
	c.ledger = newLedger(t, c.primary)
	var replicas []string
	for _, n := range []*node{c.primary, c.standbys[0], c.standbys[1]} {
		replicas = append(replicas, n.url())
	}
	_, c.q = connect(t, postgres.Config{
		URL: hostsURL(c.primary, c.standbys[0], c.standbys[1]), ReplicaURLs: replicas,
		MaxConns: cutConns, MinConns: 2, Observers: observers(c.metrics),
	})
	for _, s := range c.standbys {
		eventually(t, startLimit, "the owner is on the standbys, which are used", func() bool {
			return ask[int](t, s, "SELECT count(*) FROM users") == 1 && replicaUp(t, c.metrics, s.address()) == 1
		})
	}
	c.late = watchScheduling(t)
	c.start(t)
	return c
}

// cutConns is the size of the pool.
const cutConns = 12

// start starts the callers. Their names are new in each call.
func (c *cutting) start(t testing.TB) {
	inTx := func(ctx context.Context, fn closure) error {
		err := c.q.InTx(ctx, fn)
		if err != nil {
			pauseFor(ctx, 10*time.Millisecond) // as a client does that is refused at once
		}
		return err
	}
	stopWriters := writers(t.Context(), c.ledger, inTx, 3, cutBudget)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { c.readTokens(t, ctx) })
		all.Go(func() {
			for ctx.Err() == nil {
				c.plain.one(t.Context(), func(ctx context.Context) error { _, err := c.q.GetUser(ctx, c.ledger.owner); return err })
			}
		})
	}
	c.stop = sync.OnceFunc(func() { cancel(); all.Wait(); stopWriters() })
	t.Cleanup(c.stop)
}

// written is a row with the token of its writer.
type written struct {
	id          int64
	name, token string
}

// readTokens writes users, and reads each of them and an earlier one in sessions
// that have their tokens.
func (c *cutting) readTokens(t testing.TB, until context.Context) {
	var rows []written
	for until.Err() == nil {
		row := written{name: newUser().Username}
		c.tokens.one(t.Context(), func(ctx context.Context) error {
			ctx, session := postgres.WithSession(ctx)
			u, err := c.q.CreateUser(ctx, db.CreateUserParams{Username: row.name, Email: "x", Tags: []string{}})
			if err == nil {
				row.id, row.token = u.ID, session.Token()
				rows = append(rows, row)
			}
			return err
		})
		for _, n := range []int{len(rows) - 1, rand.IntN(max(1, len(rows)))} {
			if len(rows) > 0 {
				c.tokens.one(t.Context(), func(ctx context.Context) error { return c.readToken(ctx, rows[n]) })
			}
		}
	}
}

func (c *cutting) readToken(ctx context.Context, row written) error {
	ctx, session := postgres.WithSession(ctx)
	if err := session.Observe(row.token); err != nil {
		return err
	}
	u, err := c.q.GetUser(ctx, row.id)
	switch {
	case errors.Is(err, postgres.ErrNotFound):
		c.tokens.stale.Add(1)
	case err == nil && u.Username != row.name:
		c.tokens.foreign.Add(1)
	}
	return err
}

// during returns when the cut has met each kind of caller several times.
func (c *cutting) during(t testing.TB, hold time.Duration) {
	t.Helper()
	since := time.Now()
	entries, plain, tokens := c.ledger.noted(), c.plain.ended.Load(), c.tokens.ended.Load()
	eventually(t, startLimit+hold, "calls end during the cut", func() bool {
		return time.Since(since) > hold && c.ledger.noted() >= entries+6 && c.plain.ended.Load() >= plain+6 && c.tokens.ended.Load() >= tokens+6
	})
}

// recovered returns how long after now each kind of caller succeeded again.
func (c *cutting) recovered(t testing.TB) time.Duration {
	t.Helper()
	healed := time.Now()
	acks, plain, tokens := c.ledger.acknowledged(), c.plain.answered.Load(), c.tokens.answered.Load()
	eventually(t, startLimit, "all is answered after the cut", func() bool {
		return c.ledger.acknowledged() >= acks+20 && c.plain.answered.Load() >= plain+20 && c.tokens.answered.Load() >= tokens+20
	})
	return time.Since(healed)
}

// check stops the callers, and compares their results with the rows of the
// primary.
func (c *cutting) check(t testing.TB, primary *node) {
	t.Helper()
	c.stop()
	primary.waitForBackends(t)
	b := c.ledger.check(t, primary)
	slowest := c.ledger.slowestCall()
	t.Logf("%v, the slowest %v; plain reads: %v; with tokens: %v; timers were up to %v late", b, slowest.Round(time.Millisecond),
		&c.plain, &c.tokens, time.Duration(c.late.Load()).Round(time.Millisecond))
	allowed := cutBudget + 100*time.Millisecond + 2*time.Duration(c.late.Load())
	for what, took := range map[string]time.Duration{
		"transaction": slowest, "plain read": time.Duration(c.plain.slowest.Load()), "call with a token": time.Duration(c.tokens.slowest.Load()),
	} {
		if took > allowed {
			t.Errorf("a %s took %v, and %v is allowed", what, took, allowed)
		}
	}
	if c.tokens.stale.Load()+c.tokens.foreign.Load() > 0 {
		t.Errorf("reads with tokens: %v", &c.tokens)
	}
}

// netCut is a way to cut the network, and what goes on meanwhile.
type netCut struct {
	name          string
	begin         func(t testing.TB, n *network, primary, standby *host)
	writes, reads bool // whether writes and reads without a token must go on
}

var netCuts = []netCut{
	{"RequestsLost", func(t testing.TB, n *network, primary, _ *host) { n.lose(t, n.here, primary) }, false, true},
	{"AnswersLost", func(t testing.TB, n *network, primary, _ *host) { n.lose(t, primary, n.here) }, false, true},
	{"ServerFromPrimary", func(t testing.TB, n *network, primary, _ *host) { n.cut(t, n.here, primary) }, false, true},
	{"WALLost", func(t testing.TB, n *network, primary, standby *host) { n.lose(t, primary, standby) }, false, true},
	{"ConfirmationsLost", func(t testing.TB, n *network, primary, standby *host) { n.lose(t, standby, primary) }, false, true},
	{"PrimaryFromStandby", func(t testing.TB, n *network, primary, standby *host) { n.cut(t, primary, standby) }, false, true},
	{"ServerFromStandby", func(t testing.TB, n *network, _, standby *host) { n.cut(t, n.here, standby) }, true, true},
	{"StandbyAnswersLost", func(t testing.TB, n *network, _, standby *host) { n.lose(t, standby, n.here) }, true, true},
	{"PrimaryIsolated", func(t testing.TB, n *network, primary, _ *host) { n.isolate(t, primary) }, false, true},
	{"PrimaryDown", func(t testing.TB, n *network, primary, _ *host) { n.down(t, primary) }, false, true},
	{"ServerIsolated", func(t testing.TB, n *network, _, _ *host) { n.isolate(t, n.here) }, false, false},
	{"ServerDown", func(t testing.TB, n *network, _, _ *host) { n.down(t, n.here) }, false, false},
}

// TestCuts cuts the network between the Router and the nodes, and between the
// nodes, in one direction or in both, under transactions, reads, and reads with
// tokens. Every call must end within its budget. Writes must go on if the
// primary and its synchronous standby are reachable, reads if one node is, and
// everything after the cut. No acknowledged write may be lost, and no read with
// a token may be stale or return another row.
func TestCuts(t *testing.T) {
	checkLeaks(t)
	c := newCutting(t)
	primary, standby := c.primary.host, c.standbys[0].host
	for round := range times(1, 4) {
		for _, cut := range netCuts {
			if !long && (cut.name == "WALLost" || cut.name == "ServerFromStandby" || cut.name == "ServerIsolated" || cut.name == "RequestsLost") {
				continue // the others are the shorter form
			}
			hold := time.Second
			if long && round%2 == 1 {
				hold = 12 * time.Second // longer than the kernel waits for an acknowledgement
			}
			c.recovered(t)
			cut.begin(t, c.network, primary, standby)
			acks, reads, ended := c.ledger.acknowledged(), c.plain.answered.Load(), c.plain.ended.Load()
			c.during(t, hold)
			acks, reads, ended = c.ledger.acknowledged()-acks, c.plain.answered.Load()-reads, c.plain.ended.Load()-ended
			c.network.heal(t)
			took := c.recovered(t)
			t.Logf("%s: %d transactions and %d of %d reads were answered meanwhile; all was after %v", cut.name, acks, reads, ended, took.Round(time.Millisecond))
			if (acks > cutConns) != cut.writes {
				t.Errorf("%s: %d transactions were acknowledged meanwhile", cut.name, acks)
			}
			if (reads > 2*cutConns) != cut.reads {
				t.Errorf("%s: %d reads were answered meanwhile", cut.name, reads)
			}
			// A busy machine may need the budget for itself.
			if failed := ended - reads; cut.writes && failed > 0 && c.late.Load() < int64(cutBudget/5) {
				t.Errorf("%s: %d reads failed, although the other nodes answer", cut.name, failed)
			}
			if took > 5*time.Second {
				t.Errorf("%s: it took %v to recover", cut.name, took)
			}
		}
	}
	// The Router closed connections, and the server could not learn that.
	eventually(t, startLimit, "the server has no more connections than the pool", func() bool {
		n := len(c.primary.backends(t))
		return n <= cutConns+6
	})
	c.check(t, c.primary)
}

// TestCuts_Promotion promotes the synchronous standby on the other side of a
// cut. With the old primary reachable, the Router must find the new one during
// the cut. If it is on the side of the old primary, which can acknowledge
// nothing, it must find the new one when the cut ends. Neither the old primary
// nor its standby may answer a read with a token of the other history.
func TestCuts_Promotion(t *testing.T) {
	checkLeaks(t)
	for _, both := range []bool{true, false} {
		t.Run(map[bool]string{true: "BothSidesReachable", false: "OldSideReachable"}[both], func(t *testing.T) {
			c := newCutting(t)
			old, next := c.primary, c.standbys[0]
			// PostgreSQL itself keeps waiting for the standby at the end.
			defer old.set(t, map[string]string{"synchronous_standby_names": ""})
			c.recovered(t)
			c.network.cut(t, old.host, next.host)
			c.network.cut(t, c.standbys[1].host, next.host)
			if !both {
				c.network.cut(t, c.network.here, next.host)
			}
			c.during(t, time.Second)
			next.promote(t)
			if both {
				t.Logf("the new primary is used after %v", c.recovered(t).Round(time.Millisecond))
			} else {
				before := c.ledger.acknowledged()
				c.during(t, time.Second)
				if n := c.ledger.acknowledged() - before; n > 0 {
					t.Errorf("the old primary acknowledged %d transactions without its standby", n)
				}
			}
			c.network.heal(t)
			took := c.recovered(t)
			c.during(t, time.Second)
			t.Logf("after the cut all was answered within %v", took.Round(time.Millisecond))
			if took > 5*time.Second {
				t.Errorf("it took %v to recover", took)
			}
			c.check(t, next)
		})
	}
}

// TestCuts_SessionsEnd checks that the server's own limits end a session as soon
// as the client gives up its connection. The long form of TestCuts shows what
// happens otherwise.
func TestCuts_SessionsEnd(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	router, _ := connect(t, postgres.Config{URL: c.primary.url()})
	for name, want := range map[string]string{
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "5", "tcp_user_timeout": "10000",
	} {
		var got string
		if err := router.Pool().QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s; err = %v", name, got, want, err)
		}
	}
}
