//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"quern/internal/api"
	"quern/internal/store"
	"quern/postgres"
)

// TestRefusedIsNotApplied makes the server refuse thousands of writes: with 503
// if there is no connection, and with 409 if a name is taken or a key is in use.
// None of them may be stored, neither then nor later.
func TestRefusedIsNotApplied(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{})
	owner := newLedger(t, c.primary).owner
	router, q := connect(t, postgres.Config{
		URL: c.primary.url(), MaxConns: 4, AcquireTimeout: 10 * time.Millisecond, QueryTimeout: 50 * time.Millisecond,
	})
	server := httptest.NewServer(api.New(api.Config{Queries: q, Store: store.New(q), Logger: quiet}))
	t.Cleanup(server.Close)
	h := &hungAPI{url: server.URL, primary: c.primary, owner: owner}

	hold := func(t *testing.T, n int, sql string, args ...any) {
		for range n {
			var conn *pgxpool.Conn
			eventually(t, startLimit, "a connection is free", func() (ok bool) {
				conn, _ = router.Pool().Acquire(t.Context())
				return conn != nil
			})
			t.Cleanup(conn.Release)
			if sql == "" {
				continue
			}
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.Rollback(t.Context()) })
			if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	post := func(i int) *request {
		return &request{method: "POST", path: fmt.Sprintf("/v1/users/%d/posts", owner), body: fmt.Sprintf(`{"title":"%d","content":""}`, i)}
	}
	task := func(i int) *request {
		return &request{method: "POST", path: "/v1/tasks", body: fmt.Sprintf(`{"name":"refused %d"}`, i), key: "held"}
	}
	taken := func(i int) *request {
		return &request{method: "POST", path: "/v1/users", body: fmt.Sprintf(
			`{"username":"owner","email":"x","posts":[{"title":"of %d","content":""}]}`, i)}
	}
	for _, way := range []struct {
		name    string
		refuse  func(t *testing.T)
		request func(i int) *request
		calls   int
		want    int
	}{
		{"NoConnection", func(t *testing.T) { hold(t, 4, "") }, post, times(500, 2000), http.StatusServiceUnavailable},
		{"Taken", func(*testing.T) {}, taken, times(500, 2000), http.StatusConflict},
		{"KeyInFlight", func(t *testing.T) {
			hold(t, 1, "INSERT INTO idempotency_keys (key, request_hash) VALUES ('held', 'x')")
		}, task, times(50, 500), http.StatusConflict},
	} {
		t.Run(way.name, func(t *testing.T) {
			way.refuse(t)
			var all sync.WaitGroup
			var mu sync.Mutex
			answers := map[string]int{}
			for worker := range 8 {
				all.Go(func() {
					for i := worker; i < way.calls; i += 8 {
						r := way.request(i)
						h.send(t, r)
						mu.Lock()
						answers[fmt.Sprint(r.status, " ", r.code)]++
						if r.status/100 == 2 || r.code == "commit_unknown" {
							t.Errorf("%s: %d %s, want it refused", r.path, r.status, r.code)
						}
						mu.Unlock()
					}
				})
			}
			all.Wait()
			t.Logf("%v", answers)
			refused := 0
			for answer, n := range answers {
				if answer[:3] == fmt.Sprint(way.want) {
					refused += n
				}
			}
			if refused == 0 {
				t.Errorf("none of %d calls was refused with %d: the test shows nothing", way.calls, way.want)
			}
		})
	}
	c.primary.waitForBackends(t)
	for _, table := range []string{"posts", "tasks", "idempotency_keys"} {
		if n := ask[int](t, c.primary, "SELECT count(*) FROM "+table); n != 0 {
			t.Errorf("%d rows of refused calls are in %s", n, table)
		}
	}
}
