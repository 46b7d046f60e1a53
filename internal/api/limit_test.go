package api

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quern/internal/store"
)

func TestTokenLimits_Rate(t *testing.T) {
	t.Parallel()
	// So slow that none is due again during the test.
	g := newGuarded(t, func(c *Config) { c.TokenLimits = TokenLimits{Rate: 0.001, Burst: 3} })
	for _, token := range []string{g.read, g.write} {
		for range 3 {
			g.with(token, "GET", "/v1/users", "").want(200)
		}
		a := g.with(token, "POST", "/v1/users", newBob)
		a.problem(429, codeRateLimited)
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 900 || n > 1000 {
			t.Errorf("Retry-After %q, want almost 1000 s", a.header.Get("Retry-After"))
		}
	}
	g.get("/livez")
}

// A token may send as many requests as its rate allows, again and again, and no more.
func TestTokenLimits_Steady(t *testing.T) {
	t.Parallel()
	l := newLimiter(TokenLimits{Rate: 500})
	if l.Burst != 500 {
		t.Errorf("burst %d, want that of a second", l.Burst)
	}
	token, other := &store.Token{ID: 1}, &store.Token{ID: 2}
	var mu sync.Mutex
	admitted, start := 0, time.Now()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for time.Since(start) < 200*time.Millisecond {
				if l.admit(token) == nil {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start).Seconds()
	if most := 500 + int(500*took) + 1; admitted > most || admitted < 500 {
		t.Errorf("%d requests in %.3f s, want 500 to %d", admitted, took, most)
	}
	if p := l.admit(other); p != nil {
		t.Errorf("another token: %v", p)
	}
}

func TestTokenLimits_Bulk(t *testing.T) {
	t.Parallel()
	var counts refusalCounts
	g := newGuarded(t, counts.set, func(c *Config) { c.TokenLimits = TokenLimits{Bulk: 1} })
	body, feed := io.Pipe()
	defer feed.Close()
	done := make(chan *http.Response, 1)
	r, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/v1/users/import", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/csv")
	r.Header.Set("Authorization", "Bearer "+g.write)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		done <- resp
	}()
	// It runs from the moment at which its body is read.
	if _, err := io.WriteString(feed, "username,email\n"); err != nil {
		t.Fatal(err)
	}
	refused := 4 // by the requests below
	g.awaitStatus(429, func() int {
		status := g.with(g.write, "GET", "/v1/stats/overview", "").status
		if status == 429 {
			refused++
		}
		return status
	})
	for _, c := range [][3]string{
		{"POST", "/v1/users/bulk-delete", `[{"id":1}]`},
		{"PATCH", "/v1/users", `[{"id":1,"age":3}]`},
		{"POST", "/v1/tasks/bulk-create", `[{"name":"a"}]`},
		{"GET", "/v1/users/export", ""},
	} {
		a := g.with(g.write, c[0], c[1], c[2])
		if a.problem(429, codeBulkLimited); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if got := counts.get()["429 too_many_bulk_requests"]; got != refused {
		t.Errorf("%d refusals were counted, want %d", got, refused)
	}
	g.with(g.write, "GET", "/v1/users", "").want(200)
	g.with(g.read, "GET", "/v1/users/export", "").want(200)
	if _, err := io.WriteString(feed, "bob,bob@example.com\n"); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if resp := <-done; resp == nil || resp.StatusCode != 200 {
		t.Fatalf("the import: %+v", resp)
	}
	g.awaitStatus(200, func() int { return g.with(g.write, "GET", "/v1/users/export", "").status })
}

// Two tokens may use the same key, and neither gets the response of the other.
func TestIdempotencyKey_Tokens(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	// As long as a key may be.
	key := strings.Repeat("k", 255)
	post := func(token, name string) *answer {
		return g.with(token, "POST", "/v1/users", `{"username":"`+name+`","email":"x@example.com"}`, "Idempotency-Key", key)
	}
	first, second := post(g.write, "ann").want(201), post(g.operate, "bob").want(201)
	if again := post(g.write, "ann").want(201); again.body != first.body || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the first token's repetition: %s", again.body)
	}
	if again := post(g.operate, "bob").want(201); again.body != second.body {
		t.Errorf("the second token's repetition: %s", again.body)
	}
	post(g.operate, "ann").problem(422, codeKeyReused, "header.Idempotency-Key")
	// A key of no token, which is stored by servers that demand none, is another one.
	open := &client{t: t, db: g.db, log: g.log, url: serve(t, New(Config{Queries: g.db.Queries, Store: g.db.Store}))}
	for range 2 {
		open.do("POST", "/v1/users", `{"username":"cy","email":"x@example.com"}`, "Idempotency-Key", key).want(201)
	}
}

// Imports with a key belong to their token. Without one, the same rows are one import.
func TestImport_Tokens(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	const rows = "title,content,username\na,b,ann\n"
	g.db.CreateUser(t, func(p *userParams) { p.Username = "ann" })
	send := func(token, key string) (res Imported) {
		headers := []string{"Content-Type", "text/csv"}
		if key != "" {
			headers = append(headers, "Idempotency-Key", key)
		}
		g.with(token, "POST", "/v1/posts/import", rows, headers...).want(200).into(&res)
		return res
	}
	for i, test := range []struct {
		token, key string
		inserted   int64
	}{{g.write, "k", 1}, {g.write, "k", 0}, {g.operate, "k", 1}, {g.write, "", 1}, {g.operate, "", 0}} {
		if res := send(test.token, test.key); res.Inserted != test.inserted || res.Resumed != 1-test.inserted {
			t.Errorf("import %d: %+v, want %d inserted", i, res, test.inserted)
		}
	}
}
