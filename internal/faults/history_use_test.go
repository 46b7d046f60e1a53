//go:build linux

package faults

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quern/postgres"
	"quern/postgres/pgprom"
)

// observers makes a Router register its metrics with r.
func observers(r prometheus.Registerer) []postgres.Observer {
	return []postgres.Observer{pgprom.New(r, pgprom.Options{})}
}

// replicaUp returns quern_replica_up of the replica at an address.
func replicaUp(t testing.TB, metrics prometheus.Gatherer, address string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "quern_replica_up" && m.GetLabel()[0].GetValue() == address {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no quern_replica_up of %s", address)
	return 0
}

// inspect checks the result of InspectReplicas. want is the start of each
// replica's problem, or "" for none.
func inspect(t testing.TB, cfg postgres.Config, want ...string) {
	t.Helper()
	reports, err := postgres.InspectReplicas(t.Context(), cfg)
	if err != nil || len(reports) != len(want) {
		t.Fatalf("%d reports, want %d; err = %v", len(reports), len(want), err)
	}
	for i, r := range reports {
		if !strings.HasPrefix(r.Problem, want[i]) || (r.Problem == "") != (want[i] == "") {
			t.Errorf("%s, a %s, is reported with %q, want %q", r.Name, r.Role, r.Problem, want[i])
		}
	}
}

// TestHistories_Switchover lists every node as a replica, including the
// primary, and switches over. No node may be reported as a problem before or
// after, and each standby must answer reads.
func TestHistories_Switchover(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	old, next, other := c.primary, c.standbys[0], c.standbys[1]
	toOld, toOther := proxyTo(t, old.address()), proxyTo(t, other.address())
	metrics := prometheus.NewRegistry()
	cfg := postgres.Config{
		URL:         old.urlVia(old.address()+","+next.address()) + "&target_session_attrs=read-write",
		ReplicaURLs: []string{old.urlVia(toOld.address()), next.url(), old.urlVia(toOther.address())},
		MaxConns:    8, MinConns: 2, Observers: observers(metrics),
	}
	_, q := connect(t, cfg)
	all := func(when string) {
		t.Helper()
		for _, address := range []string{toOld.address(), next.address(), toOther.address()} {
			eventually(t, startLimit, "no node is a problem "+when, func() bool { return replicaUp(t, metrics, address) == 1 })
		}
		inspect(t, cfg, "", "", "")
	}
	all("at first")
	awaitReads(t, q, toOther, startLimit)
	if n := served(toOld); n > 0 {
		t.Errorf("the primary answered %d reads as its own replica", n)
	}

	if err := old.shutDown(); err != nil {
		t.Fatal(err)
	}
	next.promote(t)
	old.follow(t, next)
	old.start(t)
	other.repoint(t, next)
	turned := time.Now()
	t.Logf("the follower answers reads %v after it was turned", awaitReads(t, q, toOther, startLimit).Round(time.Millisecond))
	t.Logf("the old primary answers reads %v after it was turned", (awaitReads(t, q, toOld, startLimit) + time.Since(turned)).Round(time.Millisecond))
	all("after the switchover")
	readOwnWrites(t, q, q, times(200, 2000), 0).check(t)
}

// TestHistories_Restart restarts the primary in place, which begins a new
// history on the same timeline. Reads of own writes must be correct, and the
// replica must be used again without intervention.
func TestHistories_Restart(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 1})
	p := proxyTo(t, c.standbys[0].address())
	_, q := connect(t, postgres.Config{URL: c.primary.url(), ReplicaURLs: []string{c.primary.urlVia(p.address())}, MaxConns: 8, MinConns: 2})
	for range times(1, 5) {
		awaitReads(t, q, p, startLimit)
		// This run has many more beats than the next one.
		ask[int64](t, c.primary, "UPDATE server_histories SET beat = beat + 1000 RETURNING beat")
		for began := time.Now(); time.Since(began) < beats; {
			if _, err := q.CreateUser(t.Context(), newUser()); err != nil {
				t.Fatal(err)
			}
		}
		c.primary.restart(t)
		eventually(t, startLimit, "the primary takes writes", func() bool {
			_, err := q.CreateUser(t.Context(), newUser())
			return err == nil
		})
		readOwnWrites(t, q, q, 100, 0).check(t)
		t.Logf("the replica answers reads %v after that", awaitReads(t, q, p, startLimit).Round(time.Millisecond))
		for began := time.Now(); time.Since(began) < beats; {
			awaitReads(t, q, p, startLimit)
		}
	}
}

