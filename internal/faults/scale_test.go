//go:build linux

package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/api"
	"quern/internal/store"
	"quern/postgres"
)

const (
	// cpuShare is what each server gets of one core. Together the four servers use half of two
	// cores, so that the service and its clients are not the limit.
	cpuShare = 0.25

	// cpuPeriod is short, because a server that has used its share pauses until the
	// end of the period.
	cpuPeriod = 20 * time.Millisecond

	callers     = 24
	bulkCallers = 6 // more than the class may have connections on any number of servers
)

// limitCPU limits each node to cpuShare, by control groups of version 1 or 2, and returns
// how often the limit stopped one of them. The scheduler gives the nodes their share in full,
// even if the machine is busy. It returns nil if this process may not create groups.
func limitCPU(t *testing.T, nodes ...*node) func() int {
	t.Helper()
	root, files := "/sys/fs/cgroup/cpu", map[string]string{
		"cpu.cfs_period_us": fmt.Sprint(cpuPeriod.Microseconds()),
		"cpu.cfs_quota_us":  fmt.Sprint(int(cpuShare * float64(cpuPeriod.Microseconds()))),
		"cpu.shares":        "100000",
	}
	if _, err := os.Stat(root); err != nil {
		root, files = "/sys/fs/cgroup", map[string]string{
			"cpu.max":    fmt.Sprintf("%d %d", int(cpuShare*float64(cpuPeriod.Microseconds())), cpuPeriod.Microseconds()),
			"cpu.weight": "10000",
		}
	}
	var groups []string
	for _, n := range nodes {
		group := filepath.Join(root, fmt.Sprintf("quern-%d-%s", os.Getpid(), n.name))
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Logf("no limits of CPU time, so nothing is measured: %v", err)
			return nil
		}
		t.Cleanup(func() {
			eventually(t, startLimit, "the group "+group+" is empty", func() bool { return os.Remove(group) == nil })
		})
		// Before the nodes are destroyed, because the group cannot be removed while they run.
		t.Cleanup(n.destroy)
		for name, value := range files {
			if err := os.WriteFile(filepath.Join(group, name), []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, pid := range n.process.family() { // those that it starts later are in its group
			_ = os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644) // it may have ended
		}
		groups = append(groups, group)
	}
	return func() (stopped int) {
		for _, group := range groups {
			text, _ := os.ReadFile(filepath.Join(group, "cpu.stat"))
			for line := range strings.Lines(string(text)) {
				if name, n, _ := strings.Cut(strings.TrimSpace(line), " "); name == "nr_throttled" {
					count, _ := strconv.Atoi(n)
					stopped += count
				}
			}
		}
		return stopped
	}
}

// byServer counts the statements of each server. It is a postgres.Observer.
type byServer struct {
	mu        sync.Mutex
	count     map[string]int
	fallbacks map[string]int // by reason
}

func (b *byServer) StatementEnded(_ context.Context, end postgres.StatementEnd) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if end.Statement.Route == postgres.Replica && end.Err == nil {
		b.count[end.Replica]++ // the primary's name is empty
		if end.Fallback != "" {
			b.fallbacks[end.Fallback]++
		}
	}
}

func (b *byServer) Happened(postgres.Event) {}

// scaled is the result of one round.
type scaled struct {
	requests, failed float64       // per second
	bulk             float64       // requests of class bulk, per second
	primary          float64       // share of the statements
	replicas         []float64     // shares
	conns, bulkConns int           // the most on one server
	p50, p99         time.Duration // of a request
	fallbacks        map[string]int
}

