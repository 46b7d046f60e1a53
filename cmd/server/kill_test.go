package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quern/internal/storetest"
	"quern/postgres"
)

// repeaters are clients that repeat each request until it is answered, on a server that is
// killed meanwhile.
type repeaters struct {
	base   string // URL of the server that currently runs
	client http.Client
	keyed  bool

	done     atomic.Int64 // requests that were answered
	sent     atomic.Int64 // with their repetitions
	replayed atomic.Int64 // answers that were stored for an earlier request with the same key

	mu      sync.Mutex
	answers map[string]int64 // by name of the effect, the id in the answer
}

// effects are requests that only their key prevents from taking effect twice. Each has a
// statement that counts its rows by name.
var effects = []struct{ path, body, count string }{
	{"/v1/tasks", `{"name":%q}`, "SELECT name, count(*), min(id) FROM tasks GROUP BY name"},
	{"/v1/users/1/posts", `{"title":%q,"content":""}`, "SELECT title, count(*), min(id) FROM posts GROUP BY title"},
}

// run makes n clients send requests until ctx ends. wait returns when the last ones are
// answered.
func (r *repeaters) run(ctx context.Context, t *testing.T, n int) (wait func()) {
	var all sync.WaitGroup
	for client := range n {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				r.repeat(t, fmt.Sprintf("%d-%d", client, i), effects[i%len(effects)].path, effects[i%len(effects)].body)
			}
		})
	}
	return all.Wait
}

// repeat sends a request until it is answered with a 201.
func (r *repeaters) repeat(t *testing.T, name, path, body string) {
	body = fmt.Sprintf(body, name)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		id, replayed, err := r.try(t, name, path, body)
		if err != nil {
			// As clients do.
			time.Sleep(rand.N(20 * time.Millisecond))
			continue
		}
		r.done.Add(1)
		if replayed {
			r.replayed.Add(1)
		}
		r.mu.Lock()
		r.answers[name] = id
		r.mu.Unlock()
		return
	}
	t.Errorf("%s was never answered", name)
}

// try sends a request once. One client in ten closes the connection before it can be answered.
func (r *repeaters) try(t *testing.T, name, path, body string) (id int64, replayed bool, err error) {
	r.sent.Add(1)
	timeout := patience
	if rand.N(10) == 0 {
		timeout = rand.N(10 * time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	if r.keyed {
		request.Header.Set("Idempotency-Key", name)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return 0, false, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, false, err
	}
	if response.StatusCode != http.StatusCreated {
		if response.StatusCode < 500 && response.StatusCode != http.StatusConflict {
			t.Errorf("%s is answered with %d %s", name, response.StatusCode, text)
		}
		return 0, false, fmt.Errorf("status %d", response.StatusCode)
	}
	var row struct{ ID int64 }
	err = json.Unmarshal(text, &row)
	return row.ID, response.Header.Get("Idempotency-Replayed") != "", err
}

// TestKill kills the server with SIGKILL while clients repeat requests with their
// Idempotency-Key until they are answered. Each request must take effect once, and the stored
// rows must be those of the answers. The control sends no keys, and must see effects twice.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 3
	if os.Getenv("QUERN_FAULTS") == "long" {
		kills = 40
	}
	t.Run("Keyed", func(t *testing.T) {
		t.Parallel()
		if n := killUnder(t, &repeaters{keyed: true}, kills); n != 0 {
			t.Errorf("%d requests took effect more than once", n)
		}
	})
	t.Run("WithoutKeys", func(t *testing.T) {
		t.Parallel()
		if n := killUnder(t, &repeaters{}, 3); n == 0 {
			t.Error("no request took effect twice: the test proves nothing")
		}
	})
}

// killUnder returns how many requests took effect more than once.
func killUnder(t *testing.T, r *repeaters, kills int) (doubled int) {
	databaseURL, dir := storetest.NewURL(t), t.TempDir()
	router, err := postgres.Connect(t.Context(), postgres.Config{URL: databaseURL, MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	p := serve(t, dir, "DATABASE_URL="+databaseURL)
	p.createUser(t, "ada")
	r.base, r.answers = p.base, map[string]int64{}
	address, err := url.Parse(p.base)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	wait := r.run(ctx, t, 12)
	defer wait()
	defer cancel()
	more := func(n int64) {
		for before, deadline := r.done.Load(), time.Now().Add(patience); r.done.Load() < before+n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("requests are answered no more")
			}
		}
	}
	for range kills {
		more(50 + rand.Int64N(100))
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.exit(t)
		p = serve(t, dir, "DATABASE_URL="+databaseURL, "LISTEN="+address.Host)
	}
	more(50)
	cancel()
	wait()

	stored := map[string]int64{}
	for _, e := range effects {
		rows, err := router.Pool().Query(t.Context(), e.count)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var name string
			var n, id int64
			if err := rows.Scan(&name, &n, &id); err != nil {
				t.Fatal(err)
			}
			stored[name] = id
			if n > 1 {
				doubled++
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, id := range r.answers {
		if stored[name] == 0 || r.keyed && stored[name] != id {
			t.Errorf("%s was answered with id %d, and stored is %d", name, id, stored[name])
		}
	}
	if len(stored) != len(r.answers) {
		t.Errorf("%d effects of %d requests", len(stored), len(r.answers))
	}
	t.Logf("%d kills, %d requests sent %d times, %d answered again, %d took effect twice",
		kills, len(r.answers), r.sent.Load(), r.replayed.Load(), doubled)
	return doubled
}

// TestEnd_WaitingClaimer ends the server while a claim waits for a task. The claim must be
// answered at once.
func TestEnd_WaitingClaimer(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), "DATABASE_URL="+storetest.NewURL(t), "LOG_QUERIES=true")
	type answer struct {
		status int
		body   string
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		response, err := http.Post(p.base+"/v1/tasks/claim", "application/json", strings.NewReader(`{"worker":"w","wait_seconds":30}`))
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answered <- answer{response.StatusCode, string(body), err}
	}()
	p.awaitStderr(t, "ClaimTasks")
	start := time.Now()
	if code := p.end(t, os.Interrupt); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if a := <-answered; a.err != nil || a.status != http.StatusOK || a.body != `{"items":[]}`+"\n" {
		t.Errorf("%+v, want no tasks", a)
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("it ended after %v: SHUTDOWN_TIMEOUT was waited out", took)
	}
}