// TestHistories_PrimaryDies kills the primary under writers at a moment when
// its replica is unreachable. The WAL that the replica received last is from
// the primary, so it answers reads until there is a primary again.
func TestHistories_PrimaryDies(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 1})
	p := proxyTo(t, c.standbys[0].address())
	_, q := connect(t, postgres.Config{URL: c.primary.url(), ReplicaURLs: []string{c.primary.urlVia(p.address())}, MaxConns: 8, MinConns: 2})
	awaitReads(t, q, p, startLimit)
	first, err := q.CreateUser(t.Context(), newUser())
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	p.blackHole()
	for began := time.Now(); time.Since(began) < 2*silence; written++ {
		if _, err := q.CreateUser(t.Context(), newUser()); err != nil {
			t.Fatal(err)
		}
	}
	c.primary.kill(t)
	eventually(t, startLimit, "the replica has replayed what it received", func() bool {
		return ask[bool](t, c.standbys[0], "SELECT pg_last_wal_replay_lsn() = pg_last_wal_receive_lsn()")
	})
	p.resume()
	before := served(p)
	eventually(t, startLimit, "the replica answers reads without a primary", func() bool {
		_, err := q.GetUser(t.Context(), first.ID)
		return err == nil && served(p) > before
	})
	t.Logf("%d rows were written while the replica was not seen", written)
}

// TestHistories_Privilege checks that only the primary serves a role that may
// not write the primary's row, until it may.
func TestHistories_Privilege(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 1})
	p := proxyTo(t, c.standbys[0].address())
	primary := c.asApp(t, c.primary.address())
	if err := c.primary.exec(t.Context(), database, "REVOKE INSERT, UPDATE ON server_histories FROM app"); err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	cfg := postgres.Config{
		URL: primary, ReplicaURLs: []string{appURL(t, c.primary, p.address())}, MaxConns: 8, MinConns: 2, Observers: observers(metrics),
	}
	_, q := connect(t, cfg)
	readOwnWrites(t, q, q, 100, 0).check(t)
	if n := served(p); n > 0 {
		t.Errorf("a replica of which nothing is certain answered %d reads", n)
	}
	if up := replicaUp(t, metrics, p.address()); up != 0 {
		t.Errorf("quern_replica_up is %v, want 0", up)
	}
	_, err := postgres.InspectReplicas(t.Context(), cfg)
	if hint := `GRANT SELECT, INSERT, UPDATE ON server_histories TO "app"`; err == nil || !strings.HasSuffix(err.Error(), hint) {
		t.Errorf("InspectReplicas returned %v, want the hint %s", err, hint)
	}
	if err := c.primary.exec(t.Context(), database, "GRANT INSERT, UPDATE ON server_histories TO app"); err != nil {
		t.Fatal(err)
	}
	t.Logf("the replica answers reads %v after the GRANT", awaitReads(t, q, p, startLimit).Round(time.Millisecond))
}

// TestHistories_ForeignCluster lists a server of another cluster as a replica.
// That server even has the primary's row, as if it was loaded from a dump. A
// cluster from another initdb has another system identifier, and a copy of the
// data directory misses the next beat.
func TestHistories_ForeignCluster(t *testing.T) {
	for _, way := range []struct {
		name    string
		make    func(t *testing.T, l *lab) *node
		beat    int64
		problem string
	}{
		{"Copied", func(t *testing.T, l *lab) *node { return l.newNode(t, "foreign", nil) }, 0, "it shows no row"},
		{"MadeApart", func(t *testing.T, l *lab) *node {
			n := l.emptyNode(t, "foreign", nil)
			if err := l.makeData(t.Context(), n.dir); err != nil {
				t.Fatal(err)
			}
			return n
		}, 1 << 40, "its system identifier differs from the primary's"},
	} {
		t.Run(way.name, func(t *testing.T) {
			checkLeaks(t)
			c := newCluster(t, clusterConfig{standbys: 1})
			foreign := way.make(t, c.primary.lab)
			// A standby of it, because reads never use a primary as a replica.
			standby := c.primary.lab.emptyNode(t, "standby_of_foreign", nil)
			if err := c.primary.lab.run("/bin/cp", "-Rp", foreign.dir, standby.dir); err != nil {
				t.Fatal(err)
			}
			foreign.start(t)
			standby.follow(t, foreign)
			standby.start(t)
			ours, theirs := proxyTo(t, c.standbys[0].address()), proxyTo(t, standby.address())

			cfg := postgres.Config{
				URL: c.primary.url(), ReplicaURLs: []string{c.primary.urlVia(ours.address()), c.primary.urlVia(theirs.address())},
				MaxConns: 8, MinConns: 2,
			}
			_, q := connect(t, cfg)
			awaitReads(t, q, ours, startLimit)
			readOwnWrites(t, q, q, times(100, 1000), 0).check(t)
			inspect(t, cfg, "", way.problem)
			timeline := ask[int64](t, c.primary, "SELECT timeline FROM server_histories")
			started := ask[int64](t, c.primary, "SELECT started FROM server_histories")
			ask[int](t, foreign, "INSERT INTO server_histories (timeline, started, beat) VALUES ($1, $2, $3) RETURNING 1", timeline, started, way.beat)
			foreign.fill(t, 300)
			eventually(t, startLimit, "the row is on the foreign standby", func() bool {
				return ask[int](t, standby, "SELECT count(*) FROM server_histories WHERE started = $1", started) == 1
			})
			readOwnWrites(t, q, q, times(400, 4000), time.Millisecond).check(t)
			if n := served(theirs); n > 0 {
				t.Errorf("a server of another cluster answered %d reads", n)
			}
		})
	}
}