// TestReadScaling measures reads over HTTP with one, two and three replicas while every server
// has the same share of a core. No server may get more connections than the pool, or the
// class, allows. Requests per second and shares are only logged. docs/scale.md has them.
func TestReadScaling(t *testing.T) {
	if !long {
		return
	}
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 3, settings: quick})
	_, q := connect(t, postgres.Config{URL: c.primary.url(), MaxConns: 4})
	if err := store.New(q).Seed(t.Context(), store.SeedOptions{Users: 2000, Posts: 20_000}); err != nil {
		t.Fatal(err)
	}
	if err := c.primary.exec(t.Context(), database, "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
	stopped := limitCPU(t, append([]*node{c.primary}, c.standbys...)...)
	if stopped == nil {
		return
	}
	rounds := map[int][]scaled{}
	for range 3 {
		for n := 1; n <= 3; n++ {
			before := stopped()
			r := c.readOn(t, n)
			rounds[n] = append(rounds[n], r)
			t.Logf("%d replicas: %+v; a server was stopped %d times by its limit", n, r, stopped()-before)
		}
	}
	for n := 1; n <= 3; n++ {
		slices.SortFunc(rounds[n], func(x, y scaled) int { return int(x.requests - y.requests) })
		t.Logf("%d replicas, median: %+v", n, rounds[n][1])
	}
}

// readOn sends requests for some seconds to a service with n replicas.
func (c *cluster) readOn(t *testing.T, n int) (r scaled) {
	t.Helper()
	const seconds = 4
	seen := &byServer{count: map[string]int{}, fallbacks: map[string]int{}}
	cfg := postgres.Config{URL: c.primary.url(), MaxConns: 4, MinConns: 4, Observers: []postgres.Observer{seen}}
	for _, s := range c.standbys[:n] {
		cfg.ReplicaURLs = append(cfg.ReplicaURLs, s.url())
	}
	router, q := connect(t, cfg)
	defer router.Close()
	server := httptest.NewServer(api.New(api.Config{Queries: q, Store: store.New(q), Ready: router.Ready, Logger: quiet}))
	defer server.Close()
	eventually(t, startLimit, "the replicas are used", func() bool {
		return !slices.ContainsFunc(router.Snapshot().Servers, func(s postgres.ServerState) bool { return !s.Up })
	})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	var requests, bulk, failed atomic.Int64
	var times []time.Duration
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	ask := func(path string, done *atomic.Int64) {
		for ctx.Err() == nil {
			began := time.Now()
			response, err := client.Get(server.URL + path)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			if err != nil || response.StatusCode != http.StatusOK {
				failed.Add(1)
				continue
			}
			done.Add(1)
			mu.Lock()
			times = append(times, time.Since(began))
			mu.Unlock()
		}
	}
	for range callers {
		all.Go(func() { ask("/v1/users?include=posts&limit=20", &requests) })
	}
	for range bulkCallers {
		all.Go(func() { ask("/v1/stats/top-tags", &bulk) })
	}
	for end := time.After(seconds * time.Second); ctx.Err() == nil; {
		for _, s := range router.Snapshot().Servers {
			r.conns = max(r.conns, int(s.Pool.TotalConns()))
			for _, class := range s.Classes {
				if class.Used > class.Limit {
					t.Errorf("class %s uses %d connections of %s, and may use %d", class.Name, class.Used, s.Name, class.Limit)
				}
				if class.Name == "bulk" {
					r.bulkConns = max(r.bulkConns, class.Used)
				}
			}
		}
		select {
		case <-end:
			cancel()
		case <-time.After(5 * time.Millisecond):
		}
	}
	r.requests, r.bulk, r.failed = float64(requests.Load())/seconds, float64(bulk.Load())/seconds, float64(failed.Load())/seconds
	all.Wait()
	slices.Sort(times)
	r.p50, r.p99 = times[len(times)/2], times[len(times)*99/100]
	r.fallbacks = seen.fallbacks
	total := 0.0
	for _, k := range seen.count {
		total += float64(k)
	}
	r.primary = float64(seen.count[""]) / total
	for _, s := range c.standbys[:n] {
		share := float64(seen.count[s.address()]) / total
		r.replicas = append(r.replicas, share)
	}
	if r.conns > int(router.Config().MaxConns) {
		t.Errorf("a server had %d connections, and the pool is limited to %d", r.conns, router.Config().MaxConns)
	}
	return r
}
