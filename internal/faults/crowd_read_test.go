//go:build linux

package faults

import (
	"sync"
	"testing"
	"time"

	"quern/internal/db"
	"quern/postgres"
)

// TestCrowdReads makes a crowd read, with three statements, rows that writers
// change, delete and roll back. The results of each row must be those of one
// register, and each caller must get the row that it asked for, as its own
// copy.
func TestCrowdReads(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	p := populate(t, q, 0)
	p.run(q, q, crowdSize, span(2*time.Second, 30*time.Second))
	p.log(t)
	p.check(t)
}

func (p *population) log(t testing.TB) {
	t.Helper()
	t.Logf("%d reads, %d of them of rows that are not there, beside %d writes", p.reads.Load(), p.absent.Load(), p.writes.Load())
}

// TestCrowdReadsReplicas is the same on replicas, one of which lags. Each
// session is shared by four callers. It must never see a row go backwards, nor
// older than the token that it received.
func TestCrowdReadsReplicas(t *testing.T) {
	checkLeaks(t)
	r := newReplicated(t)
	r.standbys[0].set(t, map[string]string{"recovery_min_apply_delay": "300ms"})
	cfg := r.config()
	cfg.MaxConns = crowdConns
	_, q := connect(t, cfg)
	eventually(t, startLimit, "both replicas answer", func() bool {
		_, _ = q.GetUser(t.Context(), 1)
		return served(r.proxies[0]) > 0 && served(r.proxies[1]) > 0
	})
	p := populate(t, q, crowdSize/4)
	before := served(r.proxies[0]) + served(r.proxies[1])
	p.run(q, q, crowdSize, span(3*time.Second, 30*time.Second))
	p.log(t)
	p.check(t)
	n := served(r.proxies[0]) + served(r.proxies[1]) - before
	t.Logf("the replicas answered %d statements", n)
	if n == 0 {
		t.Error("no replica answered anything: the test shows nothing")
	}

	t.Run("Naive", func(t *testing.T) {
		p := populate(t, q, crowdSize/4)
		// More callers would wait so long that they hide the lag.
		p.run(q, r.roundRobin(t), 16, p.seen(staleRead))
		p.log(t)
		p.require(t, staleRead)
	})
}

// TestCrowdReadsNaive shows that the check detects wrong results.
func TestCrowdReadsNaive(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{settings: quick})
	router, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: crowdConns})
	for _, variant := range []struct {
		name  string
		scan  scanner
		wrong string
	}{
		{"Remembering", remembering(5 * time.Millisecond), staleRead},
		{"JoiningInFlight", joining(), staleRead},
		{"MixingUp", mixing(), foreignRow},
		{"Sharing", sharing(), foreignRow},
	} {
		t.Run(variant.name, func(t *testing.T) {
			p := populate(t, q, 0)
			if variant.name == "Sharing" {
				p.touching = &sync.Mutex{}
			}
			p.run(q, db.New(&meddled{router, variant.scan}), crowdSize, p.seen(variant.wrong))
			p.log(t)
			t.Log("the check found:", &p.findings)
			p.require(t, variant.wrong)
		})
	}
}