// TestHistories_Idle checks that the Router writes nothing while the
// application writes nothing.
func TestHistories_Idle(t *testing.T) {
	checkLeaks(t)
	// Autovacuum writes too.
	c := newCluster(t, clusterConfig{standbys: 1, settings: map[string]string{"autovacuum": "off"}})
	p := proxyTo(t, c.standbys[0].address())
	beat := func() int64 { return ask[int64](t, c.primary, "SELECT coalesce(max(beat), -1) FROM server_histories") }
	var queries []interface{ Close() }
	for range 3 { // processes
		r, q := connect(t, postgres.Config{URL: c.primary.url(), ReplicaURLs: []string{c.primary.urlVia(p.address())}, MaxConns: 8, MinConns: 2})
		queries = append(queries, r)
		awaitReads(t, q, p, startLimit)
		if _, err := q.CreateUser(t.Context(), newUser()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, startLimit, "a write is followed by a beat", func() bool { return beat() > 0 })
	// Wait until it has not changed for a second, and then some more.
	last, since := beat(), time.Now()
	eventually(t, startLimit, "the beat rests", func() bool {
		if now := beat(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
	if poll(time.Duration(times(1, 20))*time.Second, func() bool { return beat() != last }) {
		t.Errorf("the beat went from %d to %d while nothing was written", last, beat())
	}
	if n := ask[int](t, c.primary, "SELECT count(*) FROM server_histories"); n != 1 {
		t.Errorf("%d processes wrote %d rows about one run of one server, want 1", len(queries), n)
	}
}

// beats is a bit longer than the beats that a replica must have seen.
const beats = 600 * time.Millisecond

// silence is how long a replica may not have answered a check before it counts
// as down.
const silence = 50 * time.Millisecond

// balanced listens in front of several servers and forwards each connection to
// a random one.
func balanced(t testing.TB, targets ...string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", targets[rand.IntN(len(targets))])
				if err != nil {
					return
				}
				defer server.Close()
				go func() { _, _ = io.Copy(server, client); server.Close() }()
				_, _ = io.Copy(client, server)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// TestHistories_Balancer runs two replicas at one address, and one of them
// lags. The position that is checked must be that of the server that answers.
// Which one is checked is random, so the test needs several Routers.
func TestHistories_Balancer(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 2})
	c.standbys[1].set(t, map[string]string{"recovery_min_apply_delay": "100ms"})
	one, two := proxyTo(t, c.standbys[0].address()), proxyTo(t, c.standbys[1].address())
	address := balanced(t, one.address(), two.address())
	for range times(6, 20) {
		r, q := connect(t, postgres.Config{URL: c.primary.url(), ReplicaURLs: []string{c.primary.urlVia(address)}, MaxConns: 8, MinConns: 2})
		before := served(one) + served(two)
		eventually(t, startLimit, "a replica answers", func() bool {
			_, _ = q.GetUser(t.Context(), 1)
			return served(one)+served(two) > before
		})
		readOwnWrites(t, q, q, times(100, 1000), 10*time.Millisecond).check(t)
		r.Close()
	}
	t.Logf("the replicas answered %d and %d reads", served(one), served(two))
}
