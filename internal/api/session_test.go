package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"quern/internal/store"
	"quern/internal/storetest"
	"quern/pgtest"
	"quern/postgres"
)

// aToken is a valid token, as the service returns it.
const aToken = "AwAAAAEAAAAAAAAABwAAAAAAAAAJ"

func TestConsistencyToken(t *testing.T) {
	t.Parallel()
	c := newClient(t)

	t.Run("None", func(t *testing.T) {
		t.Parallel()
		a := c.on(t).get("/v1/stats/overview").want(http.StatusOK)
		if a.header.Get(consistencyToken) != "" || a.header.Get("Set-Cookie") != "" {
			t.Errorf("without replicas there is nothing to say, but the answer has %v", a.header)
		}
	})

	t.Run("ComesBack", func(t *testing.T) {
		t.Parallel()
		a := c.on(t).do("GET", "/v1/stats/overview", "", consistencyToken, aToken).want(http.StatusOK)
		if got := a.header.Get(consistencyToken); got != aToken {
			t.Errorf("token %q, want the one sent", got)
		}
		if cookie := a.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, consistencyTokenCookie+"="+aToken) || !strings.Contains(cookie, "HttpOnly") {
			t.Errorf("cookie %q", cookie)
		}
		a = c.on(t).do("GET", "/v1/stats/overview", "", "Cookie", consistencyTokenCookie+"="+aToken).want(http.StatusOK)
		if a.header.Get(consistencyToken) != aToken || a.header.Get("Set-Cookie") != "" {
			t.Errorf("a cookie that still holds: %v", a.header)
		}
	})

	t.Run("Damaged", func(t *testing.T) {
		t.Parallel()
		for _, token := range []string{"x", aToken + "A", "AwAAAAAAAAAJ", aToken[:26] + "A="} {
			c.on(t).do("GET", "/v1/stats/overview", "", consistencyToken, token).problem(http.StatusBadRequest, codeInvalidToken, "header."+consistencyToken)
		}
		// Any application on the same host may have set the cookie.
		c.on(t).do("GET", "/v1/stats/overview", "", "Cookie", consistencyTokenCookie+"=x").want(http.StatusOK)
	})
}

func TestServerTiming(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	c.db.CreatePost(t, c.db.CreateUser(t).ID)
	if got := c.get("/v1/users?include=posts").want(http.StatusOK).header.Get("Server-Timing"); !strings.HasPrefix(got, "db;dur=") || !strings.HasSuffix(got, `desc="statements: 3"`) {
		t.Errorf("Server-Timing %q, want the time of 2 statements and the COMMIT", got)
	}
	if got := c.get("/livez").want(http.StatusOK).header.Get("Server-Timing"); got != "" {
		t.Errorf("Server-Timing %q of a request without statements", got)
	}
}

// If a request exceeds its budget, it fails at the repeated statement or continues without a
// message, depending on the mode.
func TestQueryBudget_Modes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		budget int
		fail   bool
		status int
		logged bool
	}{
		"fail": {3, true, http.StatusServiceUnavailable, true},
		"log":  {3, false, http.StatusOK, true},
		"off":  {math.MaxInt, false, http.StatusOK, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ran := 0
			c := newClient(t, func(cfg *Config) {
				cfg.QueryBudget, cfg.FailOverBudget = tt.budget, tt.fail
				cfg.Ready = func(ctx context.Context) error {
					for ; ran < 5; ran++ {
						if _, err := cfg.Queries.GetUserByUsername(ctx, "nobody"); !errors.Is(err, postgres.ErrNotFound) {
							return err
						}
					}
					return nil
				}
			})
			c.do("GET", "/readyz", "").want(tt.status)
			if want := map[bool]int{true: 3, false: 5}[tt.fail]; ran != want {
				t.Errorf("the statement ran %d times, want %d", ran, want)
			}
			eventually(t, "the log says so", func() bool {
				return !tt.logged || strings.Contains(c.log.String(), "query=GetUserByUsername") && strings.Contains(c.log.String(), "hint=")
			})
			if !tt.logged && strings.Contains(c.log.String(), "query=") {
				t.Errorf("the log says %q", c.log.String())
			}
		})
	}
}

// The number of statements does not grow with the page.
func TestListUsers_Budget(t *testing.T) {
	t.Parallel()
	d := storetest.New(t)
	handler := New(Config{Queries: d.Queries, Store: d.Store})
	list := func() (users int) {
		pgtest.Budget(t, 2, func(ctx context.Context) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/users?include=posts&limit=1000", http.NoBody))
			var page struct{ Items []User }
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
				t.Fatalf("%d: %v", w.Code, err)
			}
			users = len(page.Items)
		})
		return users
	}
	d.CreatePost(t, d.CreateUser(t).ID)
	if n := list(); n != 1 {
		t.Errorf("%d users, want 1", n)
	}
	if err := d.Store.Seed(t.Context(), store.SeedOptions{Users: 1000, Posts: 3000}); err != nil {
		t.Fatal(err)
	}
	if n := list(); n != 1000 {
		t.Errorf("%d users, want 1000", n)
	}
}

func TestQueryBudget(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	u := c.db.CreateUser(t)
	for times, want := range map[int]bool{queryBudget: false, queryBudget + 1: true} {
		log := &logged{}
		var info requestInfo
		ctx, stats := postgres.WithStats(t.Context())
		info.stats = stats
		for range times {
			if _, err := c.db.Queries.GetUser(ctx, u.ID); err != nil {
				t.Fatal(err)
			}
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/v1/users", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		info.end(r, textLogger(log))
		if got := strings.Contains(log.String(), "query=GetUser"); got != want {
			t.Errorf("%d times: the log says %q", times, log.String())
		}
	}

	// The same is tested through a request, because a function of this test answers the
	// readiness check.
	c = newClient(t, func(cfg *Config) {
		cfg.Ready = func(ctx context.Context) error {
			for range queryBudget + 1 {
				if _, err := cfg.Queries.GetUserByUsername(ctx, "nobody"); !errors.Is(err, postgres.ErrNotFound) {
					return err
				}
			}
			return nil
		}
	})
	c.do("GET", "/readyz", "", "X-Request-Id", "n-plus-1").want(http.StatusOK)
	// The log line is written after the response.
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(c.log.String(), "\n") && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if log := c.log.String(); !strings.Contains(log, "query=GetUserByUsername") || !strings.Contains(log, "times=21") || !strings.Contains(log, "request_id=n-plus-1") {
		t.Errorf("the log says %q, want the statement, how often it ran, and the request", log)
	}
}
