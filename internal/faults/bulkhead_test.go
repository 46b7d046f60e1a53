//go:build linux

package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/api"
	"quern/internal/db"
	"quern/internal/store"
	"quern/postgres"
)

// service is the API on a pool of four connections, set up like `serve`.
type service struct {
	t      *testing.T
	c      *cluster
	router *postgres.Router
	seen   *prometheus.Registry
	url    string
	client *http.Client
}

// newService starts a service with users, a task, and posts for an export of megabytes.
func newService(t *testing.T, cfg postgres.Config) *service {
	t.Helper()
	c := newCluster(t, clusterConfig{settings: quick})
	seen := prometheus.NewRegistry()
	cfg.URL, cfg.MaxConns, cfg.Observers = c.primary.url(), 4, observers(seen)
	router, q := connect(t, cfg)
	acts := store.New(q)
	if err := acts.Seed(t.Context(), store.SeedOptions{Users: 1000, Posts: int64(times(8_000, 30_000))}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.CreateTask(t.Context(), db.CreateTaskParams{Name: "one", Payload: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests, cut := context.WithCancel(context.Background())
	server := &http.Server{
		Handler:     api.New(api.Config{Queries: q, Store: acts, Ready: router.Ready, Logger: quiet, StreamTimeout: 30 * time.Second}),
		ConnContext: api.ConnContext,
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is closed
	}()
	s := &service{
		t: t, c: c, router: router, seen: seen, url: "http://" + listener.Addr().String(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
	t.Cleanup(func() {
		cut()
		_ = server.Close() // also connections that clients hold open
		<-served
		s.client.CloseIdleConnections()
	})
	return s
}

// do sends a request and returns its status, or 0 if there was no answer.
func (s *service) do(ctx context.Context, method, path, body string) int {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", "text/csv")
	resp, err := s.client.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

func (s *service) get(ctx context.Context, path string) int { return s.do(ctx, "GET", path, "") }

// inBulk returns the number of connections that class bulk uses now.
func (s *service) inBulk() (n int) {
	families, err := s.seen.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "quern_class_connections" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "class" && l.GetValue() == "bulk" {
					n += int(m.GetGauge().GetValue())
				}
			}
		}
	}
	return n
}

// load is background work that runs until stop is called.
type load struct {
	ctx  context.Context
	stop func()
	all  sync.WaitGroup
	met  sync.Map // "name status" → *atomic.Int64
}

func (s *service) newLoad() *load {
	l := &load{}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithCancel(s.t.Context())
	l.stop = sync.OnceFunc(func() { cancel(); l.all.Wait() })
	s.t.Cleanup(l.stop)
	return l
}

func (l *load) count(what string, status int) {
	n, _ := l.met.LoadOrStore(fmt.Sprint(what, " ", status), &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
}

func (l *load) String() string {
	var list []string
	l.met.Range(func(what, n any) bool {
		list = append(list, fmt.Sprintf("%v: %d", what, n.(*atomic.Int64).Load()))
		return true
	})
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// exports starts n clients. Each reads an export at the given rate in bytes per second, or not
// at all if it is 0, and starts another when it ends.
func (l *load) exports(s *service, n, rate int) {
	for range n {
		l.all.Go(func() {
			for l.ctx.Err() == nil {
				l.count("export", s.export(l.ctx, rate))
				pauseFor(l.ctx, 20*time.Millisecond)
			}
		})
	}
}

// export reads one export over a new connection with a small receive buffer.
func (s *service) export(ctx context.Context, rate int) int {
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/posts/export", nil)
	if err != nil {
		return 0
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode
	}
	if rate == 0 {
		<-ctx.Done()
		return resp.StatusCode
	}
	for piece := make([]byte, max(1, rate/10)); ; pauseFor(ctx, 100*time.Millisecond) {
		if _, err := io.ReadFull(resp.Body, piece); err != nil {
			return resp.StatusCode
		}
	}
}

var imports atomic.Int64

// imports starts n clients that each import users repeatedly.
func (l *load) imports(s *service, n, rows int) {
	for range n {
		l.all.Go(func() {
			for l.ctx.Err() == nil {
				l.count("import", s.importUsers(l.ctx, rows))
			}
		})
	}
}

func (s *service) importUsers(ctx context.Context, rows int) int {
	var body strings.Builder
	body.WriteString("username,email,age\n")
	run := imports.Add(1)
	for i := range rows {
		fmt.Fprintf(&body, "import.%d.%d,someone@example.com,40\n", run, i)
	}
	return s.do(ctx, "POST", "/v1/users/import", body.String())
}

// statistics makes the given number of calls per second, whether or not earlier ones have been
// answered.
func (l *load) statistics(s *service, perSecond int) {
	paths := []string{"/v1/stats/overview", "/v1/stats/users?min_posts=1", "/v1/stats/top-tags", "/v1/stats/posts-per-day?from=2025-01-01&to=2025-12-31"}
	l.all.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-l.ctx.Done():
				return
			case <-tick.C:
			}
			l.all.Go(func() { l.count("statistics", s.get(l.ctx, paths[i%len(paths)])) })
		}
	})
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// points reads single rows for the given time, with four clients and a hundred reads per
// second in total. It returns the 99th percentile of the durations and the number of failed
// reads.
func (s *service) points(d time.Duration) (reads, failed int, p99 time.Duration) {
	const clients = 4
	paths := []string{"/v1/users/1", "/v1/posts/1", "/v1/tasks/1", "/v1/users/2"}
	took := make([][]time.Duration, clients)
	var bad atomic.Int64
	var all sync.WaitGroup
	end := time.Now().Add(d)
	for i := range clients {
		all.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				began := time.Now()
				if s.get(s.t.Context(), paths[(i+n)%len(paths)]) != http.StatusOK {
					bad.Add(1)
				}
				took[i] = append(took[i], time.Since(began))
				pauseFor(s.t.Context(), 40*time.Millisecond-time.Since(began))
			}
		})
	}
	all.Wait()
	times := slices.Concat(took...)
	slices.Sort(times)
	return len(times), int(bad.Load()), times[len(times)*99/100]
}

