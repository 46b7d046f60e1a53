//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/api"
	"quern/internal/store"
	"quern/postgres"
)

// hungPool is the size of the pools under test, and hungBeyond is how many more
// connections the server may have.
const (
	hungPool   = 4
	hungBeyond = 2
)

// request is one write request with its answer.
type request struct {
	method, path, body, key string
	stores                  string // the name or title of the rows that it stores
	want                    int    // number of rows if it is stored
	status                  int
	code                    string
	took                    time.Duration
}

// hungAPI is the API on a primary whose standby is down.
type hungAPI struct {
	url     string
	primary *node
	owner   int64
	budget  time.Duration

	mu       sync.Mutex
	requests []*request
}

// writes returns a request of each kind that writes: with a key, with posts,
// individual and coalesced, and an import.
func (h *hungAPI) writes(name string) []*request {
	return []*request{
		{
			method: "POST", path: "/v1/tasks", body: fmt.Sprintf(`{"name":"%s keyed","payload":{}}`, name), key: strings.ReplaceAll(name, " ", "-"),
			stores: name + " keyed", want: 1,
		},
		{
			method: "POST", path: "/v1/users", key: "",
			body:   fmt.Sprintf(`{"username":"%s posts","email":"x","posts":[{"title":"%s posts","content":""}]}`, name, name),
			stores: name + " posts", want: 1,
		},
		{
			method: "POST", path: fmt.Sprintf("/v1/users/%d/posts", h.owner), body: fmt.Sprintf(`{"title":"%s alone","content":""}`, name),
			stores: name + " alone", want: 1,
		},
		{
			method: "POST", path: "/v1/posts/import",
			body:   "user_id,title,content\n" + strings.Repeat(fmt.Sprintf("%d,%s import,x\n", h.owner, name), 100),
			stores: name + " import", want: 100,
		},
	}
}

