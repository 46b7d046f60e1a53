//go:build linux

package faults

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
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

// killing is a synchronous pair under two kinds of writers: transactions of a
// Router in this process, which their markers resolve, and requests to a server
// process, which are repeated with their keys. Every COMMIT waits for the
// standby, which lengthens the moment in which a write is stored but not yet
// acknowledged.
type killing struct {
	*cluster
	ledger  *ledger
	serving *serving
}

func newKilling(t testing.TB) *killing {
	t.Helper()
	// The standby becomes the primary, and then waits for the other one.
	// pg_rewind needs the hints.
	k := &killing{cluster: newCluster(t, clusterConfig{standbys: 1, settings: map[string]string{
		"synchronous_standby_names": "*", "wal_log_hints": "on",
	}})}
	k.waitForStandby(t)
	k.ledger = newLedger(t, k.primary)
	return k
}

func (k *killing) waitForStandby(t testing.TB) {
	t.Helper()
	eventually(t, startLimit, "the pair is synchronous", func() bool {
		return ask[int](t, k.primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1
	})
}

// more returns when both kinds of writers have n more acknowledgements.
func (k *killing) more(t testing.TB, n int) {
	t.Helper()
	transactions, requests := k.ledger.acknowledged(), k.serving.acknowledged(time.Time{})
	eventually(t, startLimit, "writes are acknowledged", func() bool {
		return k.ledger.acknowledged() >= transactions+n && k.serving.acknowledged(time.Time{}) >= requests+n
	})
}

// killServer ends the server process like a crash and starts another one.
func (k *killing) killServer(t testing.TB) {
	k.serving.process.kill()
	k.serving.start(t)
}

func (k *killing) killBackend(t testing.TB) { k.primary.killBackend(t) }

func (k *killing) killPostmaster(t testing.TB) {
	k.primary.kill(t)
	k.primary.start(t)
}

// killLeader ends the primary like a crash and promotes its standby. The old
// primary returns as the standby of the new one.
func (k *killing) killLeader(t testing.TB) {
	old, next := k.primary, k.standbys[0]
	old.kill(t)
	next.promote(t)
	k.primary, k.standbys[0] = next, old
	// pg_rewind reads the timeline from the control file, which the next
	// checkpoint writes.
	if err := next.exec(t.Context(), database, "CHECKPOINT"); err != nil {
		t.Fatal(err)
	}
	if err := old.lab.run(old.lab.program("pg_rewind"), "--target-pgdata="+old.dir, "--no-sync", fmt.Sprintf(
		"--source-server=host=127.0.0.1 port=%d user=%s password=%s dbname=%s application_name='%s'",
		next.port, user, old.lab.password, database, admin)); err != nil {
		t.Fatal(err)
	}
	old.follow(t, next)
	old.start(t)
}

// TestKill kills the server process, backends, postmasters and the primary with
// SIGKILL under writers. Every acknowledged write must be stored exactly once,
// however often its request was repeated. The long form has 1,000 rounds, 100 on
// each of ten pairs.
func TestKill(t *testing.T) {
	checkLeaks(t)
	for pair := range times(1, 10) {
		t.Run(strconv.Itoa(pair+1), func(t *testing.T) { killInRounds(t, times(2, 25)) })
	}
}

func killInRounds(t *testing.T, n int) {
	k := newKilling(t)
	rounds := []struct {
		who  string
		kill func(t testing.TB)
	}{{"server", k.killServer}, {"backend", k.killBackend}, {"postmaster", k.killPostmaster}}
	if _, err := exec.LookPath(k.primary.lab.program("pg_rewind")); err == nil {
		rounds = append(rounds, struct {
			who  string
			kill func(t testing.TB)
		}{"leader", k.killLeader})
	} else {
		t.Log("without rounds that kill the leader:", err) // the build that localpg fetches has no pg_rewind
	}
	url := hostsURL(k.primary, k.standbys[0])
	_, q := connect(t, postgres.Config{URL: url, MaxConns: 8, MinConns: 2})
	k.serving = k.primary.lab.serve(t, nil, "kill", "DATABASE_URL="+url, "DATABASE_REPLICA_URLS="+k.primary.url()+" "+k.standbys[0].url())
	stop := writers(t.Context(), k.ledger, q.InTx, 4, 10*time.Second)
	defer stop()
	k.serving.write(t, 4)
	began := time.Now()
	for round := range n {
		for _, r := range rounds {
			k.more(t, 20)
			killed := time.Now()
			r.kill(t)
			k.more(t, 20)
			t.Logf("round %d: %s killed: both kinds of writers went on after %v", round+1, r.who, time.Since(killed).Round(time.Millisecond))
		}
	}
	stop()
	k.serving.stop()
	k.waitForStandby(t)
	k.primary.waitForBackends(t)
	b, v := k.ledger.check(t, k.primary), k.serving.verdict(t, k.primary)
	t.Logf("%d rounds in %v: transactions: %v; the slowest took %v%s", n*len(rounds), time.Since(began).Round(time.Second),
		b, k.ledger.slowest().Round(time.Millisecond), k.ledger.failures())
	t.Logf("requests: %v", v)
	if len(v.lost)+v.doubled+v.altered > 0 {
		t.Errorf("requests: %v", v)
	}
}