// withoutClasses returns the statements without their @class.
func withoutClasses() []postgres.Statement {
	list := slices.Clone(patient)
	for i := range list {
		list[i].Class = ""
	}
	return list
}

// TestBulkheads runs every kind of bulk work at once, more of each than there are connections.
// Meanwhile every point read must be answered, about as fast as before.
func TestBulkheads(t *testing.T) {
	checkLeaks(t)
	t.Run("All", func(t *testing.T) {
		s := newService(t, postgres.Config{})
		d := time.Duration(times(1, 30)) * time.Second
		s.points(time.Second) // the first calls are slow
		_, _, before := s.points(d)
		l := s.newLoad()
		l.exports(s, 8, 0)
		l.imports(s, 8, 5000)
		l.statistics(s, 24)
		reads, failed, busy := s.points(d)
		ready := s.get(t.Context(), "/readyz")
		l.stop()
		_, _, after := s.points(d)
		t.Logf("%d reads, %d failed; p99 %v and %v calm, %v busy; %v", reads, failed, before, after, busy, l)
		if failed > 0 {
			t.Errorf("%d of %d point reads were not answered", failed, reads)
		}
		if ready != http.StatusOK {
			t.Errorf("/readyz is %d", ready)
		}
		// In the short form other tests share the machine.
		if calm := max(before, after); long && busy > 3*calm {
			t.Errorf("the 99th percentile of point reads is %v, and %v on a calm service", busy, calm)
		}
	})

	// The control has no classes, so exports take the whole pool.
	t.Run("Control", func(t *testing.T) {
		s := newService(t, postgres.Config{Statements: withoutClasses(), AcquireTimeout: 100 * time.Millisecond})
		l := s.newLoad()
		l.exports(s, 8, 0)
		if !poll(10*time.Second, func() bool { return s.get(t.Context(), "/v1/users/1") == http.StatusServiceUnavailable }) {
			t.Error("every read is answered: the test cannot fail")
		}
		if status := s.get(t.Context(), "/readyz"); status != http.StatusOK {
			t.Errorf("with a pool that is full, /readyz is %d", status)
		}
	})

	for name, begin := range map[string]func(l *load, s *service){
		"SlowExports": func(l *load, s *service) { l.exports(s, 4, 1000) },
		"Imports":     func(l *load, s *service) { l.imports(s, 16, 5000) },
		"Statistics":  func(l *load, s *service) { l.statistics(s, 24) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, postgres.Config{})
			l := s.newLoad()
			begin(l, s)
			// By chance, work in class default may leave a connection to the reads.
			eventually(t, startLimit, "the work is in class bulk", func() bool { return s.inBulk() > 0 })
			reads, failed, p99 := s.points(time.Duration(times(1, 45)) * time.Second)
			l.stop()
			t.Logf("%d reads, %d failed, p99 %v; %v", reads, failed, p99, l)
			if failed > 0 {
				t.Errorf("%d of %d point reads were not answered", failed, reads)
			}
		})
	}
}

// TestPagesBehindALock asks for more pages of a locked table than there are connections.
// Requests that do not use the table must be answered.
func TestPagesBehindALock(t *testing.T) {
	checkLeaks(t)
	s := newService(t, postgres.Config{})
	lock, err := pgx.Connect(t.Context(), s.c.primary.url())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close(context.Background())
	if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	l := s.newLoad()
	for i := range 40 {
		path := "/v1/users"
		if i%2 == 0 {
			path += "?include=posts" // a pipeline
		}
		l.all.Go(func() { l.count("page", s.get(l.ctx, path)) })
	}
	eventually(t, 10*time.Second, "pages wait for the lock", func() bool {
		return ask[int](t, s.c.primary, "SELECT count(*) FROM pg_locks WHERE NOT granted") >= 3
	})
	for range 50 {
		for _, path := range []string{"/v1/posts/1", "/v1/tasks/1", "/readyz"} {
			if status := s.get(t.Context(), path); status != http.StatusOK {
				t.Fatalf("%s is %d while pages wait for a lock", path, status)
			}
		}
	}
	// Readiness must not need a connection of the pool.
	last, err := s.router.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status := s.get(t.Context(), "/readyz")
	last.Release()
	if status != http.StatusOK {
		t.Errorf("/readyz is %d while the whole pool is in use", status)
	}
	if _, err := lock.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	l.all.Wait()
	t.Log(l)
}