// send sends a request and records the answer.
func (h *hungAPI) send(t *testing.T, r *request) {
	req, err := http.NewRequestWithContext(t.Context(), r.method, h.url+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(r.path, "import") {
		req.Header.Set("Content-Type", "text/csv")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	start := time.Now()
	res, err := http.DefaultClient.Do(req)
	r.took = time.Since(start)
	if err != nil {
		t.Errorf("%s got no answer in %v: %v", r.path, r.took, err)
		return
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	r.status, r.code = res.StatusCode, ""
	if _, after, ok := strings.Cut(string(body), `"code":"`); ok {
		r.code, _, _ = strings.Cut(after, `"`)
	}
}

// newHungAPI serves the API on a synchronous pair.
func newHungAPI(t *testing.T, c *cluster, seen prometheus.Registerer) *hungAPI {
	h := &hungAPI{primary: c.primary, budget: time.Duration(times(2, 40)) * time.Second}
	h.owner = newLedger(t, c.primary).owner
	_, q := connect(t, postgres.Config{
		URL: c.primary.url(), MaxConns: hungPool, AcquireTimeout: h.budget / 8, QueryTimeout: h.budget / 4, Observers: observers(seen),
	})
	server := httptest.NewUnstartedServer(api.New(api.Config{
		Queries: q, Store: store.New(q), Logger: quiet, RequestTimeout: h.budget,
	}))
	server.Config.WriteTimeout = h.budget + h.budget/2
	server.Start()
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// watchBackends starts to watch the server's connections. It returns a function
// that stops and returns the maximum number at a time.
func watchBackends(t *testing.T, n *node) func() int {
	var most atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for poll := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-poll.C {
			most.Store(max(most.Load(), int32(len(n.backends(t)))))
		}
	})
	return func() int {
		cancel()
		done.Wait()
		return int(most.Load())
	}
}

// TestCommitsWaitForStandby takes the synchronous standby down under requests of
// every kind. Each must be answered within its budget, but none as stored. Reads
// must continue, and the server must not accumulate connections. When the
// standby is back, everything must continue by itself, with nothing lost and
// nothing stored twice.
func TestCommitsWaitForStandby(t *testing.T) {
	checkLeaks(t)
	c := newSynchronousPair(t)
	seen := prometheus.NewRegistry()
	h := newHungAPI(t, c, seen)
	before := h.writes("before")
	for _, r := range before {
		if h.send(t, r); r.status/100 != 2 {
			t.Fatalf("with its standby: %s: %d %s", r.path, r.status, r.code)
		}
	}
	c.standbys[0].kill(t)
	most := watchBackends(t, c.primary)
	until := time.Now().Add(2 * h.budget)
	pace := time.Duration(times(100, 20)) * time.Millisecond
	var reads, refused atomic.Int64
	var all sync.WaitGroup
	for worker := range 4 {
		for kind := range h.writes("") {
			all.Go(func() {
				for i := 0; time.Now().Before(until); i++ {
					r := h.writes(fmt.Sprintf("w%d n%d", worker, i))[kind]
					h.send(t, r)
					h.mu.Lock()
					h.requests = append(h.requests, r)
					h.mu.Unlock()
					time.Sleep(pace) // pace of a client whose requests are refused
				}
			})
		}
		all.Go(func() {
			for ; time.Now().Before(until); time.Sleep(pace) {
				r := &request{method: "GET", path: fmt.Sprintf("/v1/users/%d", h.owner)}
				if h.send(t, r); r.status == http.StatusOK {
					reads.Add(1)
				} else {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	outcomes := map[string]int{}
	for _, r := range h.requests {
		outcomes[fmt.Sprintf("%s %d %s", strings.NewReplacer(fmt.Sprint(h.owner), "{id}").Replace(r.path), r.status, r.code)]++
		if r.status/100 == 2 {
			t.Errorf("%s was acknowledged without its standby: %d", r.path, r.status)
		}
		if r.status == http.StatusInternalServerError && r.code != "commit_unknown" {
			t.Errorf("%s: 500 %s", r.path, r.code)
		}
		if r.took > h.budget+time.Second {
			t.Errorf("%s was answered after %v, with a budget of %v", r.path, r.took, h.budget)
		}
	}
	t.Logf("%d reads answered, %d not; writes: %v", reads.Load(), refused.Load(), outcomes)
	if reads.Load() == 0 {
		t.Error("no read was answered")
	}
	if ask[int](t, c.primary, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 0 {
		t.Error("nothing waits for the standby: the test shows nothing")
	}
	if n := waiting(t, seen); n == 0 {
		t.Error("quern_commits_waiting_for_standby is 0")
	}
	h.readsGoOn(t)

	c.standbys[0].start(t)
	eventually(t, startLimit, "nothing waits for the standby any more", func() bool { return waiting(t, seen) == 0 })
	if n := most(); n > hungPool+hungBeyond {
		t.Errorf("the server had %d connections of a pool of %d", n, hungPool)
	} else {
		t.Logf("the server had at most %d connections of a pool of %d", n, hungPool)
	}
	c.primary.waitForBackends(t)
	h.check(t)
}

// readsGoOn reads beside writers while COMMITs wait in half of the pool. Writes
// do not begin then, so the remaining connections are available for reads.
func (h *hungAPI) readsGoOn(t *testing.T) {
	t.Helper()
	write := func(name string) *request {
		r := h.writes(name)[2] // individual
		h.send(t, r)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.requests = append(h.requests, r)
		return r
	}
	n := 0
	eventually(t, startLimit, "a write is refused at once", func() bool {
		n++
		r := write(fmt.Sprint("late ", n))
		return r.status == http.StatusServiceUnavailable && r.took < h.budget/16
	})
	until := time.Now().Add(h.budget / 2)
	var writers sync.WaitGroup
	for writer := range hungPool {
		writers.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				write(fmt.Sprintf("later w%d n%d", writer, i))
				time.Sleep(50 * time.Millisecond) // pace of a client whose requests are refused
			}
		})
	}
	answered, refused := 0, 0
	for time.Now().Before(until) {
		r := &request{method: "GET", path: fmt.Sprintf("/v1/users/%d", h.owner)}
		if h.send(t, r); r.status == http.StatusOK {
			answered++
		} else {
			refused++
		}
	}
	writers.Wait()
	t.Logf("then %d reads were answered and %d not", answered, refused)
	if refused > answered/10 {
		t.Errorf("%d of %d reads were not answered", refused, answered+refused)
	}
}

// check compares the answers with the stored rows, and repeats that after each
// repeatable request was repeated.
func (h *hungAPI) check(t *testing.T) {
	t.Helper()
	var repeated []*request
	rows := h.rows(t)
	for _, r := range h.requests {
		stored := rows[r.stores]
		if stored != 0 && (stored != r.want || r.code != "commit_unknown" && r.code != "idempotency_key_in_flight") {
			t.Errorf("%s was answered %d %s, and stored %d of %d", r.path, r.status, r.code, stored, r.want)
		}
		if r.key != "" || strings.HasSuffix(r.path, "import") {
			repeated = append(repeated, r)
		}
	}
	var clients sync.WaitGroup
	for client := range hungPool {
		clients.Go(func() {
			for i := client; i < len(repeated); i += hungPool {
				r := repeated[i]
				if !poll(startLimit, func() bool { h.send(t, r); return r.status/100 == 2 }) {
					t.Errorf("%s was repeated for %v, and still answered %d %s", r.path, startLimit, r.status, r.code)
				}
			}
		})
	}
	clients.Wait()
	rows = h.rows(t)
	for _, r := range repeated {
		if stored := rows[r.stores]; stored != r.want {
			t.Errorf("%s repeated: stored %d, want %d", r.path, stored, r.want)
		}
	}
}

// rows counts the rows of each name and title. One statement counts them all,
// because the long form has tens of thousands of requests.
func (h *hungAPI) rows(t *testing.T) map[string]int {
	t.Helper()
	return ask[map[string]int](t, h.primary, `SELECT coalesce(jsonb_object_agg(stores, n), '{}')
		FROM (SELECT stores, count(*) AS n FROM (SELECT name FROM tasks UNION ALL SELECT title FROM posts) AS rows (stores) GROUP BY stores) AS counted`)
}

// waiting returns quern_commits_waiting_for_standby.
func waiting(t *testing.T, seen *prometheus.Registry) float64 {
	t.Helper()
	families, err := seen.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "quern_commits_waiting_for_standby" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("there is no quern_commits_waiting_for_standby")
	return 0
}

// TestCommitsWaitForStandbyNaive is the control. A pool that does not cancel a
// COMMIT, but abandons its connection and opens another, accumulates connections
// on the server.
func TestCommitsWaitForStandbyNaive(t *testing.T) {
	checkLeaks(t)
	c := newSynchronousPair(t)
	cfg, err := pgxpool.ParseConfig(fmt.Sprintf("%s&pool_max_conns=%d", c.primary.url(), hungPool))
	if err != nil {
		t.Fatal(err)
	}
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
		var conn net.Conn
		cc.DialFunc = func(ctx context.Context, network, address string) (_ net.Conn, err error) {
			if conn != nil { // a cancel request
				conn.Close()
				return nil, errors.New("not to be cancelled")
			}
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return conn, err
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c.standbys[0].kill(t)
	most := watchBackends(t, c.primary)
	var all sync.WaitGroup
	for range 3 * hungPool {
		all.Go(func() {
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_ = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					_, err := tx.Exec(ctx, "INSERT INTO tasks (name, payload) VALUES ('x', '{}')")
					return err
				})
				cancel()
			}
		})
	}
	all.Wait()
	if n := most(); n <= hungPool+hungBeyond {
		t.Errorf("the server had %d connections of a pool of %d: the test cannot fail", n, hungPool)
	} else {
		t.Logf("the server had %d connections of a pool of %d", n, hungPool)
	}
	c.standbys[0].start(t)
	c.primary.waitForBackends(t)
}
